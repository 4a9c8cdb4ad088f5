"""Who carries out what `homing.run` and `homing.grants` ask for: the runtime of a worker."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from homing.errors import NotSupported

if TYPE_CHECKING:
    from homing.ids import ObjectId
    from homing.sandboxes import Asked, Ran


class Runner(Protocol):
    """What a worker's runtime does for code that uses sandboxes."""

    def call_sandbox(self, asked: Asked) -> Awaitable[Ran]:
        """Begin a run."""
        ...

    def revoke_grant(self, key: bytes) -> Awaitable[None]:
        """Begin to revoke a grant, in every run that holds it."""
        ...

    def own_address(self) -> tuple[str, ObjectId]:
        """The class and the id of the object whose code runs.

        Raises:
            TypeError: it is none, but the entrypoint.
        """
        ...


class _State:
    """Of this process.

    Attributes:
        runner: None: this is no worker.
    """

    runner: Runner | None = None


_state = _State()


def let_run(runner: Runner) -> None:
    """Say who carries it out."""
    _state.runner = runner


def current() -> Runner:
    """Who carries it out.

    Raises:
        NotSupported: nobody; this code does not run in a worker.
    """
    if _state.runner is None:
        raise NotSupported("sandboxes are for the code of an application, in a worker")
    return _state.runner
