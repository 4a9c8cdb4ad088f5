"""Which failures are answered, which are tried again, and what a client is told of repeating them."""

from __future__ import annotations

import json

import pytest

from homing import errors
from homing.errors import JurisdictionUnavailable, Unavailable
from homing.locations import Jurisdiction
from homing.wire.v1.call_pb2 import Failure
from homing_gateway.problems import problem
from homing_placement.records import NodeRecord
from homing_placement.routing.nobody import gave_up, nobody
from homing_placement.routing.policy import BROKEN_OFF, Verdict, backoff_s, decide, error_of, retryable

A, R, F = Verdict.ANSWER, Verdict.RETRY, Verdict.REFRESH_AND_RETRY


@pytest.mark.parametrize(
    ("error", "started", "has_key", "verdict", "answer"),
    [
        (errors.NotOwner(), False, False, F, errors.Unavailable),
        (errors.NotOwner(), True, False, A, errors.OutcomeUnknown),
        (errors.NotOwner(), True, True, F, errors.Unavailable),
        (errors.Unavailable(), False, False, R, errors.Unavailable),
        (errors.Unavailable(), True, False, A, errors.OutcomeUnknown),
        (errors.Unavailable(), True, True, R, errors.Unavailable),
        (errors.ObjectReset(), False, False, R, errors.ObjectReset),
        (errors.ObjectReset(), True, False, A, errors.ObjectReset),
        (errors.ObjectReset(), True, True, R, errors.ObjectReset),
        (errors.OutcomeUnknown(), True, False, A, errors.OutcomeUnknown),
        (errors.OutcomeUnknown(), True, True, R, errors.OutcomeUnknown),
        (errors.BrokenOff(), True, True, A, errors.BrokenOff),
        (errors.ApplicationError(), True, True, A, errors.ApplicationError),
        (errors.Overloaded(), False, False, A, errors.Overloaded),
        (errors.NotFound(), False, True, A, errors.NotFound),
        (errors.DeadlineExceeded(), True, True, A, errors.DeadlineExceeded),
    ],
)
def test_a_call_is_repeated_only_when_that_is_safe(
    error: errors.HomingError, started: bool, has_key: bool, verdict: Verdict, answer: type[errors.HomingError]
) -> None:
    """Seen to fail with `repeatable` always true: a started call without a key would run twice."""
    found, answered = decide(error, started=started, has_key=has_key)
    assert found is verdict
    assert type(answered) is answer


def test_two_errors_share_a_code_on_the_wire_and_are_told_apart() -> None:
    assert isinstance(error_of(Failure(code="outcome-unknown", message="x", error_type=BROKEN_OFF)), errors.BrokenOff)
    assert isinstance(error_of(Failure(code="outcome-unknown", message="x")), errors.OutcomeUnknown)


def test_what_the_wire_carries_arrives() -> None:
    found = error_of(Failure(code="not-owner", message="x", epoch=7, owner="n2", retry_after_ms=1_500))
    assert isinstance(found, errors.NotOwner)
    assert (found.epoch, found.owner, found.retry_after_s) == (7, "n2", 1.5)
    raised = error_of(Failure(code="application-error", message="x", error_type="KeyError"))
    assert isinstance(raised, errors.ApplicationError)
    assert raised.error_type == "KeyError"


@pytest.mark.parametrize(
    ("error", "has_key", "expected"),
    [
        (errors.OutcomeUnknown(), False, False),
        (errors.OutcomeUnknown(), True, True),
        (errors.BrokenOff(), True, False),
        (errors.DeadlineExceeded(), False, False),
        (errors.DeadlineExceeded(), True, True),
        (errors.Overloaded(), False, True),
        (errors.ApplicationError(), True, False),
    ],
)
def test_what_the_client_is_told(error: errors.HomingError, has_key: bool, expected: bool) -> None:
    assert retryable(error, has_key=has_key) is expected


def test_waits_double_up_to_the_most() -> None:
    assert [backoff_s(n) for n in range(4)] == [0.02, 0.04, 0.08, 0.16]
    assert backoff_s(50) == 0.5


def _every(kind: type[errors.HomingError]) -> list[type[errors.HomingError]]:
    ours = (child for child in kind.__subclasses__() if child.__module__ == errors.__name__)
    return [kind, *(found for child in ours for found in _every(child))]


@pytest.mark.parametrize("kind", _every(errors.HomingError))
def test_every_error_has_a_problem_document(kind: type[errors.HomingError]) -> None:
    status, headers, body = problem(kind("it went wrong"), "r-1")
    document = json.loads(body)
    assert status == document["status"] == kind.http_status
    assert document["type"].endswith("/" + kind.code)
    assert document["detail"] == "it went wrong"
    assert document["request_id"] == "r-1"
    assert isinstance(document["retryable"], bool)
    assert document["title"]
    found = dict(headers)
    assert found[b"content-type"] == b"application/problem+json"
    assert found[b"x-request-id"] == b"r-1"
    assert (b"retry-after" in found) is (status in (429, 503))
    assert (b"www-authenticate" in found) is (status == 401)


def test_retry_after_is_whole_seconds_and_at_least_one() -> None:
    for wait_s, shown in ((0.0, b"1"), (0.2, b"1"), (1.2, b"2"), (5.0, b"5")):
        headers = dict(problem(errors.Unavailable("x", retry_after_s=wait_s), "r")[1])
        assert headers[b"retry-after"] == shown


def test_where_no_node_of_a_jurisdiction_can_be_reached_the_error_says_so() -> None:
    """Whatever the call failed with before. Seen to fail when the last failure counts: it tells of a lost node."""
    eu = Jurisdiction("eu", ("berlin", "paris"))
    nodes = [NodeRecord(id=zone, address=zone, disk="d", incarnation="i", zone=zone) for zone in ("berlin", "ohio")]
    lost = Unavailable("the node was lost")
    away = nobody(eu, nodes, lambda node: node == "ohio")
    assert isinstance(away, JurisdictionUnavailable)
    assert away.message.startswith("no node in berlin, paris can be reached")
    assert (gave_up(away, lost), away.retry_after_s, away.retryable) == (away, 1.0, True)
    assert isinstance(nobody(eu, nodes[1:], lambda _: True), JurisdictionUnavailable)
    for plain in (nobody(eu, nodes, lambda _: True), nobody(None, [], lambda _: True)):
        assert type(plain) is Unavailable
        assert gave_up(plain, lost) is lost
        assert gave_up(plain, None) is plain
    assert lost.retry_after_s == 1.0
