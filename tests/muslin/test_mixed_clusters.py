"""Clusters whose nodes have different dataplanes: the same verdicts everywhere, and the log says who has which."""

import itertools
import os

import pytest

import muslin
from reference.errors import InvalidInputError
from reference.log import EventLog
from reference.naming import packet_between
from reference.policy import evaluate

pytestmark = pytest.mark.live
NODES = {"node-1": "nftables", "node-2": "iptables", "node-3": "ebpf", "node-4": "iptables-legacy"}
POD = {"apiVersion": "v1", "kind": "Pod"}
POLICY = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "NetworkPolicy",
    "metadata": {"name": "db", "namespace": "default"},
    "spec": {
        "selector": "app == 'db'",
        "types": ["Ingress", "Egress"],
        "ingress": [
            {
                "action": "Allow",
                "protocol": "TCP",
                "source": {"selector": "app == 'web'"},
                "destination": {"ports": [80]},
            }
        ],
    },
}  # fmt: skip


def pod(app, node):
    """A pod on a node; web and db in their turns."""
    name = f"{app}-{node[-1]}"
    spec = {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}
    return {**POD, "metadata": {"name": name, "namespace": "default", "labels": {"app": app}}, "spec": spec}


def test_every_pair_of_nodes_agrees_with_the_oracle(tmp_path):
    """Between nodes of any two dataplanes, and within each, real packets fare as the oracle says."""
    dataplanes = {node: name for node, name in NODES.items() if name != "ebpf" or os.geteuid() == 0}
    dataplanes = dict(zip(NODES, dataplanes.values(), strict=False))  # nodes are numbered without a gap
    log = tmp_path / "log.db"
    with muslin.Cluster(nodes=len(dataplanes), node_dataplanes=dataplanes, log=log) as cluster:
        pods = [pod(app, node) for node in dataplanes for app in ("web", "db")]
        cluster.apply(pods, POLICY)
        names = [f"default/{one['metadata']['name']}" for one in pods]
        flows = [(*pair, "TCP", port) for pair in itertools.permutations(names, 2) for port in (80, 81)]
        outcomes = cluster.probe_many(flows)
        state = cluster.state
        wanted = [evaluate(state, packet_between(state, *flow)).allowed for flow in flows]
        assert [outcome.result for outcome in outcomes] == ["allowed" if one else "denied" for one in wanted]
        assert {True, False} == set(wanted)
        assert cluster.call("status")["node_dataplanes"] == dataplanes
        assert cluster.call("status")["drift"] == {}
    with EventLog.open(log, readonly=True) as kept:
        assert dict(kept.state().node_dataplanes) == dataplanes


@pytest.mark.parametrize(
    ("given", "words"),
    [({"node-9": "iptables"}, "there is no node 'node-9'"), ({"node-1": "magic"}, "'magic' of node-1 is not known")],
)
def test_wrong_nodes_and_dataplanes_are_refused(given, words):
    """A node that is not there, or a dataplane nobody knows, is refused in a line."""
    with pytest.raises(InvalidInputError, match=words):
        muslin.Cluster(nodes=2, node_dataplanes=given).start()
