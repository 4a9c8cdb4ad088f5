"""Limits on the inner side; the node has its own, and relies on none of these."""

from __future__ import annotations

output_piece_bytes = 16 * 1024
live_lines = 1_000  # of each stream that is followed are sent at once; from then on what there is, now and then
live_pause_s = 0.2
first_read_bytes = 4 * 1024  # enough for most messages, and few pages of memory
read_bytes = 64 * 1024  # more would be a mapping of its own, made and unmade
message_chars_max = 4_000
traceback_chars_max = 16_000
traceback_frames_max = 40
processes_max = 16  # of a sandbox: its threads
files_max = 32
stack_bytes_max = 8 * 1024 * 1024
thread_stack_bytes = 512 * 1024
untold_ms = 3  # a zygote that has forked lets the child run first, and tells its node after that
javascript_stack_bytes = 1024 * 1024
javascript_bytes_per_char = 80  # of memory, for the tree of a module
typescript_bytes_per_char = 300  # of memory, for the tree of a text of usual TypeScript
loaded_memory_bytes = 64 * 1024 * 1024  # of a dynamic worker, beyond what every sandbox has
print_lines_max = 1_000  # of one `console.log`
commit_piece_bytes = 192 * 1024  # below what travels in pieces: no answer may overtake what it depends on


def loaded_memory_bytes_of(code_bytes: int) -> int:
    """What a dynamic worker may have, in bytes: four times what its code has more where that is over a sixteenth."""
    spare = loaded_memory_bytes
    return spare if code_bytes <= spare // 16 else spare + 4 * code_bytes
