"""Egress suite: what names stand for. Each answer of the resolver is judged as a whole, once for each connection."""

from __future__ import annotations

import asyncio

import pytest

from egress_world import PUBLIC, SECOND, World, until
from homing.errors import Forbidden
from homing_node import limits
from homing_node.broker.exchange import OutboundRequest

FORBIDDEN = {
    "this network": "0.0.0.0",
    "this network, too": "0.1.2.3",
    "private, 10": "10.0.0.1",
    "private, 172.16": "172.16.0.1",
    "private, the last of 172.31": "172.31.255.255",
    "private, 192.168": "192.168.1.1",
    "shared address space": "100.64.0.1",
    "metadata of Alibaba": "100.100.100.200",
    "loopback": "127.0.0.1",
    "loopback, not the first": "127.255.0.7",
    "metadata of most": "169.254.169.254",
    "metadata of containers": "169.254.170.2",
    "metadata of Tencent": "169.254.0.23",
    "metadata of Azure": "168.63.129.16",
    "metadata of Oracle": "192.0.0.192",
    "metadata of Equinix": "192.80.8.124",
    "protocol assignments": "192.0.0.8",
    "documentation": "192.0.2.1",
    "documentation, 2": "198.51.100.1",
    "documentation, 3": "203.0.113.1",
    "AS112": "192.31.196.1",
    "AMT": "192.52.193.1",
    "relays of 6to4": "192.88.99.1",
    "benchmarking": "198.19.255.255",
    "multicast": "224.0.0.251",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified": "::",
    "IPv6 loopback": "::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped metadata": "::ffff:169.254.169.254",
    "compatible loopback": "::127.0.0.1",
    "compatible with a public address": "::93.184.215.14",
    "NAT64 of metadata": "64:ff9b::169.254.169.254",
    "NAT64 of a private address": "64:ff9b::10.0.0.1",
    "NAT64 of a local network": "64:ff9b:1::10.0.0.1",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of a public address": "2002:5db8:d70e::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "ISATAP of a private address": "2606:2800:220:1:0:5efe:10.0.0.1",
    "ISATAP, universal": "2606:2800:220:1:200:5efe:10.0.0.1",
    "ORCHID": "2001:20::1",
    "documentation in IPv6": "2001:db8::1",
    "documentation in IPv6, 2": "3fff::1",
    "discard only": "100::1",
    "segment routing": "5f00::1",
    "unique-local": "fd12:3456:789a::1",
    "metadata of Amazon in IPv6": "fd00:ec2::254",
    "link-local": "fe80::1",
    "link-local with a zone": "fe80::1%eth0",
    "site-local": "fec0::1",
    "multicast in IPv6": "ff02::1",
    "not assigned": "4000::1",
    "no address at all": "example.com",
}


