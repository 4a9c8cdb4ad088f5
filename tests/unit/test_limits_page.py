"""docs/how-to/limits.md has the numbers of the code, and names errors that there are."""

from __future__ import annotations

import re
from pathlib import Path

from homing import alarms, errors, flow, ids, listing, sockets, storage, streams, transform
from homing.bindings import kv
from homing.compat.outbound import exchange
from homing.errors import HomingError
from homing_gateway import limits as gateway
from homing_node import limits as node
from homing_node.objects import limits as objects
from homing_node.workers import limits as workers
from homing_node.workers.inside import limits as inside
from homing_placement import limits as placement
from homing_placement.deployments import VERSIONS_KEPT_MAX
from homing_placement.routing import limits as routing

PAGE_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "how-to"
PAGE = (PAGE_FOLDER / "limits.md").read_text()
ROWS = [tuple(line.strip("| ").split(" | ")) for line in PAGE.splitlines() if re.match(r"\| (?!what )", line)]
CLOSE_CODES = {"1006", "1009", "1011", "1012", "1013"}


def size(count: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count % (1 << shift) == 0:
            return f"{count >> shift} {unit}"
    return f"{count:,} bytes"


def time(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"


def characters(count: int) -> str:
    return f"{count:,} characters"


EXPECTED = {
    "the database of an object": size(inside.database_bytes_max),
    "pages that one commit changes": size(inside.commit_bytes_max),
    "a row, a text or a blob": size(inside.value_bytes_max),
    "a key and its value, together": size(inside.value_bytes_max),
    "an SQL statement": f"{inside.statement_bytes_max:,} bytes",
    "values bound to a statement": f"{inside.bindings_max}",
    "columns of a table or a result": f"{inside.columns_max}",
    "arguments of an SQL function": f"{inside.function_arguments_max}",
    "a pattern of LIKE or GLOB": f"{inside.like_pattern_bytes_max} bytes",
    "keys in one asynchronous `get`, `put` or `delete`": f"{storage.KEYS_PER_CALL_MAX}",
    "the name of an alarm": f"{alarms.NAME_BYTES_MAX:,} bytes",
    "an object's name": f"{ids.OBJECT_NAME_BYTES_MAX:,} bytes",
    "the JSON of a call": size(gateway.RPC_BYTES_MAX),
    "the body of a request under an idempotency key": size(gateway.FETCH_BYTES_MAX),
    "the body of a request that comes as a whole": size(gateway.WHOLE_BYTES_MAX),
    "a body that flows and is read as a whole": size(streams.COLLECT_BYTES_MAX),
    "streams with a call between objects, or with its result": f"{flow.streams_per_value_max}",
    "bytes of a body that are under way": size(flow.window_bytes),
    "bytes written to a `TransformStream` and not read": size(transform.UNREAD_BYTES_MAX),
    "bytes written to it by one that does not wait": size(transform.UNAWAITED_BYTES_MAX),
    "time that a client may take nothing of an answer that flows": time(gateway.ANSWER_STALLED_S),
    "time that such an answer has to end when its slot moves": time(objects.flow_grace_s),
    "such answers at one gateway": f"{gateway.FLOWING_MAX:,}",
    "the arguments of a call from object to object": size(inside.answer_bytes_max),
    "an answer of an object that does not flow": size(inside.answer_bytes_max),
    "the head of a request": size(gateway.HEAD_BYTES_MAX),
    "an idempotency key": characters(gateway.KEY_CHARS_MAX),
    "answers that an object keeps for keys of the last 10 minutes": size(objects.keys_bytes_max),
    "time for a call that names none": time(gateway.TIMEOUT_MS_DEFAULT / 1_000),
    "time that `Homing-Timeout-Ms` may name": time(gateway.TIMEOUT_MS_MAX / 1_000),
    "time for a body to come": time(gateway.BODY_WAIT_S_MAX),
    "time for a call out of an alarm or a timer": time(objects.outgoing_s_max),
    "objects in a page of a listing": f"{listing.LIST_OBJECTS_MAX:,}",
    "an answer to `fetch` out of an object that comes as a whole": size(flow.piece_bytes_max),
    "answers of the outside that flow through a node": f"{node.outbound_flowing_max}",
    "an answer that an HTTP library is given": size(exchange.ANSWER_BYTES_MAX),
    "time until the head of one, redirects included": time(node.outbound_s_max),
    "redirects that it follows": f"{node.outbound_redirects_max}",
    "time for a query of an operator's": time(inside.look_s_max),
    "bytes in what it finds": size(inside.look_bytes_max),
    "calls of an object that run or wait": f"{objects.calls_per_object_max:,}",
    "bytes in their bodies": size(objects.calls_bytes_per_object_max),
    "time that a call waits behind others": time(inside.queued_s_max),
    "calls of the entrypoint on one node": f"{objects.stateless_calls_max:,}",
    "calls that one gateway has under way": f"{routing.IN_FLIGHT_MAX:,}",
    "of these, to one node": f"{routing.PENDING_PER_NODE_MAX:,}",
    "calls that an object waits for": f"{inside.outgoing_calls_max:,}",
    "bytes in the bodies of these": size(objects.calls_bytes_per_object_max),
    "things that an object passes by reference at one time": f"{inside.exported_max:,}",
    "things that it has returned by reference": f"{inside.returned_max:,}",
    "CPU of one turn": time(workers.turn_cpu_s_max),
    "a turn that blocks and does not compute": time(workers.turn_wall_s_max),
    "`block_concurrency_while` and an asynchronous `transaction`": time(inside.block_concurrency_s_max),
    "`wait_until`": time(inside.wait_until_s_max),
    "an `alarm` handler": time(inside.alarm_s_max),
    "times that a failed alarm rings again": f"{inside.alarm_retries_max}",
    "timers, and sockets to the outside, that keep an object in memory": time(objects.kept_open_s_max),
    "idle time": time(objects.idle_s),
    "sockets of an object": f"{inside.sockets_max:,}",
    "sockets of a gateway": f"{gateway.SOCKETS_MAX:,}",
    "a message": size(inside.socket_message_bytes_max),
    "tags of a socket": f"{sockets.TAGS_MAX}",
    "a tag": characters(sockets.TAG_CHARS_MAX),
    "an attachment": f"{sockets.ATTACHMENT_BYTES_MAX:,} bytes",
    "an automatic response, and what it answers": characters(sockets.AUTO_RESPONSE_CHARS_MAX),
    "the reason of a close": f"{sockets.REASON_BYTES_MAX} bytes",
    "messages of a socket that are not handled": f"{gateway.SOCKET_UNHANDLED_MAX}",
    "bytes in these": size(gateway.SOCKET_UNHANDLED_BYTES_MAX),
    "bytes that its client does not take": size(gateway.SOCKET_UNREAD_BYTES_MAX),
    "times that a message ends its activation": f"{objects.socket_tries_max}",
    "time without a gateway": time(objects.socket_reattach_s),
    "time without a node that serves the object": time(gateway.SOCKET_UNATTACHED_S_MAX),
    "time without the node of the entrypoint that accepted it": time(gateway.SOCKET_HOME_LOST_S_MAX),
    "listeners of a socket": f"{sockets.LISTENERS_MAX}",
    "sockets of an object to the outside": f"{node.outbound_sockets_per_object_max}",
    "sockets of a node to the outside": f"{node.outbound_sockets_max:,}",
    "a message from the outside": size(node.outbound_message_bytes_max),
    "messages from the outside that are not handled": f"{node.outbound_unhandled_max}",
    "bytes in all of these": size(node.outbound_unhandled_bytes_max),
    "bytes that the server does not take": size(objects.socket_unsent_bytes_max),
    "time until such a socket is accepted": time(node.outbound_accept_s),
    "time for the server to answer a ping": time(node.outbound_pong_s),
    "time for it to answer a close": time(node.outbound_close_s),
    "the name of a key": f"{kv.KEY_BYTES_MAX} bytes",
    "the value of a key": size(kv.VALUE_BYTES_MAX),
    "metadata of a key, as JSON": f"{kv.METADATA_BYTES_MAX:,} bytes",
    "time until a key expires": f"{time(kv.TTL_S_MIN)} at least",
    "keys of one `get`": f"{kv.GET_MAX}",
    "names of one `list`": f"{kv.LIST_MAX:,}",
    "objects that hold the keys of a namespace": f"{kv.SHARDS}",
    "files of an application": f"{workers.app_files_max:,}",
    "bytes in them": size(workers.app_bytes_max),
    "an application that is deployed, packed": size(placement.PACKAGE_BYTES_MAX),
    "versions that a cluster keeps": f"{VERSIONS_KEPT_MAX}",
    "packages in its list": f"{workers.requirements_max}",
    "bytes in these, installed": size(workers.packages_bytes_max),
    "time to install them": time(workers.install_s_max),
    "a static asset": size(workers.asset_bytes_max),
    "cron triggers": f"{workers.app_crons_max}",
    "hosts in `fetch_hosts`": f"{workers.app_hosts_max:,}",
    "address space of a worker": size(workers.worker_address_space_bytes_max),
    "open files of a worker": f"{workers.worker_files_max}",
    "objects of a worker in memory": f"{objects.activations_per_worker_max:,}",
    "lines in the log, of a worker in one second": f"{inside.log_lines_per_s_max}",
    "a line in the log": size(inside.log_line_bytes_max),
}


def test_the_page_has_the_numbers_of_the_code() -> None:
    assert [row[:2] for row in ROWS] == list(EXPECTED.items())


def test_errors_on_the_page_are_errors() -> None:
    beyond = "; ".join(row[2] for row in ROWS)
    for name in re.findall(r"`([A-Z]\w+Error|[A-Z][a-z]\w+)`", beyond):
        assert name == "OSError" or issubclass(getattr(errors, name), HomingError), name
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HomingError)]
    by_code = {kind.code: kind for kind in kinds}
    for status, code in re.findall(r"(\d{3}) `([a-z-]+)`", beyond):
        assert by_code[code].http_status == int(status), code
    assert set(re.findall(r"close (\d+)", beyond)) <= CLOSE_CODES


