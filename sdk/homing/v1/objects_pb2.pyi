from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CallRequest(_message.Message):
    __slots__ = ("class_name", "name", "method", "arguments_json", "idempotency_key", "timeout_ms", "request_id")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    name: str
    method: str
    arguments_json: bytes
    idempotency_key: str
    timeout_ms: int
    request_id: str
    def __init__(self, class_name: _Optional[str] = ..., name: _Optional[str] = ..., method: _Optional[str] = ..., arguments_json: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("result_json", "request_id")
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    result_json: bytes
    request_id: str
    def __init__(self, result_json: _Optional[bytes] = ..., request_id: _Optional[str] = ...) -> None: ...
