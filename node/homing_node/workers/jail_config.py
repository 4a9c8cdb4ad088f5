"""The jail as data: the policy files of this folder, filled in for one worker. Pure, but for reading the files."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from homing.errors import JailUnavailable
from homing_node.workers import limits

_FOLDER = Path(__file__).parent / "policies"
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_MIB = 1024 * 1024
# By what is to be jailed. A sandbox without a zygote has the jail of a worker, with a filter of its own.
_CONFIGS = {"worker": "worker.cfg", "zygote": "zygote.cfg", "strict": "worker.cfg"}


@dataclass(frozen=True, slots=True)
class Policy:
    """What nsjail enforces.

    Attributes:
        config: nsjail's configuration in protobuf text, with placeholders.
        seccomp: the allowed system calls, in kafel.
    """

    config: str
    seccomp: str


@dataclass(frozen=True, slots=True)
class JailLimits:
    """What one worker may use; see `limits.py` for the meaning and the defaults."""

    address_space_bytes: int = limits.worker_address_space_bytes_max
    memory_bytes: int = limits.worker_memory_bytes_max
    files: int = limits.worker_files_max
    processes: int = limits.worker_processes_max
    stack_bytes: int = limits.worker_stack_bytes_max
    niceness: int = limits.worker_niceness
    cpu_ms_per_s: int = 0  # where there are cgroups; 0: any


def load_policy(machine: str | None = None, folder: Path = _FOLDER, *, of: str = "worker") -> Policy:
    """The policy for a kind of machine.

    Args:
        machine: as `uname -m` prints it; by default this machine.
        folder: where the policy files are.
        of: what is to be jailed: "worker", "zygote", or "strict", which is a sandbox without a zygote.

    Raises:
        JailUnavailable: there is no policy for it. A worker never runs without one.
    """
    machine = machine or platform.machine()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine)
    try:
        seccomp = (folder / f"{of}.{machine}.kafel").read_text()
        return Policy((folder / _CONFIGS[of]).read_text(), seccomp)
    except OSError as error:
        raise JailUnavailable(f"there is no jail policy for {machine}: {error}") from error


def render(
    policy: Policy,
    runtime: Path,
    app: Path,
    uid: int,
    gid: int,
    jail_limits: JailLimits,
    packages: Path | None = None,
    uids: int = 1,
) -> str:
    """nsjail's configuration for one worker; without packages the runtime's own empty folder is in their place.

    A zygote has `uids` ids, from `uid` and `gid` on.

    Raises:
        JailUnavailable: the policy names something that is not known here.
    """
    values = {
        "NICENESS": str(jail_limits.niceness),
        "ADDRESS_SPACE_MIB": str(jail_limits.address_space_bytes // _MIB),
        "FILES": str(jail_limits.files),
        "PROCESSES": str(jail_limits.processes),
        "STACK_MIB": str(jail_limits.stack_bytes // _MIB),
        "UID": str(uid),
        "GID": str(gid),
        "UIDS": str(uids),
        "RUNTIME": quote(str(runtime)),
        "APP": quote(str(app)),
        "PACKAGES": quote(str(packages or runtime / "packages")),
        "SECCOMP": quote(policy.seccomp),
    }
    return _PLACEHOLDER.sub(lambda match: _value(values, match[1]), policy.config)


def _value(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise JailUnavailable(f"the jail policy asks for @{name}@, which is not known")
    return values[name]


def quote(text: str) -> str:
    r"""The text as the inside of a protobuf text string.

    Example:
        >>> quote('a"b')
        'a\\"b'
    """
    plain = frozenset(range(0x20, 0x7F)) - {0x22, 0x5C}
    parts = (chr(byte) if byte in plain else _escaped(byte) for byte in text.encode("utf-8", "surrogateescape"))
    return "".join(parts)


def _escaped(byte: int) -> str:
    return f"\\{byte:03o}" if chr(byte) not in '"\\' else f"\\{chr(byte)}"