@pytest.mark.parametrize("address", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_a_name_that_stands_for_a_special_address_is_refused(world: World, address: str) -> None:
    """Seen to fail when addresses are not judged (mutant egress-special), when Azure's is taken for a public one
    (egress-metadata), and when NAT64 is not looked into (egress-nat64). Whoever asked does not hear the address."""
    world.network.answers["api.example.com"] = [[address]]
    got = await world.ask()
    assert (got.code, world.network.connected) == ("forbidden", [])
    assert address not in str(got.error)
    (record,) = world.audit
    assert (record.outcome, record.rule, record.sent_bytes) == ("refused", "address", 0)
    assert record.detail.startswith(f"{address}: ")


@pytest.mark.parametrize("address", [PUBLIC, "64:ff9b::5db8:d70e", "::ffff:93.184.215.14", "2606:2800:220:1::1"])
async def test_a_name_that_stands_for_a_public_address_is_reached(world: World, address: str) -> None:
    world.network.answers["api.example.com"] = [[address]]
    world.network.routes[address, 443] = world.network.routes[PUBLIC, 443]
    assert (await world.ask()).status == 200
    assert world.network.connected == [(address, 443)]


@pytest.mark.parametrize(
    "answer",
    {
        "a private one behind a public one": [PUBLIC, "10.0.0.1"],
        "a public one behind a private one": ["10.0.0.1", PUBLIC],
        "IPv6 loopback behind a public one": [PUBLIC, "::1"],
        "one of many": [PUBLIC, SECOND, "169.254.169.254", "93.184.215.17"],
    }.items(),
    ids=lambda pair: pair[0],
)
async def test_a_mixed_answer_is_refused_whole(world: World, answer: tuple[str, list[str]]) -> None:
    """Seen to fail when only the first address is judged (mutant egress-mixed)."""
    world.network.answers["api.example.com"] = [answer[1]]
    assert (await world.ask()).code == "forbidden"
    assert world.network.connected == []


async def test_an_empty_answer_and_no_answer(world: World) -> None:
    world.network.answers["api.example.com"] = [[]]
    assert (await world.ask()).code == "unavailable"
    assert (await world.ask("https://gone.example.org/")).code == "unavailable"
    assert {(record.outcome, record.rule) for record in world.audit} == {("failed", "lookup")}


async def test_a_name_is_looked_up_once_for_a_connection(world: World) -> None:
    """Rebinding between look-up and connection. Seen to fail when the name is looked up again to connect (mutant
    egress-rebinding): the second answer leads to the forbidden listener."""
    world.network.answers["api.example.com"] = [[PUBLIC], ["127.0.0.1"]]
    assert (await world.ask()).status == 200
    assert world.network.lookups == ["api.example.com"]
    assert world.network.connected == [(PUBLIC, 443)]


async def test_rebinding_between_connections(world: World) -> None:
    """A connection that stands stays where it was judged; the next one is judged anew."""
    world.network.answers["api.example.com"] = [[PUBLIC], ["127.0.0.1"]]
    opened = world.open()
    assert (await world.ask(opened=opened)).status == 200
    assert (await world.ask(opened=opened)).status == 200
    assert world.network.connected == [(PUBLIC, 443)]
    async with opened.fetch(OutboundRequest("GET", "https://api.example.com/")):
        assert (await world.ask(opened=opened)).code == "forbidden", "needs a second connection"
    assert world.network.connected == [(PUBLIC, 443)]


async def test_rebinding_after_the_server_closed(world: World) -> None:
    world.network.answers["api.example.com"] = [[PUBLIC], ["169.254.169.254"]]
    opened = world.open()
    world.serve = _closing
    assert (await world.ask(opened=opened)).status == 200
    await until(lambda: world.closed == 1)
    assert (await world.ask(opened=opened)).code == "forbidden"


async def test_every_grant_looks_up_for_itself(world: World) -> None:
    world.network.answers["api.example.com"] = [[PUBLIC], ["10.0.0.1"]]
    assert (await world.ask()).status == 200
    assert (await world.ask()).code == "forbidden"


async def test_the_connection_goes_to_the_first_address(world: World) -> None:
    world.network.answers["api.example.com"] = [[SECOND, PUBLIC]]
    assert (await world.ask()).status == 200
    assert world.network.connected == [(SECOND, 443)]


async def test_an_address_of_this_machine_is_refused(world: World) -> None:
    """Also a public one: what listens there may not listen to the outside. Seen to fail with mutant egress-own."""
    world.network.own = {PUBLIC}
    assert (await world.ask()).code == "forbidden"
    assert world.network.connected == []
    assert world.audit[0].detail == f"{PUBLIC}: this machine"


async def test_names_that_do_not_resolve_hold_no_more_than_their_share(world: World) -> None:
    """Also when nobody waits for them any more. Seen to fail when whoever leaves is not counted (egress-lookups)."""
    world.network.slow = asyncio.Event()
    opened = world.open(call_s_max=0.05)
    for n in range(limits.grant_lookups_each_max):
        assert (await world.ask(f"https://n{n}.example.org/", opened=opened)).code == "deadline-exceeded"
    assert (await world.ask("https://more.example.org/", opened=opened)).code == "deadline-exceeded"
    assert len(world.network.lookups) == limits.grant_lookups_each_max
    world.network.slow.set()
    assert (await world.ask(opened=opened)).status == 200


# -- addresses that are named -----------------------------------------------------------------------------------------


async def test_an_address_that_the_configuration_names_is_reached(world: World) -> None:
    port = await world.listen(None)
    world.network.routes["127.0.0.1", port] = port
    changes = {"hosts": ("127.0.0.1",), "ports": (port,), "schemes": ("http",)}
    assert (await world.ask(f"http://127.0.0.1:{port}/", fetch_hosts=[f"127.0.0.1:{port}"], **changes)).status == 200
    assert world.heard[0].get("host") == [f"127.0.0.1:{port}"]
    for other in (f"http://127.0.0.1:{port + 1}/", f"http://127.0.0.2:{port}/", f"http://[::ffff:127.0.0.1]:{port}/"):
        assert (await world.ask(other, fetch_hosts=[f"127.0.0.1:{port}"], **changes)).code == "forbidden"
    assert world.network.lookups == []


@pytest.mark.parametrize(
    "fetch_hosts", [[], ["127.0.0.1"], ["127.0.0.1:1"], ["localhost:9000"], ["*.0.0.1:9000"], ["api.example.com:9000"]]
)
async def test_no_grant_gives_more_than_its_giver_has(world: World, fetch_hosts: list[str]) -> None:
    """Seen to fail when a grant is not held against fetch_hosts (mutant egress-within)."""
    with pytest.raises(Forbidden, match="fetch_hosts"):
        world.egress.open(
            world.grant(hosts=("127.0.0.1",), ports=(9000,), schemes=("http",)),
            holder="box", fetch_hosts=fetch_hosts, secrets={},
        )  # fmt: skip


async def test_a_name_cannot_use_the_address_that_another_entry_names(world: World) -> None:
    """A grant for 127.0.0.1 does not make it public: a name that stands for it is refused."""
    world.network.answers["api.example.com"] = [["127.0.0.1"]]
    hosts = ("127.0.0.1", "api.example.com")
    assert (await world.ask(hosts=hosts, fetch_hosts=["127.0.0.1"])).code == "forbidden"
    assert world.network.connected == []


async def _closing(heard: object, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()
