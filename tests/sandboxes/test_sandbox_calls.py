"""`homing.run` in a real cluster: from an object, from the entrypoint, over HTTP, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "sandboxes"
TOKEN = "a-token-for-this-test"
RUNS = "/_homing/v1/sandbox"


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP, environment={"HOMING_API_TOKEN": TOKEN}) as running:
        yield running


@pytest.fixture(scope="module")
def http(cluster: Cluster) -> Generator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        yield client


def command(cluster: Cluster, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "homing.cli", "sandbox", *arguments, "--url", cluster.url, "--token", TOKEN],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_object_runs_code(cluster: Cluster) -> None:
    run: Any = cluster.get("Runner", "a").run
    given = {"rows": [["x", 1], ["y", 2**70]], "at": datetime(2026, 1, 2, tzinfo=UTC), "raw": b"\0"}
    found = run("print(len(rows))\n[sum(n for _, n in rows), at.year, raw]", given)
    assert found == {"result": [2**70 + 1, 2026, b"\0"], "stdout": "2\n", "stderr": "", "error": None}
    assert cluster.get("Runner", "a").runs() == 1


def test_what_goes_wrong_in_it_is_told_with_its_traceback(cluster: Cluster) -> None:
    found = cluster.get("Runner", "a").run("def f():\n    return 1 / 0\nf()")
    code, error_type, trace = found["error"]
    assert (code, error_type) == ("sandbox-error", "ZeroDivisionError")
    assert 'File "<sandbox>", line 2, in f' in trace
    found = cluster.get("Runner", "a").run("while True: pass", limits={"cpu_s": 0.2})
    assert found["error"][:2] == ["sandbox-limit", "cpu_s"]


def test_an_object_runs_javascript_and_typescript(cluster: Cluster) -> None:
    run: Any = cluster.get("Runner", "a").run
    given = {"rows": [["x", 1], ["y", 2]], "at": datetime(2026, 1, 2, tzinfo=UTC), "raw": b"\0", "big": 2**70}
    code = "console.log(rows.length); [rows.reduce((sum, [, n]) => sum + n, 0), at, raw, big + 1n]"
    found = run(code, given, language="javascript")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert found == {"result": [3, at, b"\0", 2**70 + 1], "stdout": "2\n", "stderr": "", "error": None}
    found = run("const n: number = await Promise.resolve(41)\nn + 1 as number", language="typescript")
    assert (found["result"], found["error"]) == (42, None)
    code, error_type, trace = run("function f() {\n  x()\n}\nf()", language="javascript")["error"]
    assert (code, error_type) == ("sandbox-error", "ReferenceError")
    assert "at f (<sandbox>:2:" in trace


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"code": "1", "limits": {"wall_s": -1}}, "BadRequest"),
        ({"code": "1", "limits": {"none": 1}}, "BadRequest"),
        ({"code": "1", "tenant": "x" * 201}, "BadRequest"),
        ({"code": "1", "language": "ruby"}, "BadRequest"),
        ({"code": "1", "grants": {"x": 1}}, "TypeError"),
        ({"code": "#", "times": 5 << 20}, "TooLarge"),
        ({"code": "", "stdin": "x", "times": 5 << 20}, "TooLarge"),
    ],
)
def test_what_cannot_be_run_is_raised(cluster: Cluster, given: dict[str, Any], name: str) -> None:
    assert cluster.get("Runner", "a").refused(**given)[0] == name


def test_the_entrypoint_runs_code(http: httpx.Client) -> None:
    assert http.post("/", content="input() + '!'").text == "in!"


def test_http_runs_code_and_needs_the_token(cluster: Cluster, http: httpx.Client) -> None:
    asked = {"code": "print(s)\n{'b': b'x', 'n': n}", "args": {"s": "ä", "n": 2**65}, "limits": {"wall_s": 5}}
    answer = http.post(RUNS, json=asked)
    assert answer.status_code == 200
    told = answer.json()
    assert told.pop("duration_ms") > 0
    result = {"b": {"$bytes": "eA=="}, "n": 2**65}
    assert told == {"result": result, "stdout": "ä\n", "stderr": "", "error": None}
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert httpx.post(cluster.url + RUNS, json=asked, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{}", 400),
        (b'{"code": 1}', 400),
        (b'{"code": "1", "args": [1]}', 400),
        (b'{"code": "1", "other": 1}', 400),
        (b'{"code": "1", "language": "ruby"}', 400),
        (b'{"code": "1", "limits": {"wall_s": 1000}}', 400),
        (b'{"code": "1", "limits": {"wall_s": "1"}}', 400),
        (b'{"code": "\\ud800"}', 400),
        (b'{"code": "' + b"#" * (5 << 20) + b'"}', 413),
        (b'{"code": "' + b"#" * (17 << 20) + b'"}', 413),
    ],
)
def test_http_refuses_what_is_none(http: httpx.Client, body: bytes, status: int) -> None:
    answer = http.post(RUNS, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text


def test_http_runs_other_languages(http: httpx.Client) -> None:
    asked = {"code": "console.log(s); ({ b: new Uint8Array(1), n: n + 1n })", "args": {"s": "ä", "n": 2**65}}
    told = http.post(RUNS, json=asked | {"language": "javascript"}).json()
    assert (told["result"], told["stdout"]) == ({"b": {"$bytes": "AA=="}, "n": 2**65 + 1}, "ä\n")
    told = http.post(RUNS, json={"code": "enum A {}", "language": "typescript"}).json()
    assert told["error"]["code"] == "sandbox-syntax"


def test_http_tells_of_a_result_that_json_cannot_say(http: httpx.Client) -> None:
    told = http.post(RUNS, json={"code": "{1: float('nan')}"}).json()
    assert told["error"]["code"] == "sandbox-no-value"


def followed(http: httpx.Client, code: str, **asked: Any) -> Generator[tuple[float, dict[str, Any]]]:
    """The lines of a run that is followed, and when each came."""
    headers = {"accept": "application/x-ndjson"}
    with http.stream("POST", RUNS, json={"code": code, **asked}, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "application/x-ndjson"
        for line in answer.iter_lines():
            yield time.monotonic(), json.loads(line)


def test_what_is_printed_comes_as_it_is_printed(http: httpx.Client) -> None:
    """Broken by: keeping it until the end; decoding each piece by itself, which cuts characters in two."""
    code = """
