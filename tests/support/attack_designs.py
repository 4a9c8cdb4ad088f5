"""The designs that attacks are tried in, whole and with their layers off: a sandbox that a zygote has forked, one in a
jail of its own, and a pooled worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

from attack_targets import source_of
from attacks import Attack
from homing.sandboxes import JAVASCRIPT, Asked, decode_outcome, encode_outcome
from homing.values import to_stored
from homing_node.sandboxes.jails import STRICT, ZYGOTE
from homing_node.workers.jail_config import Policy, load_policy
from jailed import jail_spec, probe
from sandboxed import EVERY, sandboxes

SILENT_S = 3.0  # a call that is death is so for its thread: the process may go on, without an answer

Try = Callable[[Attack, dict[str, Any]], Coroutine[Any, Any, str]]

_UNSEALED = "from homing_node.sandboxes.inside.kernel import Seal; Seal.close = lambda self: None; "
UNSEALED_ZYGOTE, UNSEALED_STRICT = _UNSEALED + ZYGOTE, _UNSEALED + STRICT

# What a hole in the engine would be worth: native code in the process that runs JavaScript.
HOLE = f"""
from homing_node.sandboxes.inside.javascript import Engine
made = Engine.__init__
def hole(source):
    names = {{}}
    exec(source, names)
    return names["outcome"]
def with_hole(self):
    made(self)
    self._context.add_callable("hole", hole)
Engine.__init__ = with_hole
{ZYGOTE}
"""


def without_filter(policy: Policy) -> Policy:
    """The same jail, with every system call."""
    return replace(policy, config=policy.config.replace('seccomp_string: "@SECCOMP@"', ""))


@contextlib.asynccontextmanager
async def in_sandbox(
    policy: Policy | None = None, program: str = "", *, strict: tuple[str, ...] = ()
) -> AsyncIterator[Try]:
    """Each attack in a sandbox of its own."""
    async with sandboxes(policy, program, strict=strict) as found:

        async def attempt(attack: Attack, given: dict[str, Any]) -> str:
            outcome = await found.run(Asked(source_of(attack, given) + "\noutcome"))
            ran = decode_outcome(encode_outcome(outcome))
            return ran.result if ran.error is None else f"{ran.error.code} {ran.error.error_type}".strip()

        yield attempt


@contextlib.asynccontextmanager
async def in_javascript() -> AsyncIterator[Try]:
    """Each attack through a hole in the engine of a sandbox that runs JavaScript."""
    async with sandboxes(program=f"exec({HOLE!r})") as found:

        async def attempt(attack: Attack, given: dict[str, Any]) -> str:
            arguments = to_stored({"source": source_of(attack, given)})
            outcome = await found.run(Asked("hole(source)", arguments, language=JAVASCRIPT))
            ran = decode_outcome(encode_outcome(outcome))
            return ran.result if ran.error is None else f"{ran.error.code} {ran.error.error_type}".strip()

        yield attempt


@contextlib.asynccontextmanager
async def in_worker(policy: Policy | None = None) -> AsyncIterator[Try]:
    """Attacks in the same worker, and in another one after each that it may not outlive."""
    jail = replace(jail_spec(), policy=policy or load_policy())
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(probe(jail=jail))]

        async def attempt(attack: Attack, given: dict[str, Any]) -> str:
            worker = workers[-1]
            answer = worker.ask(source_of(attack, given) + "\nresult = outcome")
            await asyncio.wait([answer, worker.life], timeout=SILENT_S, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or attack.layers == "R":  # it may not have outlived that
                worker.worker.kill("an attack")
                workers.append(await stack.enter_async_context(probe(jail=jail)))
            return str(answer.result()[1]) if answer.done() else "died"

        yield attempt


DESIGNS: dict[str, tuple[Callable[[], contextlib.AbstractAsyncContextManager[Try]], str]] = {
    "sandbox": (in_sandbox, ""),
    "sandbox without the sealed filter": (lambda: in_sandbox(program=UNSEALED_ZYGOTE), "S"),
    "sandbox without any filter": (
        lambda: in_sandbox(without_filter(load_policy(of="zygote")), UNSEALED_ZYGOTE), "SJ",
    ),
    "strict": (lambda: in_sandbox(strict=EVERY), ""),
    "strict without the sealed filter": (lambda: in_sandbox(program=UNSEALED_STRICT, strict=EVERY), "S"),
    "strict without any filter": (
        lambda: in_sandbox(without_filter(load_policy(of="strict")), UNSEALED_STRICT, strict=EVERY), "SJ",
    ),
    "sandbox with a hole in JavaScript": (in_javascript, ""),
    "worker": (in_worker, ""),
    "worker without its filter": (lambda: in_worker(without_filter(load_policy())), "J"),
}  # fmt: skip
"""By name: how, and the layers that are off."""
