"""Every error that homing raises or answers with: one tree, one sentence a class.

A `code` is the error's name on the wire, in problem documents (`type` ends in it) and in logs; it never changes.
`retryable` says whether the same call, sent again, can succeed without a change and cannot have run already.
`hint` says what to do. What a stub raises also says `remote`, that the called object's own code raised it, and
`overloaded`, that it must not be sent again for now. Foreign errors are mapped to this tree once, at the edge where
they appear.
"""

from __future__ import annotations

from typing import ClassVar


class HomingError(Exception):
    """The root of the tree; raised itself only for a code that this version does not know.

    Attributes:
        code: the error's name in problem documents and logs; it never changes.
        hint: what to do about it, or empty.
        retryable: the same call, sent again, can succeed without a change and cannot have run already.
        overloaded: it must not be sent again for now.
        remote: the called object's own code raised it.
        retry_after_s: seconds after which to try again, where whoever refused the call said so.
        http_status, grpc_status, close_code: what it is over HTTP, gRPC and on a WebSocket.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    close_code: ClassVar[int] = 1011
    retryable: bool = False
    overloaded: bool = False
    remote: bool = False
    hint: str = ""

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        """The sentence that explains this occurrence."""
        return str(self.args[0])


class BadRequest(HomingError):
    """The request cannot be understood."""

    code = "bad-request"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"
    close_code = 1007


class UnknownLocation(BadRequest):
    """There is no such jurisdiction or location hint."""

    code = "unknown-location"
    hint = "Name one of those that the message lists; an operator gives the cluster its jurisdictions."


class Unauthenticated(HomingError):
    """The request carries no valid token."""

    code = "unauthenticated"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"
    close_code = 1008
    hint = "Send `Authorization: Bearer <HOMING_API_TOKEN>`."


class Forbidden(HomingError):
    """The request came from an origin or for a host that is not served."""

    code = "forbidden"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"
    close_code = 1008


class GrantEnded(Forbidden):
    """The grant was revoked, has expired or is used up."""

    code = "grant-ended"
    hint = "Whoever gave it can give another."


class AnswerRefused(HomingError):
    """What a host outside answered may not be passed on: it is too long, cannot be read, or gives back a secret."""

    code = "answer-refused"
    http_status = 502
    grpc_status = "OUT_OF_RANGE"


class NotFound(HomingError):
    """There is no such class, method, object or route."""

    code = "not-found"
    http_status = 404
    grpc_status = "NOT_FOUND"
    close_code = 1008


class MethodNotAllowed(HomingError):
    """The route exists, but not for this verb."""

    code = "method-not-allowed"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"
    close_code = 1008


class TooLarge(HomingError):
    """A body, name or value is over its limit."""

    code = "too-large"
    http_status = 413
    grpc_status = "OUT_OF_RANGE"
    close_code = 1009


class UnsupportedMediaType(HomingError):
    """The body is of a kind that this route does not take."""

    code = "unsupported-media-type"
    http_status = 415
    grpc_status = "INVALID_ARGUMENT"
    close_code = 1003
    hint = "Send `content-type: application/json`."


class KeyReused(HomingError):
    """The idempotency key was used before for another call."""

    code = "key-reused"
    http_status = 422
    grpc_status = "ALREADY_EXISTS"
    hint = "Make a new key for every distinct call."


class BrokenOff(HomingError):
    """A turn of this call was committed but its end was not; it will never run again under this key."""

    code = "outcome-unknown"
    http_status = 409
    grpc_status = "ABORTED"
    hint = "Read the object's state to learn how far it came; use a new key to run it again."


class Overloaded(HomingError):
    """Too much is queued for this object, node or gateway.

    Attributes:
        cause: of an object: `calls`, too many are queued; `bytes`, too many bytes are; `wait`, the call was queued for
            too long; `rate`, too many came within ten seconds. Else empty.
    """

    code = "overloaded"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    close_code = 1013
    retryable = True
    overloaded = True
    hint = "Slow down and try again after Retry-After."

    def __init__(self, message: str = "", *, cause: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.cause = cause


class ApplicationError(HomingError):
    """The object's own code raised.

    Attributes:
        error_type: the name of the class that it raised.
    """

    code = "application-error"
    http_status = 500
    grpc_status = "UNKNOWN"

    def __init__(self, message: str = "", *, error_type: str = "Exception") -> None:
        super().__init__(message)
        self.error_type = error_type


class ObjectReset(HomingError):
    """The activation was reset before this call committed anything."""

    code = "object-reset"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class OutcomeUnknown(HomingError):
    """The call may or may not have taken effect; with a key, send it again."""

    code = "outcome-unknown"
    http_status = 502
    grpc_status = "UNAVAILABLE"
    hint = "Send the call with an Idempotency-Key; repeating it then gives its one answer."


class Unavailable(HomingError):
    """The object has no owner at the moment, or no majority of its replicas answers."""

    code = "unavailable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    close_code = 1013
    retryable = True


class JurisdictionUnavailable(Unavailable):
    """No node in the zones of the object's jurisdiction can be reached; the object lives nowhere else."""

    code = "jurisdiction-unavailable"
    hint = "Bring back nodes in the zones that the message lists."


