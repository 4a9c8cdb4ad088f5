"""`homing gateway` as a process, and what a cluster of one stub node would have in etcd."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys

import httpx

from etcd_process import free_port
from homing_placement.etcd import Compare, EtcdClient, Put
from homing_placement.keys import ClusterKeys
from homing_placement.records import ClusterConfig, encode
from stub_node import StaticTable, StubNode

SLOTS = 64
CLUSTER = "gwtest"
KEYS = ClusterKeys(CLUSTER)


class GatewayCommand:
    """The process and its addresses.

    Args:
        etcd: URL.
        env: further variables; with those of TLS, `http` speaks https and trusts their authority.
    """

    def __init__(self, etcd: str, **env: str) -> None:
        self.port, self.grpc_port, self.metrics_port = free_port(), free_port(), free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HOMING_", "OTEL_"))},
            "HOMING_ETCD": etcd,
            "HOMING_CLUSTER": CLUSTER,
            "HOMING_SLOTS": str(SLOTS),
            "HOMING_LISTEN": f"127.0.0.1:{self.port}",
            "HOMING_GRPC_LISTEN": f"127.0.0.1:{self.grpc_port}",
            "HOMING_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            **env,
        }
        ca = env.get("HOMING_TLS_CA")
        self.http = httpx.AsyncClient(
            base_url=f"{'https' if ca else 'http'}://127.0.0.1:{self.port}",
            verify=ssl.create_default_context(cafile=ca) if ca else True,
            timeout=15,
        )

    async def start(self, before: str = "pass") -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"{before}; from homing_gateway.cli import gateway; gateway()",
            env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def status(self, path: str) -> int:
        try:
            return (await self.http.get(path)).status_code
        except httpx.TransportError:
            return 0

    async def until_status(self, path: str, status: int, *, limit_s: float = 20) -> None:
        async with asyncio.timeout(limit_s):
            while await self.status(path) != status:
                await asyncio.sleep(0.05)

    async def end(self) -> str:
        if self.process.returncode is None:
            self.process.kill()
        await self.http.aclose()
        out, _ = await self.process.communicate()
        return out.decode()


async def lay_out(client: EtcdClient, node: StubNode) -> None:
    """Write what a cluster of one stub node would have in etcd."""
    table = StaticTable(SLOTS)
    table.add(node)
    puts = [Put(KEYS.config, encode(ClusterConfig(SLOTS))), Put(KEYS.node(node.id), encode(node.record()))]
    await client.txn([Compare.mod(KEYS.config, 0)], puts)
    await client.txn([], [Put(KEYS.slot(slot), encode(record)) for slot, record in table.records.items()])
