"""What etcd holds for a cluster, as JSON: nodes, gateways, slots and the cluster's settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeVar, cast

import msgspec

from homing.errors import ConfigurationError
from homing.locations import Jurisdiction, extends, written

FORMAT = 1


class SlotState(StrEnum):
    """Whether the owner of a slot may serve it."""

    RECOVERING = "RECOVERING"  # claimed; its log is being recovered; `replicas` is still the authority
    ACTIVE = "ACTIVE"  # the owner serves, or nobody owns it yet


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """The one process that a slot record names: a node in one incarnation."""

    node: str
    incarnation: str


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """A node that keeps a slot's log, and the disk that it keeps it on."""

    node: str
    disk: str


class SlotRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fact of a slot. It changes only by a transaction that compares its mod_revision (rule 1).

    Attributes:
        epoch: the fencing number of this ownership; it never goes down.
        state: RECOVERING from the claim until the log is on a majority of `next_replicas`.
        owner: who claimed the epoch; None before the first claim.
        replicas: the last ACTIVE replicas, in wish order, the wished owner first.
        next_replicas: while RECOVERING, what `replicas` becomes (rule 14).
    """

    epoch: int
    state: SlotState
    owner: Owner | None
    replicas: tuple[Replica, ...]
    next_replicas: tuple[Replica, ...] | None = None

    @property
    def rank(self) -> tuple[int, bool]:
        """Records are ordered by this: epoch, then state (rule 3)."""
        return self.epoch, self.state is SlotState.ACTIVE

    @property
    def majority(self) -> int:
        """How many of `replicas` are a majority."""
        return len(self.replicas) // 2 + 1

    def claimed_by(
        self, owner: Owner, *, above: int = 0, first: bool = False, nexts: tuple[Replica, ...] = ()
    ) -> SlotRecord:
        """The record that a claim writes (rule 1).

        Args:
            owner: the claimant.
            above: the highest promise that was met.
            first: whether it takes the first place among the same replicas: then the slot belongs there from now on.
            nexts: the replicas that the slot shall have; empty leaves them as they are, also where another claim that
                did not come to its end wanted others: those may be gone.
        """
        epoch = max(self.epoch, above) + 1
        nexts = nexts or self.replicas
        if first:
            nexts = tuple(sorted(nexts, key=lambda replica: replica.node != owner.node))
        return SlotRecord(epoch, SlotState.RECOVERING, owner, self.replicas, nexts)

    def activated(self) -> SlotRecord:
        """The record that ends the recovery (rule 14)."""
        assert self.state is SlotState.RECOVERING, self
        return SlotRecord(self.epoch, SlotState.ACTIVE, self.owner, self.next_replicas or self.replicas)


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node that is registered; kept under a lease.

    Attributes:
        id: its name in the cluster, kept across restarts.
        address: host:port of its gRPC server.
        zone: nodes of one zone fail together.
        disk: id of its store; another one means other data (rule 17).
        incarnation: random at process start (rule 2).
        state: a draining node claims nothing.
        host: name of its machine.
        pid: of its process.
        metrics: host:port of its Prometheus endpoint, or empty.
        version: of the software.
    """

    id: str
    address: str
    disk: str
    incarnation: str
    zone: str = ""
    state: Literal["up", "draining"] = "up"
    host: str = ""
    pid: int = 0
    metrics: str = ""
    version: str = ""

    @property
    def owner(self) -> Owner:
        """How a slot record names this process."""
        return Owner(self.id, self.incarnation)


class GatewayRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway that is running; kept under a lease, only for those who look."""

    id: str
    pid: int = 0
    metrics: str = ""


class LoadRecord(msgspec.Struct, frozen=True):
    """The slots of a node that are much hotter than its others; kept under the node's lease.

    Loads are whole base 2 logarithms, and 0 is the same load on every node.

    Attributes:
        slots: slot and its load.
        usual: the load of the node's ordinary slots.
    """

    slots: tuple[tuple[int, int], ...] = ()
    usual: int = 0


class ClusterConfig(msgspec.Struct, frozen=True):
    """What can never change once a cluster exists: written once, by its first process."""

    slots: int
    format: int = FORMAT

    def check(self, slots: int) -> None:
        """Refuse to work on a cluster that was made otherwise.

        Raises:
            ConfigurationError: another number of slots, or a format that this version does not know.
        """
        if self.format != FORMAT:
            raise ConfigurationError(f"the cluster's records have format {self.format}; this version knows {FORMAT}")
        if self.slots != slots:
            raise ConfigurationError(
                f"this cluster was created with HOMING_SLOTS={self.slots}, this process has {slots}; it cannot change"
            )


class JurisdictionsRecord(msgspec.Struct, frozen=True):
    """What binds objects to zones in a cluster, by number: it only ever grows, so that nothing bound gets loose."""

    jurisdictions: tuple[Jurisdiction, ...] = ()

    def grown_to(self, wanted: tuple[Jurisdiction, ...]) -> JurisdictionsRecord:
        """The record after a node has come that is told these; itself if it says so already.

        Raises:
            ConfigurationError: the node lacks what the cluster has, or numbers it otherwise.
        """
        if not extends(wanted, self.jurisdictions):
            raise ConfigurationError(
                f"this cluster has HOMING_JURISDICTIONS={written(self.jurisdictions)}, this process has "
                f"{written(wanted) or 'none'}. Jurisdictions can be added behind those, and zones to each; set that"
            )
        grown = any(set(new.zones) > set(old.zones) for new, old in zip(wanted, self.jurisdictions, strict=False))
        return JurisdictionsRecord(wanted) if grown or len(wanted) > len(self.jurisdictions) else self


Record = SlotRecord | NodeRecord | GatewayRecord | LoadRecord | ClusterConfig | JurisdictionsRecord
_R = TypeVar("_R", SlotRecord, NodeRecord, GatewayRecord, LoadRecord, ClusterConfig, JurisdictionsRecord)

_encoder = msgspec.json.Encoder()
_KINDS = (SlotRecord, NodeRecord, GatewayRecord, LoadRecord, ClusterConfig, JurisdictionsRecord)
_decoders = {kind: msgspec.json.Decoder(kind) for kind in _KINDS}


def encode(record: Record) -> bytes:
    """The JSON of a record."""
    return _encoder.encode(record)


def decode(data: bytes, kind: type[_R]) -> _R:
    """The record that JSON says; unknown fields are skipped, so that newer versions may add some.

    Raises:
        ConfigurationError: it is not a record of this kind. Nobody but homing should write below its prefix.
    """
    try:
        return cast("_R", _decoders[kind].decode(data))
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"etcd holds something that is not a {kind.__name__}: {error}") from error
