"""What code in a sandbox can import: nothing can be opened there, so all of it is in memory before the fork."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from homing import compat

STANDARD_LIBRARY = (
    "__future__", "_strptime", "abc", "argparse", "array", "ast", "asyncio", "base64", "binascii", "bisect", "builtins",
    "bz2", "calendar", "cmath", "codecs", "collections", "collections.abc", "colorsys", "concurrent.futures",
    "concurrent.futures.thread", "configparser", "contextlib", "contextvars", "copy", "copyreg", "csv", "dataclasses",
    "datetime", "decimal", "difflib", "email.message", "email.parser", "email.utils", "enum", "errno", "fnmatch",
    "fractions", "functools", "gc", "getopt", "graphlib", "gzip", "hashlib", "heapq", "hmac", "html", "html.entities",
    "html.parser", "http", "inspect", "io", "ipaddress", "itertools", "json", "keyword", "linecache", "locale",
    "logging", "lzma", "marshal", "math", "mimetypes", "mmap", "numbers", "operator", "os", "os.path", "pathlib",
    "pickle",
    "platform", "posixpath", "pprint", "queue", "random", "re", "reprlib", "sched", "secrets", "select", "selectors",
    "shlex", "signal", "socket", "ssl", "stat", "statistics", "string", "stringprep", "struct", "sys", "textwrap",
    "threading", "time", "timeit", "token", "tokenize", "tomllib", "traceback", "types", "typing", "unicodedata",
    "unittest", "unittest.mock", "urllib.error", "urllib.parse", "uuid", "warnings", "weakref",
    "xml.etree.ElementTree", "zipfile", "zlib", "zoneinfo",
    # what the interpreter looks up when a text is encoded for the first time
    "encodings.ascii", "encodings.base64_codec", "encodings.cp1252", "encodings.hex_codec", "encodings.idna",
    "encodings.latin_1", "encodings.punycode", "encodings.raw_unicode_escape", "encodings.rot_13",
    "encodings.unicode_escape", "encodings.utf_16", "encodings.utf_16_be", "encodings.utf_16_le", "encodings.utf_32",
    "encodings.utf_8_sig", "encodings.zlib_codec",
)  # fmt: skip

OF_WORKERS = ("workers", "js", "pyodide.ffi")
"""What dynamic workers are written with."""

HIDDEN = ("apsw", "ctypes", "_ctypes", "_quickjs", "homing_node", "tree_sitter", "tree_sitter_typescript")
"""With their modules. Tidiness, and no wall: who looks finds them in memory, and the filter is what stops them."""


# A library that computes with threads of its own would start them in the zygote, and they do not live through a fork.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def load(wanted: Sequence[str] = ()) -> None:
    """Import everything, and let nothing be looked for on disk any more.

    Args:
        wanted: modules of the operator's packages.
    """
    sys.path.append(compat.MODULES)
    for name in (*STANDARD_LIBRARY, *OF_WORKERS):
        importlib.import_module(name)
    os.environ.update(_ONE_THREAD)
    for name in wanted:
        try:
            importlib.import_module(name)
        except BaseException as error:
            sys.exit(f"sandboxes cannot have {name}: {type(error).__name__}: {error}")
    os.environ.clear()
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def hide() -> None:
    """Take what a sandbox has no use for out of the list of modules."""
    for name in [name for name in sys.modules if name.partition(".")[0] in HIDDEN]:
        del sys.modules[name]
