"""What can go wrong with etcd, as part of homing's tree of errors; gRPC's errors are mapped here and nowhere else."""

from __future__ import annotations

import grpc

from homing.errors import HomingError


class EtcdError(HomingError):
    """etcd did not do what was asked."""

    code = "etcd"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    hint = "Look at the health of the etcd cluster that HOMING_ETCD names."


class EtcdUnavailable(EtcdError):
    """No etcd endpoint answered in time; nothing was changed."""

    code = "etcd-unavailable"
    retryable = True


class UnknownOutcome(EtcdError):
    """A change was sent and no answer came: it may be done, or be done later; read before anything else."""

    code = "etcd-outcome-unknown"


class Compacted(EtcdError):
    """etcd no longer has the revision that was asked for; list again."""

    code = "etcd-compacted"

    def __init__(self, message: str = "", *, compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class LeaseGone(EtcdError):
    """The lease ran out or was revoked, and every key under it is gone."""

    code = "etcd-lease-gone"


class EtcdRejected(EtcdError):
    """etcd refused the request for good: it is malformed, not allowed, or the database is full."""

    code = "etcd-rejected"


class WatchBroken(EtcdError):
    """A watch did not tell what a list shows."""

    code = "etcd-watch-broken"


# With these the server has decided against the request: it changed nothing.
_REFUSED = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.ALREADY_EXISTS,
    }
)


def from_grpc(error: grpc.aio.AioRpcError, *, changes: bool) -> EtcdError:
    """Map what gRPC raised to the error that says what is known.

    Args:
        error: as raised by a call that was sent to an endpoint.
        changes: the request may have changed something; then silence is an unknown outcome.
    """
    status, detail = error.code(), error.details() or ""
    message = f"etcd: {status.name}: {detail}"
    if status is grpc.StatusCode.NOT_FOUND and "lease" in detail:
        return LeaseGone(message)
    if status is grpc.StatusCode.OUT_OF_RANGE:
        return Compacted(message) if "compacted" in detail else EtcdRejected(message)
    if status in _REFUSED:
        return EtcdRejected(message)
    return UnknownOutcome(message) if changes else EtcdUnavailable(message)
