from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_KIND_UNSPECIFIED: _ClassVar[CallKind]
    CALL_KIND_RPC: _ClassVar[CallKind]
    CALL_KIND_FETCH: _ClassVar[CallKind]
    CALL_KIND_DEFAULT: _ClassVar[CallKind]
    CALL_KIND_ALARM: _ClassVar[CallKind]
    CALL_KIND_METHOD: _ClassVar[CallKind]
    CALL_KIND_MESSAGE: _ClassVar[CallKind]
    CALL_KIND_SOCKET_CLOSE: _ClassVar[CallKind]
    CALL_KIND_SOCKET_ERROR: _ClassVar[CallKind]
    CALL_KIND_RUN: _ClassVar[CallKind]
    CALL_KIND_LIST: _ClassVar[CallKind]
    CALL_KIND_OUTBOUND: _ClassVar[CallKind]
    CALL_KIND_SANDBOX: _ClassVar[CallKind]
    CALL_KIND_GRANTED: _ClassVar[CallKind]

class FlowEnd(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLOW_END_UNSPECIFIED: _ClassVar[FlowEnd]
    FLOW_END_WHOLE: _ClassVar[FlowEnd]
    FLOW_END_BROKEN: _ClassVar[FlowEnd]

class SocketFrame(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOCKET_FRAME_UNSPECIFIED: _ClassVar[SocketFrame]
    SOCKET_FRAME_ATTACH: _ClassVar[SocketFrame]
    SOCKET_FRAME_TEXT: _ClassVar[SocketFrame]
    SOCKET_FRAME_BINARY: _ClassVar[SocketFrame]
    SOCKET_FRAME_CLOSE: _ClassVar[SocketFrame]
    SOCKET_FRAME_LOST: _ClassVar[SocketFrame]
    SOCKET_FRAME_GONE: _ClassVar[SocketFrame]

class TailKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TAIL_KIND_UNSPECIFIED: _ClassVar[TailKind]
    TAIL_KIND_LOG: _ClassVar[TailKind]
    TAIL_KIND_EXCEPTION: _ClassVar[TailKind]
    TAIL_KIND_OUTCOME: _ClassVar[TailKind]
CALL_KIND_UNSPECIFIED: CallKind
CALL_KIND_RPC: CallKind
CALL_KIND_FETCH: CallKind
CALL_KIND_DEFAULT: CallKind
CALL_KIND_ALARM: CallKind
CALL_KIND_METHOD: CallKind
CALL_KIND_MESSAGE: CallKind
CALL_KIND_SOCKET_CLOSE: CallKind
CALL_KIND_SOCKET_ERROR: CallKind
CALL_KIND_RUN: CallKind
CALL_KIND_LIST: CallKind
CALL_KIND_OUTBOUND: CallKind
CALL_KIND_SANDBOX: CallKind
CALL_KIND_GRANTED: CallKind
FLOW_END_UNSPECIFIED: FlowEnd
FLOW_END_WHOLE: FlowEnd
FLOW_END_BROKEN: FlowEnd
SOCKET_FRAME_UNSPECIFIED: SocketFrame
SOCKET_FRAME_ATTACH: SocketFrame
SOCKET_FRAME_TEXT: SocketFrame
SOCKET_FRAME_BINARY: SocketFrame
SOCKET_FRAME_CLOSE: SocketFrame
SOCKET_FRAME_LOST: SocketFrame
SOCKET_FRAME_GONE: SocketFrame
TAIL_KIND_UNSPECIFIED: TailKind
TAIL_KIND_LOG: TailKind
TAIL_KIND_EXCEPTION: TailKind
TAIL_KIND_OUTCOME: TailKind

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "slot", "epoch", "object", "class_name", "name", "kind", "method", "body", "more", "timeout_ms", "request_id", "traceparent", "key", "fingerprint", "url", "headers", "sent_ns", "chain", "lane", "order", "oldest", "activation", "target", "before", "flows")
    ID_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    id: int
    slot: int
    epoch: int
    object: bytes
    class_name: str
    name: str
    kind: CallKind
    method: str
    body: bytes
    more: bool
    timeout_ms: int
    request_id: str
    traceparent: str
    key: str
    fingerprint: bytes
    url: str
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    sent_ns: int
    chain: bytes
    lane: bytes
    order: int
    oldest: int
    activation: int
    target: int
    before: int
    flows: int
    def __init__(self, id: _Optional[int] = ..., slot: _Optional[int] = ..., epoch: _Optional[int] = ..., object: _Optional[bytes] = ..., class_name: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[CallKind, str]] = ..., method: _Optional[str] = ..., body: _Optional[bytes] = ..., more: bool = ..., timeout_ms: _Optional[int] = ..., request_id: _Optional[str] = ..., traceparent: _Optional[str] = ..., key: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., url: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., sent_ns: _Optional[int] = ..., chain: _Optional[bytes] = ..., lane: _Optional[bytes] = ..., order: _Optional[int] = ..., oldest: _Optional[int] = ..., activation: _Optional[int] = ..., target: _Optional[int] = ..., before: _Optional[int] = ..., flows: _Optional[int] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("id", "data", "last")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    id: int
    data: bytes
    last: bool
    def __init__(self, id: _Optional[int] = ..., data: _Optional[bytes] = ..., last: bool = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("id", "data", "end", "taken", "stop", "stream")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    id: int
    data: bytes
    end: FlowEnd
    taken: int
    stop: bool
    stream: int
    def __init__(self, id: _Optional[int] = ..., data: _Optional[bytes] = ..., end: _Optional[_Union[FlowEnd, str]] = ..., taken: _Optional[int] = ..., stop: bool = ..., stream: _Optional[int] = ...) -> None: ...

class CallBatch(_message.Message):
    __slots__ = ("calls", "pieces", "cancels", "sockets", "had_handles", "had_seqs", "flows")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    HAD_HANDLES_FIELD_NUMBER: _ClassVar[int]
    HAD_SEQS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    pieces: _containers.RepeatedCompositeFieldContainer[Piece]
    cancels: _containers.RepeatedScalarFieldContainer[int]
    sockets: _containers.RepeatedCompositeFieldContainer[FromSocket]
    had_handles: _containers.RepeatedScalarFieldContainer[int]
    had_seqs: _containers.RepeatedScalarFieldContainer[int]
    flows: _containers.RepeatedCompositeFieldContainer[Flow]
    def __init__(self, calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ..., pieces: _Optional[_Iterable[_Union[Piece, _Mapping]]] = ..., cancels: _Optional[_Iterable[int]] = ..., sockets: _Optional[_Iterable[_Union[FromSocket, _Mapping]]] = ..., had_handles: _Optional[_Iterable[int]] = ..., had_seqs: _Optional[_Iterable[int]] = ..., flows: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ...) -> None: ...

class SocketRef(_message.Message):
    __slots__ = ("class_name", "object", "name", "number", "live")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    object: bytes
    name: str
    number: int
    live: bool
    def __init__(self, class_name: _Optional[str] = ..., object: _Optional[bytes] = ..., name: _Optional[str] = ..., number: _Optional[int] = ..., live: bool = ...) -> None: ...

class FromSocket(_message.Message):
    __slots__ = ("handle", "kind", "seq", "base", "data", "more", "code", "reason", "clean", "socket", "slot", "epoch", "had")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CLEAN_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HAD_FIELD_NUMBER: _ClassVar[int]
    handle: int
    kind: SocketFrame
    seq: int
    base: int
    data: bytes
    more: bool
    code: int
    reason: str
    clean: bool
    socket: SocketRef
    slot: int
    epoch: int
    had: int
    def __init__(self, handle: _Optional[int] = ..., kind: _Optional[_Union[SocketFrame, str]] = ..., seq: _Optional[int] = ..., base: _Optional[int] = ..., data: _Optional[bytes] = ..., more: bool = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., clean: bool = ..., socket: _Optional[_Union[SocketRef, _Mapping]] = ..., slot: _Optional[int] = ..., epoch: _Optional[int] = ..., had: _Optional[int] = ...) -> None: ...

class ToSockets(_message.Message):
    __slots__ = ("handles", "kind", "seq", "data", "more", "code", "reason")
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    handles: _containers.RepeatedScalarFieldContainer[int]
    kind: SocketFrame
    seq: int
    data: bytes
    more: bool
    code: int
    reason: str
    def __init__(self, handles: _Optional[_Iterable[int]] = ..., kind: _Optional[_Union[SocketFrame, str]] = ..., seq: _Optional[int] = ..., data: _Optional[bytes] = ..., more: bool = ..., code: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "started", "retry_after_ms", "epoch", "owner", "error_type", "overloaded", "retryable")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    OVERLOADED_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    started: bool
    retry_after_ms: int
    epoch: int
    owner: str
    error_type: str
    overloaded: bool
    retryable: bool
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., started: bool = ..., retry_after_ms: _Optional[int] = ..., epoch: _Optional[int] = ..., owner: _Optional[str] = ..., error_type: _Optional[str] = ..., overloaded: bool = ..., retryable: bool = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("received_ns", "started_ns", "ended_ns", "released_ns")
    RECEIVED_NS_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    RELEASED_NS_FIELD_NUMBER: _ClassVar[int]
    received_ns: int
    started_ns: int
    ended_ns: int
    released_ns: int
    def __init__(self, received_ns: _Optional[int] = ..., started_ns: _Optional[int] = ..., ended_ns: _Optional[int] = ..., released_ns: _Optional[int] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("id", "body", "more", "failure", "status", "headers", "timing", "socket", "flows")
    ID_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    id: int
    body: bytes
    more: bool
    failure: Failure
    status: int
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    timing: Timing
    socket: SocketRef
    flows: int
    def __init__(self, id: _Optional[int] = ..., body: _Optional[bytes] = ..., more: bool = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., status: _Optional[int] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., socket: _Optional[_Union[SocketRef, _Mapping]] = ..., flows: _Optional[int] = ...) -> None: ...

class ReplyBatch(_message.Message):
    __slots__ = ("replies", "pieces", "sockets", "handled_handles", "handled_seqs", "flows")
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    HANDLED_HANDLES_FIELD_NUMBER: _ClassVar[int]
    HANDLED_SEQS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[Reply]
    pieces: _containers.RepeatedCompositeFieldContainer[Piece]
    sockets: _containers.RepeatedCompositeFieldContainer[ToSockets]
    handled_handles: _containers.RepeatedScalarFieldContainer[int]
    handled_seqs: _containers.RepeatedScalarFieldContainer[int]
    flows: _containers.RepeatedCompositeFieldContainer[Flow]
    def __init__(self, replies: _Optional[_Iterable[_Union[Reply, _Mapping]]] = ..., pieces: _Optional[_Iterable[_Union[Piece, _Mapping]]] = ..., sockets: _Optional[_Iterable[_Union[ToSockets, _Mapping]]] = ..., handled_handles: _Optional[_Iterable[int]] = ..., handled_seqs: _Optional[_Iterable[int]] = ..., flows: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("object", "list", "node", "any")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ANY_FIELD_NUMBER: _ClassVar[int]
    object: InspectObject
    list: ListObjects
    node: InspectNode
    any: InspectAny
    def __init__(self, object: _Optional[_Union[InspectObject, _Mapping]] = ..., list: _Optional[_Union[ListObjects, _Mapping]] = ..., node: _Optional[_Union[InspectNode, _Mapping]] = ..., any: _Optional[_Union[InspectAny, _Mapping]] = ...) -> None: ...

class InspectAny(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InspectObject(_message.Message):
    __slots__ = ("object", "slot", "epoch")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    object: bytes
    slot: int
    epoch: int
    def __init__(self, object: _Optional[bytes] = ..., slot: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class ListObjects(_message.Message):
    __slots__ = ("class_name", "after", "limit")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    after: bytes
    limit: int
    def __init__(self, class_name: _Optional[str] = ..., after: _Optional[bytes] = ..., limit: _Optional[int] = ...) -> None: ...

class InspectNode(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ObjectFacts(_message.Message):
    __slots__ = ("object", "class_name", "name", "active", "database_bytes", "alarm_ms", "sockets", "used_ms")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    DATABASE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ALARM_MS_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    USED_MS_FIELD_NUMBER: _ClassVar[int]
    object: bytes
    class_name: str
    name: str
    active: bool
    database_bytes: int
    alarm_ms: int
    sockets: int
    used_ms: int
    def __init__(self, object: _Optional[bytes] = ..., class_name: _Optional[str] = ..., name: _Optional[str] = ..., active: bool = ..., database_bytes: _Optional[int] = ..., alarm_ms: _Optional[int] = ..., sockets: _Optional[int] = ..., used_ms: _Optional[int] = ...) -> None: ...

class SlotFacts(_message.Message):
    __slots__ = ("slot", "epoch", "serving", "last_lsn", "commit_lsn", "applied_lsn", "lag_records")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    LAST_LSN_FIELD_NUMBER: _ClassVar[int]
    COMMIT_LSN_FIELD_NUMBER: _ClassVar[int]
    APPLIED_LSN_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    slot: int
    epoch: int
    serving: bool
    last_lsn: int
    commit_lsn: int
    applied_lsn: int
    lag_records: int
    def __init__(self, slot: _Optional[int] = ..., epoch: _Optional[int] = ..., serving: bool = ..., last_lsn: _Optional[int] = ..., commit_lsn: _Optional[int] = ..., applied_lsn: _Optional[int] = ..., lag_records: _Optional[int] = ...) -> None: ...

class NodeFacts(_message.Message):
    __slots__ = ("id", "host", "pid", "metrics", "version", "worker_pids", "slots", "classes", "has_default", "serving")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WORKER_PIDS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    HAS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    id: str
    host: str
    pid: int
    metrics: str
    version: str
    worker_pids: _containers.RepeatedScalarFieldContainer[int]
    slots: _containers.RepeatedCompositeFieldContainer[SlotFacts]
    classes: _containers.RepeatedScalarFieldContainer[str]
    has_default: bool
    serving: _containers.RepeatedCompositeFieldContainer[VersionShare]
    def __init__(self, id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., metrics: _Optional[str] = ..., version: _Optional[str] = ..., worker_pids: _Optional[_Iterable[int]] = ..., slots: _Optional[_Iterable[_Union[SlotFacts, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., has_default: bool = ..., serving: _Optional[_Iterable[_Union[VersionShare, _Mapping]]] = ...) -> None: ...

class VersionShare(_message.Message):
    __slots__ = ("version", "percent")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    version: str
    percent: int
    def __init__(self, version: _Optional[str] = ..., percent: _Optional[int] = ...) -> None: ...

class InspectReply(_message.Message):
    __slots__ = ("failure", "objects", "next", "node")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    objects: _containers.RepeatedCompositeFieldContainer[ObjectFacts]
    next: bytes
    node: NodeFacts
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., objects: _Optional[_Iterable[_Union[ObjectFacts, _Mapping]]] = ..., next: _Optional[bytes] = ..., node: _Optional[_Union[NodeFacts, _Mapping]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("stay",)
    STAY_FIELD_NUMBER: _ClassVar[int]
    stay: bool
    def __init__(self, stay: bool = ...) -> None: ...

class DrainReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MoveRequest(_message.Message):
    __slots__ = ("slot", "node")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    node: str
    def __init__(self, slot: _Optional[int] = ..., node: _Optional[str] = ...) -> None: ...

class MoveReply(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("slot",)
    SLOT_FIELD_NUMBER: _ClassVar[int]
    slot: int
    def __init__(self, slot: _Optional[int] = ...) -> None: ...

class VerifyReply(_message.Message):
    __slots__ = ("failure", "lsn", "equal", "differing", "silent")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    lsn: int
    equal: _containers.RepeatedScalarFieldContainer[str]
    differing: _containers.RepeatedScalarFieldContainer[str]
    silent: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., lsn: _Optional[int] = ..., equal: _Optional[_Iterable[str]] = ..., differing: _Optional[_Iterable[str]] = ..., silent: _Optional[_Iterable[str]] = ...) -> None: ...

class ReadSlotRequest(_message.Message):
    __slots__ = ("slot", "object", "whole")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    object: bytes
    whole: bool
    def __init__(self, slot: _Optional[int] = ..., object: _Optional[bytes] = ..., whole: bool = ...) -> None: ...

class SlotPart(_message.Message):
    __slots__ = ("failure", "head", "target", "objects", "end")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    head: SlotHead
    target: RestoreTarget
    objects: _containers.RepeatedCompositeFieldContainer[StoredObject]
    end: bool
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., head: _Optional[_Union[SlotHead, _Mapping]] = ..., target: _Optional[_Union[RestoreTarget, _Mapping]] = ..., objects: _Optional[_Iterable[_Union[StoredObject, _Mapping]]] = ..., end: bool = ...) -> None: ...

class SlotHead(_message.Message):
    __slots__ = ("cluster", "slot", "slots", "epoch", "promised", "lsn")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    slot: int
    slots: int
    epoch: int
    promised: int
    lsn: int
    def __init__(self, cluster: _Optional[str] = ..., slot: _Optional[int] = ..., slots: _Optional[int] = ..., epoch: _Optional[int] = ..., promised: _Optional[int] = ..., lsn: _Optional[int] = ...) -> None: ...

class StoredObject(_message.Message):
    __slots__ = ("object", "data_bytes", "page_count", "data", "first_page", "pages")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FIRST_PAGE_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    object: bytes
    data_bytes: int
    page_count: int
    data: bytes
    first_page: int
    pages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, object: _Optional[bytes] = ..., data_bytes: _Optional[int] = ..., page_count: _Optional[int] = ..., data: _Optional[bytes] = ..., first_page: _Optional[int] = ..., pages: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RestoreTarget(_message.Message):
    __slots__ = ("slot", "above", "restore", "overwrite")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    ABOVE_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    above: int
    restore: bytes
    overwrite: bool
    def __init__(self, slot: _Optional[int] = ..., above: _Optional[int] = ..., restore: _Optional[bytes] = ..., overwrite: bool = ...) -> None: ...

class RestoreReply(_message.Message):
    __slots__ = ("failure", "epoch", "objects")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    epoch: int
    objects: int
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., epoch: _Optional[int] = ..., objects: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("slot", "object")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    slot: int
    object: bytes
    def __init__(self, slot: _Optional[int] = ..., object: _Optional[bytes] = ...) -> None: ...

class DeleteReply(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("slot", "object", "query")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    slot: int
    object: bytes
    query: str
    def __init__(self, slot: _Optional[int] = ..., object: _Optional[bytes] = ..., query: _Optional[str] = ...) -> None: ...

class QueryReply(_message.Message):
    __slots__ = ("failure", "body")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    body: bytes
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., body: _Optional[bytes] = ...) -> None: ...

class ImportPart(_message.Message):
    __slots__ = ("target", "data", "end")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    target: ImportTarget
    data: bytes
    end: bool
    def __init__(self, target: _Optional[_Union[ImportTarget, _Mapping]] = ..., data: _Optional[bytes] = ..., end: bool = ...) -> None: ...

class ImportTarget(_message.Message):
    __slots__ = ("slot", "object", "class_name", "name", "overwrite")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    object: bytes
    class_name: str
    name: str
    overwrite: bool
    def __init__(self, slot: _Optional[int] = ..., object: _Optional[bytes] = ..., class_name: _Optional[str] = ..., name: _Optional[str] = ..., overwrite: bool = ...) -> None: ...

class ImportReply(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class EvictRequest(_message.Message):
    __slots__ = ("slot", "object", "at_once")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    object: bytes
    at_once: bool
    def __init__(self, slot: _Optional[int] = ..., object: _Optional[bytes] = ..., at_once: bool = ...) -> None: ...

class EvictReply(_message.Message):
    __slots__ = ("failure", "evicted")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    evicted: bool
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., evicted: bool = ...) -> None: ...

class TestRequest(_message.Message):
    __slots__ = ("run", "ring", "evict", "clock")
    RUN_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    EVICT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    run: TestObject
    ring: TestObject
    evict: TestObject
    clock: TestClock
    def __init__(self, run: _Optional[_Union[TestObject, _Mapping]] = ..., ring: _Optional[_Union[TestObject, _Mapping]] = ..., evict: _Optional[_Union[TestObject, _Mapping]] = ..., clock: _Optional[_Union[TestClock, _Mapping]] = ...) -> None: ...

class TestObject(_message.Message):
    __slots__ = ("slot", "object", "class_name", "name", "body")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    slot: int
    object: bytes
    class_name: str
    name: str
    body: bytes
    def __init__(self, slot: _Optional[int] = ..., object: _Optional[bytes] = ..., class_name: _Optional[str] = ..., name: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class TestClock(_message.Message):
    __slots__ = ("ahead_ms",)
    AHEAD_MS_FIELD_NUMBER: _ClassVar[int]
    ahead_ms: int
    def __init__(self, ahead_ms: _Optional[int] = ...) -> None: ...

class TestReply(_message.Message):
    __slots__ = ("failure", "body")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    body: bytes
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., body: _Optional[bytes] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    def __init__(self, version: _Optional[str] = ...) -> None: ...

class PrepareReply(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("class_name", "object", "level")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    object: bytes
    level: int
    def __init__(self, class_name: _Optional[str] = ..., object: _Optional[bytes] = ..., level: _Optional[int] = ...) -> None: ...

class TailBatch(_message.Message):
    __slots__ = ("events", "dropped", "failure")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[TailEvent]
    dropped: int
    failure: Failure
    def __init__(self, events: _Optional[_Iterable[_Union[TailEvent, _Mapping]]] = ..., dropped: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class TailEvent(_message.Message):
    __slots__ = ("kind", "time_ms", "level", "class_name", "object", "name", "version", "request_id", "message", "event", "outcome", "duration_us")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    kind: TailKind
    time_ms: int
    level: int
    class_name: str
    object: bytes
    name: str
    version: str
    request_id: str
    message: str
    event: str
    outcome: str
    duration_us: int
    def __init__(self, kind: _Optional[_Union[TailKind, str]] = ..., time_ms: _Optional[int] = ..., level: _Optional[int] = ..., class_name: _Optional[str] = ..., object: _Optional[bytes] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., request_id: _Optional[str] = ..., message: _Optional[str] = ..., event: _Optional[str] = ..., outcome: _Optional[str] = ..., duration_us: _Optional[int] = ...) -> None: ...

class RunCodeRequest(_message.Message):
    __slots__ = ("asked",)
    ASKED_FIELD_NUMBER: _ClassVar[int]
    asked: bytes
    def __init__(self, asked: _Optional[bytes] = ...) -> None: ...

class RunCodeReply(_message.Message):
    __slots__ = ("failure", "outcome", "output", "output_stream")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_STREAM_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    outcome: bytes
    output: bytes
    output_stream: int
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., outcome: _Optional[bytes] = ..., output: _Optional[bytes] = ..., output_stream: _Optional[int] = ...) -> None: ...

class RunsRequest(_message.Message):
    __slots__ = ("end",)
    END_FIELD_NUMBER: _ClassVar[int]
    end: int
    def __init__(self, end: _Optional[int] = ...) -> None: ...

class RunsReply(_message.Message):
    __slots__ = ("failure", "runs")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    runs: _containers.RepeatedCompositeFieldContainer[RunFacts]
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., runs: _Optional[_Iterable[_Union[RunFacts, _Mapping]]] = ...) -> None: ...

class RunFacts(_message.Message):
    __slots__ = ("number", "tenant", "pid", "age_ms", "cpu_ms", "memory_bytes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    CPU_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    number: int
    tenant: str
    pid: int
    age_ms: int
    cpu_ms: int
    memory_bytes: int
    def __init__(self, number: _Optional[int] = ..., tenant: _Optional[str] = ..., pid: _Optional[int] = ..., age_ms: _Optional[int] = ..., cpu_ms: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class GrantsRequest(_message.Message):
    __slots__ = ("revoke", "audit")
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    revoke: str
    audit: bool
    def __init__(self, revoke: _Optional[str] = ..., audit: bool = ...) -> None: ...

class GrantsReply(_message.Message):
    __slots__ = ("failure", "grants", "records")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    grants: _containers.RepeatedCompositeFieldContainer[GrantFacts]
    records: _containers.RepeatedCompositeFieldContainer[GrantRecord]
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., grants: _Optional[_Iterable[_Union[GrantFacts, _Mapping]]] = ..., records: _Optional[_Iterable[_Union[GrantRecord, _Mapping]]] = ...) -> None: ...

class GrantFacts(_message.Message):
    __slots__ = ("id", "name", "kind", "holder", "calls", "sent_bytes", "received_bytes", "left_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    kind: str
    holder: str
    calls: int
    sent_bytes: int
    received_bytes: int
    left_ms: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., holder: _Optional[str] = ..., calls: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., left_ms: _Optional[int] = ...) -> None: ...

class GrantRecord(_message.Message):
    __slots__ = ("at_ms", "holder", "grant_id", "grant", "kind", "method", "host", "port", "path", "outcome", "rule", "detail", "status", "sent_bytes", "received_bytes", "took_ms")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    holder: str
    grant_id: str
    grant: str
    kind: str
    method: str
    host: str
    port: int
    path: str
    outcome: str
    rule: str
    detail: str
    status: int
    sent_bytes: int
    received_bytes: int
    took_ms: float
    def __init__(self, at_ms: _Optional[int] = ..., holder: _Optional[str] = ..., grant_id: _Optional[str] = ..., grant: _Optional[str] = ..., kind: _Optional[str] = ..., method: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., path: _Optional[str] = ..., outcome: _Optional[str] = ..., rule: _Optional[str] = ..., detail: _Optional[str] = ..., status: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., took_ms: _Optional[float] = ...) -> None: ...
