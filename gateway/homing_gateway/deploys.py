"""The routes that bring versions of the application to the cluster, and say which of them serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec

from homing.errors import BadRequest, HomingError, Unavailable
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.limits import DEPLOY_MESSAGE_CHARS_MAX, PREPARE_S_MAX
from homing_gateway.streams import field
from homing_placement.deployment_store import DeploymentStore
from homing_placement.deployments import Deployment, Share
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.link import NodeLink

PREPARE = "/homing.wire.v1.Calls/Prepare"


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What shall serve: a version, and for how many of a hundred objects; or what did before."""

    version: str = ""
    percent: int = 100
    back: bool = False


class Deploys:
    """Changes what is deployed. No version serves before every node that can be reached has loaded it.

    Args:
        forwarder: for its table and its links.
        store: what is deployed.
    """

    def __init__(self, forwarder: Forwarder, store: DeploymentStore) -> None:
        self._forwarder, self._store = forwarder, store

    async def add(self, package: bytes, query: bytes) -> dict[str, object]:
        """Keep a package (`homing_node.workers.app_package`) as a version; it serves nothing yet.

        Args:
            package: its bytes.
            query: may hold a `message` about it.

        Raises:
            TooLarge: it is too long.
            EtcdError: it could not be kept.
        """
        version = await self._store.add(package, field(query, "message")[:DEPLOY_MESSAGE_CHARS_MAX])
        return {"version": version.id, "bytes": version.size_bytes}

    async def change(self, body: bytes) -> dict[str, object]:
        """Let a version serve.

        Args:
            body: JSON: `{"version": id, "percent": 1 to 100}`, or `{"back": true}`.

        Raises:
            BadRequest: it is none, or a node cannot load the version: then nothing has changed.
            NotFound: there is no such version.
            Unavailable: a node did not answer in time, or etcd does not.
        """
        try:
            wish = msgspec.json.decode(body, type=_Wish)
        except ValueError as error:  # msgspec's own are; and text that is no UTF-8 has one of another kind
            raise BadRequest(f"the body says which version is to serve: {error}") from error
        now_ms = int(time.time() * 1_000)
        how: Callable[[Deployment], Deployment] = (
            (lambda old: old.rolled_back(now_ms))
            if wish.back
            else (lambda old: old.letting_serve(wish.version, wish.percent, now_ms))
        )
        for share in how(await self._store.read()).serving:
            await self._prepare(share.version)
        await self._store.change(how)
        return await self.describe()

    async def describe(self) -> dict[str, object]:
        """The versions, what shall serve, and what serves on each node that can be reached."""
        deployment = await self._store.read()
        links = self._links()
        nodes = await asyncio.gather(*(_serving(link) for link in links.values()))
        return {
            "versions": [
                {"version": each.id, "bytes": each.size_bytes, "made_ms": each.made_ms, "message": each.message}
                for each in deployment.versions
            ],
            "serving": _shares(deployment.serving),
            "before": deployment.before or None,
            "nodes": dict(zip(links, nodes, strict=True)),
        }

    async def _prepare(self, version_id: str) -> None:
        links = self._links()
        request = call_pb2.PrepareRequest(version=version_id)
        replies = await asyncio.gather(
            *(link.ask(PREPARE, request, call_pb2.PrepareReply, PREPARE_S_MAX) for link in links.values())
        )
        for node_id, reply in zip(links, replies, strict=True):
            if reply.HasField("failure"):
                error: HomingError = as_error(reply.failure)
                kind = Unavailable if isinstance(error, Unavailable) else BadRequest
                raise kind(f"node {node_id} cannot load the version: {error.message}")

    def _links(self) -> dict[str, NodeLink]:
        """The nodes that can be reached; the others load what serves when they come back."""
        links = {node_id: self._forwarder.links.get(node_id) for node_id in sorted(self._forwarder.table.nodes)}
        return {node_id: link for node_id, link in links.items() if link is not None and link.up}


async def _serving(link: NodeLink) -> list[dict[str, object]] | None:
    try:
        return _shares((await link.inspect(call_pb2.InspectRequest(node=call_pb2.InspectNode()))).node.serving)
    except Unavailable:
        return None


def _shares(shares: Iterable[Share | call_pb2.VersionShare]) -> list[dict[str, object]]:
    return [{"version": share.version or None, "percent": share.percent} for share in shares]
