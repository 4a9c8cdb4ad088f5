"""workerd with a worker loader, one process on loopback: what new code takes there. npm brings it, into `.bench/`."""

from __future__ import annotations

import asyncio
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

VERSION = "1.20261117.1"
CACHE = Path(__file__).resolve().parents[2] / ".bench" / "npm"
HERE = Path(__file__).resolve().parent
START_S = 20.0
_MACHINES = {"x86_64": "workerd-linux-64", "aarch64": "workerd-linux-arm64"}


def binary() -> Path | None:
    """The program, fetched where it is not there yet; None: this machine has no npm, or npm no such program."""
    name = _MACHINES.get(platform.machine())
    npm = shutil.which("npm")
    if name is None:
        return None
    found = CACHE / "node_modules" / "@cloudflare" / name / "bin" / "workerd"
    if not found.exists():
        if npm is None:
            return None
        CACHE.mkdir(parents=True, exist_ok=True)
        command = (npm, "install", "--silent", "--no-save", "--prefix", str(CACHE), f"workerd@{VERSION}")
        subprocess.run(command, check=True)
    return found if found.exists() else None


class Workerd:
    """A connection to one that runs.

    Args:
        reader: of the connection.
        writer: of the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def load(self, number: int) -> float:
        """Seconds from new code to its result."""
        began = time.perf_counter()
        self._writer.write(f"GET /{number} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
        body = await self._reader.readexactly(size)
        took = time.perf_counter() - began
        if body != f'{{"n":{number}}}'.encode():
            raise RuntimeError(f"workerd answered {head} {body!r}")
        return took

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@asynccontextmanager
async def started(program: Path) -> AsyncGenerator[Workerd]:
    """A fresh process, and a connection to it: it gives back no memory of what it has loaded."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="homing-workerd-") as name:
        folder = Path(name)
        shutil.copy(HERE / "loader.js", folder)
        configuration = (HERE / "loader.capnp").read_text().replace("@PORT@", str(port))
        (folder / "loader.capnp").write_text(configuration)
        process = await asyncio.create_subprocess_exec(
            program, "serve", "--experimental", "loader.capnp", "config", cwd=folder
        )
        try:
            connection = Workerd(*await _connected(port, process))
            await connection.load(-1)
            yield connection
            connection.close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _connected(
    port: int, process: asyncio.subprocess.Process
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    ends = time.monotonic() + START_S
    while process.returncode is None and time.monotonic() < ends:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
    raise RuntimeError("workerd did not start")
