"""The target `frames`: every decoder of bytes that come from a worker, a peer, a disk, a backup or a client's call."""

from __future__ import annotations

from tests.fuzz import frames_channel, frames_flows, frames_records, frames_values
from tests.fuzz.target import Target

NODE = "node/homing_node"

TARGET = Target(
    "frames",
    (*frames_channel.CHECKS, *frames_records.CHECKS, *frames_values.CHECKS, *frames_flows.CHECKS),
    {
        f"{NODE}/workers/inside/framing.py": (),
        f"{NODE}/workers/inside/pages.py": (),
        f"{NODE}/workers/process.py": (
            "WorkerProcess._on_message", "WorkerProcess._on_start_message", "_number", "_offer",
        ),
        f"{NODE}/objects/call_streams.py": (),
        f"{NODE}/objects/flows.py": (
            "CallFlows.on_frame", "CallFlows._answer_came", "CallFlows._taken", "CallFlows._came",
            "CallFlows.from_gateway", "CallFlows._pass_on",
        ),
        f"{NODE}/objects/frames.py": ("check_piece",),
        f"{NODE}/objects/object_log.py": ("emit",),
        f"{NODE}/objects/outgoing.py": ("_Caller.add", "OutgoingCalls.made", "_target"),
        f"{NODE}/objects/recording.py": ("take_commit",),
        f"{NODE}/objects/replies.py": ("of_effect", "_socket", "error_of"),
        f"{NODE}/objects/restored.py": ("Incoming",),
        f"{NODE}/objects/socket_items.py": (),
        f"{NODE}/objects/socket_record.py": (),
        f"{NODE}/objects/stateless.py": ("StatelessCalls.on_turn", "StatelessCalls._answer"),
        f"{NODE}/objects/turn_record.py": (),
        f"{NODE}/objects/worker_frames.py": (
            "FrameHost.on_frame", "FrameHost._heard", "FrameHost._on_call", "FrameHost._on_turn",
            "FrameHost._on_given_up", "FrameHost._on_reset", "FrameHost._on_closed",
        ),
        f"{NODE}/log/mark.py": ("encode", "decode"),
        f"{NODE}/log/pieces.py": ("Incoming",),
        f"{NODE}/log/record.py": (),
        "placement/homing_placement/routing/flows.py": (),
        "sdk/homing/cli/archive.py": ("Parts",),
        "sdk/homing/flow.py": (),
        "sdk/homing/sent.py": (),
        "sdk/homing/slot_frames.py": (),
        "sdk/homing/values.py": (),
    },
)  # fmt: skip

frames_channel.quiet()
