from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppendOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPEND_OUTCOME_OK: _ClassVar[AppendOutcome]
    APPEND_OUTCOME_NEED: _ClassVar[AppendOutcome]
    APPEND_OUTCOME_FENCED: _ClassVar[AppendOutcome]
    APPEND_OUTCOME_DISTRUSTED: _ClassVar[AppendOutcome]
    APPEND_OUTCOME_INCOMPLETE: _ClassVar[AppendOutcome]
    APPEND_OUTCOME_FORGOT: _ClassVar[AppendOutcome]
APPEND_OUTCOME_OK: AppendOutcome
APPEND_OUTCOME_NEED: AppendOutcome
APPEND_OUTCOME_FENCED: AppendOutcome
APPEND_OUTCOME_DISTRUSTED: AppendOutcome
APPEND_OUTCOME_INCOMPLETE: AppendOutcome
APPEND_OUTCOME_FORGOT: AppendOutcome

class Hello(_message.Message):
    __slots__ = ("cluster", "node", "incarnation", "disk")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    incarnation: str
    disk: str
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ..., incarnation: _Optional[str] = ..., disk: _Optional[str] = ...) -> None: ...

class Append(_message.Message):
    __slots__ = ("slot", "epoch", "claimant", "prev_lsn", "prev_epoch", "prev_hash", "records", "commit", "trim")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLAIMANT_FIELD_NUMBER: _ClassVar[int]
    PREV_LSN_FIELD_NUMBER: _ClassVar[int]
    PREV_EPOCH_FIELD_NUMBER: _ClassVar[int]
    PREV_HASH_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    TRIM_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    claimant: str
    prev_lsn: int
    prev_epoch: int
    prev_hash: bytes
    records: _containers.RepeatedScalarFieldContainer[bytes]
    commit: int
    trim: int
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., claimant: _Optional[str] = ..., prev_lsn: _Optional[int] = ..., prev_epoch: _Optional[int] = ..., prev_hash: _Optional[bytes] = ..., records: _Optional[_Iterable[bytes]] = ..., commit: _Optional[int] = ..., trim: _Optional[int] = ...) -> None: ...

class Appended(_message.Message):
    __slots__ = ("slot", "epoch", "outcome", "lsn", "promised", "applied")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    outcome: AppendOutcome
    lsn: int
    promised: int
    applied: int
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., outcome: _Optional[_Union[AppendOutcome, str]] = ..., lsn: _Optional[int] = ..., promised: _Optional[int] = ..., applied: _Optional[int] = ...) -> None: ...

class Seal(_message.Message):
    __slots__ = ("slot", "epoch", "claimant")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLAIMANT_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    claimant: str
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., claimant: _Optional[str] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("slot", "epoch", "accepted", "promised", "last_epoch", "last_lsn", "last_hash", "snapshot_lsn", "healthy", "trimmed")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    LAST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_LSN_FIELD_NUMBER: _ClassVar[int]
    LAST_HASH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_LSN_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    TRIMMED_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    accepted: bool
    promised: int
    last_epoch: int
    last_lsn: int
    last_hash: bytes
    snapshot_lsn: int
    healthy: bool
    trimmed: int
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., accepted: bool = ..., promised: _Optional[int] = ..., last_epoch: _Optional[int] = ..., last_lsn: _Optional[int] = ..., last_hash: _Optional[bytes] = ..., snapshot_lsn: _Optional[int] = ..., healthy: bool = ..., trimmed: _Optional[int] = ...) -> None: ...

class Fetch(_message.Message):
    __slots__ = ("slot", "epoch", "from_lsn")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_LSN_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    from_lsn: int
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., from_lsn: _Optional[int] = ...) -> None: ...

class Fetched(_message.Message):
    __slots__ = ("slot", "epoch", "from_lsn", "records", "last")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_LSN_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    from_lsn: int
    records: _containers.RepeatedScalarFieldContainer[bytes]
    last: bool
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., from_lsn: _Optional[int] = ..., records: _Optional[_Iterable[bytes]] = ..., last: bool = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("slot", "epoch", "claimant", "base_lsn", "base_epoch", "base_hash", "part", "objects", "last", "joins")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLAIMANT_FIELD_NUMBER: _ClassVar[int]
    BASE_LSN_FIELD_NUMBER: _ClassVar[int]
    BASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    BASE_HASH_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    JOINS_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    claimant: str
    base_lsn: int
    base_epoch: int
    base_hash: bytes
    part: int
    objects: _containers.RepeatedCompositeFieldContainer[SnapshotObject]
    last: bool
    joins: bool
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., claimant: _Optional[str] = ..., base_lsn: _Optional[int] = ..., base_epoch: _Optional[int] = ..., base_hash: _Optional[bytes] = ..., part: _Optional[int] = ..., objects: _Optional[_Iterable[_Union[SnapshotObject, _Mapping]]] = ..., last: bool = ..., joins: bool = ...) -> None: ...

