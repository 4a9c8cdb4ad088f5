"""Free ports on loopback that stay free: below the range that the kernel hands to outgoing connections.

A part that is started again needs its old port. From the kernel's range an outgoing connection of some other process
could take it in the second between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from homing.cli.limits import PORT_FIRST
from homing.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OUTGOING_FIRST_DEFAULT = 32_768


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(ports: Iterable[tuple[int, str]]) -> None:
    """Check ports that cannot be chosen, each given with its use.

    Raises:
        ConfigurationError: one is taken; the message names it and its use.
    """
    for port, use in ports:
        if not 0 < port < 65_536:
            raise ConfigurationError(f"port {port} for {use} does not exist; choose a smaller --port")
        if not is_free(port):
            raise ConfigurationError(f"port {port} for {use} is in use; choose another with --port")


def find_free(count: int, *, avoid: Iterable[int] = ()) -> list[int]:
    """`count` different free ports.

    Args:
        count: how many.
        avoid: ports that are spoken for although nobody listens there yet.

    Raises:
        ConfigurationError: there are not so many.
    """
    first, end = PORT_FIRST, _outgoing_first()
    if end - first < count:
        first, end = 1_024, 65_536
    taken = set(avoid)
    # Two clusters that start together begin at different places: by process id.
    start = os.getpid() * 97 % (end - first)
    found: list[int] = []
    for step in range(end - first):
        port = first + (start + step) % (end - first)
        if port not in taken and is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise ConfigurationError(f"fewer than {count} free ports between {first} and {end}")


def _outgoing_first() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _OUTGOING_FIRST_DEFAULT
