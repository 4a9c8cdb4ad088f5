"""Egress suite over a real network: the system's resolver, a name server, a public address, and nothing replaced.

The node's side is a process in a network namespace of its own. Its only way out leads to another, with the name server,
a server with TLS at 93.184.215.14, and listeners at addresses that must not be reached. These, and the node's own,
count whoever comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.network import Network, run, why_not

from egress_world import OK
from name_server import NameServer
from tls_files import Authority

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=f"no networks of their own: {REASON}")

PUBLIC, OTHER, OWN, METADATA = "93.184.215.14", "93.184.215.15", "93.184.215.99", "169.254.169.254"
CHILD = Path(__file__).resolve().parents[1] / "support" / "egress_child.py"
FORBIDDEN = {
    "private": ["10.77.0.2"],
    "metadata": [METADATA],
    "loopback": ["127.0.0.1"],
    "loopback, not the first": ["127.0.0.2"],
    "this network": ["0.0.0.0"],
    "this machine, by a public address": [OWN],
    "this machine, by a private one": ["10.77.0.1"],
    "IPv6 loopback": ["::1"],
    "mapped loopback": ["::ffff:127.0.0.1"],
    "a public one and a private one": [PUBLIC, "10.77.0.2"],
    "a public one and IPv6 loopback": [PUBLIC, "::1"],
}


@dataclass
class Place:
    """Both sides.

    Attributes:
        reached: who was reached and must not be, by address.
        served: how many requests the public server has had.
    """

    names: NameServer
    child: subprocess.Popen[str]
    network: Network
    reached: list[str] = field(default_factory=list[str])
    served: int = 0

    def ask(self, url: str, *, again: bool = False) -> dict[str, Any]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps({"url": url, "again": again}) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


def listeners(network: Network) -> Iterator[tuple[str, socket.socket]]:
    """Whoever must not be reached: on the node's machine, and beside it."""
    for member, address in (("node", ""), ("outside", "10.77.0.2"), ("outside", METADATA)):
        with network.entered(member):
            yield address or "the node's machine", socket.create_server((address, 443))
    with network.entered("node"):
        yield "the node's machine in IPv6", socket.create_server(("::", 443), family=socket.AF_INET6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("egress")
    authority = Authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", ["*.example.com"]))
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text(f"nameserver {PUBLIC}\nsearch search.example.com\noptions timeout:1 attempts:1\n")
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network(["node", "outside"]))
        for member, address in (("outside", PUBLIC), ("outside", OTHER), ("outside", METADATA), ("node", OWN)):
            run("ip", "-n", network.namespaces[member], "address", "add", f"{address}/16", "dev", "eth0")
        run("ip", "-n", network.namespaces["node"], "route", "add", "169.254.0.0/16", "dev", "eth0")
        with network.entered("outside"):
            asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            asked.bind((PUBLIC, 53))
            server = socket.create_server((PUBLIC, 443))
        names = stack.enter_context(NameServer(asked))
        proxy = f"http://{METADATA}:443"
        proxies = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), proxy)
        child = subprocess.Popen(
            [*network.command("node"), sys.executable, str(CHILD), str(resolv_conf)],
            env={**os.environ, **proxies, "SSL_CERT_FILE": str(authority.path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found = Place(names, child, network)
        threads = [threading.Thread(target=serve, args=(server, context, found, stopped))]
        for who, listener in listeners(network):
            threads.append(threading.Thread(target=count, args=(listener, who, found, stopped)))
        for thread in threads:
            thread.start()
        yield found
        stopped.set()
        child.communicate(timeout=20)
        for thread in threads:
            thread.join()


def serve(server: socket.socket, context: ssl.SSLContext, place: Place, stopped: threading.Event) -> None:
    server.settimeout(0.1)
    with server:
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                plain, _ = server.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.settimeout(5.0)
                    if connection.recv(65_536):
                        place.served += 1
                        connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))


def count(listener: socket.socket, who: str, place: Place, stopped: threading.Event) -> None:
    listener.settimeout(0.1)
    with listener:
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                listener.accept()[0].close()
                place.reached.append(who)


def test_whoever_must_not_be_reached_can_be(place: Place) -> None:
    """Else the cases below could not fail: from the node's network every listener answers, and counts."""
    with place.network.entered("node"):
        for address in ("10.77.0.2", METADATA, "127.0.0.1", OWN, "::1"):
            socket.create_connection((address, 443), timeout=5).close()
    for _ in range(100):
        if len(place.reached) >= 5:
            break
        threading.Event().wait(0.02)
    assert len(place.reached) == 5
    place.reached.clear()


def test_a_public_server_is_reached(place: Place) -> None:
    place.names.set("good.example.com", [PUBLIC])
    before = place.served
    told = place.ask("https://good.example.com/")
    assert (told["status"], told["body"]) == (200, "ok"), told
    assert place.served == before + 1


@pytest.mark.parametrize("answer", FORBIDDEN.values(), ids=FORBIDDEN)
def test_an_address_that_must_not_be_reached_is_not(place: Place, answer: list[str]) -> None:
    """Seen to fail for the node's own public address when only the table is asked (mutant egress-own-real)."""
    place.names.set("bad.example.com", answer)
    told = place.ask("https://bad.example.com/")
    assert (told["code"], told["rule"]) == ("forbidden", "address"), told
    assert place.reached == []


def test_rebinding(place: Place) -> None:
    """The system's resolver keeps nothing: the second look-up gives the second answer, for the second connection."""
    place.names.set("turns.example.com", [PUBLIC], ["127.0.0.1"])
    assert place.ask("https://turns.example.com/")["status"] == 200
    assert place.ask("https://turns.example.com/", again=True)["code"] == "forbidden"
    assert place.names.asked.count("turns.example.com") == 4, "each look-up asks for both kinds of address once"
    assert place.reached == []


def test_a_name_is_looked_up_as_it_is(place: Place) -> None:
    """Not below the domain of the node's network. Seen to fail without a dot at its end (mutant egress-search)."""
    place.names.set("gone.example.com.search.example.com", [PUBLIC])
    assert place.ask("https://gone.example.com/")["rule"] == "lookup"
    assert "gone.example.com.search.example.com" not in place.names.asked


def test_a_server_with_another_name_is_not_believed(place: Place) -> None:
    place.names.set("a.b.example.com", [PUBLIC])
    before = place.served
    assert place.ask("https://a.b.example.com/")["rule"] == "certificate"
    assert place.served == before


def test_nobody_was_reached_who_must_not_be(place: Place) -> None:
    assert place.reached == []
