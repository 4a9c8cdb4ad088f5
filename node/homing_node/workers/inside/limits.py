"""Every bound of the worker-side runtime, unit last in the name."""

from __future__ import annotations

# The channel
frame_bytes_max = 512 * 1024  # one frame on the wire; checked before anything is allocated
fragment_bytes = 256 * 1024  # a message above this travels in pieces of this size
partial_messages_max = 64  # messages that are in pieces on one channel at one time
message_bytes_max = 40 * 1024 * 1024  # all the pieces that one side may hold of unfinished messages
receive_bytes = 256 * 1024  # the worker reads at most this much at one time
unsent_bytes_max = 8 * 1024 * 1024  # what the node does not read; above it the worker takes no more events

# Pages
page_bytes = 1_024
database_bytes_max = 64 * 1024 * 1024
pages_max = database_bytes_max // page_bytes
commit_bytes_max = 16 * 1024 * 1024  # changed pages in one transaction
commit_pages_max = commit_bytes_max // page_bytes
span_gap_bytes_min = 8  # equal bytes that end a span; fewer cost less to repeat than a new span's header

# Storage
page_cache_pages_min = 8  # an open activation must be cheap
page_cache_pages_max = 256
statement_cache_entries = 24
value_bytes_max = 2 * 1024 * 1024  # a row, a string, a blob, or a key and its value
statement_bytes_max = 100_000
bindings_max = 100
columns_max = 100
function_arguments_max = 32
like_pattern_bytes_max = 50
open_cursors_checked = 64  # cursors of one turn after which the list of those still open is cleaned

# Activations
block_concurrency_s_max = 30  # a section that holds the input gate; then the activation is reset
wait_until_s_max = 15 * 60
alarm_s_max = 15 * 60  # a handler's run; then it is cancelled, which counts as its failure
alarm_retries_max = 6
alarm_retry_first_s = 2
alarm_retry_doublings_max = 9
alarm_retry_jitter = 1.25  # a wait is longer by up to a quarter
outgoing_calls_max = 1_000  # of one activation, without an answer; the node bounds them too
exported_max = 2_000  # things that one activation has passed by reference
returned_max = 1_000  # of them in results; the oldest are dropped
sockets_max = 32_768  # of one object
socket_message_bytes_max = 32 * 1024 * 1024
queued_s_max = 30.0  # an event that waited longer is refused
queued_events_max = 1_024  # of one activation, waiting behind its gate; the node bounds them too
dynamic_facet_bytes_max = 16 * 1024 * 1024  # of the database of a facet that runs in a sandbox
facet_part_bytes = 8 * 1024 * 1024  # of its pages, on their way to a sandbox
facets_max = 256  # of one object that run at once; the one that was idle the longest makes room
beat_interval_s = 0.5
thread_stack_bytes = 512 * 1024  # with the default of 8 MiB few threads fit into the address space
collector_threshold = 20_000  # objects made before the youngest are collected; many objects live long here
give_back_after_s = 1.0  # after the first activation that ended, the memory of all that did goes back to the system

# Looks: questions to a database without its object
look_s_max = 10.0
look_steps = 10_000  # of SQLite's, after which it is seen whether that is over
look_bytes_max = 1024 * 1024  # of the values in an answer

# Grants to an object, of code in sandboxes
granted_s_max = 1.0  # of a query: the object waits meanwhile
granted_rows_bytes_max = 4 * 1024 * 1024  # of the values in an answer
granted_keys_max = 1_000  # of one list

# Logs
log_line_bytes_max = 8 * 1024
log_lines_per_s_max = 500  # of one worker; what is dropped is counted in one line
answer_bytes_max = 16 * 1024 * 1024  # with the commit of its turn it fits into one message
message_text_bytes_max = 4 * 1024  # of an exception's message in an answer
traceback_bytes_max = 8 * 1024


def override(given: dict[str, object]) -> None:
    """Take over the limits that the node set for this worker; names that are not limits here are left alone."""
    own = globals()
    for name, value in given.items():
        if isinstance(own.get(name), (int, float)) and isinstance(value, (int, float)) and value > 0:
            own[name] = value
    own["pages_max"] = own["database_bytes_max"] // page_bytes
    own["commit_pages_max"] = own["commit_bytes_max"] // page_bytes
