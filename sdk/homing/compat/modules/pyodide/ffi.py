"""`pyodide.ffi`: there is no border to JavaScript here, so what crossed it only changes its face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homing.compat.membrane import Camel, JsArray, JsMap, JsObject, faced
from homing.compat.waiting import can_wait, wait
from homing.errors import HomingError

JsException = HomingError
jsnull = None


class _JsKind(type):
    """`isinstance(value, JsProxy)`: whether it has JavaScript's face."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, (Camel, JsObject, JsArray, JsMap))


class JsProxy(metaclass=_JsKind):
    """What came from JavaScript there."""


class _Proxy:
    """A callable that can be destroyed, which changes nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def destroy(self) -> None:
        """Nothing has to be freed."""


def to_js(value: Any, **_: Any) -> Any:
    """A value as JavaScript has it; how dicts are converted makes no difference here."""
    return faced(value)


def create_proxy(value: Any, **_: Any) -> Any:
    """A function that JavaScript may keep."""
    return _Proxy(value) if callable(value) else value


create_once_callable = create_proxy
run_sync = wait
can_run_sync = can_wait
