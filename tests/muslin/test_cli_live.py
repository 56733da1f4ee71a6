"""The commands of a cluster that stays, called as a user calls them."""

from __future__ import annotations

import json

import pytest
import yaml

pytestmark = pytest.mark.live
LOCK = "docs/examples/db-from-api-only.yaml"


def test_a_day_in_the_life_of_a_cluster(muslin, name, machine_view, supervisors):
    """Up, look, probe, change, explain, exec, log, down, replay: each does what its help says; nothing is left."""
    before = machine_view()
    up = muslin("up", "--name", name, "-f", "scenarios/manifests/shop.yaml", "--json")
    assert (up.code, up.err) == (0, "")
    assert up.json["name"] == name

    try:
        (row,) = [row for row in muslin("ls", "--json").json if row["name"] == name]
        assert row["pid"] in supervisors(name)
        assert {"log", "socket"} <= row.keys()

        probe = ("probe", "-N", name, "shop/web", "shop/db", "5432/TCP")
        assert muslin(*probe).code == 0
        applied = muslin("apply", "-N", name, "-f", LOCK)
        assert (applied.code, applied.out) == (0, "NetworkPolicy shop/db created\n")
        denied = muslin(*probe, "--json")
        assert (denied.code, denied.json["result"]) == (1, "denied")

        explained = muslin("explain", *probe[1:], "--json")
        assert explained.code == 0
        assert explained.json["verdict"]["allowed"] is False
        assert explained.json["steps"]
        text = muslin("explain", *probe[1:]).out
        assert "MODEL" in text
        assert "KERNEL" in text
        assert "model and kernel agree" in text

        assert muslin("exec", "-N", name, "shop/web", "--", "sh", "-c", "exit 7").code == 7
        assert "eth0" in muslin("exec", "-N", name, "shop/web", "--", "ip", "-brief", "link").out
        assert (
            "table inet muslin"
            in muslin("exec", "-N", name, "node-1", "--", "nft", "list", "table", "inet", "muslin").out
        )

        again = muslin("delete", "-N", name, "-f", LOCK)
        assert (again.code, again.out) == (0, "NetworkPolicy shop/db deleted\n")
        refused = muslin("delete", "-N", name, "-f", LOCK)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
        assert muslin(*probe).code == 0

        events = [json.loads(line) for line in muslin("log", "-N", name, "--json").out.splitlines()]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        state = muslin("log", "-N", name, "--at", len(events), "--json").json
        assert len(state["endpoints"]) == 4
    finally:
        down = muslin("down", name)
    assert down.code == 0
    assert supervisors(name) == []
    assert machine_view() == before

    replayed = muslin("replay", row["log"], "--verify", "--json")
    assert (replayed.code, replayed.json["verified"]) == (0, True)
    assert replayed.json["state"] == state["state"]
    assert replayed.json["programs"] == state["programs"]


def test_get_speaks_as_kubectl_does(muslin, staying):
    """Tables are never cut off; -A adds the namespace, -o wide more columns; yaml and json can be applied again."""
    get = ("get", "-N", staying)
    assert muslin(*get, "pods").err == "No resources found in namespace default\n"
    lines = muslin(*get, "pods", "-A", "-o", "wide").out.splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "IP", "NODE", "INTERFACE", "LABELS"]
    assert len(lines) == 5
    assert all("…" not in line and line == line.rstrip() for line in lines)
    assert [line.split()[0] for line in muslin(*get, "po", "-n", "shop").out.splitlines()] == [
        "NAME",
        "api",
        "db",
        "web",
    ]
    assert muslin(*get, "tier", "default").out.splitlines()[1].split() == ["default", "1000000", "Deny"]
    nodes = muslin(*get, "nodes").out.splitlines()
    assert nodes[1].split()[1].startswith("172.30.1.11,")
    (pod,) = yaml.safe_load_all(muslin(*get, "pod", "web", "-n", "shop", "-o", "yaml").out)
    assert (pod["kind"], pod["metadata"]["name"]) == ("Pod", "web")
    assert muslin(*get, "pod", "web", "-n", "shop", "--json").json["metadata"]["name"] == "web"
    missing = muslin(*get, "pod", "nobody", "-n", "shop")
    assert (missing.code, missing.out, missing.err) == (2, "", 'muslin: pods "nobody" not found\n')


WRONG = [
    (("probe", "shop/wbe", "shop/db"), "did you mean shop/web"),
    (("explain", "shop/web", "nowhere"), "no pod, node, host or address 'nowhere'"),
    (("exec", "shop/wbe", "--", "true"), "shop/wbe"),
    (("exec", "shop/web", "--", "no-such-program"), "no-such-program"),
    (("log", "--at", "9999"), "there is no state at 9999"),
]


def test_what_is_wrong_is_one_line(muslin, staying):
    """A name nobody has, a program there is none of, a moment that has not been: exit code 2 and one line."""
    for arguments, says in WRONG:
        answer = muslin(arguments[0], "-N", staying, *arguments[1:])
        assert (answer.code, answer.out) == (2, ""), arguments
        assert len(answer.err.splitlines()) == 1
        assert says in answer.err


def test_a_name_is_taken_once(muslin, staying):
    """A second cluster of a name that runs is refused, and the first is not disturbed."""
    second = muslin("up", "--name", staying)
    assert second.code == 2
    assert "runs already" in second.err
    assert muslin("get", "-N", staying, "pods", "-A").code == 0


def test_a_wrong_manifest_brings_up_nothing(muslin, name, tmp_path, supervisors):
    """`up` with a manifest the cluster refuses leaves no cluster behind."""
    file = tmp_path / "wrong.yaml"
    file.write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: lost},"
        " spec: {nodeName: node-99, containers: [{name: c, image: i}]}}\n"
    )
    try:
        answer = muslin("up", "--name", name, "-f", file)
        assert (answer.code, answer.out) == (2, "")
        assert len(answer.err.splitlines()) == 1
        assert "node-99" in answer.err
        assert supervisors(name) == []
    finally:
        muslin("down", name)
