"""The campaign: finds deliberately broken compilers, makes the finding small, and writes a scenario that shows it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from emulator.dataplane.ebpf.bench import in_words_of_the_kernel
from property_tests.campaigns import CampaignResult, Mismatch, search
from property_tests.campaigns.differential import program_differs
from property_tests.worlds import fabric_world
from reference import policy
from reference.packet import Packet
from reference.program import hosts, kubernetes, rules, walks
from reference.program.interpret import Decision, decide
from reference.program.types import NodeProgram
from reference.resources import AnyResource, Node
from reference.resources.calico import EntityRule
from reference.resources.kubernetes import PolicyPort
from reference.state import State
from scenarios.load import load_scenario

Patch = Callable[[pytest.MonkeyPatch], None]
PATIENCE = 60.0  # seconds a broken compiler may stay unfound; the seed below finds each in a few


def forget_namespaces(patch: pytest.MonkeyPatch) -> None:
    """A compiler that does not keep a namespaced policy's selectors to its namespace (RULE-9)."""
    right = rules.entity_selectors
    patch.setattr(rules, "entity_selectors", lambda entity, namespace: right(entity, ""))


def forget_exceptions(patch: pytest.MonkeyPatch) -> None:
    """A compiler that does not see notNets, nor `except`."""
    right = rules._nets

    def without(rule: rules.Rule, family: rules.Family) -> object:
        source, destination = (replace(side, not_nets=()) for side in (rule.source, rule.destination))
        return right(replace(rule, source=source, destination=destination), family)

    patch.setattr(rules, "_nets", without)


def end_ranges_early(patch: pytest.MonkeyPatch) -> None:
    """A compiler whose port ranges lack their last port (RULE-5)."""
    right = rules.split_ports

    def early(ports: tuple[int | str, ...]) -> object:
        ranges, names = right(ports)
        return tuple(replace(each, high=max(each.low, each.high - 1)) for each in ranges), names

    patch.setattr(rules, "split_ports", early)


def end_every_tier_in_denial(patch: pytest.MonkeyPatch) -> None:
    """A compiler that does not know of default action Pass (POL-13)."""
    right = walks.WalkBook._place
    patch.setattr(walks.WalkBook, "_place", lambda book, tier: right(book, tier)._replace(default_action="deny"))


def take_any_protocol(patch: pytest.MonkeyPatch) -> None:
    """A compiler that takes a Kubernetes port entry without a port for everything (K8S-10)."""
    right = kubernetes.ports_by_protocol

    def loose(ports: tuple[PolicyPort, ...] | None) -> object:
        return [(protocol if numbers else None, numbers) for protocol, numbers in right(ports)]

    patch.setattr(kubernetes, "ports_by_protocol", loose)


def forget_failsafe_ports(patch: pytest.MonkeyPatch) -> None:
    """A compiler whose host endpoints have no failsafe ports of their own accord (HEP-9)."""
    patch.setattr(hosts, "_DEFAULTS", hosts.Failsafes())
    patch.setattr(hosts, "_UNTOLD", hosts._UNTOLD._replace(failsafes=hosts.Failsafes()))