class NotOwner(HomingError):
    """The node that was asked does not own the slot (any more).

    Attributes:
        epoch: the one that the node knows.
        owner: the owner's node id, or empty.
    """

    code = "not-owner"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    close_code = 1012
    retryable = True

    def __init__(self, message: str = "", *, epoch: int = 0, owner: str = "") -> None:
        super().__init__(message)
        self.epoch = epoch
        self.owner = owner


class DeadlineExceeded(HomingError):
    """The deadline passed before the answer was there; the call may still take effect."""

    code = "deadline-exceeded"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class NotSupported(HomingError):
    """This version does not have the feature yet."""

    code = "not-supported"
    http_status = 501
    grpc_status = "UNIMPLEMENTED"


class StorageError(HomingError):
    """A storage call was refused: bad SQL, a limit, or something the object may not do."""

    code = "storage-error"
    http_status = 500
    grpc_status = "FAILED_PRECONDITION"


class CommitTooLarge(StorageError):
    """The transaction changed more pages than one commit may hold; it was rolled back."""

    code = "commit-too-large"


class DatabaseFull(StorageError):
    """The object's database would grow past its limit; the transaction was rolled back."""

    code = "database-full"


class SandboxError(HomingError):
    """Code in a sandbox raised, or is none.

    Attributes:
        error_type: the name of the class that it raised.
        traceback: of the code, as text; empty where there is none.
    """

    code = "sandbox-error"
    http_status = 422
    grpc_status = "FAILED_PRECONDITION"

    def __init__(self, message: str = "", *, error_type: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type
        self.traceback = traceback


class SandboxSyntaxError(SandboxError):
    """The code that a sandbox was to run is none of its language."""

    code = "sandbox-syntax"


class SandboxNoValue(SandboxError):
    """The result of code in a sandbox is of a type that cannot be sent."""

    code = "sandbox-no-value"
    hint = "End the code with None, a number, text, bytes, a datetime, or lists, dicts and sets of these."


class SandboxLimit(SandboxError):
    """Code in a sandbox used more than it may."""

    code = "sandbox-limit"
    hint = "Give the run a higher limit."

    @property
    def limit(self) -> str:
        """The field of `homing.sandboxes.Limits`."""
        return self.error_type


class SandboxDied(SandboxError):
    """The process of a sandbox ended before its code did, or broke the protocol of its channel, and was ended."""

    code = "sandbox-died"


class ConfigurationError(HomingError):
    """A setting is missing or wrong; the process does not start."""

    code = "configuration"


class JailUnavailable(ConfigurationError):
    """This machine cannot build the jail that workers run in."""

    code = "jail-unavailable"
    hint = "Run `homing doctor`; it says what is missing."


class StoreFailed(HomingError):
    """The node's store cannot be trusted or written any more; the process ends."""

    code = "store-failed"


class BackupUnusable(HomingError):
    """The backup is not complete, damaged, or of a newer format."""

    code = "backup-unusable"
    hint = "Restore another backup, or this one with the version of homing that wrote it."


def _tree(root: type[HomingError]) -> list[type[HomingError]]:
    found = [root]
    for child in root.__subclasses__():
        found.extend(_tree(child))
    return found


_BY_CODE: dict[str, type[HomingError]] = {kind.code: kind for kind in _tree(HomingError) if kind is not BrokenOff}


def from_wire(code: str, message: str, *, error_type: str = "", epoch: int = 0, owner: str = "") -> HomingError:
    """The error that a code names.

    Args:
        code: the `code` of a class of this module; an unknown one gives `HomingError`.
        message: the sentence for this occurrence.
        error_type: for `application-error`, the type that the object's code raised; for `overloaded`, the cause.
        epoch: for `not-owner`, the epoch that the answering node knows.
        owner: for `not-owner`, the owner's node id, or empty.

    Example:
        >>> from_wire("not-found", "no class Foo").http_status
        404
    """
    kind = _BY_CODE.get(code, HomingError)
    if kind is ApplicationError:
        return ApplicationError(message, error_type=error_type or "Exception")
    if issubclass(kind, SandboxError):
        return kind(message, error_type=error_type)
    if kind is Overloaded:
        return Overloaded(message, cause=error_type)
    if kind is NotOwner:
        return NotOwner(message, epoch=epoch, owner=owner)
    return kind(message)


def sandbox_error(code: str, message: str, error_type: str, traceback: str) -> SandboxError:
    """What went wrong in a sandbox, of what its node says; a code that is not known is a `SandboxError`.

    Example:
        >>> sandbox_error("sandbox-limit", "more than 5 s of CPU", "cpu_s", "").error_type
        'cpu_s'
    """
    kind = _BY_CODE.get(code, SandboxError)
    found = kind if issubclass(kind, SandboxError) else SandboxError
    return found(message, error_type=error_type, traceback=traceback)
