"""An object that asks servers with the HTTP libraries that object code may use; its source, and what it is asked."""

from __future__ import annotations

LIBRARIES = ["httpx_async", "httpx", "requests", "urllib3", "urllib"]
NEEDS = ["httpx==0.28.1", "requests==2.34.2", "urllib3==2.8.0"]
WEB = """
import asyncio
import base64
import urllib.request

import httpx
import requests
import urllib3
from homing import DurableObject


class Web(DurableObject):
    async def ask(self, library, url, options={}):
        try:
            status, many, body, reason = await getattr(self, library)(url, **{"method": "GET", **options})
        except Exception as error:
            kinds = [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__]
            return [kinds, str(error)]
        return [status, list(many or ()), base64.b64encode(body).decode(), reason]

    async def httpx_async(self, url, **options):
        async with httpx.AsyncClient() as client:
            found = await client.request(url=url, **options)
        return found.status_code, found.headers.get_list("x-many"), found.content, found.reason_phrase

    async def httpx(self, url, **options):
        found = httpx.request(url=url, **options)
        return found.status_code, found.headers.get_list("x-many"), found.content, found.reason_phrase

    async def requests(self, url, **options):
        found = requests.request(url=url, **options)
        return found.status_code, found.raw.headers.getlist("x-many"), found.content, found.reason

    async def urllib3(self, url, **options):
        found = urllib3.PoolManager().request(url=url, **options)
        return found.status, found.headers.getlist("x-many"), found.data, found.reason

    async def urllib(self, url, timeout=10, data=None, **options):
        request = urllib.request.Request(url, data=data and data.encode(), **options)
        with urllib.request.urlopen(request, timeout=timeout) as found:
            return found.status, found.headers.get_all("x-many"), found.read(), found.reason

    async def posted(self, url):
        form = requests.post(url, data={"a": "1 2"}, files={"f": ("n.bin", bytes([0, 255]))})
        piecemeal = requests.post(url, data=iter([b"one ", b"two"]))
        return [form.status_code, piecemeal.text]

    async def pieces(self, url):
        with httpx.stream("GET", url) as found:
            read = [len(piece) for piece in found.iter_bytes(4)]
        with requests.get(url, stream=True) as found:
            return read + [len(piece) for piece in found.iter_content(4)]

    async def together(self, url):
        async def one(n):
            with requests.Session() as session:
                return session.get(f"{url}/{n}").text
        return await asyncio.gather(*map(one, range(3)))

    async def written_before(self, url):
        await self.ctx.storage.put("n", (await self.ctx.storage.get("n") or 0) + 1)
        before = requests.get(url).status_code
        return [before, await self.ctx.storage.get("n")]

    def without_async(self, url):
        return requests.get(url).text
"""


def sent_with(library: str, text: str) -> dict[str, str]:
    """The options with which a library posts a text."""
    return {
        "method": "POST",
        {"httpx_async": "content", "httpx": "content", "urllib3": "body"}.get(library, "data"): text,
    }


def failing_at_once(library: str) -> dict[str, bool]:
    """The options with which a library does not try again."""
    return {"retries": False} if library == "urllib3" else {}


ERRORS = {
    "httpx_async": ("httpx.ConnectError", "httpx.ReadTimeout", "httpx.ReadError"),
    "httpx": ("httpx.ConnectError", "httpx.ReadTimeout", "httpx.ReadError"),
    "requests": ("requests.ConnectionError", "requests.ReadTimeout", "requests.ConnectionError"),
    "urllib3": ("urllib3.NewConnectionError", "urllib3.ReadTimeoutError", "urllib3.ProtocolError"),
    "urllib": ("urllib.URLError", "builtins.TimeoutError", "urllib.URLError"),
}
"""What each library raises where it cannot connect, where the answer is late, and where it is too long."""
