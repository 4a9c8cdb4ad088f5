"""What code in this node's sandboxes can import besides the standard library: wheels, by the operator's list.

    wheels = read_wheels(Path("sandbox-requirements.txt"), "numpy,numpy.random")
    tree = obtain_packages(wheels.requirements, cache)
    modules = wheels.modules(tree.path)

A zygote imports them once, before it forks: a sandbox has no files, so what was not imported then is not there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from homing.errors import ConfigurationError
from homing_node.workers.app_requirements import Requirements, read_listed


@dataclass(frozen=True, slots=True)
class Wheels:
    """Packages for sandboxes.

    Attributes:
        requirements: the packages.
        imports: modules of theirs that sandboxes can import; empty: all that lie at the top of one of them.
    """

    requirements: Requirements
    imports: tuple[str, ...] = ()

    def modules(self, tree: Path) -> list[str]:
        """What a zygote is to import.

        Args:
            tree: where the packages were installed.
        """
        return list(self.imports) or sorted(filter(None, map(_module, tree.iterdir())))


def read_wheels(file: Path | None, imports: str = "") -> Wheels | None:
    """What the operator wants; None: nothing.

    Args:
        file: lists packages as an application's `requirements.txt` does.
        imports: names of modules, separated by commas.

    Raises:
        ConfigurationError: the file cannot be read, or lists what is no package of an index by its name; a name is none
            that can be imported; there are names without a file.

    Example:
        >>> read_wheels(None) is None
        True
    """
    names = tuple(name.strip() for name in imports.split(",") if name.strip())
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigurationError(f"HOMING_SANDBOX_IMPORTS has {name!r}, which is no name of a module")
    if file is None:
        if names:
            raise ConfigurationError("HOMING_SANDBOX_IMPORTS needs packages: set HOMING_SANDBOX_REQUIREMENTS")
        return None
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"HOMING_SANDBOX_REQUIREMENTS is {file}, which cannot be read: {error}") from error
    requirements = read_listed(data, file.name)
    if requirements is None:
        raise ConfigurationError(f"{file} lists no package")
    return Wheels(requirements, names)


def _module(path: Path) -> str:
    """The name of the module that lies there, or nothing."""
    name = path.name.partition(".")[0]
    if not name.isidentifier() or name.startswith("_"):
        return ""
    whole = path.is_dir() and os.path.exists(path / "__init__.py")
    return name if whole or path.suffix in {".py", ".so"} else ""
