"""How many primes are below a number: a page of files, and an API that keeps what it has computed in a KV namespace."""

import json
from urllib.parse import parse_qs, urlsplit

from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint

KEPT_S = 3600


class Sieve(WorkerEntrypoint):
    """Reached by a service binding, as if it were an application of its own."""

    async def count(self, below):
        if below > self.ctx.props.most:
            return None
        is_prime = bytearray([1]) * below
        is_prime[:2] = bytes(len(is_prime[:2]))
        for number in range(2, int(below**0.5) + 1):
            if is_prime[number]:
                is_prime[number * number :: number] = bytes(len(range(number * number, below, number)))
        return sum(is_prime)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        if url.path == "/api/primes":
            below = parse_qs(url.query).get("below", [""])[0]
            return await self.primes(int(below)) if below.isdecimal() else Response("below what?", status=400)
        if url.path == "/api/kept":
            page = await self.env.CACHE.list(prefix="below/")
            kept = [{"name": key.name, "count": key.metadata.count, "until": key.expiration} for key in page.keys]
            return Response.json(kept)
        return await self.env.ASSETS.fetch(request)

    async def primes(self, below):
        key = f"below/{below}"
        kept = await self.env.CACHE.getWithMetadata(key, "json")
        if kept.value is not None:
            return Response.json(kept.value, headers={"x-cache": "hit", "x-count": str(kept.metadata.count)})
        count = await self.env.SIEVE.count(below)
        if count is None:
            return Response("that is too many", status=400)
        answer = {"below": below, "count": count}
        options = to_js({"expirationTtl": KEPT_S, "metadata": {"count": count}})
        await self.env.CACHE.put(key, json.dumps(answer), options)
        return Response.json(answer, headers={"x-cache": "miss"})
