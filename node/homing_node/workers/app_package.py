"""An application as one run of bytes, as it is deployed: its files by path in msgpack, compressed with zlib."""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath

import msgspec

from homing.errors import ConfigurationError
from homing_node.workers import limits
from homing_node.workers.app_bundle import read_app

_LEVEL = 6
_NAME_BYTES_MAX = 255  # of a file, or a folder: file systems have that bound
_PATH_BYTES_MAX = 2_048  # Linux takes twice as much, with the folder that it is in
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
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"this is no package of an application: {error}") from error
    if len(files) > limits.app_files_max:
        raise ConfigurationError(f"the package has more than {limits.app_files_max} files")
    wrong = next((path for path in files if not _is_place(path)), None)
    if wrong is None:
        folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
        wrong = next((path for path in files if path in folders), None)
    if wrong is not None:
        raise ConfigurationError(f"the package has a file at {wrong[:200]!r}, which is no place in an application")
    return files


def _is_place(path: str) -> bool:
    """Whether a file can be there, as far as that does not depend on others."""
    inside = PurePosixPath(path[: _PATH_BYTES_MAX + 1])
    plain = not inside.is_absolute() and ".." not in inside.parts and str(inside) == path and "\0" not in path
    return (
        plain
        and bool(inside.parts)
        and len(path.encode()) <= _PATH_BYTES_MAX
        and all(len(part.encode()) <= _NAME_BYTES_MAX for part in inside.parts)
    )