BROKEN: Sequence[Patch] = [
    forget_namespaces,
    forget_exceptions,
    end_ranges_early,
    end_every_tier_in_denial,
    take_any_protocol,
    forget_failsafe_ports,
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda patch: patch.__name__)
def test_a_broken_compiler_is_found(broken: Patch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A campaign finds the fault, shrinks it to a few resources, and its scenario loads to that very cluster."""
    with monkeypatch.context() as patch:
        broken(patch)
        found = search(PATIENCE, seed=1)
        assert len(found.mismatches) == 1
        (mismatch,) = found.mismatches
        assert program_differs(mismatch.resources, mismatch.packet)
        assert program_differs(_reloaded(mismatch, tmp_path), mismatch.packet)
    assert not program_differs(mismatch.resources, mismatch.packet)
    assert len(mismatch.resources) <= 6, [str(resource.key) for resource in mismatch.resources]


def _reloaded(mismatch: Mismatch, folder: Path) -> list[AnyResource]:
    """The resources of the scenario file, with the nodes that its topology would bring."""
    path = folder / "mismatch-program.yaml"
    path.write_text(mismatch.scenario, encoding="utf-8")
    loaded = load_scenario(path)
    (expectation,) = loaded.scenario.expect
    assert (expectation.allow is not None) == mismatch.allowed
    assert (expectation.deny is not None) != mismatch.allowed
    nodes = [resource for resource in mismatch.resources if isinstance(resource, Node)]
    return [*nodes, *(sourced.resource for sourced in loaded.start)]


def test_the_right_compiler_is_not_accused() -> None:
    """On the same clusters the compiler as it is agrees with the oracle, on allowed and on denied packets."""
    found = search(PATIENCE, seed=1, most_clusters=60)
    assert (found.mismatches, found.refusals) == ((), ())
    assert found.clusters == 60
    assert 0.2 < found.allowed / found.packets < 0.9


def _counts(found: CampaignResult) -> tuple[int, int, int]:
    return found.clusters, found.packets, found.allowed


def test_a_seed_is_a_campaign() -> None:
    """The same seed tries the same packets; another seed tries others; progress is told after each cluster."""
    lines: list[str] = []
    one, same, other = (search(PATIENCE, seed, lines.append, most_clusters=8) for seed in (7, 7, 8))
    assert _counts(one) == _counts(same) != _counts(other)
    assert len(lines) == 24
    assert lines[7] == f"8 clusters; packets: oracle {one.packets}, program {one.packets}; 0 mismatches"


def test_time_ends_a_campaign() -> None:
    """Without time nothing is tried."""
    assert search(0.0, 1).clusters == 0


def test_a_lying_kernel_is_found() -> None:
    """Of several kernels the one that lies is named; its scenario runs on that dataplane, and is small."""
    asked: dict[str, list[int]] = {"nftables": [], "iptables": []}

    def right(resources: Sequence[AnyResource], packets: Sequence[Packet]) -> list[bool]:
        asked["nftables"].append(len(packets))
        state = fabric_world().apply(*resources).state
        return [policy.allowed(state, one) for one in packets]

    def lying(resources: Sequence[AnyResource], packets: Sequence[Packet]) -> list[bool]:
        asked["iptables"].append(len(packets))
        return [True] * len(packets)

    found = search(PATIENCE, 3, kernels={"nftables": right, "iptables": lying}, most_clusters=200)
    (mismatch,) = found.mismatches
    assert (mismatch.other, mismatch.allowed, mismatch.said) == ("iptables", False, "allows it")
    assert found.readings["nftables"].packets == found.readings["iptables"].packets > 0
    assert found.kernel_packets == 2 * found.readings["iptables"].packets
    assert asked["nftables"][0] == asked["iptables"][0] > 1
    assert len(asked["nftables"]) == found.readings["nftables"].clusters  # a mismatch is shrunk on its dataplane only
    assert len(asked["iptables"]) > len(asked["nftables"])
    scenario = yaml.safe_load(mismatch.scenario)
    assert scenario["dataplane"] == "iptables"
    assert "The iptables dataplane allows it" in scenario["lesson"]
    assert "muslin verify --dataplane iptables" in scenario["lesson"]


class Deaf:
    """Test runs that give no evidence of half the packets, and of the others say what the programs should say."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason  # said of every denial, instead of the right one
        self.decided: Callable[[Packet], Decision]

    def bring(self, state: State, programs: Mapping[str, NodeProgram]) -> None:
        """Have a cluster to speak of."""
        self.decided = lambda one: decide(programs, state, one)

    def fates(self, packets: Sequence[Packet]) -> list[str | None]:
        """Every other packet's fate."""
        return [None if number % 2 else self._fate(self.decided(one)) for number, one in enumerate(packets)]

    def _fate(self, decision: Decision) -> str:
        return in_words_of_the_kernel(decision) if decision.allowed or not self.reason else self.reason


def test_test_runs_are_heard() -> None:
    """Test runs that say the same are not accused; what they give no evidence of is counted."""
    found = search(PATIENCE, 3, test_runs=Deaf(), most_clusters=10)
    reading = found.readings["ebpf test run"]
    assert found.mismatches == ()
    assert reading.packets == found.packets == 2 * reading.silent


def test_another_reason_is_a_mismatch() -> None:
    """A test run that denies what is denied, but by another rule, is found: counters and reports would be wrong."""
    found = search(PATIENCE, 3, test_runs=Deaf("spoofed (egress)"))
    (mismatch,) = found.mismatches
    assert (mismatch.other, mismatch.allowed) == ("ebpf test run", False)
    assert mismatch.said.startswith("drops it for another reason: spoofed (egress), not ")
    assert yaml.safe_load(mismatch.scenario)["dataplane"] == "ebpf"


def test_entities_of_one_kind_are_enough() -> None:
    """The tests above patch what rules call; this fails when the compiler no longer goes that way."""
    assert rules.entity_selectors(EntityRule(selector="has(a)"), "x").positive is not None


def test_what_does_not_happen_again_is_told_as_it_was() -> None:
    """A kernel that lies once: the whole cluster is kept, and the scenario says that it happened once."""
    lies = iter([True])

    def forgetful(resources: Sequence[AnyResource], packets: Sequence[Packet]) -> list[bool]:
        state = fabric_world().apply(*resources).state
        lie = next(lies, False)
        return [policy.allowed(state, one) is not lie for one in packets]

    found = search(PATIENCE, 3, kernels={"nftables": forgetful}, most_clusters=200)
    (mismatch,) = found.mismatches
    assert mismatch.said == "differed once, and not again"
    assert len(mismatch.resources) > 6
    assert found.seconds < PATIENCE / 4
