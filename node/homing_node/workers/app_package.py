"""An application as one run of bytes, as it is deployed: its files by path in msgpack, compressed with zlib."""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath

import msgspec

from homing.errors import ConfigurationError
from homing_node.workers import limits
from homing_node.workers.app_bundle import read_app

_LEVEL = 6
_NAMES_BYTES_MAX = 8 << 20  # paths, and what msgpack adds, beside the files' bytes


def pack(app: Path) -> bytes:
    """The package of an application; the same files give the same bytes.

    Raises:
        ConfigurationError: it is none; see `bundle_app`.

    Example:
        >>> package = pack(Path("examples/hello"))
    """
    files, _ = read_app(app)
    return zlib.compress(msgspec.msgpack.encode(dict(sorted(files.items()))), _LEVEL)


def unpack(package: bytes, folder: Path) -> None:
    """Write the files of a package into an empty folder.

    Raises:
        ConfigurationError: it is none, or holds more than an application may.
    """
    for path, data in _files(package).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _files(package: bytes) -> dict[str, bytes]:
    bytes_max = limits.app_bytes_max + _NAMES_BYTES_MAX
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(package, bytes_max)
        if not reader.eof or reader.unused_data:
            raise ConfigurationError("the package is cut short, or holds more than an application may")
        files = msgspec.msgpack.decode(data, type=dict[str, bytes])
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"this is no package of an application: {error}") from error
    if len(files) > limits.app_files_max:
        raise ConfigurationError(f"the package has more than {limits.app_files_max} files")
    for path in files:
        inside = PurePosixPath(path)
        if inside.is_absolute() or not inside.parts or ".." in inside.parts or str(inside) != path or "\0" in path:
            raise ConfigurationError(f"the package has a file at {path[:200]!r}, which is no place in an application")
    return files
