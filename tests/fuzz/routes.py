"""The target `routes`: what a client sends to a gateway."""

from __future__ import annotations

from tests.fuzz import routes_app, routes_parts
from tests.fuzz.frames_channel import quiet
from tests.fuzz.target import Target

GATEWAY = "gateway/homing_gateway"

TARGET = Target(
    "routes",
    (*routes_parts.CHECKS, *routes_app.CHECKS),
    {
        f"{GATEWAY}/routes.py": (),
        f"{GATEWAY}/asked.py": (),
        f"{GATEWAY}/asgi.py": (),
        f"{GATEWAY}/problems.py": (),
        f"{GATEWAY}/fingerprints.py": (),
        f"{GATEWAY}/gateway.py": ("Gateway.rpc", "Gateway.fetch"),
        f"{GATEWAY}/admin.py": ("_page",),
        f"{GATEWAY}/streams.py": ("_cut", "field", "number_in", "_hex"),
        f"{GATEWAY}/testing.py": (),
        f"{GATEWAY}/socket_app.py": ("SocketApp.serve", "SocketApp._ask", "_accepted", "_refuse"),
        f"{GATEWAY}/socket_lane.py": ("end_of",),
        f"{GATEWAY}/exchange.py": (
            "Exchange.problem", "Exchange.body", "Exchange.first_piece", "Exchange._read", "Exchange.pieces",
            "Exchange._next_piece", "Exchange.url", "Exchange.fetch", "Exchange.flows", "Exchange._passed_headers",
            "fetched", "_length", "said_length", "answered_headers",
        ),
        f"{GATEWAY}/bodies.py": ("RequestBody.feed", "answer_pieces", "_next"),
        f"{GATEWAY}/tails.py": ("_asked",),
        f"{GATEWAY}/lane.py": ("_Cycle._begin", "LaneProtocol._short_route", "LaneProtocol._is_plain",
        "LaneProtocol._has_short_body"),
        "sdk/homing/observability/trace.py": ("parse", "id_of"),
    },
)  # fmt: skip

quiet()
