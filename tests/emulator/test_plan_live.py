"""A plan says what an apply will do, does nothing by itself, and leads to the program whatever others did meanwhile."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, nets, policy, program, rule

from emulator.dataplane import DATAPLANES

pytestmark = pytest.mark.live


@pytest.fixture(params=sorted(DATAPLANES))
def dataplane(request, as_user):
    """Whoever implements the contract."""
    if request.param == "ebpf" and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    return request.param


def wanted(port, *members):
    """A program that lets some addresses reach a port of pod 2."""
    tiers = [("default", "deny", ["np:shop/web"])]
    rules = [rule("allow", protocol=6, destination_ports=(port,), source_sets=("nclients",))]
    return program(ingress=tiers, policies=[policy("np:shop/web", rules)], sets=nets("nclients", *members))


FIRST, SECOND = (80, "10.0.0.1/32", "fd00::1/128"), (81, "10.0.0.1/32", "10.9.0.0/24", "fd00::1/128")


def planned(name):
    """Plans of a first program, of a second and of the same again; what is in the kernel before and after each."""
    lab = Lab(name)
    first, second = wanted(*FIRST), wanted(*SECOND)
    found = {"before": lab.dataplane.read_back()}
    plan = lab.dataplane.plan(first)
    found["after a plan"] = lab.dataplane.read_back()
    found["lines"] = [len(plan.lines())]
    lab.dataplane.apply(plan)
    found["one"] = lab.tcp(1, 2, 80), lab.tcp(1, 2, 81) == "allowed"
    plan = lab.dataplane.plan(second)
    found["lines"].append(len(plan.lines()))
    found["is the program"] = plan.program is second
    sent = lab.dataplane.apply(plan)
    found["sent"] = sent.operations > 0
    found["two"] = lab.tcp(1, 2, 81), lab.tcp(1, 2, 80) == "allowed"
    found["lines"].append(len(lab.dataplane.plan(second).lines()))
    return found


def test_a_plan_does_nothing_and_apply_does_the_plan(sandboxed, dataplane):
    """Nothing is sent before apply; then the kernel is the program, and another plan for it is empty."""
    found = sandboxed(planned, dataplane)
    assert found["before"] == found["after a plan"]
    first, second, again = found["lines"]
    assert first > second > again == 0
    assert (found["one"], found["two"]) == (["allowed", False], ["allowed", False])
    assert found["is the program"]
    assert found["sent"]


def overtaken(name):
    """A plan of one program that is carried out after another agent made the kernel another one."""
    lab = Lab(name)
    lab.dataplane.apply(wanted(*FIRST))
    plan = lab.dataplane.plan(wanted(*SECOND))
    other = DATAPLANES[name]()
    other.apply(wanted(443, "10.0.0.3/32"))
    other.close()
    noticed = bool(lab.dataplane.drift())
    lab.dataplane.apply(plan)
    return noticed, lab.tcp(1, 2, 81), lab.tcp(1, 2, 80) == "allowed", lab.dataplane.drift()


def test_a_plan_that_was_overtaken_is_made_anew(sandboxed, dataplane):
    """What others did to the kernel since the plan was made is not taken for what it was."""
    assert sandboxed(overtaken, dataplane) == [True, "allowed", False, ""]
