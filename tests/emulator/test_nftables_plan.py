"""What is sent: only what differs, in an order the kernel accepts, whatever the history."""

import sys
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from emulator.dataplane.nftables.operations import (
    AddChain,
    AddElements,
    AddRules,
    FlushChain,
    RemoveChain,
    RemoveElements,
    messages,
)
from emulator.dataplane.nftables.plan import EMPTY, plan
from emulator.dataplane.references import differing
from reference.program.types import (
    EndpointProgram,
    Failsafe,
    Failsafes,
    HostEndpointProgram,
    IPSet,
    Match,
    NodeProgram,
    PolicyProgram,
    PortRange,
    ProgramRule,
    TierStep,
    Walk,
)

sys.path.insert(0, str(Path(__file__).parent))
from nftables_kernel import Kernel

POLICIES = [f"np:shop/p{number}" for number in range(60)]
SETS = ["na", "nb", "nc"]


@st.composite
def matches(draw):
    """Matches that refer to sets, the program's or not, and to literals."""
    some = st.lists(st.sampled_from(SETS), max_size=2, unique=True).map(tuple)
    ranges = st.lists(st.sampled_from([PortRange(80, 80), PortRange(90, 99), PortRange(9, 9)]), max_size=2).map(tuple)
    nets = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "fd00::/64", "192.0.2.0/24"]), max_size=3).map(tuple)
    return Match(
        protocol=6,
        source_sets=draw(some),
        destination_port_sets=draw(st.sampled_from([(), ("px",)])),
        destination_ports=draw(ranges),
        not_source_nets=draw(nets),
    )


@st.composite
def policies(draw, name):
    """A policy with up to three rules."""
    actions = st.sampled_from(["allow", "deny", "pass", "log"])
    rules = [
        ProgramRule(action=draw(actions), index=index, match=draw(matches()))
        for index in range(draw(st.integers(0, 3)))
    ]
    return PolicyProgram(id=name, tier="default", ingress=tuple(rules))


@st.composite
def programs(draw):
    """Programs over few names, so that two of them share parts; walks may name policies that are not there."""
    chosen = draw(st.lists(st.sampled_from(POLICIES[:5]), max_size=4, unique=True))
    members = st.frozensets(st.sampled_from(["10.0.0.1/32", "10.0.0.2/32", "10.2.0.0/16"]), max_size=3)
    sets = [
        IPSet(id=f"{base}4", kind="nets", family=4, members=draw(members))
        for base in draw(st.lists(st.sampled_from(SETS), unique=True))
    ]
    walks = draw(st.lists(ways(), min_size=1, max_size=3, unique_by=lambda walk: walk.id))
    egress = msgspec.structs.replace(walks[0], direction="egress", id=f"e{walks[0].id}")
    endpoints = [
        EndpointProgram(
            name=f"shop/{n}", interface=f"cali{n}", addresses=(f"10.0.0.{n}",), ingress=way.id, egress=egress.id
        )
        for n, way in enumerate(draw(st.lists(st.sampled_from(walks), max_size=3)))
    ]
    return NodeProgram(
        node="node-1",
        seq=1,
        sets=Map({s.id: s for s in sets}),
        policies=Map({name: draw(policies(name)) for name in chosen}),
        walks=Map({walk.id: walk for walk in (*walks, egress)}),
        endpoints=Map({endpoint.interface: endpoint for endpoint in endpoints}),
        pools=draw(st.frozensets(st.sampled_from(["10.0.0.0/8", "fd00::/64"]))),
        host_endpoints=Map({one.interface: one for one in draw(guards(walks[0].id, egress.id))}),
        failsafes=Failsafes(inbound=draw(failsafes()), outbound=draw(failsafes())),
        open_ports=draw(st.sampled_from([(), (51820, 51821)])),
        to_host=draw(st.sampled_from(["drop", "accept"])),
    )


def guards(ingress, egress):
    """Host endpoints of different interfaces; each list is there or not."""
    some_in, some_out = st.sampled_from(["", ingress]), st.sampled_from(["", egress])
    guard = st.builds(
        HostEndpointProgram,
        name=st.sampled_from(["a", "b"]),
        interface=st.sampled_from(["eth0", "lo", "*"]),
        ingress=st.just(ingress),
        egress=st.just(egress),
        untracked_ingress=some_in,
        untracked_egress=some_out,
        pre_dnat=some_in,
        forward_ingress=some_in,
        forward_egress=some_out,
    )
    return st.lists(guard, max_size=3, unique_by=lambda one: one.interface)


def failsafes():
    """Failsafe ports of two protocols, some for one CIDR only."""
    net = st.sampled_from(["", "10.0.0.0/8", "fd00::/64", "0.0.0.0/0"])
    one = st.builds(Failsafe, protocol=st.sampled_from([6, 17]), port=st.sampled_from([22, 53, 80]), net=net)
    return st.lists(one, max_size=3).map(tuple)


@st.composite
def ways(draw):
    """An ingress walk of one tier, short or long enough to be grouped."""
    long = draw(st.booleans())
    ids = draw(st.lists(st.sampled_from(POLICIES), min_size=40 if long else 1, max_size=50 if long else 4, unique=True))
    tier = TierStep(tier="default", default_action="deny", policies=tuple(ids))
    return Walk(id=f"w{hash(tier.policies) & 0xFFFFFFFF:x}", direction="ingress", tiers=(tier,), profiles=())


