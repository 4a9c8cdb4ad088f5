"""What a workflow is held to: durations, moments, retries, and errors that come out of a step as they went in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from homing.bindings import workflow_rules as rules
from homing.errors import ApplicationError, HomingError, Overloaded, TooLarge
from homing.workflows import NonRetryableError, WorkflowTimeoutError


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        ("10 seconds", 10_000), ("1 second", 1_000), ("2minutes", 120_000), ("1.5 hours", 5_400_000),
        (" 1 day ", 86_400_000), ("2 weeks", 14 * 86_400_000), ("1 month", 30 * 86_400_000),
        ("1 year", 365 * 86_400_000), (0, 0), (250, 250), (0.5, 0), (timedelta(minutes=1), 60_000),
    ],
)  # fmt: skip
def test_durations(duration: object, ms: int) -> None:
    assert rules.duration_ms(duration) == ms


@pytest.mark.parametrize(
    "duration",
    ["", "10", "ten seconds", "1 fortnight", "2 years", -1, float("nan"), float("inf"), True, None, ["1 day"]],
)  # fmt: skip
def test_what_is_no_duration(duration: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        rules.duration_ms(duration)


def test_a_moment_is_a_datetime_or_a_number() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert rules.moment_ms(at) == rules.moment_ms(at.timestamp()) == rules.moment_ms(at.timestamp() * 1_000)
    with pytest.raises(TypeError):
        rules.moment_ms("tomorrow")


def test_a_step_without_a_configuration_has_the_defaults() -> None:
    config = rules.step_config(None)
    assert config.shown == {
        "retries": {"limit": 5, "delay": 10_000, "backoff": "exponential"},
        "timeout": "10 minutes",
    }
    assert [rules.wait_ms(config, failures) for failures in (1, 2, 3)] == [10_000, 20_000, 40_000]
    assert rules.wait_ms(config, 500) == rules.DURATION_MS_MAX


def test_what_a_configuration_leaves_out_is_a_default() -> None:
    config = rules.step_config(
        {"retries": {"limit": float("inf"), "delay": "1 second", "backoff": "linear"}, "timeout": 5}
    )
    assert [rules.wait_ms(config, failures) for failures in (1, 2, 3)] == [1_000, 2_000, 3_000]
    assert (config.limit, config.timeout_ms) == (float("inf"), 5)
    assert rules.step_config({"retries": {"limit": 1}}).shown["retries"]["backoff"] == "exponential"


@pytest.mark.parametrize(
    "config",
    [
        [], {"retries": 3}, {"retries": {"limit": -1}}, {"retries": {"limit": "3"}}, {"retries": {"backoff": "wild"}},
        {"retries": {"delay": "soon"}}, {"timeout": "never"}, {"retries": {"limit": float("nan")}},
    ],
)  # fmt: skip
def test_what_cannot_be_a_configuration(config: object) -> None:
    with pytest.raises(ValueError, match=r"a step's|is no duration"):
        rules.step_config(config)


def test_names() -> None:
    assert all(map(rules.is_identifier, ("a", "A-1_b", "_", "0" * 100)))
    assert not any(map(rules.is_identifier, ("", "-a", "a/b", "ä", "a\n", "0" * 101, 1, None)))
    assert rules.checked_step("any text, ä") == "any text, ä"
    for name in ("a\n", "a" * 257, 1):
        with pytest.raises(ValueError, match="is no name of a step"):
            rules.checked_step(name)


def test_values_have_a_bound() -> None:
    assert rules.packed("x" * 1_000_000, "it")
    with pytest.raises(TooLarge, match="it has 1048"):
        rules.packed("x" * (1 << 20), "it")
    with pytest.raises(TypeError):
        rules.packed(object(), "it")


class OwnError(Exception):
    pass


class OwnFinal(NonRetryableError):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("no"), ValueError, "no"),
        (KeyError("a"), KeyError, "'a'"),
        (TimeoutError("late"), TimeoutError, "late"),
        (ValueError(), ValueError, ""),
        (NonRetryableError("final"), NonRetryableError, "final"),
        (OwnFinal("final"), NonRetryableError, "final"),
        (WorkflowTimeoutError("late"), WorkflowTimeoutError, "late"),
        (Overloaded("busy"), Overloaded, "busy"),
        (OwnError("mine"), ApplicationError, "mine"),
        (StopIteration("x"), ApplicationError, "x"),
        (SystemExit("x"), ApplicationError, "x"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), ApplicationError, "'utf-8' codec can't decode"),
        (ApplicationError("theirs", error_type="TheirError"), ApplicationError, "theirs"),
    ],
)
def test_an_error_comes_out_of_a_step(error: BaseException, kind: type[Exception], text: str) -> None:
    found = rules.error_of(rules.packed_error(error))
    assert type(found) is kind
    assert str(found).startswith(text)


def test_the_name_of_an_error_is_that_of_what_was_raised() -> None:
    assert rules.shown_error(rules.packed_error(OwnError("mine"))) == {"name": "OwnError", "message": "mine"}
    found = rules.error_of(rules.packed_error(OwnError("mine")))
    assert isinstance(found, HomingError)
    assert rules.shown_error(rules.packed_error(found)) == {"name": "OwnError", "message": "mine"}
    assert len(rules.shown_error(rules.packed_error(OwnError("x" * 9_000)))["message"]) == rules.MESSAGE_CHARS_MAX
