"""Polls: FastAPI in front, an object behind each of them."""

from typing import Annotated

import asgi
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketException
from pydantic import BaseModel, Field
from pyodide.ffi import run_sync
from workers import DurableObject, WorkerEntrypoint


class Poll(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS votes (voter TEXT PRIMARY KEY, choice TEXT)")

    async def vote(self, voter, choice):
        self.ctx.storage.sql.exec("INSERT OR REPLACE INTO votes VALUES (?, ?)", voter, choice)
        return await self.count()

    async def count(self):
        rows = self.ctx.storage.sql.exec("SELECT choice, count(*) AS n FROM votes GROUP BY choice ORDER BY choice")
        return {row.choice: row.n for row in rows}


class Vote(BaseModel):
    voter: str = Field(min_length=1, max_length=40)
    choice: str


def choices(request: Request):
    return list(request.scope["env"].CHOICES)


def poll(name: str, request: Request):
    return request.scope["env"].POLLS.getByName(name)


app = FastAPI(title="Polls")


@app.post("/polls/{name}", status_code=201)
async def vote(vote: Vote, poll: Annotated[object, Depends(poll)], choices: Annotated[list, Depends(choices)]):
    if vote.choice not in choices:
        raise HTTPException(422, f"choose one of {', '.join(choices)}")
    return await poll.vote(vote.voter, vote.choice)


@app.get("/polls/{name}")
def count(poll: Annotated[object, Depends(poll)]):
    return run_sync(poll.count())


@app.websocket("/polls/{name}/live")
async def live(socket: WebSocket, name: str):
    env = socket.scope["env"]
    await socket.accept()
    async for given in socket.iter_json():
        if given["choice"] not in env.CHOICES:
            raise WebSocketException(1008, f"choose one of {', '.join(env.CHOICES)}")
        await socket.send_json(await env.POLLS.getByName(name).vote(given["voter"], given["choice"]))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await asgi.fetch(app, request.js_object, self.env)
