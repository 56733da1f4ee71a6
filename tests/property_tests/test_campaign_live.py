"""Small campaigns in the kernel: every dataplane agrees with the oracle, and a broken one is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from emulator.dataplane import DATAPLANES
from emulator.dataplane.ebpf import encode
from emulator.dataplane.ebpf.bench import lacking
from emulator.dataplane.ebpf.trial import Trial
from property_tests.campaigns import brought_up, search

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds a broken dataplane may stay unfound; the seeds below find each in a few
needs_ebpf = pytest.mark.skipif(bool(lacking()), reason=lacking())
# What each supervisor's interpreter runs before all else: port ranges lack their last port (RULE-5).
BROKEN_NFTABLES = """
from emulator.dataplane.nftables import matching

right = matching.merge_ports
matching.merge_ports = lambda ports: tuple((low, max(low, high - 1)) for low, high in right(ports))
"""


def test_oracle_and_kernels_agree() -> None:
    """On random clusters, every packet that gave evidence fared on every dataplane as the oracle says."""
    with brought_up(DATAPLANES) as kernels:
        assert kernels.live, kernels.lacking
        found = search(PATIENCE, 5, kernels=kernels.live, test_runs=kernels.test_runs, kernel_every=1, most_clusters=10)
    assert found.mismatches == (), found.mismatches[0].scenario
    assert found.clusters == 10
    for dataplane in kernels.live:
        reading = found.readings[dataplane]
        assert reading.packets > 200
        assert reading.silent < reading.packets / 5


@needs_ebpf
def test_a_broken_ebpf_encoding_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test runs find, with no network, programs in which no port range holds its last port (RULE-5)."""
    right = encode.rules

    def shorter(ports):
        return tuple(replace(each, high=max(each.low, each.high - 1)) for each in ports)

    def early(rule):
        return replace(rule, match=replace(rule.match, destination_ports=shorter(rule.match.destination_ports)))

    def broken(lists, *others, **more):
        return right([tuple(map(early, rules)) for rules in lists], *others, **more)

    with Trial() as trial:
        with monkeypatch.context() as patch:
            patch.setattr(encode, "rules", broken)
            found = search(PATIENCE, 1, test_runs=trial)
        (mismatch,) = found.mismatches
        assert mismatch.other == "ebpf test run"
        assert len(mismatch.resources) <= 6, [str(resource.key) for resource in mismatch.resources]
        assert found.seconds < PATIENCE / 2
        assert search(PATIENCE, 1, test_runs=trial, most_clusters=found.clusters).mismatches == ()


def test_a_broken_nftables_lowering_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Real packets find port ranges that lack their last port (RULE-5), and the scenario shows it again."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN_NFTABLES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    with brought_up(["nftables"]) as kernels:
        found = search(PATIENCE, 12, kernels=kernels.live, kernel_every=1)
    (mismatch,) = found.mismatches
    assert mismatch.other == "nftables"
    assert len(mismatch.resources) <= 6, [str(resource.key) for resource in mismatch.resources]

    file = tmp_path / "mismatch-nftables.yaml"
    file.write_text(mismatch.scenario)
    verify = [sys.executable, "-m", "muslin", "verify", "--dataplane", "nftables", str(file)]
    assert subprocess.run(verify, cwd=ROOT, capture_output=True, check=False).returncode == 1
    monkeypatch.delenv("PYTHONPATH")
    assert subprocess.run(verify, cwd=ROOT, capture_output=True, check=False).returncode == 0
