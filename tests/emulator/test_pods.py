"""Pods on a node: what they look like inside, that they reach each other, and that they go."""

import socket
import subprocess

import pytest

from emulator import pods, sysctl
from emulator.namespaces import Worker, create, entered
from emulator.pods import PodNetwork
from emulator.routes import RouteTable
from reference.endpoints import WorkloadEndpoint
from reference.errors import EnvironmentLacksError
from reference.routes import Route


def endpoint(number, *addresses, interface=""):
    """The pod `shop/pN`."""
    addresses = addresses or (f"10.244.0.{number}", f"fd00:10:244::{number:x}")
    return WorkloadEndpoint(
        namespace="shop",
        pod=f"p{number}",
        node="node-1",
        interface=interface or f"cali{number:011x}",
        addresses=addresses,
        labels={},
        profiles=(),
    )


def links(*endpoints):
    """The routes to local pods."""
    return {
        Route(f"{address}/{128 if ':' in address else 32}", "link", interface=one.interface)
        for one in endpoints
        for address in one.addresses
    }


def inside(pod, command):
    """What a command says in a pod."""
    done = subprocess.run(
        ["ip", "netns", "exec", pod, "sh", "-c", command], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def two_pods():
    """Two dual-stack pods on one node, and what can be seen of them."""
    node = create("node-1")
    with Worker(node) as worker:
        network, table = PodNetwork("node-1"), RouteTable()
        both = [endpoint(1), endpoint(2)]
        worker.call(network.create, both)
        worker.call(table.apply, links(*both))
        namespace = network.namespace_of(both[0])
        return {
            "interface": inside("shop_p1", "ip -br addr show eth0; cat /sys/class/net/eth0/mtu"),
            "host": subprocess.run(
                ["ip", "-n", "node-1", "-br", "link"], capture_output=True, text=True, check=True
            ).stdout,
            "routes": inside("shop_p1", "ip route; ip -6 route show default"),
            "neighbours": inside("shop_p1", "ip neigh"),
            "v4": inside("shop_p1", "ping -c1 -W2 10.244.0.2"),
            "v6": inside("shop_p1", "ping -c1 -W2 fd00:10:244::2"),
            "nowhere": inside("shop_p1", "ping -c1 -W2 10.9.9.9"),
            "tentative": inside("shop_p1", "ip -6 addr show tentative") + inside("node-1", "ip -6 addr show tentative"),
            "host side": worker.call(
                lambda: [sysctl.read(f"net/{name.replace('*', both[0].interface)}") for name in HOST_SIDE]
            ),
            "same namespace": namespace.name == "shop_p1" and network.namespace_of("shop/p1") is namespace,
        }


# WL-2, as the kernel shows it for a workload interface.
HOST_SIDE = {
    "ipv4/conf/*/route_localnet": "1",
    "ipv4/conf/*/proxy_arp": "1",
    "ipv4/conf/*/forwarding": "1",
    "ipv4/conf/*/rp_filter": "0",
    "ipv6/conf/*/proxy_ndp": "1",
    "ipv6/conf/*/forwarding": "1",
    "ipv6/conf/*/accept_ra": "0",
    "ipv6/conf/*/accept_dad": "0",
    "ipv6/conf/*/disable_ipv6": "0",
    "ipv4/neigh/*/proxy_delay": "0",
}


@pytest.mark.live
def test_pods_are_attached_as_calico_attaches_them(sandboxed):
    """WL-1, WL-2: names, MAC, addresses, gateway and sysctls; both families at once, and no address is tentative."""
    seen = sandboxed(two_pods)
    assert "10.244.0.1/32" in seen["interface"]
    assert "fd00:10:244::1/128" in seen["interface"]
    assert seen["interface"].endswith("1500\n")
    assert seen["host"].count("ee:ee:ee:ee:ee:ee") == 2
    assert "cali00000000001@" in seen["host"]
    assert "default via 169.254.1.1 dev eth0" in seen["routes"]
    assert "169.254.1.1 dev eth0 scope link" in seen["routes"]
    assert "default via fe80::ecee:eeff:feee:eeee dev eth0" in seen["routes"]
    assert seen["neighbours"].count("lladdr ee:ee:ee:ee:ee:ee PERMANENT") == 2
    assert seen["tentative"] == ""
    assert seen["host side"] == list(HOST_SIDE.values())
    assert seen["same namespace"]


@pytest.mark.live
def test_pods_reach_each_other_at_once(sandboxed):
    """The first packet after `create` and a route arrives, in both families; one to nowhere gets an ICMP error."""
    seen = sandboxed(two_pods)
    assert " 0% packet loss" in seen["v4"]
    assert " 0% packet loss" in seen["v6"]
    assert "Unreachable" in seen["nowhere"]


def to_themselves():
    """How many of a hundred new pods connect to themselves right after they were made, in each family."""
    connected = {"4": 0, "6": 0}
    with Worker(create("node-1")) as worker:
        network = PodNetwork("node-1")
        for number in range(1, 101):
            pod = endpoint(number)
            worker.call(network.create, [pod])
            for family, address in zip("46", pod.addresses, strict=True):
                kind = socket.AF_INET if family == "4" else socket.AF_INET6
                with entered(network.namespace_of(pod)), socket.create_server((address, 80), family=kind) as server:
                    client = socket.socket(kind)
                    with client, server:
                        client.settimeout(0.5)
                        connected[family] += client.connect_ex((address, 80)) == 0
        worker.call(network.close)
    return connected


@pytest.mark.live
def test_a_new_pod_reaches_itself_at_once(sandboxed):
    """A connection of a pod to its own address does not take the way out, however new the pod is."""
    assert sandboxed(to_themselves) == {"4": 100, "6": 100}


def life():
    """Create, repeat, update, delete; the host side's interfaces and the names after each."""
    node = create("node-1")
    seen = []
    with Worker(node) as worker:
        network = PodNetwork("node-1")

        def look():
            devices = worker.call(socket.if_nameindex)
            named = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.split("\n")
            pods_named = sorted(line.split()[0] for line in named if line.startswith("shop_"))
            seen.append([sorted(name for _, name in devices if name.startswith("cali")), pods_named])

        one, two = endpoint(1, interface="cali1"), endpoint(2, interface="cali2")
        worker.call(network.create, [one, two])
        worker.call(network.create, [one])
        look()
        namespace = network.namespace_of(two).inode
        worker.call(network.update, [two, endpoint(3, "10.244.0.3", interface="cali3")])
        look()
        kept = network.namespace_of(two).inode == namespace
        worker.call(network.update, [endpoint(2, "10.244.0.77", interface="cali2")])
        look()
        changed = "10.244.0.77/32" in inside("shop_p2", "ip -br -4 addr show eth0")
        worker.call(network.delete, ["shop/p2", "shop/unknown"])
        look()
        worker.call(network.close)
    return [seen, kept, changed]


@pytest.mark.live
def test_update_touches_only_what_changed(sandboxed):
    """Attached pods stay as they are, gone ones go with interface and name, a readdressed one is made anew."""
    seen, kept, changed = sandboxed(life)
    assert seen == [
        [["cali1", "cali2"], ["shop_p1", "shop_p2"]],
        [["cali2", "cali3"], ["shop_p2", "shop_p3"]],
        [["cali2"], ["shop_p2"]],
        [[], []],
    ]
    assert kept
    assert changed


def half_a_batch():
    """A batch whose second pod clashes with an interface that exists."""
    node = create("node-1")
    with Worker(node) as worker:
        network = PodNetwork("node-1")
        worker.call(network.create, [endpoint(1, interface="cali1")])
        try:
            worker.call(network.create, [endpoint(2, interface="cali2"), endpoint(3, interface="cali1")])
        except EnvironmentLacksError as error:
            words = str(error)
        names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
        worker.call(network.create, [endpoint(2, interface="cali2")])
        return [words, names.split(), sorted(network.names)]


@pytest.mark.live
def test_a_refused_batch_leaves_no_pod(sandboxed):
    """When the kernel refuses one pod, none of its batch stays; the error names the clash."""
    words, names, attached = sandboxed(half_a_batch)
    assert "link add cali1 type veth" in words
    assert "shop_p2" not in names
    assert "shop_p3" not in names
    assert attached == ["shop/p1", "shop/p2"]


def moved_pod():
    """Attach a pod to a second node before the first has let it go."""
    first, second = PodNetwork("node-1"), PodNetwork("node-2")
    with Worker(create("node-1")) as one, Worker(create("node-2")) as two:
        one.call(first.create, [endpoint(1)])
        two.call(second.create, [endpoint(1, "10.244.9.9")])
        one.call(first.close)
        addresses = inside("shop_p1", "ip -br -4 addr show eth0")
        two.call(second.close)
        return [addresses, subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout]


@pytest.mark.live
def test_a_pod_may_move_before_its_old_node_lets_go(sandboxed):
    """The name leads to the pod's new namespace, and goes with that one, whatever order the nodes work in."""
    addresses, names = sandboxed(moved_pod)
    assert "10.244.9.9/32" in addresses
    assert "shop_p1" not in names


def moving_routes():
    """Routes programmed, repeated, moved, found again by a new table, and following a pod that is made anew."""
    node = create("node-1")
    with Worker(node) as worker:
        network, table = PodNetwork("node-1"), RouteTable()
        one = endpoint(1, interface="cali1")
        worker.call(network.create, [one])
        wanted = links(one) | {Route("10.244.0.0/26", "blackhole"), Route("fd00:10:244::/122", "blackhole")}
        counts = [worker.call(table.apply, wanted), worker.call(table.apply, wanted)]
        counts.append(worker.call(RouteTable().apply, wanted))  # an agent that starts anew
        worker.call(network.delete, ["shop/p1"])
        worker.call(network.create, [one])
        counts.append(worker.call(table.apply, wanted) > 0)
        foreign = ["ip", "-n", "node-1", "route", "add", "blackhole", "10.99.0.0/16"]
        subprocess.run(foreign, check=True)
        routes = [inside("node-1", "ip route")]
        worker.call(table.apply, {Route("10.244.0.0/26", "link", interface="cali1")})
        routes.append(inside("node-1", "ip route; ip -6 route show proto 80"))
        worker.call(table.clean)
        routes.append(inside("node-1", "ip route"))
        return [counts, routes]


@pytest.mark.live
def test_only_the_difference_of_routes_is_sent(sandboxed):
    """Nothing is sent twice, also not by a table that starts anew; routes follow a pod made anew; foreign ones stay."""
    counts, (first, second, third) = sandboxed(moving_routes)
    assert counts == [4, 0, 0, True]
    assert "10.244.0.1 dev cali1 proto 80 scope link" in first
    assert "blackhole 10.244.0.0/26 proto 80" in first
    assert second.split("\n")[:2] == ["blackhole 10.99.0.0/16 ", "10.244.0.0/26 dev cali1 proto 80 scope link "]
    assert "fd00" not in second
    assert third == "blackhole 10.99.0.0/16 \n"


def test_a_pods_mac_is_its_own_and_stays():
    """Names give MACs: the same for the same pod, others for others, locally administered unicast."""
    macs = {pods.pod_mac(endpoint(number)) for number in range(1, 200)}
    assert len(macs) == 199
    assert pods.pod_mac(endpoint(1)) == pods.pod_mac(endpoint(1, "10.1.1.1"))
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def test_namespace_names_do_not_collide():
    """`a-b/c` and `a/b-c` are different pods, and have different names under `ip netns`."""
    names = {
        pods.namespace_name(
            WorkloadEndpoint(namespace=ns, pod=pod, node="n", interface="c", addresses=(), labels={}, profiles=())
        )
        for ns, pod in (("a-b", "c"), ("a", "b-c"))
    }
    assert len(names) == 2