import sys, time
print("one")
time.sleep(0.5)
print("two", file=sys.stderr)
sys.stdout.buffer.write(b"\\xc3")
sys.stdout.flush()
time.sleep(0.5)
sys.stdout.buffer.write(b"\\xa9")
7
"""
    lines = list(followed(http, code))
    assert [line for _, line in lines[:-1]] == [{"stdout": "one\n"}, {"stderr": "two\n"}, {"stdout": "é"}]
    assert lines[1][0] - lines[0][0] > 0.3
    assert (lines[-1][1]["result"], lines[-1][1]["error"]) == (7, None)


def test_many_lines_come_whole(http: httpx.Client) -> None:
    """Broken by: sending each line by itself, however many there are: the run would break the bound on its frames."""
    lines = [line for _, line in followed(http, "for n in range(30_000): print(n)")]
    assert "".join(line["stdout"] for line in lines[:-1]) == "".join(f"{n}\n" for n in range(30_000))
    assert lines[-1]["error"] is None


def test_what_goes_wrong_is_the_last_line_or_the_status(http: httpx.Client) -> None:
    *printed, last = [line for _, line in followed(http, "print('x' * 100)\n1 / 0")]
    assert printed == [{"stdout": "x" * 100 + "\n"}]
    assert last["error"]["type"] == "ZeroDivisionError"
    *printed, last = [line for _, line in followed(http, "while True: print('x' * 99)", limits={"output_bytes": 1000})]
    assert sum(len(line["stdout"]) for line in printed) == 1000
    assert (last["error"]["code"], last["error"]["type"]) == ("sandbox-limit", "output_bytes")
    headers = {"accept": "application/x-ndjson"}
    assert http.post(RUNS, json={"code": "1", "limits": {"none": 1}}, headers=headers).status_code == 400
    assert http.post(RUNS, json={"code": "#" * (5 << 20)}, headers=headers).status_code == 413


def test_who_goes_away_ends_the_run(http: httpx.Client) -> None:
    """Broken by: a node that goes on with what nobody follows."""
    lines = followed(http, "import time\nprint(1)\ntime.sleep(50)", limits={"wall_s": 60})
    assert next(lines)[1] == {"stdout": "1\n"}
    assert len(http.get(RUNS).json()["runs"]) == 1
    lines.close()
    deadline = time.monotonic() + 5
    while http.get(RUNS).json()["runs"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_command_line_runs_shows_and_ends(cluster: Cluster, http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("print('hello')\nn + 1")
    done = command(cluster, "run", str(tmp_path / "code.py"), "--arg", "n=41")
    assert (done.returncode, done.stdout) == (0, "hello\n42\n")
    for name in ("code.js", "code.mjs", "code.ts"):
        (tmp_path / name).write_text(f"let m{': number' if name.endswith('.ts') else ''} = n\nm + 1")
        done = command(cluster, "run", str(tmp_path / name), "--arg", "n=41")
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    done = command(cluster, "run", "-", "--language", "javascript", stdin="nothing()")
    assert (done.returncode, "ReferenceError" in done.stderr) == (1, True)
    done = command(cluster, "run", "-", stdin="1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    with subprocess.Popen(
        [sys.executable, "-m", "homing.cli", "sandbox", "run", "-", "--limit", "wall_s=60", "--tenant", "ada",
         "--url", cluster.url, "--token", TOKEN],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as sleeping:  # fmt: skip
        assert sleeping.stdin is not None
        sleeping.stdin.write("import time\ntime.sleep(50)")
        sleeping.stdin.close()
        deadline = time.monotonic() + 20
        while not (runs := http.get(RUNS).json()["runs"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shown = json.loads(command(cluster, "ps", "--json").stdout)["runs"]
        assert [(each["run"], each["tenant"]) for each in shown] == [(runs[0]["run"], "ada")]
        assert "ada" in command(cluster, "ps").stdout
        assert command(cluster, "kill", runs[0]["node"], str(runs[0]["run"])).returncode == 0
        assert sleeping.wait(10) == 1
    assert command(cluster, "kill", runs[0]["node"], "999999").returncode == 1
    assert command(cluster, "kill", "nobody", "1").returncode == 1


def test_top_is_live_on_a_terminal_and_ends_at_ctrl_c(cluster: Cluster, http: httpx.Client) -> None:
    """Broken by: tables below each other; CPU and memory that nobody measures; a traceback at Ctrl-C."""
    kept = "x = bytearray(8 << 20)\nwhile True: pass"
    limits = {"cpu_s": 50, "wall_s": 50}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(http.post, RUNS, json={"code": kept, "limits": limits, "tenant": "busy"})
        while not (runs := [each for each in http.get(RUNS).json()["runs"] if each["pid"]]):
            time.sleep(0.05)
        ours, theirs = os.openpty()
        words = [sys.executable, "-m", "homing.cli", "sandbox", "top", "--url", cluster.url, "--token", TOKEN]
        with (
            subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as top,
            os.fdopen(ours, "rb", 0) as said,
        ):
            os.close(theirs)
            shown = b""
            while shown.count(b"\x1b[H\x1b[J") < 4:
                shown += said.read(4_096)
            top.send_signal(signal.SIGINT)
            assert top.wait(10) == 0
        *_, whole, _ = shown.decode().split("\x1b[H\x1b[J")
        header, row = whole.split("\r\n")[:2]
        assert header.split() == ["NODE", "RUN", "TENANT", "PID", "CPU", "%", "MEMORY", "KiB", "AGE", "s"]
        node, run, tenant, pid, cpu, memory, age = row.split()
        assert (node, int(run), tenant, int(pid)) == (runs[0]["node"], runs[0]["run"], "busy", runs[0]["pid"])
        assert int(cpu) > 5
        assert 8 << 10 <= int(memory) < 24 << 10
        assert int(age) >= 1
        once = command(cluster, "top", "--once")
        assert (once.returncode, once.stdout.split()[10:13]) == (0, row.split()[:3])
        assert "\x1b" not in command(cluster, "top").stdout
        assert json.loads(command(cluster, "top", "--json").stdout)["runs"][0]["tenant"] == "busy"
        http.delete(f"{RUNS}/{node}/{run}")
        assert asked.result().json()["error"]["code"] == "sandbox-died"