def test_a_limit_that_is_in_two_places_is_the_same_in_both() -> None:
    assert inside.database_bytes_max == objects.database_bytes_max
    assert inside.commit_bytes_max == objects.commit_bytes_max
    assert inside.sockets_max == objects.sockets_per_object_max
    assert inside.outgoing_calls_max == objects.outgoing_calls_max
    assert inside.socket_message_bytes_max == gateway.SOCKET_MESSAGE_BYTES_MAX
    assert objects.tags_max == sockets.TAGS_MAX
    assert objects.attachment_bytes_max == sockets.ATTACHMENT_BYTES_MAX


def test_the_page_about_live_logs_has_the_numbers_of_the_code() -> None:
    text = (PAGE_FOLDER / "tail.md").read_text().partition("## What is bounded")[2]
    rows = dict(
        tuple(line.strip("| ").split(" | "))[:2] for line in text.splitlines() if re.match(r"\| (?!what )", line)
    )
    assert rows == {
        "a line": size(inside.log_line_bytes_max),
        "lines of one worker": f"{inside.log_lines_per_s_max} in a second",
        "events that wait at a node for one tail": f"{objects.tail_events_max:,}, or {size(objects.tail_bytes_max)}",
        "tails through one gateway": f"{gateway.TAILS_MAX}",
        "tails of one node": f"{objects.tails_max}",
        "time in which a client takes nothing": time(gateway.STREAM_STALLED_S),
    }
