"""Running code that came a moment ago, in a process that can do nothing else: see docs/sandboxes.md.

What is asked and what is answered travel as MessagePack arrays; `Asked` and `Ran` are their two ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import msgspec

from homing import grants as granting
from homing import sandbox_runner
from homing.errors import BadRequest, SandboxError, sandbox_error
from homing.grants import Given, Grant
from homing.sandbox_news import Ear, Item, OnOutput, OnUse
from homing.untrusted import from_untrusted
from homing.values import to_stored

PYTHON, JAVASCRIPT, TYPESCRIPT = LANGUAGES = ("python", "javascript", "typescript")

_MIB = 1024 * 1024

LIMITS_MAX: Mapping[str, float] = {
    "wall_s": 120.0,
    "cpu_s": 60.0,
    "memory_bytes": 1024 * _MIB,
    "output_bytes": 16 * _MIB,
    "result_bytes": 8 * _MIB,
}
"""The most that each of `Limits` may be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use; beyond it the sandbox is ended, and `Ran.error` says which limit it was.

    Attributes:
        wall_s: time, from the moment that it begins.
        cpu_s: CPU time, of all its threads.
        memory_bytes: address space beyond what every sandbox has.
        output_bytes: what it prints, stdout and stderr together.
        result_bytes: its result, as it travels.
    """

    wall_s: float = 10.0
    cpu_s: float = 5.0
    memory_bytes: int = 64 * _MIB
    output_bytes: int = 256 * 1024
    result_bytes: int = _MIB

    def __post_init__(self) -> None:
        for name, most in LIMITS_MAX.items():
            given = getattr(self, name)
            kinds = (int,) if name.endswith("_bytes") else (int, float)
            if type(given) not in kinds or not 0 < given <= most:
                raise BadRequest(f"the limit {name} is {given!r}; it must be above 0 and at most {most:g}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One run, as it is asked for.

    Attributes:
        code: what runs.
        arguments: names that it finds defined.
        stdin: what it reads there.
        limits: of the run.
        tenant: whose code it is.
        streamed: what it prints is wanted as it prints it.
        grants: what it may do besides.
        language: of the code, one of `LANGUAGES`.
        followed: what it does under them is wanted as it does it.
    """

    code: str
    arguments: bytes = field(default_factory=lambda: to_stored({}))
    stdin: bytes = b""
    limits: Limits = field(default_factory=Limits)
    tenant: str = ""
    streamed: bool = False
    grants: tuple[Given, ...] = ()
    language: str = PYTHON
    followed: bool = False

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise BadRequest(f"there is no language {self.language[:100]!r}; there are {', '.join(LANGUAGES)}")

    def encode(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(
            [
                self.code, self.arguments, self.stdin, asdict(self.limits), self.tenant, self.streamed, self.grants,
                self.language, self.followed,
            ]
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Asked:
        """Out of bytes.

        Raises:
            BadRequest: they are none, or name limits or a language that cannot be.
        """
        try:
            found = msgspec.msgpack.decode(data, type=_Shape)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadRequest(f"this asks for no run: {error}") from error
        code, arguments, stdin, limits, tenant, streamed, grants, language, followed = found
        return cls(code, arguments, stdin, limits_of(limits), tenant, streamed, grants, language, followed)


_Shape = tuple[str, bytes, bytes, dict[str, int | float], str, bool, tuple[Given, ...], str, bool]


def limits_of(given: Mapping[str, Any]) -> Limits:
    """Limits by name.

    Raises:
        BadRequest: there is no such limit, or it cannot be that.

    Example:
        >>> limits_of({"wall_s": 2}).wall_s
        2
    """
    known = {each.name for each in fields(Limits)}
    unknown = set(given) - known
    if unknown:
        raise BadRequest(f"there is no limit {sorted(unknown)[0]!r}; there are {', '.join(sorted(known))}")
    return Limits(**given)


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a run.

    Attributes:
        result: the value of the last expression of the code; None where there is none.
        stdout, stderr: what it printed.
        error: what went wrong in it, or None.
        duration_ms: from the moment that it was sent to its sandbox to its answer.
    """

    result: Any = None
    stdout: str = ""
    stderr: str = ""
    error: SandboxError | None = None
    duration_ms: float = 0.0

    def check(self) -> Any:
        """The result.

        Raises:
            SandboxError: what went wrong.
        """
        if self.error is not None:
            raise self.error
        return self.result


Outcome = tuple[bytes | None, bytes, bytes, list[str] | None, float]
"""A `Ran` on its way: the result (`homing.values.to_stored`), stdout, stderr, error, milliseconds. Of an error: its
code, its message, the type of the exception or the limit, the traceback."""


def encode_outcome(outcome: Outcome, unheard: Sequence[Item] = ()) -> bytes:
    """An outcome as bytes, with what is to be heard of the run besides."""
    return msgspec.msgpack.encode((outcome, unheard))


def decode_outcome(data: bytes) -> Ran:
    """What came back of a run.

    Raises:
        ValueError: it is nothing that a node says.
    """
    return decode_end(data)[0]


def decode_end(data: bytes) -> tuple[Ran, Sequence[Item]]:
    """As `decode_outcome`, with what is to be heard of it besides."""
    outcome, unheard = msgspec.msgpack.decode(data, type=tuple[Outcome, list[Item]])
    return _ran(*outcome), unheard


def _ran(
    result: bytes | None, stdout: bytes, stderr: bytes, error: list[str] | None, duration_ms: float
) -> Ran:  # fmt: skip
    told = sandbox_error(*error) if error is not None else None
    value: Any = None
    if result is not None:
        try:
            value = from_untrusted(result)
        except ValueError as broken:  # whoever runs in a sandbox may write what it likes there
            told = sandbox_error("sandbox-no-value", f"the result cannot be read: {broken}", "", "")
    text, error_text = stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")
    return Ran(value, text, error_text, told, duration_ms)


async def run(
    code: str,
    *,
    args: Mapping[str, Any] | None = None,
    stdin: str | bytes = "",
    limits: Limits | Mapping[str, Any] | None = None,
    tenant: str = "",
    language: str = PYTHON,
    grants: Mapping[str, Grant] | None = None,
    on_output: OnOutput | None = None,
    on_use: OnUse | None = None,
) -> Ran:
    """Run code in a sandbox of its own: a process without files, network, environment, or anything else of this one.

    It begins when what the object has written is safe, as a call to another object does. What the code prints and
    raises is in what is returned; only what keeps it from being run is raised.

    Args:
        code: what to run. `await` is allowed at its top; where it ends with an expression, that is its result.
        args: names that it finds defined: values that calls between objects can carry, but for stubs.
        stdin: what it reads there.
        limits: what it may use; `Limits`, or some of its fields by name.
        tenant: whose code it is, if that matters: those of different tenants share no zygote. At most 200 characters.
        language: "python", "javascript", or "typescript", whose types are taken out and not checked.
        grants: what it may do besides, of `homing.grants`, by its name in the `env` of the code.
        on_output: called with `"stdout"` or `"stderr"`, and what was printed there, as the code prints it; then these
            two are empty in what is returned.
        on_use: called with a `Use` for each thing that the code did under its grants, or tried to, when it is over. Of
            what waits to be heard the newest 1,000 are kept, and `missed` counts the others.

    These two may be asynchronous; one call follows the other, and all have ended before this returns. What one raises
    is raised here, and takes the grants back.

    Raises:
        BadRequest: a limit or a language that cannot be, a tenant's name that is too long, or a grant that cannot be.
        Forbidden: a grant gives more than the application has itself.
        GrantEnded: a grant was revoked.
        TooLarge: code, arguments or stdin are over 4 MiB.
        TypeError: an argument that cannot be sent.
        Overloaded: too many runs of the tenant wait already.
        Unavailable: the node cannot start sandboxes just now.
        NotSupported: this code does not run in a worker.

    Example:
        >>> ran = await homing.run("n * 2", args={"n": 21})  # doctest: +SKIP
        >>> ran.result  # doctest: +SKIP
        42
    """
    runner = sandbox_runner.current()
    if not isinstance(limits, Limits):
        limits = limits_of(cast("Mapping[str, Any]", limits or {}))
    given = stdin.encode() if isinstance(stdin, str) else bytes(stdin)
    opened = granting.given(grants or {})
    if opened and "env" in (args or {}):
        raise BadRequest("grants are in env, so no argument can have that name")
    ear = Ear(on_output, on_use) if on_output is not None or on_use is not None else None
    asked = Asked(
        code, to_stored(dict(args or {})), given, limits, tenant, on_output is not None, opened, language,
        on_use is not None,
    )  # fmt: skip
    running, number = runner.call_sandbox(asked)
    if ear is None:
        return (await running)[0]
    try:
        while not running.done():
            news = await runner.follow_sandbox(number)
            await ear.hear(news.items)
            if not news.more:
                break
        ran, unheard = await running
        await ear.hear(unheard)
        await ear.end()
    except Exception:
        for grant in (grants or {}).values():  # whoever gave them does not see any more what they are used for
            grant.revoke()
        raise
    return ran
