"""What evidence amounts to, and which packets belong to a probe."""

import pytest

from emulator.dataplane.contract import Drop, RuleRef
from emulator.probe.attempt import Attempt, Outstanding, flow_key, reply_key, template
from emulator.probe.types import Probe
from reference.packet import Packet

PROBE = Probe(source="shop/web", destination="shop/db", port=5432)
TCP = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, source_port=40001, destination_port=5432)
PING = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=1, source_port=0, icmp_type=8, icmp_code=0)
RULE = RuleRef(tier="default", policy="knp:shop/db", direction="ingress")


def drop(packet: Packet) -> Drop:
    """A report that a packet was dropped."""
    return Drop(node="node-1", rule=RULE, packet=packet, interface="cali123")


def reverse(packet: Packet, **changes: int) -> Packet:
    """The packet that goes the other way."""
    return Packet(
        source=packet.destination,
        destination=packet.source,
        protocol=packet.protocol,
        source_port=changes.get("source_port", packet.destination_port),
        destination_port=changes.get("destination_port", packet.source_port),
        icmp_type=changes.get("icmp_type"),
        icmp_code=changes.get("icmp_code"),
    )


EVIDENCE = [
    # answer, error, failure, dropped, reply dropped -> result, what the evidence says
    ("connected", "", "", False, False, "allowed", "connected"),
    ("", "EHOSTUNREACH", "", False, False, "unreachable", "EHOSTUNREACH"),
    ("", "", "could not be sent", False, False, "unknown", "could not be sent"),
    ("", "", "", True, False, "denied", "dropped on node-1: deny by end of tier (ingress, tier default)"),
    ("", "", "", True, True, "denied", "the answer was dropped on node-1"),
    ("connected", "", "", True, False, "unknown", "contradiction: dropped on node-1"),
    ("connected", "", "", True, True, "unknown", "contradiction: the answer was dropped on node-1"),
    ("", "EHOSTUNREACH", "", True, False, "unknown", "contradiction"),
    ("", "", "", False, False, "unknown", "no evidence in 3 s"),
]


@pytest.mark.parametrize(("answer", "error", "failure", "dropped", "reply", "result", "evidence"), EVIDENCE)
def test_only_positive_evidence_counts(answer, error, failure, dropped, reply, result, evidence):
    """A denial needs the kernel's word, an allowance needs an answer, both together contradict each other."""
    attempt = Attempt(0, PROBE, TCP)
    attempt.answer, attempt.error, attempt.failure = answer, error, failure
    if dropped:
        attempt.dropped(drop(TCP), reply=reply)

    outcome = attempt.outcome(7, 1.0, 3.0)

    assert result == outcome.result
    assert outcome.evidence.startswith(evidence)
    assert outcome.seq == 7
    assert (outcome.drop is not None) == dropped


def test_silence_after_arrival_says_so():
    """A packet seen at the destination whose answer never came is unknown, and the evidence says that it arrived."""
    attempt = Attempt(0, PROBE, TCP)
    attempt.arrived = True

    assert attempt.weigh(3.0) == ("unknown", "it arrived, but no evidence in 3 s")


def test_the_time_taken_ends_with_the_first_evidence():
    """`milliseconds` runs from sending to the first evidence, not to the end of the batch."""
    attempt = Attempt(0, PROBE, TCP)
    attempt.sent_at, attempt.settled_at, attempt.answer = 10.0, 10.002, "connected"

    assert attempt.outcome(1, 12.0, 3.0).milliseconds == 2.0


OTHERS = [
    Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, source_port=40002, destination_port=5432),
    Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, source_port=40001, destination_port=5433),
    Packet(source="10.0.0.1", destination="10.0.0.3", protocol=6, source_port=40001, destination_port=5432),
    Packet(source="10.0.0.4", destination="10.0.0.2", protocol=6, source_port=40001, destination_port=5432),
    Packet(source="10.0.0.1", destination="10.0.0.2", protocol=17, source_port=40001, destination_port=5432),
    reverse(PING, icmp_type=8, icmp_code=0),
]


def test_a_drop_belongs_to_the_probe_with_its_five_tuple():
    """A drop of another flow, however similar, is nobody's."""
    outstanding = Outstanding()
    attempt = Attempt(0, PROBE, TCP)
    outstanding.add(attempt)

    assert [None] * len(OTHERS) == [outstanding.dropped(drop(packet)) for packet in OTHERS]
    assert outstanding.dropped(drop(TCP)) is attempt
    assert not attempt.reply_dropped


@pytest.mark.parametrize(
    ("packet", "answer"), [(TCP, reverse(TCP)), (PING, reverse(PING, source_port=0, destination_port=0, icmp_type=0))]
)
def test_a_dropped_answer_is_told_from_a_dropped_question(packet, answer):
    """The drop of the reply direction is reported for the probe too, and marked as such."""
    outstanding = Outstanding()
    attempt = Attempt(0, PROBE, packet)
    outstanding.add(attempt)

    assert outstanding.dropped(drop(answer)) is attempt
    assert attempt.reply_dropped


