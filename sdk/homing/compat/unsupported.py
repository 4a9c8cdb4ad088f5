"""What can be imported and not be used."""

from __future__ import annotations

from typing import Any, NoReturn

from homing.errors import NotSupported


class Unsupported:
    """Raises `NotSupported` with its name as soon as something is done with it.

    Args:
        name: as the application has it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> NoReturn:
        """Whatever is asked for."""
        raise NotSupported(f"{self._name} is not supported yet")

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Whatever it is called with."""
        raise NotSupported(f"{self._name} is not supported yet")
