"""The public `Cluster`: real packets, waiting without sleeping, the log, and what is refused."""

from __future__ import annotations

import pytest

import muslin
from emulator.probe.types import Probe
from reference.errors import InvalidInputError, RefusedError

pytestmark = pytest.mark.live
SHOP = "scenarios/manifests/shop.yaml"
DB_FROM_API = "docs/examples/db-from-api-only.yaml"


@pytest.fixture(scope="module")
def shop():
    """A cluster with the shop in it and the database protected."""
    with muslin.Cluster(nodes=2) as cluster:
        cluster.apply(SHOP, DB_FROM_API)
        yield cluster


def pod(name, **labels):
    """A pod of namespace default."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    }


def deny_all(name="deny-all"):
    """A policy that shuts namespace default."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {}},
    }


def test_probe_agrees_with_evaluate(shop):
    """What `probe` sees is what `evaluate` says, and a denial names its rule."""
    for source, expected in (("shop/api", True), ("shop/web", False)):
        outcome = shop.probe(source, "shop/db", "TCP", 5432)
        verdict = muslin.evaluate(shop.state, source, "shop/db", protocol="TCP", port=5432)
        assert outcome.allowed is verdict.allowed is expected
    assert outcome.drop.rule.policy == "np:shop/db"


def test_probe_belongs_to_a_known_sequence_number(shop):
    """An outcome carries the sequence number every node had enforced when it was sent."""
    assert shop.probe("shop/api", "shop/db", "TCP", 5432).seq == shop.log.head()


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "ICMP", "SCTP"])
@pytest.mark.parametrize("family", [4, 6])
def test_every_protocol_and_family_is_probed(shop, protocol, family):
    """TCP, UDP, ICMP and SCTP over both families: allowed where policy allows, else denied by a rule with a name."""
    allowed, denied = shop.probe_many(
        Probe(source="other/stranger", destination=destination, protocol=protocol, port=80, family=family)
        for destination in ("shop/web", "shop/db")
    )
    assert (allowed.result, denied.result) == ("allowed", "denied")
    assert denied.drop.rule.policy == "np:shop/db"


def test_explain_puts_model_and_kernel_side_by_side(shop):
    """The kernel's trace names the same rule the oracle's last hit names."""
    explanation = shop.explain("shop/web", "shop/db", "TCP", 5432)
    assert explanation.agrees
    assert explanation.verdict.ingress.hits[-1].policy == "np:shop/db"
    assert [step.rule.policy for step in explanation.steps if step.rule and step.verdict == "drop"] == ["np:shop/db"]
    assert "MODEL" in explanation.text()


def test_state_is_the_fold_of_the_log(shop):
    """The state a client sees equals the log's, and the log verifies."""
    shop.log.verify()
    assert shop.state == shop.log.state()


def test_a_wrong_manifest_applies_nothing(shop):
    """When one of several manifests is refused, none is applied."""
    before = shop.log.head()
    wrong = {**deny_all(), "apiVersion": "networking.k8s.io/v2"}
    with pytest.raises(InvalidInputError):
        shop.apply(pod("never"), wrong)
    assert shop.log.head() == before


def test_what_the_state_forbids_is_refused(shop):
    """A protected tier cannot be deleted; the log does not grow."""
    before = shop.log.head()
    tier = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "default"}}
    with pytest.raises(RefusedError):
        shop.delete({**tier, "spec": {"order": 1000000, "defaultAction": "Deny"}})
    assert shop.log.head() == before


def test_unknown_names_are_said_so(shop):
    """A probe between names that do not exist is an error that lists what there is."""
    with pytest.raises(InvalidInputError, match="did you mean shop/web"):
        shop.probe("shop/wbe", "shop/db")


def test_applying_the_same_twice_changes_nothing(shop):
    """Applying what is there already is no event, and every resource is reported unchanged."""
    before = shop.log.head()
    lines = shop.apply(SHOP, DB_FROM_API)
    assert all(line.endswith("unchanged") for line in lines)
    assert shop.log.head() == before


def test_counters_count_real_packets(shop):
    """A rule's counter grows with the packets it matched."""

    def count():
        counters = shop.call("counters")
        found = [
            counter["packets"] if isinstance(counter, dict) else counter[0]
            for rules in counters.values()
            for rule, counter in rules
            if rule.get("policy") == "np:shop/db" and rule.get("rule", -1) == 0 and rule.get("action") == "allow"
        ]
        return sum(found)

    before = count()
    shop.probe_many([("shop/api", "shop/db", "TCP", 5432)] * 3)
    assert count() >= before + 3


def test_policy_changes_reach_new_flows_at_once():
    """After `apply` returns, the next probe sees the new policy, without any sleeping; and again after `delete`."""
    with muslin.Cluster(nodes=2) as cluster:
        cluster.apply(pod("a"), pod("b"))
        for _ in range(10):
            assert cluster.probe("default/a", "default/b").allowed
            cluster.apply(deny_all())
            assert not cluster.probe("default/a", "default/b").allowed
            cluster.delete(deny_all())


