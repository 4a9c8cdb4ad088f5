"""TLS between all parts, as docs/how-to/tls.md says: real etcd, real nodes and a real gateway under one authority."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest

import homing
from etcd_process import EtcdProcess, free_port
from gateway_command import CLUSTER, SLOTS, GatewayCommand
from homing.errors import Unavailable
from homing.v1 import objects_pb2
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.rpc import SERVICE
from homing_placement.routing.link import INSPECT
from tls_files import Authority

APP = Path(__file__).resolve().parents[2] / "examples" / "hello"
INCREMENT = "/_homing/v1/objects/Counter/a/rpc/increment"
JSON = {"content-type": "application/json"}
START_S = 60
REFUSED_S = 10


@dataclass
class Cluster:
    """What a test talks to, and the files of a client that belongs to the cluster."""

    authority: Authority
    gateway: GatewayCommand
    node: str

    def credentials(self, by: Authority | None = None) -> grpc.ChannelCredentials:
        """A client that trusts the cluster's authority; with a certificate signed by `by`, or with none."""
        ca = self.authority.path.read_bytes()
        if by is None:
            return grpc.ssl_channel_credentials(ca)
        cert, key = by.issue("client")
        return grpc.ssl_channel_credentials(ca, key.read_bytes(), cert.read_bytes())


def tls(authority: Authority, name: str) -> dict[str, str]:
    cert, key = authority.issue(name)
    return {"HOMING_TLS_CERT": str(cert), "HOMING_TLS_KEY": str(key), "HOMING_TLS_CA": str(authority.path)}


async def start_node(
    etcd: str, number: int, of: int, address: str, folder: Path, variables: dict[str, str]
) -> asyncio.subprocess.Process:
    """One of the nodes of a cluster where each has a replica of every slot."""
    name = f"n{number}"
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HOMING_")},
        "HOMING_APP": str(APP),
        "HOMING_NODE_ID": name,
        "HOMING_ETCD": etcd,
        "HOMING_CLUSTER": CLUSTER,
        "HOMING_SLOTS": str(SLOTS),
        "HOMING_REPLICAS": str(of),
        "HOMING_INITIAL_NODES": str(of),
        "HOMING_WORKERS": "1",
        "HOMING_DATA_DIR": str(folder / name),
        "HOMING_LISTEN": address,
        "HOMING_METRICS_LISTEN": "127.0.0.1:0",
        **variables,
    }
    program = "from homing_node.cli import node; node()"
    with (folder / f"{name}.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=env, stdout=log, stderr=log)


@pytest.fixture
async def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    authority = Authority(tmp_path / "tls")
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(getattr(request, "param", 1))]
    nodes: list[asyncio.subprocess.Process] = []
    with EtcdProcess(tmp_path / "etcd", tls=(authority.path, *authority.issue("etcd"))) as etcd:
        gateway = GatewayCommand(etcd.url, **tls(authority, "gateway"))
        await gateway.start()
        try:
            for number, address in enumerate(addresses, 1):
                files = tls(authority, f"n{number}")
                nodes.append(await start_node(etcd.url, number, len(addresses), address, tmp_path, files))
            await gateway.until_status("/_homing/readyz", 200, limit_s=START_S)
            yield Cluster(authority, gateway, addresses[0])
        finally:
            sys.stdout.write(await gateway.end())  # pytest shows it when the test fails
            for number, node in enumerate(nodes, 1):
                node.kill()
                await node.wait()
                sys.stdout.write((tmp_path / f"n{number}.log").read_text())


async def inspect(address: str, credentials: grpc.ChannelCredentials | None) -> wire.InspectReply:
    """Ask a node what anybody on its port could ask."""
    plain = grpc.aio.insecure_channel(address) if credentials is None else None
    async with plain or grpc.aio.secure_channel(address, credentials) as channel:
        ask = channel.unary_unary(INSPECT, wire.InspectRequest.SerializeToString, wire.InspectReply.FromString)
        return await ask(wire.InspectRequest(node=wire.InspectNode()), timeout=REFUSED_S)


async def increment(address: str, credentials: grpc.ChannelCredentials | None) -> bytes:
    """A call over the gateway's gRPC."""
    plain = grpc.aio.insecure_channel(address) if credentials is None else None
    async with plain or grpc.aio.secure_channel(address, credentials) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/Call", objects_pb2.CallRequest.SerializeToString, objects_pb2.CallResponse.FromString
        )
        request = objects_pb2.CallRequest(class_name="Counter", name="a", method="increment")
        return (await call(request, timeout=REFUSED_S)).result_json


@pytest.mark.parametrize("cluster", [1, 3], indirect=True, ids=["one-node", "three-nodes"])
async def test_a_call_crosses_the_whole_cluster_encrypted(cluster: Cluster) -> None:
    """Seen to fail when the gateway, or the nodes among themselves, have no credentials for nodes."""
    answer = await cluster.gateway.http.post(INCREMENT, content=b"{}", headers=JSON)
    assert (answer.status_code, answer.content) == (200, b'{"result":1}')
    rpc = f"127.0.0.1:{cluster.gateway.grpc_port}"
    assert await increment(rpc, cluster.credentials()) == b'{"result":2}'
    ca = cluster.authority.path
    async with homing.Client(f"grpcs://{rpc}", ca=ca) as client:
        assert await client.get("Counter", "a").increment() == 3
    async with homing.Client(str(cluster.gateway.http.base_url), ca=ca) as client:
        assert await client.get("Counter", "a").increment() == 4
    facts = (await inspect(cluster.node, cluster.credentials(by=cluster.authority))).node
    assert facts.id == "n1"


async def test_a_gateway_answers_nobody_in_the_clear(cluster: Cluster) -> None:
    """Seen to fail without the certificate of the HTTP server, and without that of the gRPC server."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cluster.gateway.port}", timeout=REFUSED_S) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get("/_homing/healthz")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await increment(f"127.0.0.1:{cluster.gateway.grpc_port}", None)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_does_not_know_the_authority_trusts_no_gateway(cluster: Cluster, tmp_path: Path) -> None:
    other = ssl.create_default_context(cafile=str(Authority(tmp_path / "other", "other").path))
    async with httpx.AsyncClient(base_url=cluster.gateway.http.base_url, verify=other, timeout=REFUSED_S) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get("/_homing/healthz")
    async with homing.Client(f"grpcs://127.0.0.1:{cluster.gateway.grpc_port}", tries_max=1) as stranger:
        with pytest.raises(Unavailable):
            await stranger.get("Counter", "a").increment()


async def test_a_node_answers_nobody_without_a_certificate_of_its_authority(cluster: Cluster, tmp_path: Path) -> None:
    """Seen to fail without `require_client_auth`: whoever reaches the port of a node is the cluster."""
    stranger = Authority(tmp_path / "other", "other")
    for credentials in (None, cluster.credentials(), cluster.credentials(by=stranger)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await inspect(cluster.node, credentials)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
