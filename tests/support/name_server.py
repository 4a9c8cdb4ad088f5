"""A name server for tests: UDP, A and AAAA, each answer as a test wrote it down, none kept (RFC 1035)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_A, _AAAA = 1, 28
_NO_SUCH_NAME = 3


class NameServer:
    """Answers on one socket, in a thread of its own.

    Args:
        sock: bound already, in whichever network.

    Attributes:
        answers: by name; the first answer for a type is given once if another follows, the last again and again.
        asked: the names that were asked for, each once for each type.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(0.1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: dict[tuple[str, bool], list[list[str]]] = {}
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._sock.close()

    def set(self, name: str, *answers: list[str]) -> None:
        """What a name stands for, one answer after the other."""
        for v6 in (False, True):
            self.answers[name, v6] = [[a for a in answer if (":" in a) == v6] for answer in answers]

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                question, whence = self._sock.recvfrom(512)
            except TimeoutError:
                continue
            self._sock.sendto(self._answer(question), whence)

    def _answer(self, question: bytes) -> bytes:
        labels, at = list[str](), 12
        while size := question[at]:
            labels.append(question[at + 1 : at + 1 + size].decode())
            at += 1 + size
        name, (kind, _) = ".".join(labels).lower(), struct.unpack(">HH", question[at + 1 : at + 5])
        self.asked.append(name)
        answers = self.answers.get((name, kind == _AAAA))
        found = answers.pop(0) if answers and len(answers) > 1 else answers[0] if answers else []
        addresses = [ipaddress.ip_address(text).packed for text in found if kind in (_A, _AAAA)]
        flags = 0x8580 if answers is not None else 0x8580 | _NO_SUCH_NAME
        head = question[:2] + struct.pack(">HHHHH", flags, 1, len(addresses), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed for packed in addresses]
        return head + question[12 : at + 5] + b"".join(records)
