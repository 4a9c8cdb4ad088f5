"""The folder of a development cluster's state: locked by one `homing dev`, and made for one shape of cluster."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from homing.errors import ConfigurationError

FORMAT = 1
OWN_ETCD = "own"


class Shape(msgspec.Struct, frozen=True):
    """What a cluster's state depends on and cannot be changed by starting it again."""

    nodes: int
    replicas: int
    slots: int
    etcd: str


class State(msgspec.Struct, frozen=True):
    """The file `dev.json`: the format's number, the cluster's name in etcd, and its shape."""

    format: int
    cluster: str
    shape: Shape


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the folder for this process; it is made if it is not there.

    Raises:
        ConfigurationError: another `homing dev` holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "dev.lock").open("a+")
    except OSError as error:
        raise ConfigurationError(f"cannot keep state in {folder}: {error.strerror}") from error
    with lock:
        _lock(lock, folder)
        yield


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        raise ConfigurationError(
            f"another `homing dev` (process {holder}) uses {folder}; stop it, or choose another --data-dir"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def open_state(folder: Path, shape: Shape) -> State:
    """The state that the folder holds, made now if it is new.

    Args:
        folder: a locked folder.
        shape: the cluster that is about to be started in it.

    Raises:
        ConfigurationError: the folder was made for another shape, or by a version that this one does not know.
    """
    path = folder / "dev.json"
    if not path.exists():
        state = State(FORMAT, f"dev-{secrets.token_hex(4)}", shape)
        # Written beside and moved, so that a kill in between leaves none or a whole one.
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        draft.replace(path)
        return state
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); remove {folder} to start anew") from error
    if state.format != FORMAT:
        raise ConfigurationError(f"{path} has format {state.format}, this version knows {FORMAT}")
    if state.shape != shape:
        raise ConfigurationError(_difference(folder, state.shape, shape))
    return state


def _difference(folder: Path, kept: Shape, wanted: Shape) -> str:
    changed = [
        f"{name} {getattr(kept, name)}, not {getattr(wanted, name)}"
        for name in Shape.__struct_fields__
        if getattr(kept, name) != getattr(wanted, name)
    ]
    return (
        f"the state in {folder} was made with {'; '.join(changed)}. "
        f"Start it as it was made, choose another --data-dir, or remove {folder} (`make clean`) to start anew"
    )
