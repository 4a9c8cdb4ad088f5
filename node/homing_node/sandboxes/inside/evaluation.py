"""Running code that came a moment ago: what it is given, what becomes of it. In a sandbox, or in a test."""

from __future__ import annotations
import __future__

import ast
import asyncio
import inspect
import linecache
import sys
from collections.abc import Mapping
from types import CodeType, ModuleType
from typing import Any

from homing.values import to_stored
from homing_node.sandboxes.inside.talk import FAILURE, MEMORY, NO_VALUE, RAISED, RESULT, RESULT_BYTES, SYNTAX
from homing_node.sandboxes.inside.telling import message_of, trace_of

FILE_NAME = "<sandbox>"
_FILES = frozenset((FILE_NAME,))
_LAST = "the last expression"  # no name that code can have
_BEGINS = "([{'\"-+~"  # an expression, besides names and digits
_FUTURES = {getattr(__future__, name).compiler_flag for name in __future__.all_feature_names}
_APART = sum(_FUTURES) | inspect.CO_COROUTINE  # of code that is not compiled in two parts: they share a loop, or these

Answer = tuple[Any, ...]


_Compiled = tuple[CodeType, ...]
"""What is run: all of the code, which leaves its result as `_LAST`; or what is before its last line, and that line."""


def evaluate(code: str, arguments: Mapping[str, Any], result_bytes_max: int) -> Answer:
    """Run code as a module of its own.

    Args:
        code: Python; `await` is allowed at its top. Where it ends with an expression, that is its result.
        arguments: names that it finds defined.
        result_bytes_max: what its result may have.

    Returns:
        A RESULT or a FAILURE (`talk`).

    Example:
        >>> evaluate("n * 2", {"n": 21}, 100) == (RESULT, to_stored(42))
        True
    """
    try:
        compiled = _compiled(code)
    except (SyntaxError, ValueError, UnicodeError) as error:  # ValueError: a null character
        return _failure(SYNTAX, error)
    except MemoryError as error:
        return _failure(MEMORY, error)
    except RecursionError as error:
        return _failure(SYNTAX, error)
    try:
        result = _run(compiled, code, arguments)
    except MemoryError as error:
        return _failure(MEMORY, error)
    except SystemExit as error:
        if error.code not in (None, 0):
            return _failure(RAISED, error)
        result = None
    except BaseException as error:  # KeyboardInterrupt and whatever else code makes up
        return _failure(RAISED, error)
    return _answer(result, result_bytes_max)


def _compiled(code: str) -> _Compiled:
    return _in_two(code) or _in_one(code)


def _in_two(code: str) -> _Compiled | None:
    """The last line apart, if that is an expression by itself: a tree of objects costs a sandbox 70 pages of memory.

    What is whole without its last line, and goes on in the first column of that, has ended a statement before it.
    """
    at = code.rstrip().rfind("\n") + 1
    first = code[at : at + 1]
    if not (first.isalnum() or first == "_" or (first and first in _BEGINS)) or "\r" in code:  # which ends lines, too
        return None
    try:
        before = _compile(code[:at], "exec")
        last = _compile("\n" * code.count("\n", 0, at) + code[at:], "eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None  # what is the matter is told of the whole
    return None if (before.co_flags | last.co_flags) & _APART else (before, last)


def _compile(code: str | ast.Module, mode: str) -> CodeType:
    return compile(code, FILE_NAME, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _in_one(code: str) -> _Compiled:
    tree = compile(code, FILE_NAME, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        line, column = last.lineno, last.col_offset
        name = ast.Name(_LAST, ast.Store(), lineno=line, col_offset=column)
        tree.body[-1] = ast.Assign([name], last.value, lineno=line, col_offset=column)
    return (_compile(tree, "exec"),)


def _run(compiled: _Compiled, code: str, arguments: Mapping[str, Any]) -> Any:
    module = ModuleType("__main__")
    names = vars(module)
    names.update(arguments)
    sys.modules["__main__"] = module  # dataclasses and others look their module up there
    linecache.cache[FILE_NAME] = (len(code), None, code.splitlines(keepends=True), FILE_NAME)
    result: Any = None
    for part in compiled:
        result = eval(part, names)  # noqa: S307 - this is what a sandbox is for
        if part.co_flags & inspect.CO_COROUTINE:
            result = asyncio.run(result)
    return names.get(_LAST) if len(compiled) == 1 else result


def _answer(result: Any, result_bytes_max: int) -> Answer:
    try:
        data = to_stored(result)
    except MemoryError as error:
        return _failure(MEMORY, error)
    except BaseException as error:  # what a value of the code's own classes raises
        return _failure(NO_VALUE, error)
    if len(data) > result_bytes_max:
        return FAILURE, RESULT_BYTES, "TooLarge", f"a result of {len(data)} bytes; at most {result_bytes_max}", ""
    return RESULT, data


def _failure(cause: str, error: BaseException) -> Answer:
    return FAILURE, cause, type(error).__name__[:200], message_of(error), trace_of(error, _FILES)
