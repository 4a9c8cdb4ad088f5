"""The grants that sandboxes of a node hold: opened for a run, asked by its code, revoked by whoever gave them.

    hand = grants.open(asked.grants, giver, holder="run 7")
    await hand.ask(0, "fetch", arguments)
    hand.close()

A run knows its grants by their places, 0, 1, …, and nothing else of them. Every call leaves a record, granted or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from homing.errors import BadRequest, Forbidden, NotFound, Overloaded
from homing.grants import FETCH, FILES, HTTP, KEY_BYTES, KV, NAMED, SQL, STUB, Given, check_files, check_name
from homing_node import limits
from homing_node.broker.audit import AuditRecord
from homing_node.broker.egress import Egress
from homing_node.broker.http_grant import OpenHttpGrant, within_answers
from homing_node.broker.network import Network
from homing_node.broker.object_grant import OpenObjectGrant, Origin, Routes, object_grant
from homing_node.broker.opened import GrantUse, Opened
from homing_node.broker.policy import read_grant
from homing_node.broker.room import Room


@dataclass(frozen=True, slots=True)
class Giver:
    """Whose grants they are: nobody gives more than there is here.

    Attributes:
        holder: who it is, for audits.
        fetch_hosts: where its code may send requests itself.
        secrets: the names of the secrets that its configuration declares.
        configured: the grants that its configuration has, by name.
        classes: of objects.
        origin: on whose behalf calls to objects are made.
        named_only: it may name grants of the configuration, and make none of its own.
    """

    holder: str
    fetch_hosts: Sequence[str] = ()
    secrets: Sequence[str] = ()
    configured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    classes: Collection[str] = ()
    origin: Origin = field(default_factory=Origin)
    named_only: bool = False


class Offer(NamedTuple):
    """What a sandbox is told of a grant.

    Attributes:
        name: in `env`.
        kind: of what stands there.
        operations: what can be asked for; of files, they themselves, and whether they may be changed.
    """

    name: str
    kind: str
    operations: Sequence[Any]


class Granted(Protocol):
    """A grant that is open."""

    id: str

    def ask(self, operation: str, arguments: bytes) -> Awaitable[bytes]:
        """Do what is asked for."""
        ...

    def use(self) -> GrantUse:
        """What it has been used for."""
        ...

    def revoke(self) -> None:
        """End it: what is under way breaks off."""
        ...

    def close(self) -> None:
        """End it: nobody is there any more who could use it."""
        ...


OnUse = Callable[[AuditRecord], None]


class Hand:
    """The grants of one run, in their order.

    Attributes:
        offers: what its sandbox is told of them.
    """

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self._opened: dict[int, Granted] = {}

    def add(self, offer: Offer, opened: Granted | None) -> None:
        """One more; of files nothing is asked, for they are in the sandbox."""
        if opened is not None:
            self._opened[len(self.offers)] = opened
        self.offers.append(offer)

    def has(self, place: int) -> bool:
        """Whether something can be asked under the grant at a place."""
        return place in self._opened

    def ask(self, place: int, operation: str, arguments: bytes) -> Awaitable[bytes]:
        """Do what code asks for under one of them; see `Granted`."""
        return self._opened[place].ask(operation, arguments)

    def close(self) -> None:
        """The run is over. Idempotent."""
        for opened in self._opened.values():
            opened.close()


class Grants:
    """The open grants of a node, and what was done under them lately.

    Args:
        routes: to objects; None: there are none.
        secret_of: the value of a secret, by its name; None: there is none.
        count: told of every call: its kind and its outcome.
        network: only a test of the broker gives one.

    Attributes:
        records: of the audit, the oldest first.
    """

    def __init__(
        self, routes: Routes | None = None, secret_of: Callable[[str], str | None] = lambda _: None,
        count: Callable[[str, str], object] = lambda kind, outcome: None, network: Network | None = None,
    ) -> None:  # fmt: skip
        self.records: deque[AuditRecord] = deque(maxlen=limits.grant_audit_records_max)
        self._routes, self._secret_of, self._count = routes, secret_of, count
        self._egress = Egress(partial(self._audit, None), network)
        self._room = Room()
        self._open: dict[str, tuple[bytes, Granted]] = {}

    def open(
        self, given: Sequence[Given], giver: Giver, holder: str, on_use: OnUse | None = None, tenant: str = ""
    ) -> Hand:
        """Open grants for a run.

        Args:
            given: the grants.
            giver: whose they are.
            holder: who gets them, for audits.
            on_use: told of every call under them, when it is over; it must bound what it keeps.
            tenant: whose calls they are: each has its share of what a node does at one time.

        Raises:
            BadRequest: one of them cannot be granted.
            Forbidden: the giver does not have all of that to give.
            NotFound: the configuration has no grant of that name, or there is no such class.
            Overloaded: too many are open on this node.
        """
        _check(given)
        if len(self._open) + len(given) > limits.grants_open_max:
            raise Overloaded("too many grants are open on this node", retry_after_s=1.0)
        hand = Hand()
        try:
            for each in given:
                self._add(hand, each, giver, f"{holder} of {giver.holder}", partial(self._audit, on_use), tenant)
        except BaseException:
            hand.close()
            raise
        return hand

    def _add(self, hand: Hand, given: Given, giver: Giver, holder: str, audit: OnUse, tenant: str) -> None:
        kind, says = _said(given, giver)
        if kind == FILES:
            hand.add(Offer(given.name, kind, _files(says)), None)
            return
        if kind == HTTP:
            granted = within_answers(read_grant({**says, "name": given.name}))
            secrets = {name: value for name in giver.secrets if (value := self._secret_of(name)) is not None}
            egress = self._egress.open(
                granted, holder=holder, fetch_hosts=giver.fetch_hosts, secrets=secrets, tenant=tenant,
                on_end=self._ended, audit=audit,
            )  # fmt: skip
            opened: Granted = OpenHttpGrant(egress)
            operations: Sequence[str] = OpenHttpGrant.OPERATIONS
        elif kind in (STUB, SQL, KV, FETCH):
            wanted = object_grant({**says, "name": given.name, "kind": kind})
            if wanted.class_name not in giver.classes:
                raise NotFound(f"there is no class {wanted.class_name[:100]}")
            operations = list(wanted.operations)
            opened = OpenObjectGrant(
                wanted, holder, giver.origin, routes=self._routes, room=self._room, tenant=tenant,
                audit=audit, on_end=self._ended,
            )  # fmt: skip
        else:
            raise BadRequest(f"there is no kind of grants {kind[:100]!r}")
        self._open[opened.id] = given.key, opened
        hand.add(Offer(given.name, kind, operations), opened)

    def uses(self) -> list[GrantUse]:
        """Every open grant."""
        return [opened.use() for _, opened in self._open.values()]

    def revoke(self, grant_id: str) -> None:
        """Revoke one.

        Raises:
            NotFound: none of that id is open here.
        """
        found = self._open.get(grant_id)
        if found is None:
            raise NotFound(f"no grant {grant_id[:100]} is open here")
        found[1].revoke()

    def revoke_all(self, key: bytes) -> None:
        """Revoke those that were opened of what a giver made; that may be none."""
        for opened in [opened for of, opened in self._open.values() if of == key]:
            opened.revoke()

    async def close(self) -> None:
        """End all of them."""
        for _, opened in list(self._open.values()):
            opened.close()
        await self._egress.close()

    def _ended(self, opened: Opened) -> None:
        self._open.pop(opened.id, None)

    def _audit(self, on_use: OnUse | None, record: AuditRecord) -> None:
        self.records.append(record)
        self._count(record.kind, record.outcome)
        if on_use is not None:
            on_use(record)


def _check(given: Sequence[Given]) -> None:
    if len(given) > limits.grants_per_run_max:
        raise BadRequest(f"{len(given)} grants; at most {limits.grants_per_run_max}")
    for each in given:
        check_name(each.name)
        if len(each.key) != KEY_BYTES:
            raise BadRequest("a grant without a key")
    if len({each.name for each in given}) < len(given):
        raise BadRequest("two grants have the same name")


def _said(given: Given, giver: Giver) -> tuple[str, Mapping[str, Any]]:
    """The kind of a grant, and what it says: its own, or the configuration's."""
    if given.kind != NAMED:
        if giver.named_only:
            raise Forbidden("a grant is named here, and not made: the application's configuration has it")
        return given.kind, _plain(given.says)
    name = _plain(given.says).get("grant")
    found = giver.configured.get(name) if isinstance(name, str) else None
    if found is None:
        raise NotFound(f"the application's configuration has no grant {str(name)[:100]!r}")
    says = dict(found)
    return cast("str", says.pop("kind")), says


def _files(says: Mapping[str, Any]) -> tuple[Mapping[str, bytes], bool]:
    try:
        tree, scratch = msgspec.convert((says["files"], says["scratch"]), tuple[dict[str, bytes], bool])
    except (msgspec.ValidationError, LookupError) as error:
        raise BadRequest(f"these are no files: {error}") from error
    check_files(tree)
    return tree, scratch


def _plain(says: bytes) -> dict[str, Any]:
    try:
        return msgspec.msgpack.decode(says, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"that cannot be granted: {error}") from error