class SnapshotObject(_message.Message):
    __slots__ = ("id", "data", "page_count", "first_page", "pages", "wake_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_PAGE_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    WAKE_MS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    data: bytes
    page_count: int
    first_page: int
    pages: _containers.RepeatedScalarFieldContainer[bytes]
    wake_ms: int
    def __init__(self, id: _Optional[bytes] = ..., data: _Optional[bytes] = ..., page_count: _Optional[int] = ..., first_page: _Optional[int] = ..., pages: _Optional[_Iterable[bytes]] = ..., wake_ms: _Optional[int] = ...) -> None: ...

class Snapshotted(_message.Message):
    __slots__ = ("slot", "epoch", "base_lsn", "part", "whole", "again")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BASE_LSN_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    base_lsn: int
    part: int
    whole: bool
    again: bool
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., base_lsn: _Optional[int] = ..., part: _Optional[int] = ..., whole: bool = ..., again: bool = ...) -> None: ...

class Compare(_message.Message):
    __slots__ = ("slot", "epoch", "claimant", "lsn", "lsn_epoch", "hash", "differs")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLAIMANT_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    LSN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    DIFFERS_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    claimant: str
    lsn: int
    lsn_epoch: int
    hash: bytes
    differs: bool
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., claimant: _Optional[str] = ..., lsn: _Optional[int] = ..., lsn_epoch: _Optional[int] = ..., hash: _Optional[bytes] = ..., differs: bool = ...) -> None: ...

class Compared(_message.Message):
    __slots__ = ("slot", "epoch", "lsn", "digest")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    lsn: int
    digest: bytes
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., lsn: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Confirm(_message.Message):
    __slots__ = ("round", "slots", "epochs")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    round: int
    slots: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, round: _Optional[int] = ..., slots: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ...) -> None: ...

class Confirmed(_message.Message):
    __slots__ = ("round", "refused_slots", "refused_promises")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    REFUSED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_PROMISES_FIELD_NUMBER: _ClassVar[int]
    round: int
    refused_slots: _containers.RepeatedScalarFieldContainer[int]
    refused_promises: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, round: _Optional[int] = ..., refused_slots: _Optional[_Iterable[int]] = ..., refused_promises: _Optional[_Iterable[int]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("slots", "epochs", "first")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    slots: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    first: bool
    def __init__(self, slots: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., first: bool = ...) -> None: ...

class PeerPiece(_message.Message):
    __slots__ = ("id", "data", "last", "fetched")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    id: int
    data: bytes
    last: bool
    fetched: bool
    def __init__(self, id: _Optional[int] = ..., data: _Optional[bytes] = ..., last: bool = ..., fetched: bool = ...) -> None: ...

class PeerBatch(_message.Message):
    __slots__ = ("hello", "appends", "appended", "seals", "sealed", "fetches", "fetched", "confirms", "confirmed", "pieces", "offers", "snapshots", "snapshotted", "compares", "compared")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    APPENDS_FIELD_NUMBER: _ClassVar[int]
    APPENDED_FIELD_NUMBER: _ClassVar[int]
    SEALS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    FETCHES_FIELD_NUMBER: _ClassVar[int]
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTTED_FIELD_NUMBER: _ClassVar[int]
    COMPARES_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    appends: _containers.RepeatedCompositeFieldContainer[Append]
    appended: _containers.RepeatedCompositeFieldContainer[Appended]
    seals: _containers.RepeatedCompositeFieldContainer[Seal]
    sealed: _containers.RepeatedCompositeFieldContainer[Sealed]
    fetches: _containers.RepeatedCompositeFieldContainer[Fetch]
    fetched: _containers.RepeatedCompositeFieldContainer[Fetched]
    confirms: _containers.RepeatedCompositeFieldContainer[Confirm]
    confirmed: _containers.RepeatedCompositeFieldContainer[Confirmed]
    pieces: _containers.RepeatedCompositeFieldContainer[PeerPiece]
    offers: _containers.RepeatedCompositeFieldContainer[Offer]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    snapshotted: _containers.RepeatedCompositeFieldContainer[Snapshotted]
    compares: _containers.RepeatedCompositeFieldContainer[Compare]
    compared: _containers.RepeatedCompositeFieldContainer[Compared]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., appends: _Optional[_Iterable[_Union[Append, _Mapping]]] = ..., appended: _Optional[_Iterable[_Union[Appended, _Mapping]]] = ..., seals: _Optional[_Iterable[_Union[Seal, _Mapping]]] = ..., sealed: _Optional[_Iterable[_Union[Sealed, _Mapping]]] = ..., fetches: _Optional[_Iterable[_Union[Fetch, _Mapping]]] = ..., fetched: _Optional[_Iterable[_Union[Fetched, _Mapping]]] = ..., confirms: _Optional[_Iterable[_Union[Confirm, _Mapping]]] = ..., confirmed: _Optional[_Iterable[_Union[Confirmed, _Mapping]]] = ..., pieces: _Optional[_Iterable[_Union[PeerPiece, _Mapping]]] = ..., offers: _Optional[_Iterable[_Union[Offer, _Mapping]]] = ..., snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., snapshotted: _Optional[_Iterable[_Union[Snapshotted, _Mapping]]] = ..., compares: _Optional[_Iterable[_Union[Compare, _Mapping]]] = ..., compared: _Optional[_Iterable[_Union[Compared, _Mapping]]] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("cluster", "node")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("node", "incarnation")
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    node: str
    incarnation: str
    def __init__(self, node: _Optional[str] = ..., incarnation: _Optional[str] = ...) -> None: ...
