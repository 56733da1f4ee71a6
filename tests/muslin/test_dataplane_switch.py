"""Running nodes go over to other dataplanes: verdicts stay, connections go on, refusals change nothing."""

import itertools
import os
import subprocess
import sys
import time

import pytest

import muslin
from emulator.dataplane import DATAPLANES
from reference.errors import InvalidInputError
from reference.log import EventLog
from reference.replay import verify_programs

pytestmark = pytest.mark.live
ABLE = [name for name in DATAPLANES if name != "ebpf" or os.geteuid() == 0]
POD = {"apiVersion": "v1", "kind": "Pod"}
POLICY = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "NetworkPolicy",
    "metadata": {"name": "db", "namespace": "default"},
    "spec": {
        "selector": "app == 'db'",
        "ingress": [
            {
                "action": "Allow",
                "protocol": "TCP",
                "source": {"selector": "app == 'web'"},
                "destination": {"ports": [80, 5001]},
            }
        ],
    },
}  # fmt: skip
SERVER = """
import socket
server = socket.create_server(("", 5001))
print("ready", flush=True)
one, _ = server.accept()
while data := one.recv(4096):
    one.sendall(data)
"""
CLIENT = """
import select, socket, struct, sys, time
one = socket.create_connection((sys.argv[1], 5001), 3)
one.settimeout(3)
print("ready", flush=True)
count = 0
while not select.select([sys.stdin], [], [], 0.002)[0]:
    one.sendall(b"muslin")
    assert one.recv(4096) == b"muslin"
    count += 1
again = struct.unpack_from("=I", one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]
print(count, again, flush=True)
"""


def pod(app, node):
    """A pod on a node."""
    spec = {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}
    return {
        **POD,
        "metadata": {"name": f"{app}-{node[-1]}", "namespace": "default", "labels": {"app": app}},
        "spec": spec,
    }


class Talk:
    """A connection that goes on until it is asked how it fared."""

    def __init__(self, name, client, server, address):
        self._server = self._start(name, server, SERVER)
        self._client = self._start(name, client, CLIENT, address)

    @staticmethod
    def _start(name, where, script, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "muslin", "exec", "-N", name, where, "--", sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        return process

    def end(self):
        """(messages answered, segments sent again)."""
        said, _ = self._client.communicate("\n", timeout=10)
        self._server.communicate(timeout=10)
        return tuple(map(int, said.split()))


def test_connections_and_verdicts_outlive_every_switch(tmp_path):
    """Within a node, between nodes and translated to an outside host: connections go on, and policy is what it was."""
    log = tmp_path / "log.db"
    with muslin.Cluster(nodes=2, dataplane=ABLE[0], log=log) as cluster:
        cluster.apply([pod(app, node) for node in ("node-1", "node-2") for app in ("web", "db")], POLICY)
        cluster.wait()
        flows = [(f"default/{a}", f"default/{b}", "TCP", port) for a, b in
                 itertools.permutations(("web-1", "db-1", "web-2", "db-2"), 2) for port in (80, 81)]  # fmt: skip
        wanted = [outcome.result for outcome in cluster.probe_many(flows)]
        address = {one.pod: one.addresses[0] for one in cluster.state.endpoints.values()}
        outside = next(a for a in cluster.state.hosts["internet"].addresses if ":" not in a)
        talks = [
            Talk(cluster.spec.name, client, server, where)
            for client, server, where in (
                ("default/web-1", "default/db-1", address["db-1"]),
                ("default/web-1", "default/db-2", address["db-2"]),
                ("default/web-1", "internet", outside),
            )
        ]
        order = [*ABLE[1:], *reversed(ABLE[:-1])]
        for dataplane in order:
            cluster.use_dataplane(dataplane, "node-1")
            cluster.wait()
            assert cluster.call("status")["dataplanes"] == {"node-1": dataplane, "node-2": ABLE[0]}
            assert [outcome.result for outcome in cluster.probe_many(flows)] == wanted
        time.sleep(1.0)
        assert cluster.call("status")["drift"] == {}
        for count, again in (talk.end() for talk in talks):
            assert count > 100
            assert again == 0
        assert {"allowed", "denied"} == set(wanted)
    with EventLog.open(log, readonly=True) as kept:
        chosen = [record.event.dataplane for record in kept.records() if hasattr(record.event, "dataplane")]
        assert chosen == [ABLE[0], *order]
        assert verify_programs(kept) == []


def test_the_next_node_follows_and_all_together():
    """All nodes go over at once; a choice that is there already is no event."""
    with muslin.Cluster(nodes=2, node_dataplanes={"node-2": "iptables"}) as cluster:
        cluster.use_dataplane("iptables")
        cluster.wait()
        assert set(cluster.call("status")["dataplanes"].values()) == {"iptables"}
        before = cluster.state.seq
        cluster.use_dataplane("iptables", "node-1", "node-2")
        assert cluster.state.seq == before


@pytest.mark.parametrize(
    ("dataplane", "nodes", "words"),
    [("magic", (), "'magic' is not known"), ("iptables", ("node-9",), "there is no node or host 'node-9'")],
)
def test_what_there_is_not_is_refused(dataplane, nodes, words):
    """A dataplane or a node nobody knows is refused in a line, and nothing happened."""
    with muslin.Cluster(nodes=1) as cluster:
        before = cluster.state.seq
        with pytest.raises(InvalidInputError, match=words):
            cluster.use_dataplane(dataplane, *nodes)
        assert cluster.state.seq == before


REFUSED = """
import muslin
from reference.errors import EnvironmentLacksError
with muslin.Cluster(nodes=2) as cluster:
    before = cluster.state.seq
    try:
        cluster.use_dataplane("ebpf", "node-2")
    except EnvironmentLacksError as error:
        print(error)
    cluster.wait()
    assert cluster.state.seq == before
    print(sorted(cluster.call("status")["dataplanes"].items()))
"""


def test_what_a_user_may_not_have_leaves_everything(as_user):
    """An ordinary user is refused eBPF in one line that says who needs what; the nodes keep what they have."""
    if as_user(["id"]) == ["id"] and os.geteuid() == 0:
        pytest.skip("root may have it")
    done = subprocess.run(
        as_user([sys.executable, "-c", REFUSED]), capture_output=True, text=True, timeout=60, check=False
    )
    refusal, dataplanes = done.stdout.splitlines()
    assert refusal.startswith("node-2 keeps the nftables dataplane: the ebpf dataplane needs root")
    assert dataplanes == "[('node-1', 'nftables'), ('node-2', 'nftables')]"