@settings(deadline=None, max_examples=60)
@given(history=st.lists(programs(), min_size=1, max_size=4), end=programs())
def test_any_history_ends_alike(history, end):
    """Every step is one the kernel accepts, and the end does not depend on the way there (DP-1)."""
    kernel, programmed = Kernel(), EMPTY
    for program in (*history, end):
        planned = plan(programmed, program)
        kernel.run(planned.operations)
        programmed = planned.result
    fresh = Kernel()
    direct = plan(EMPTY, end)
    fresh.run(direct.operations)

    assert kernel.content() == fresh.content()
    assert msgspec.structs.replace(programmed, turned=frozenset()) == direct.result  # whichever names sets have by now


@settings(deadline=None, max_examples=30)
@given(program=programs())
def test_the_same_again_sends_nothing(program):
    """An equal program, made of other objects, needs no operation (invariant 28)."""
    again = msgspec.structs.replace(program, seq=9, policies=Map(dict(program.policies)), sets=Map(dict(program.sets)))

    assert plan(plan(EMPTY, program).result, again).operations == []


def simple(members=("10.0.0.1/32",), port=80):
    """A program with one policy that looks into one set."""
    ports = (PortRange(port, port), PortRange(443, 443))
    rule = ProgramRule(action="allow", index=0, match=Match(protocol=6, source_sets=("na",), destination_ports=ports))
    web = PolicyProgram(id="np:shop/web", tier="default", ingress=(rule,))
    return NodeProgram(
        node="node-1",
        seq=1,
        sets=Map({"na4": IPSet(id="na4", kind="nets", family=4, members=frozenset(members))}),
        policies=Map({web.id: web}),
        walks=Map(),
        endpoints=Map(),
    )


def test_a_member_is_one_element():
    """A set is changed by membership: no rule is written again."""
    before = plan(EMPTY, simple()).result
    operations = plan(before, simple(("10.0.0.2/32",))).operations

    assert [type(operation) for operation in operations] == [RemoveElements, AddElements]
    assert sum(len(list(messages(operation))) for operation in operations) == 2


def test_a_policy_is_its_own_chain():
    """A changed policy rewrites its chain, makes the literal it now needs and removes the one it needed."""
    before = plan(EMPTY, simple()).result
    operations = plan(before, simple(port=8080)).operations

    assert [type(operation).__name__ for operation in operations] == [
        "AddSet", "AddElements", "FlushChain", "AddRules", "RemoveSet",
    ]  # fmt: skip
    assert [o.name for o in operations if isinstance(o, FlushChain)] == ["pi-np.shop/web"]
    assert [o.chain.name for o in operations if isinstance(o, AddRules)] == ["pi-np.shop/web"]


def guarded(**more):
    """A program with a host endpoint whose walks let everything on."""
    walk = Walk(id="w", direction="ingress", tiers=(), profiles=())
    out = Walk(id="e", direction="egress", tiers=(), profiles=())
    guard = HostEndpointProgram(name="h", interface="eth0", ingress="w", egress="e")
    return msgspec.structs.replace(
        simple(), walks=Map({"w": walk, "e": out}), host_endpoints=Map({"eth0": guard}), **more
    )


def test_host_endpoints_bring_their_own_hooks():
    """Base chains for hosts are there while something guards the machine, and only for the lists it has."""
    before = plan(EMPTY, simple()).result
    there = plan(before, guarded())
    made = {o.chain.name: o.chain.hook for o in there.operations if isinstance(o, AddChain)}

    assert sorted(name for name, hook in made.items() if hook) == ["host-in", "host-out"]
    gone = plan(there.result, simple())
    assert {o.name for o in gone.operations if isinstance(o, RemoveChain)} == set(made)
    assert not any(name.startswith("host-") for name in before.chains)


def test_a_failsafe_port_rewrites_its_chain():
    """Another inbound failsafe port touches the chain of what comes in, and nothing else."""
    before = plan(EMPTY, guarded(failsafes=Failsafes(inbound=(Failsafe(protocol=6, port=22),)))).result
    operations = plan(before, guarded(failsafes=Failsafes(inbound=(Failsafe(protocol=6, port=23),)))).operations

    assert [o.name for o in operations if isinstance(o, FlushChain)] == ["host-in-eth0"]
    assert [type(o).__name__ for o in operations] == ["FlushChain", "AddRules"]


def test_the_host_action_rewrites_one_chain():
    """The last rule of the chain for packets to the node itself is defaultEndpointToHostAction (HEP-12)."""
    before = plan(EMPTY, simple()).result
    operations = plan(before, msgspec.structs.replace(simple(), to_host="accept")).operations

    assert [type(o).__name__ for o in operations] == ["FlushChain", "AddRules"]
    assert operations[0].name == "input"


@given(
    before=st.dictionaries(st.text(max_size=2), st.integers(0, 2)),
    after=st.dictionaries(st.text(max_size=2), st.integers(0, 2)),
)
@settings(deadline=None)
def test_differing_is_the_difference(before, after):
    """Each key whose value is not equal, or that is in one mapping only, comes once with both values."""
    wanted = {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }

    assert sorted(differing(Map(before), Map(after)), key=repr) == sorted(
        ((key, *values) for key, values in wanted.items()), key=repr
    )
