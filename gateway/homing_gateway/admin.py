"""The routes that look and change nothing: the cluster, a class's objects, one object. They wake no object."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qs

from homing.errors import BadRequest, HomingError, NotFound, Unavailable
from homing.ids import OBJECT_ID_BYTES, bound_of, first_id
from homing.listing import LIST_OBJECTS_MAX, in_bounds
from homing.locations import Jurisdiction, Layout
from homing.wire.v1 import call_pb2
from homing_gateway.limits import LIST_OBJECTS_DEFAULT, VERIFY_S_MAX
from homing_gateway.routes import Route
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.limits import RETRY_S_MAX
from homing_placement.routing.link import NodeLink
from homing_placement.routing.listing import every_link, link_of, list_objects
from homing_placement.routing.policy import error_of

DRAIN = "/homing.wire.v1.Calls/Drain"
MOVE = "/homing.wire.v1.Calls/Move"
VERIFY = "/homing.wire.v1.Calls/Verify"

_DESCRIBE_TRIES = 6


class Admin:
    """Answers admin routes by asking the nodes.

    Args:
        forwarder: for its table and its links.
        slots: how many slots the cluster has for objects that no jurisdiction binds.
        jurisdictions: each has further slots of its own.
    """

    def __init__(self, forwarder: Forwarder, slots: int, jurisdictions: Sequence[Jurisdiction] = ()) -> None:
        self._forwarder = forwarder
        self._layout = Layout(slots, jurisdictions)

    async def describe(self, route: Route) -> dict[str, object]:
        """Where one object lives.

        Raises:
            NotFound: it never existed.
            Unavailable: its slot has no owner that answers.
        """
        facts, epoch = await self._ask_owner(route)
        record = self._forwarder.table.route(route.slot)[1]
        return {
            "class": route.class_name,
            "name": facts.name or route.name or None,
            "id": route.object_id.hex(),
            "slot": route.slot,
            "owner": record.owner.node if record is not None and record.owner is not None else None,
            "epoch": epoch,
            "replicas": [replica.node for replica in record.replicas] if record is not None else [],
            "active": facts.active,
            "database_bytes": facts.database_bytes,
            "alarm": facts.alarm_ms or None,
            "sockets": facts.sockets,
            **self._bound_by(route.object_id),
        }

    def _bound_by(self, object_id: bytes) -> dict[str, str]:
        """What is said of an object only if a jurisdiction binds it; one that came later has no name here."""
        bound, names = bound_of(object_id), self._layout.names
        return {} if bound is None else {"jurisdiction": names[bound] if bound < len(names) else str(bound)}

    async def list_objects(self, route: Route, query: bytes) -> dict[str, object]:
        """One page of a class's objects, or of those in a jurisdiction, in the order of their ids.

        Raises:
            BadRequest: a limit or cursor that cannot be one.
            NotFound: there is no such class.
            Unavailable: a node did not answer, so the page would have holes.
        """
        class_name, bound = route.class_name, route.bound
        limit, after = _page(query)
        if bound is not None:
            after = after or first_id(class_name, bound).raw
        known = self._forwarder.classes.known
        if known and class_name not in known:
            raise NotFound(f"there is no class {class_name[:100]}")
        found = in_bounds(await list_objects(await every_link(self._forwarder), class_name, after, limit), bound)
        return {
            "objects": [
                {"class": class_name, **each._asdict(), **self._bound_by(bytes.fromhex(each.id))}
                for each in found.objects
            ],
            "cursor": found.cursor,
        }

    async def any_object(self) -> dict[str, object]:
        """One object of the cluster, if there is any.

        Raises:
            Unavailable: a node did not answer.
        """
        request = call_pb2.InspectRequest(any=call_pb2.InspectAny())
        replies = await asyncio.gather(*(link.inspect(request) for link in await every_link(self._forwarder)))
        found = [facts for reply in replies for facts in _checked(reply).objects]
        return {"objects": [_object_row(facts) for facts in found[:1]]}

    async def drain(self, node_id: str, *, stay: bool) -> dict[str, object]:
        """Tell a node to give every slot away, or to stay after all; it has begun when this returns.

        Raises:
            NotFound: no such node is registered.
            Unavailable: it did not answer.
        """
        link = link_of(self._forwarder, node_id)
        await link.ask(DRAIN, call_pb2.DrainRequest(stay=stay), call_pb2.DrainReply)
        return {"node": node_id, "state": "up" if stay else "draining"}

    async def move(self, slot: int, node_id: str) -> dict[str, object]:
        """Tell the owner of a slot to give it to another of its replicas, for good; it has begun when this returns.

        Raises:
            NotFound: no such node is registered, or there is no such slot.
            BadRequest: that node keeps no copy of the slot.
            Unavailable: the slot has no owner just now, or it did not answer.
        """
        if node_id not in self._forwarder.table.nodes:
            raise NotFound(f"there is no node {node_id[:100]}")
        link = owner_of(self._forwarder, slot, self._layout.count)
        if link.node.id != node_id:
            reply = await link.ask(MOVE, call_pb2.MoveRequest(slot=slot, node=node_id), call_pb2.MoveReply)
            if reply.HasField("failure"):
                raise as_error(reply.failure)
        return {"slot": slot, "node": node_id}

    async def verify(self, slot: int) -> dict[str, object]:
        """Have the owner of a slot compare the pages of its replicas.

        Raises:
            NotFound: there is no such slot.
            Unavailable: the slot has no owner just now, or it did not answer.
        """
        link = owner_of(self._forwarder, slot, self._layout.count)
        reply = await link.ask(VERIFY, call_pb2.VerifyRequest(slot=slot), call_pb2.VerifyReply, VERIFY_S_MAX)
        if reply.HasField("failure"):
            raise as_error(reply.failure)
        return {
            "slot": slot,
            "lsn": reply.lsn,
            "equal": sorted(reply.equal),
            "differing": sorted(reply.differing),
            "silent": sorted(reply.silent),
        }

    async def cluster(self) -> dict[str, object]:
        """Nodes, gateways, workers and slots, as far as they can be seen from here."""
        table = self._forwarder.table
        facts = dict(await asyncio.gather(*(self._node_facts(node_id) for node_id in table.nodes)))
        records = [(slot, record) for slot in range(self._layout.count) if (record := table.route(slot)[1]) is not None]
        owned: dict[str, int] = {}
        for _slot, record in records:
            if record.owner is not None:
                owned[record.owner.node] = owned.get(record.owner.node, 0) + 1
        return {
            "nodes": [
                {
                    "id": node.id,
                    "address": node.address,
                    "zone": node.zone,
                    "state": node.state if facts.get(node.id) is not None else "unreachable",
                    "slots": owned.get(node.id, 0),
                    "host": node.host,
                    "pid": node.pid,
                    "metrics": node.metrics,
                    "version": node.version,
                }
                for node in sorted(table.nodes.values(), key=lambda node: node.id)
            ],
            "gateways": [{"pid": peer.pid, "metrics": peer.metrics} for peer in table.gateways.values()],
            "workers": [
                {"pid": pid, "node": node_id}
                for node_id, node in sorted(facts.items())
                if node is not None
                for pid in node.worker_pids
            ],
            "jurisdictions": [
                {
                    "name": part.jurisdiction.name,
                    "zones": list(part.jurisdiction.zones),
                    "first_slot": part.first,
                    "slots": part.count,
                }
                for part in self._layout.parts
                if part.jurisdiction is not None
            ],
            "slots": [
                {
                    "slot": slot,
                    "state": str(record.state),
                    "owner": record.owner.node if record.owner is not None else None,
                    "epoch": record.epoch,
                    "replicas": [replica.node for replica in record.replicas],
                }
                for slot, record in records
            ],
        }

    async def _ask_owner(self, route: Route) -> tuple[call_pb2.ObjectFacts, int]:
        """Ask the owner, again with a fresh record while the slot moves."""
        error: HomingError = self._forwarder.unavailable(route.slot)
        for _ in range(_DESCRIBE_TRIES):
            link, epoch = self._forwarder.owner(route.slot)
            if link is not None:
                what = call_pb2.InspectObject(object=route.object_id, slot=route.slot, epoch=epoch)
                reply = await link.inspect(call_pb2.InspectRequest(object=what))
                if not reply.HasField("failure"):
                    if not reply.objects:
                        raise NotFound("this object does not exist")
                    return reply.objects[0], epoch
                error = as_error(reply.failure)
                if error.http_status != Unavailable.http_status:
                    raise error
            await self._forwarder.refresh(route.slot)
            await asyncio.sleep(RETRY_S_MAX)
        raise error

    async def _node_facts(self, node_id: str) -> tuple[str, call_pb2.NodeFacts | None]:
        link = self._forwarder.links.get(node_id)
        if link is None or not link.up:
            return node_id, None
        try:
            return node_id, (await link.inspect(call_pb2.InspectRequest(node=call_pb2.InspectNode()))).node
        except Unavailable:
            return node_id, None


def _page(query: bytes) -> tuple[int, bytes]:
    """The limit and the id after which a page starts."""
    try:
        fields = parse_qs(query.decode("ascii"), max_num_fields=10)
        limit = int(fields.get("limit", [str(LIST_OBJECTS_DEFAULT)])[0])
        after = bytes.fromhex(fields.get("cursor", [""])[0])
    except ValueError as error:
        raise BadRequest("limit must be a number, and cursor what an earlier page gave") from error
    if not 1 <= limit <= LIST_OBJECTS_MAX:
        raise BadRequest(f"limit must be from 1 to {LIST_OBJECTS_MAX}")
    if after and len(after) != OBJECT_ID_BYTES:
        raise BadRequest("cursor must be what an earlier page gave")
    return limit, after


def _object_row(facts: call_pb2.ObjectFacts) -> dict[str, object]:
    return {
        "class": facts.class_name,
        "name": facts.name or None,
        "id": facts.object.hex(),
        "active": facts.active,
        "database_bytes": facts.database_bytes,
    }


def owner_of(forwarder: Forwarder, slot: int, slots: int) -> NodeLink:
    """The link to the owner of a slot.

    Raises:
        NotFound: there is no such slot.
        Unavailable: it has no owner that can be reached.
    """
    if slot >= slots:
        raise NotFound(f"there is no slot {slot}: they are numbered from 0 to {slots - 1}")
    link, _ = forwarder.owner(slot)
    if link is None:
        raise forwarder.unavailable(slot)
    return link


def as_error(failure: call_pb2.Failure) -> HomingError:
    """What a node said went wrong, as a client of an admin route hears it."""
    error = error_of(failure)
    # To the client a node that does not own the slot any more is the same as no owner.
    return Unavailable(error.message, retry_after_s=error.retry_after_s) if error.code == "not-owner" else error


def _checked(reply: call_pb2.InspectReply) -> call_pb2.InspectReply:
    if reply.HasField("failure"):
        raise as_error(reply.failure)
    return reply
