"""What a node and a sandbox say to each other, in the frames of `homing_node.workers.inside.framing`.

Whatever comes from a sandbox was written by its tenant: the node bounds it, and believes nothing of it.
"""

from __future__ import annotations

CHANNEL_FD = 3

# Node to sandbox. What else a node may say one day has numbers from 4 on.
# Of a RUN: code, arguments (`homing.values.to_stored`), stdin, bytes that the result may have, whether what it prints
# is wanted as it prints it, what is granted, language (`homing.sandboxes.LANGUAGES`), bytes of memory that it may take.
RUN = 1
ANSWER = 2  # to an ask: its number, bytes of the value (`homing.values.to_stored`)
REFUSAL = 3  # to an ask: its number, code, message and type of the error, seconds after which to try again (0: none)

# The same, to a sandbox that is a dynamic worker (`homing.loading_frames`)
CODE = 10  # bytes, whether it is the last: a part of its code; what is granted, as for RUN
# Number, entrypoint, props, method or "" for `fetch`, body, bytes that the result may have, facet that is called or 0
CALL = 11
CANCEL = 12  # number: nobody waits for this call any more
# A facet is to run, or more of its pages: its number, class, props, id, name in that or "", depth, bytes of pages
FACET = 13
KEPT = 14  # number of a facet, of a commit: up to that one they are durable
CLOSE = 15  # number of a facet: it is to end

# Sandbox to node
OUTPUT = 1  # stream (1 stdout, 2 stderr), bytes
RESULT = 2  # bytes of the value (`homing.values.to_stored`)
FAILURE = 3  # cause, type, message, traceback
# Its number (from 1 on, each higher than the one before), the place of the grant, operation, bytes of arguments
ASK = 4

# The same, from a dynamic worker
RETURN = 10  # number, bytes of what was returned (`homing.values.to_stored`)
RESPOND = 11  # number, status, header fields, body
FAIL = 12  # number, cause, type, message, traceback
LINE = 13  # number of the call that printed it or 0, level, text
COMMIT = 14  # number of a facet, of its commit (each one higher than the last), a piece of its bytes, whether the last
LOST = 15  # number of a facet: it has reset itself

STDOUT = 1
STDERR = 2

# The cause of a FAILURE
RAISED = "raised"
SYNTAX = "syntax"
MEMORY = "memory"
NO_VALUE = "no-value"
RESULT_BYTES = "result"
NOT_FOUND = "not-found"  # an entrypoint, or a method of one
MISFIT = "misfit"  # arguments that do not fit
CANCELLED = "cancelled"
NOT_SUPPORTED = "not-supported"  # by the worker's language
START = "start:"  # before another cause: the worker's code could not be loaded, and it takes no calls
CAUSES = frozenset((RAISED, SYNTAX, MEMORY, NO_VALUE, RESULT_BYTES))

# What one sandbox may ask; more is no accident, and its end. The sandbox's own side waits before it comes to that.
asks_at_once_max = 16
ask_bytes_max = 8 * 1024 * 1024 + 64 * 1024  # of the arguments of one
asks_bytes_at_once_max = 16 * 1024 * 1024  # of those that have no answer yet
operation_chars_max = 100
