"""Applications in the style of Cloudflare's Python Workers, each with its `wrangler.jsonc`, under `homing dev`."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.chaos.cluster import DevCluster
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

APPS = Path(__file__).resolve().parents[2] / "examples" / "cloudflare"
WAIT_S = 15.0


@contextmanager
def running(name: str) -> Generator[httpx.Client]:
    with DevCluster(APPS / name, 1) as cluster, httpx.Client(base_url=cluster.url, timeout=20.0) as client:
        yield client


def test_a_counter_with_rpc() -> None:
    with running("counter") as client:
        answer = client.get("/hits/increment")
        assert (answer.status_code, answer.text) == (200, "hits: 1")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert client.get("/hits/increment").text == "hits: 2"
        assert client.get("/hits/decrement").text == "hits: 1"
        answer = client.get("/hits")
        assert answer.json() == {"name": "hits", "value": 1}
        assert answer.headers["content-type"] == "application/json"
        assert client.get("/others").json() == {"name": "others", "value": 0}
        assert client.get("/").status_code == 400
        assert client.get("/hits/nothing").status_code == 404


def test_an_alarm_queue() -> None:
    with running("reminders") as client:
        assert client.post("/mine", json={"text": "later", "after_ms": 900}).status_code == 201
        answer = client.post("/mine", json={"text": "soon", "after_ms": 300})
        assert (answer.status_code, answer.json()["text"]) == (201, "soon")
        assert client.get("/mine").json()["next"] == answer.json()["due"]
        deadline = time.monotonic() + WAIT_S
        while len(done := client.get("/mine").json()["done"]) < 2:
            assert time.monotonic() < deadline, done
            time.sleep(0.1)
        assert [row["text"] for row in done] == ["soon", "later"]
        assert all(row["late"] >= 0 for row in done), "none is early"
        assert client.get("/mine").json()["next"] is None
        assert client.get("/").status_code == 400


def test_a_chat_room_with_hibernation() -> None:
    with running("chat") as client:
        assert client.get("/hall").json() == []
        url = f"ws{str(client.base_url).removeprefix('http')}/hall?name="
        with connect(f"{url}ann") as ann, connect(f"{url}bob") as bob:
            ann.send("hello")
            assert [json.loads(each.recv(WAIT_S)) for each in (ann, bob)] == [
                {"name": "ann", "line": "hello", "here": 2}
            ] * 2
            ann.send("ping")
            assert ann.recv(WAIT_S) == "pong"
            bob.close(3_000, "bye")
            assert json.loads(ann.recv(WAIT_S)) == {"left": "bob", "code": 3_000}
        assert client.get("/hall").json() == [["ann", "hello"]]


def test_links_in_a_kv_namespace() -> None:
    with running("links") as client:
        for name, target in (("b", "https://b.example/x"), ("a", "https://a.example/"), ("c", "https://c.example/")):
            answer = client.put(f"/{name}", content=target)
            assert (answer.status_code, answer.json()) == (201, {"name": name, "target": target})
        answer = client.get("/b")
        assert (answer.status_code, answer.headers["location"]) == (302, "https://b.example/x")
        page = client.get("/").json()
        assert page["links"] == [{"name": "a", "host": "a.example"}, {"name": "b", "host": "b.example"}]
        last = client.get("/", params={"cursor": page["cursor"]}).json()
        assert last == {"links": [{"name": "c", "host": "c.example"}], "cursor": None}
        assert client.get("/", params={"prefix": "c"}).json() == last
        assert client.delete("/b").status_code == 204
        assert client.get("/b").status_code == 404
        assert client.put("/d", content="http://plain").status_code == 400


def test_a_list_in_a_d1_database_with_migrations() -> None:
    with running("todo") as client:
        assert client.get("/").json() == []
        for number, text in enumerate(("wash", "dry"), 1):
            answer = client.post("/", json={"text": text})
            assert (answer.status_code, answer.json()) == (201, {"id": number, "text": text})
        assert client.post("/1").json() == {"changed": 1}
        assert client.post("/1").json() == {"changed": 0}
        assert client.get("/").json() == [
            {"id": 2, "text": "dry", "done": False},
            {"id": 1, "text": "wash", "done": True},
        ]
        assert client.get("/count").json() == {"left": 1}
        assert client.post("/", json={"text": ""}).status_code == 400


def test_polls_of_fastapi_over_an_object() -> None:
    with running("polls") as client:
        for voter, choice, counts in (
            ("ann", "tea", {"tea": 1}), ("bob", "coffee", {"coffee": 1, "tea": 1}), ("ann", "coffee", {"coffee": 2}),
        ):  # fmt: skip
            answer = client.post("/polls/break", json={"voter": voter, "choice": choice})
            assert (answer.status_code, answer.json()) == (201, counts)
        assert client.get("/polls/break").json() == {"coffee": 2}, "an endpoint without async waits"
        assert client.get("/polls/other").json() == {}
        answer = client.post("/polls/break", json={"voter": "cy", "choice": "water"})
        assert (answer.status_code, answer.json()) == (422, {"detail": "choose one of tea, coffee"})
        answer = client.post("/polls/break", json={"voter": "", "choice": "tea"})
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "voter"])
        assert client.get("/openapi.json").json()["info"]["title"] == "Polls"
        with connect(f"ws{str(client.base_url).removeprefix('http')}/polls/break/live") as live:
            for choice, counts in (("tea", {"coffee": 2, "tea": 1}), ("coffee", {"coffee": 3})):
                live.send(json.dumps({"voter": "dee", "choice": choice}))
                assert json.loads(live.recv(WAIT_S)) == counts
            live.send(json.dumps({"voter": "dee", "choice": "water"}))
            with pytest.raises(ConnectionClosed) as closed:
                live.recv(WAIT_S)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "choose one of tea, coffee")
        assert client.get("/polls/break").json() == {"coffee": 3}
        assert client.get("/nothing").status_code == 404


def test_a_guest_book_of_django_in_a_d1_database() -> None:
    with running("guestbook") as client:
        assert "nothing yet" in client.get("/").text
        entry = {"name": "Ann", "text": "<b>hello</b>"}
        assert client.post("/", data=entry).status_code == 403, "Django asks for its token"
        token = client.cookies["csrftoken"]
        answer = client.post("/", data={**entry, "csrfmiddlewaretoken": token})
        assert (answer.status_code, answer.headers["location"]) == (302, "/")
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<li>Ann: &lt;b&gt;hello&lt;/b&gt;</li>" in page.text
        assert client.get("/entries/1").json() == {"id": 1, **entry}
        assert client.get("/entries/2").status_code == 404
        assert client.delete("/", headers={"x-csrftoken": client.cookies["csrftoken"]}).status_code == 405