def test_two_pings_of_a_pair_take_one_drop_each():
    """ICMP reports carry no id, so a second drop of the same pair goes to the probe that has none yet."""
    outstanding = Outstanding()
    first, second = Attempt(0, PROBE, PING), Attempt(1, PROBE, PING)
    outstanding.add(first)
    outstanding.add(second)

    assert [outstanding.dropped(drop(PING)), outstanding.dropped(drop(PING))] == [first, second]


def test_a_node_s_own_drop_is_not_taken_for_that_of_its_pod():
    """A pod's ping may bear its node's address further on: what the node's own ping met stays the node's."""
    lent = "172.30.1.11"
    own = Packet(source=lent, destination="10.0.0.2", protocol=1, source_port=0, icmp_type=8, icmp_code=0)
    pod, node = Attempt(0, PROBE, PING, alias=lent), Attempt(1, PROBE, own)
    outstanding = Outstanding()
    outstanding.add(pod)
    outstanding.add(node)

    assert outstanding.dropped(drop(own)) is node
    assert pod.drop is None
    assert outstanding.dropped(drop(own)) is pod


LENT = "172.30.1.11"
OWN = Packet(source=LENT, destination="10.0.0.2", protocol=1, source_port=0, icmp_type=8, icmp_code=0)
BACK = Packet(source="10.0.0.2", destination=LENT, protocol=1, source_port=0, icmp_type=0, icmp_code=0)
LEAVING = Drop(node="node-1", rule=RuleRef(tier="t", policy="gnp:p", direction="egress"), packet=OWN, interface="")


@pytest.mark.parametrize(("met", "is_reply"), [(OWN, False), (BACK, True)])
@pytest.mark.parametrize("leaving_first", [True, False])
def test_a_ping_that_never_left_its_node_is_the_node_s_own(met, is_reply, leaving_first):
    """The other drop of that pair of addresses, of a request or its answer, is then the pod's, whichever came first."""
    pod, node = Attempt(0, PROBE, PING, alias=LENT), Attempt(1, PROBE, OWN)
    outstanding = Outstanding()
    outstanding.add(pod)
    outstanding.add(node)

    drops = (LEAVING, drop(met)) if leaving_first else (drop(met), LEAVING)
    settled = {outstanding.dropped(one) for one in drops}

    assert settled == {pod, node}
    assert (node.drop, node.reply_dropped) == (LEAVING, False)
    assert (pod.drop, pod.reply_dropped) == (drop(met), is_reply)


def test_the_rest_of_a_torn_down_connection_contradicts_nothing():
    """A segment dropped as invalid after the answer is no evidence; before it, it is."""
    invalid = Drop(node="node-1", rule=RuleRef(guard="invalid", direction="ingress"), packet=TCP, interface="")
    answered, silent = Attempt(0, PROBE, TCP), Attempt(1, PROBE, TCP)
    answered.answer = "connected"
    for attempt in (answered, silent):
        attempt.dropped(invalid, reply=False)

    assert answered.weigh(3.0) == ("allowed", "connected")
    assert silent.weigh(3.0) == ("denied", "dropped on node-1: invalid (ingress)")


def test_a_finished_probe_owns_no_packets():
    """After a probe is done, late reports about it are ignored."""
    outstanding = Outstanding()
    attempt = Attempt(0, PROBE, TCP)
    outstanding.add(attempt)
    outstanding.remove(attempt)

    assert outstanding.dropped(drop(TCP)) is None
    assert outstanding.dropped(drop(reverse(TCP))) is None
    assert len(outstanding) == 0


def test_icmp_is_echo_unless_said_otherwise():
    """A template without a type becomes an echo request of its family; another type is kept and has no answer."""
    bare = Packet(source="fd00::1", destination="fd00::2", protocol=58)
    other = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=1, icmp_type=13)

    assert flow_key(template(bare)) == (58, "fd00::1", "fd00::2", 128, 0)
    assert reply_key(template(bare)) == (58, "fd00::2", "fd00::1", 129, 0)
    assert flow_key(template(other)) == (1, "10.0.0.1", "10.0.0.2", 13, 0)
    assert reply_key(template(other)) is None


def test_what_a_node_says_to_an_untracked_answer_is_no_drop_of_the_probe():
    """A reset the node sends under the address it lends means that the answer never found its pod (NAT-1, HEP-4)."""
    lent = "172.30.1.11"
    attempt = Attempt(0, PROBE, TCP, alias=lent)
    outstanding = Outstanding()
    outstanding.add(attempt)
    masqueraded = Packet(
        source=lent, destination=TCP.destination, protocol=6, source_port=TCP.source_port, destination_port=5432
    )
    refusal = RuleRef(tier="default", policy="gnp:p", direction="egress")
    outstanding.dropped(Drop(node="node-1", rule=refusal, packet=masqueraded, interface=""))
    assert attempt.weigh(3.0) == (
        "denied",
        "the answer was dropped on node-1: deny by end of tier (egress, tier default)",
    )
