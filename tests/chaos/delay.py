"""A process that holds back what its network namespace sends, for kernels without netem.

    delay.py DELAY_MS OWN_ADDRESS ADDRESS…

It makes a TUN device and routes to the addresses through it; every packet is sent on from `eth0` after the delay, in
order. When it ends, the device goes and the routes with it; what it still holds is lost.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

DEVICE = "delay0"
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SO_BINDTODEVICE = 25
PACKET_BYTES_MAX = 65_536
READY = "ready"


def open_tun() -> int:
    """The device, up; it lives as long as the descriptor."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def route(own: str, addresses: list[str]) -> None:
    """Send packets for these addresses through the device; answers still come over `eth0`."""
    for interface in ("all", "eth0"):
        Path(f"/proc/sys/net/ipv4/conf/{interface}/rp_filter").write_text("0")
    lines = [f"link set {DEVICE} up", *(f"route add {address}/32 dev {DEVICE} src {own}" for address in addresses)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def relay(tun: int, delay_s: float) -> None:
    """Send on what comes, for ever."""
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"eth0")
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        select.select([tun], [], [], max(0.0, waiting[0][0] - time.monotonic()) if waiting else None)
        now = time.monotonic()
        try:
            while packet := os.read(tun, PACKET_BYTES_MAX):
                if packet[0] >> 4 == 4:
                    waiting.append((now + delay_s, packet))
        except BlockingIOError:
            pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, packet = waiting.popleft()
            try:
                out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            except OSError:  # as on any wire, a packet can be lost
                continue


def main() -> None:
    """Hold back until killed."""
    delay_ms, own, *addresses = sys.argv[1:]
    tun = open_tun()
    route(own, addresses)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    relay(tun, float(delay_ms) / 1e3)


if __name__ == "__main__":
    main()
