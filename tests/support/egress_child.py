"""A process that asks for URLs under grants, over the network that it is in: the egress suite's, with nothing replaced.

    egress_child.py RESOLV_CONF    and a line of JSON for each URL on stdin

In a mount namespace of its own it puts RESOLV_CONF over the machine's. Each URL is asked for under a grant of its own,
unless its line says `"again": true`; an answer is a line of JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys

from homing.errors import HomingError
from homing_node.broker.audit import AuditRecord
from homing_node.broker.egress import Egress
from homing_node.broker.exchange import OutboundRequest
from homing_node.broker.policy import OutboundGrant

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4_096, 16_384, 1 << 18
GRANT = OutboundGrant(name="test", hosts=("*.example.com",), methods=("GET",), paths=("/**",))


def cover(resolv_conf: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    steps = (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None),
        lambda: libc.mount(resolv_conf.encode(), os.path.realpath("/etc/resolv.conf").encode(), None, MS_BIND, None),
    )
    for step in steps:
        if step() != 0:
            raise OSError(ctypes.get_errno(), "no mount namespace")


async def main() -> None:
    records: list[AuditRecord] = []
    egress = Egress(records.append)
    opened = None
    for line in sys.stdin:
        asked = json.loads(line)
        if opened is None or not asked.get("again"):
            opened = egress.open(GRANT, holder="child", fetch_hosts=GRANT.hosts, secrets={})
        told: dict[str, object] = {"status": 0, "code": ""}
        try:
            async with opened.fetch(OutboundRequest("GET", asked["url"], timeout_s=10.0)) as answer:
                told["status"], told["body"] = answer.status, (await answer.whole()).decode()
        except HomingError as error:
            told["code"] = error.code
        told["rule"], told["detail"] = records[-1].rule, records[-1].detail
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    await egress.close()


if __name__ == "__main__":
    cover(sys.argv[1])
    asyncio.run(main())
