"""What `homing dev` reads of an application without running it: where its main module is, and a call to try."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from homing.errors import ConfigurationError

CONFIGURATIONS = ("wrangler.jsonc", "wrangler.toml", "homing.toml")
MAIN_MODULES = ("main.py", "src/main.py")


@dataclass(frozen=True)
class Call:
    """A public method that takes no arguments."""

    class_name: str
    method: str


def find_application(path: Path) -> Path:
    """Check that `path` is an application, and return it absolute.

    Raises:
        ConfigurationError: it is not there, or nothing says which module is its main one.
    """
    app = path.absolute()
    if app.is_file() and app.suffix == ".py":
        return app
    if not app.is_dir():
        raise ConfigurationError(f"no application at {path}: give a folder or one .py file")
    if any((app / name).is_file() for name in (*CONFIGURATIONS, *MAIN_MODULES)):
        return app
    raise ConfigurationError(f"{path} has no {', '.join(MAIN_MODULES)} and no {', '.join(CONFIGURATIONS)}")


def example_call(app: Path) -> Call | None:
    """The first method of the first object class that can be called without arguments; None when none is found."""
    files = [app] if app.is_file() else [app / name for name in MAIN_MODULES]
    source = next((file for file in files if file.is_file()), None)
    if source is None:
        return None
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return None
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and "DurableObject" in map(_last_name, statement.bases):
            for item in statement.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and _callable_bare(item):
                    return Call(statement.name, item.name)
    return None


def _last_name(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""


def _callable_bare(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = function.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults) - 1
    return not function.name.startswith("_") and function.name not in ("fetch", "alarm") and required <= 0
