"""What the name of a host stands for."""

from __future__ import annotations

import asyncio
import socket

from homing_node.broker.hosts import check_addresses


async def look_up(host: str, port: int) -> str:
    """The address to connect to: looked up once, and checked.

    Raises:
        Forbidden: the name stands for an address that is not of the open internet.
        OSError: it stands for none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return check_addresses(host, [str(each[4][0]) for each in found])
