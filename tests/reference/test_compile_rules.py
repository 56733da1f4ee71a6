"""Rules as the compiler writes them for a dataplane (semantics 2b.1)."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from reference.program.rules import NumberedRule, compile_rules
from reference.program.sets import SetSpec
from reference.program.types import ProgramRule
from reference.resources.calico import Rule

SHOP = 'projectcalico.org/namespace == "shop"'
IN_A_NAMESPACE = "has(projectcalico.org/namespace)"


def named(spec: SetSpec) -> str:
    """A set in words instead of by its id."""
    port = f" {spec.port}/{spec.protocol}" if spec.port else ""
    return f"{spec.kind}{port} of {spec.selector.canonical}"


def readable(rule: ProgramRule, sets: dict[str, SetSpec]) -> dict[str, Any]:
    """The match of a rule as a dict without absent fields, ports as `low-high`, sets in words."""
    match: dict[str, Any] = {}
    for field in rule.match.__struct_fields__:
        value = getattr(rule.match, field)
        if value in (None, ()):
            continue
        if field.endswith("_ports"):
            value = [f"{each.low}-{each.high}" for each in value]
        elif field.endswith("_sets"):
            value = [named(sets[base]) for base in value]
        match[field] = list(value) if isinstance(value, tuple) else value
    return match


def compiled(text: str, namespace: str) -> list[dict[str, Any]]:
    """What an Allow rule comes to in a policy of a namespace ("" for a global one)."""
    rule = msgspec.convert({"action": "Allow", **yaml.safe_load(text)}, Rule)
    sets: dict[str, SetSpec] = {}
    return [readable(each, sets) for each in compile_rules([NumberedRule(0, rule)], namespace, sets)]


PLAIN_CASES = [
    ("RULE-1 an empty rule matches everything", "{}", {}),
    ("RULE-2 a protocol by name in any case", "{protocol: tcp}", {"protocol": 6}),
    ("RULE-2 a protocol by number", "{protocol: 47}", {"protocol": 47}),
    ("RULE-2 a negated protocol", "{notProtocol: UDP}", {"not_protocol": 17}),
    ("RULE-3 ICMP type alone", "{protocol: ICMP, icmp: {type: 8}}", {"family": 4, "protocol": 1, "icmp": [8, None]}),
    ("RULE-3 ICMP type and code", "{protocol: ICMPv6, icmp: {type: 1, code: 4}}", {"family": 6, "protocol": 58, "icmp": [1, 4]}),
    ("RULE-3 notICMP", "{protocol: ICMP, notICMP: {type: 8, code: 0}}", {"family": 4, "protocol": 1, "not_icmp": [8, 0]}),
    ("RULE-4 ipVersion", "{ipVersion: 6}", {"family": 6}),
    ("RULE-5 numbers merge into ranges", "{protocol: TCP, destination: {ports: [443, '80:90', 81, 91]}}", {"protocol": 6, "destination_ports": ["80-91", "443-443"]}),
    ("RULE-5 negated ports", "{protocol: TCP, source: {notPorts: [22]}}", {"protocol": 6, "not_source_ports": ["22-22"]}),
    ("RULE-5, RULE-6 numbers or names", "{protocol: TCP, destination: {ports: [80, http]}}", {"protocol": 6, "destination_ports": ["80-80"], "destination_port_sets": ["ports http/6 of all()"]}),
    ("RULE-6 a name without protocol is of any", "{destination: {ports: [http]}}", {"destination_port_sets": ["ports http/None of all()"]}),
    ("RULE-6 negated names", "{protocol: TCP, destination: {notPorts: [http]}}", {"protocol": 6, "not_destination_port_sets": ["ports http/6 of all()"]}),
    ("RULE-6 only names: no plain selector", "{protocol: TCP, destination: {selector: \"a == 'b'\", ports: [http]}}", {"protocol": 6, "destination_port_sets": ['ports http/6 of a == "b"']}),
    ("RULE-6 names and numbers: the plain selector stays", "{protocol: TCP, destination: {selector: \"a == 'b'\", ports: [http, 80]}}", {"protocol": 6, "destination_sets": ['nets of a == "b"'], "destination_ports": ["80-80"], "destination_port_sets": ['ports http/6 of a == "b"']}),
    ("RULE-7 both selectors are one positive set", "{source: {selector: has(a), notSelector: has(b)}}", {"source_sets": ["nets of (has(a) && !has(b))"]}),
    ("RULE-7 a lone notSelector in a global policy is negative", "{source: {notSelector: has(b)}}", {"not_source_sets": ["nets of has(b)"]}),
    ("RULE-7 a lone notSelector leaves named ports to everybody", "{protocol: TCP, destination: {notSelector: has(b), ports: [http]}}", {"protocol": 6, "not_destination_sets": ["nets of has(b)"], "destination_port_sets": ["ports http/6 of all()"]}),
    ("RULE-9 namespaceSelector alone", "{source: {namespaceSelector: \"team == 'x'\"}}", {"source_sets": ['nets of pcns.team == "x"']}),
    ("RULE-9 namespaceSelector all()", "{source: {namespaceSelector: all()}}", {"source_sets": [f"nets of {IN_A_NAMESPACE}"]}),
    ("RULE-9 namespaceSelector global()", "{source: {namespaceSelector: global()}}", {"source_sets": [f"nets of !{IN_A_NAMESPACE}"]}),
    ("RULE-9 all() inside an expression", "{source: {namespaceSelector: \"!all() || has(x)\"}}", {"source_sets": [f"nets of (!{IN_A_NAMESPACE} || has(pcns.x))"]}),
    ("RULE-9 a value is no all()", "{source: {namespaceSelector: \"x == 'all()'\"}}", {"source_sets": ['nets of pcns.x == "all()"']}),
    ("RULE-9 namespaceSelector makes notSelector positive", "{source: {namespaceSelector: has(x), notSelector: has(b)}}", {"source_sets": ["nets of (has(pcns.x) && !has(b))"]}),
    ("RULE-10 names and selector", "{source: {serviceAccounts: {names: [b, a], selector: has(r)}}}", {"source_sets": ['nets of (projectcalico.org/serviceaccount in {"a", "b"} && has(pcsa.r))']}),
    ("RULE-12 a service as destination is a set of ports", "{destination: {services: {name: s, namespace: n}}}", {"destination_port_sets": ['ports of service == "n/s"']}),
    ("RULE-12 a service as source is a set of addresses", "{source: {services: {name: s, namespace: n}}}", {"source_sets": ['nets of service == "n/s"']}),
    ("RULE-13 nets tell the family", "{source: {nets: [10.1.2.3/8]}}", {"family": 4, "source_nets": ["10.0.0.0/8"]}),
    ("RULE-13 notNets tell the family too", "{destination: {notNets: ['fd00::/8']}}", {"family": 6, "not_destination_nets": ["fd00::/8"]}),
    ("nets inside others and repeated ones go", "{source: {nets: [10.1.0.0/16, 10.0.0.0/8, 10.0.0.0/8, 10.9.9.9]}}", {"family": 4, "source_nets": ["10.0.0.0/8"]}),
    ("RULE-15 http is not seen", "{protocol: TCP, http: {methods: [GET]}}", {"protocol": 6}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "match"), [case[1:] for case in PLAIN_CASES], ids=[case[0] for case in PLAIN_CASES])
def test_a_rule_of_a_global_policy(text: str, match: dict[str, Any]) -> None:
    """A rule of a global policy becomes one match with these fields."""
    assert compiled(text, "") == [match]


NAMESPACED_CASES = [
    ("RULE-9 a selector stays in the namespace", "{source: {selector: has(a)}}", {"source_sets": [f"nets of ({SHOP} && has(a))"]}),
    ("RULE-9 a notSelector becomes positive", "{source: {notSelector: has(a)}}", {"source_sets": [f"nets of ({SHOP} && !has(a))"]}),
    ("RULE-9 selector all() is the namespace", "{source: {selector: all()}}", {"source_sets": [f"nets of {SHOP}"]}),
    ("RULE-9 service accounts stay in the namespace", "{source: {serviceAccounts: {names: [a]}}}", {"source_sets": [f'nets of ({SHOP} && projectcalico.org/serviceaccount in {{"a"}})']}),
    ("RULE-9 an empty serviceAccounts says nothing", "{source: {serviceAccounts: {}}}", {}),
    ("RULE-9 namespaceSelector leaves the namespace", "{source: {selector: has(a), namespaceSelector: has(t)}}", {"source_sets": ["nets of (has(pcns.t) && has(a))"]}),
    ("RULE-9 nets do not restrict to the namespace", "{source: {nets: [10.0.0.0/8]}}", {"family": 4, "source_nets": ["10.0.0.0/8"]}),
    ("RULE-9 ports do not restrict to the namespace", "{protocol: TCP, destination: {ports: [http]}}", {"protocol": 6, "destination_port_sets": ["ports http/6 of all()"]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "match"), [case[1:] for case in NAMESPACED_CASES], ids=[case[0] for case in NAMESPACED_CASES]
)
def test_a_rule_of_a_namespaced_policy(text: str, match: dict[str, Any]) -> None:
    """A rule of a policy in namespace shop becomes one match with these fields."""
    assert compiled(text, "shop") == [match]


FAMILY_CASES = [
    ("both families with nets of both are two rules", "{source: {nets: [10.0.0.0/8, 'fd00::/8']}}", [{"family": 4, "source_nets": ["10.0.0.0/8"]}, {"family": 6, "source_nets": ["fd00::/8"]}]),
    ("lists of different families leave none", "{source: {nets: [10.0.0.0/8]}, destination: {nets: ['fd00::/8']}}", []),
    ("a negated list of the other family leaves none", "{source: {nets: [10.0.0.0/8], notNets: ['fd00::/8']}}", []),
    ("ICMP and IPv6 nets leave none", "{protocol: ICMP, source: {nets: ['fd00::/8']}}", []),
    ("a /0 exclusion never matches", "{source: {notNets: [0.0.0.0/0]}}", []),
    ("a /0 exclusion of one family leaves the other", "{source: {notNets: [0.0.0.0/0, 'fd00::/8']}}", [{"family": 6, "not_source_nets": ["fd00::/8"]}]),
    ("a positive /0 is the family", "{source: {nets: ['::/0']}}", [{"family": 6, "source_nets": ["::/0"]}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "matches"), [case[1:] for case in FAMILY_CASES], ids=[case[0] for case in FAMILY_CASES]
)
def test_nets_decide_the_families_of_a_rule(text: str, matches: list[dict[str, Any]]) -> None:
    """RULE-13: a rule exists for the families that all of its net lists leave it."""
    assert compiled(text, "") == matches


def test_rules_keep_action_index_and_order() -> None:
    """Each program rule has the action and index of the user's rule, in the user's order, also where one is left out."""
    texts = ("{action: Log}", "{action: Pass, source: {notNets: [0.0.0.0/0]}}", "{action: Deny}", "{action: Pass}")
    rules = [msgspec.convert(yaml.safe_load(text), Rule) for text in texts]
    program = compile_rules([NumberedRule(index, rule) for index, rule in enumerate(rules)], "", {})
    assert [(rule.index, rule.action) for rule in program] == [(0, "log"), (2, "deny"), (3, "pass")]


def test_equal_meanings_share_a_set() -> None:
    """Two spellings of one selector are one set; another port or protocol is another set (SEL-8)."""
    sets: dict[str, SetSpec] = {}
    texts = (
        "{source: {selector: \"a=='b'\"}}",
        '{destination: {selector: (a == "b")}}',
        "{protocol: TCP, destination: {ports: [http]}}",
        "{protocol: UDP, destination: {ports: [http]}}",
    )
    rules = [msgspec.convert({"action": "Allow", **yaml.safe_load(text)}, Rule) for text in texts]
    one, other, tcp, udp = compile_rules([NumberedRule(0, rule) for rule in rules], "", sets)
    assert one.match.source_sets == other.match.destination_sets
    assert tcp.match.destination_port_sets != udp.match.destination_port_sets
    assert len(sets) == 3