def test_pod_addresses_can_be_pinned():
    """The ipAddrs annotation gives a pod its address, and it answers there."""
    pinned = pod("pinned")
    pinned["metadata"]["annotations"] = {"cni.projectcalico.org/ipAddrs": '["10.244.7.7"]'}
    with muslin.Cluster(nodes=1) as cluster:
        cluster.apply(pod("a"), pinned)
        assert cluster.state.endpoints[("default", "pinned")].addresses == ("10.244.7.7",)
        assert cluster.probe("default/a", "10.244.7.7").allowed


def test_a_deleted_pod_answers_no_more():
    """A pod's address is given back and nothing answers there; the same name can come again."""
    with muslin.Cluster(nodes=1) as cluster:
        cluster.apply(pod("a"), pod("b"))
        address = cluster.state.endpoints[("default", "b")].addresses[0]
        cluster.delete(pod("b"))
        outcome = cluster.probe("default/a", address)
        assert outcome.result in ("unreachable", "unknown")
        cluster.apply(pod("b"))
        assert cluster.probe("default/a", "default/b").allowed


def test_a_failed_node_is_cut_off_and_comes_back():
    """Pods of a failed node do not answer pods elsewhere; after recovery they do."""
    first, second = pod("first"), pod("second")
    first["spec"]["nodeName"], second["spec"]["nodeName"] = "node-1", "node-2"
    with muslin.Cluster(nodes=2) as cluster:
        cluster.apply(first, second)
        assert cluster.probe("default/first", "default/second").allowed
        cluster.fail_node("node-2")
        assert cluster.probe("default/first", "default/second").result in ("unknown", "unreachable")
        cluster.recover_node("node-2")
        assert cluster.probe("default/first", "default/second").allowed


def test_encapsulation_is_said_not_to_be_emulated(shop):
    """A pool that asks for an overlay is taken, and the answer says that its traffic is routed without."""
    pool = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "overlay"},
        "spec": {"cidr": "10.99.0.0/16", "vxlanMode": "Always"},
    }
    created, note = shop.apply(pool)
    assert created == "IPPool overlay created"
    assert "vxlanMode Always is not emulated" in note
    shop.delete(pool)


def test_many_clusters_run_side_by_side():
    """Two clusters with the same addresses do not meet."""
    with muslin.Cluster(nodes=1) as one, muslin.Cluster(nodes=1) as other:
        for cluster in (one, other):
            cluster.apply(pod("a"), pod("b"))
        one.apply(deny_all())
        assert not one.probe("default/a", "default/b").allowed
        assert other.probe("default/a", "default/b").allowed


def test_containers_of_a_pod_share_its_network(shop, tmp_path):
    """What one command binds in a pod, another command in the same pod can reach, and one in another pod cannot see."""
    script = (
        "import socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 7777))\n"
        "c = socket.create_connection(('127.0.0.1', 7777))\n"
    )
    assert shop.execute("shop/web", ["python3", "-c", script]) == 0
    closed = "import socket; socket.create_connection(('127.0.0.1', 7777), 1)"
    with (tmp_path / "out").open("w") as out:
        assert shop.execute("shop/api", ["python3", "-c", closed], (0, out.fileno(), out.fileno())) == 1


def test_crafted_packets_are_sent_and_captured(shop):
    """A packet made with scapy leaves a pod, is seen on the pod's own link, and a spoofed one goes no further."""
    from emulator.probe.packets import scapy_layers

    layers = scapy_layers()
    web, api = (shop.state.endpoints[("shop", name)] for name in ("web", "api"))
    honest = layers.IP(src=web.addresses[0], dst=api.addresses[0]) / layers.UDP(sport=7, dport=7) / b"honest"
    spoofed = layers.IP(src="10.244.200.200", dst=api.addresses[0]) / layers.UDP(sport=7, dport=7) / b"spoofed"
    with shop.capture("shop/web") as sent, shop.capture("shop/api") as arrived:
        shop.send("shop/web", [spoofed, honest])
        shop.probe("shop/web", "shop/api", "UDP", 9)  # by the time it is answered, what was sent before has arrived
    assert {word for word in (b"honest", b"spoofed") for frame in sent if word in frame.data} == {b"honest", b"spoofed"}
    assert {word for word in (b"honest", b"spoofed") for frame in arrived if word in frame.data} == {b"honest"}


def test_the_log_can_be_kept(tmp_path):
    """A log that was given a path outlives the cluster, and replays to the same state and programs."""
    path = tmp_path / "kept.db"
    with muslin.Cluster(nodes=2, log=path) as cluster:
        cluster.apply(SHOP, DB_FROM_API)
        cluster.wait()
        state = cluster.state
    from reference.log import EventLog
    from reference.replay import verify_programs

    with EventLog.open(path, readonly=True) as log:
        log.verify()
        assert log.state() == state
        assert {"node-1", "node-2"} <= {observation.node for observation in log.observations()}
        assert verify_programs(log) == []
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["kept.db"]


@pytest.mark.cluster(nodes=1, topology="single")
def test_the_fixture_gives_a_cluster(cluster):
    """The plugin's `cluster` is running, of the shape its marker asks for."""
    assert [host.name for host in cluster.state.hosts.values() if host.is_node] == ["node-1"]
    cluster.apply(pod("a"), pod("b"))
    assert cluster.probe("default/a", "default/b").allowed
