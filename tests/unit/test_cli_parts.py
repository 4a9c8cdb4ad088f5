"""The parts of the command line that decide without doing: restarts, lines, plans, etcd's releases, tables."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from click.testing import CliRunner

from homing.cli import etcd, main, plan, status, tail
from homing.cli.application import Call, example_call, find_application
from homing.cli.data_dir import OWN_ETCD, Shape, open_state
from homing.cli.dev import Wish, told_jurisdictions
from homing.cli.limits import (
    CRASH_LOOP_DEATHS_MAX,
    CRASH_LOOP_DELAY_S,
    DRAIN_STALLED_S,
    RESTART_DELAY_S,
    STARTUP_DEATHS_MAX,
)
from homing.cli.move import object_of, slot_of
from homing.cli.output import CUT_MARK, LineSplitter, Output
from homing.cli.supervisor import RestartPolicy, Verdict
from homing.cli.tables import table
from homing.errors import BadRequest, ConfigurationError, Unavailable, UnknownLocation
from homing.ids import ObjectId
from homing_node.limits import drain_grace_s

if TYPE_CHECKING:
    from homing.cli.gateway_api import GatewayApi


class TestRestarts:
    def test_a_part_that_lived_is_started_again_after_a_second(self) -> None:
        policy = RestartPolicy()
        verdicts = {policy.died(60.0, starting=False) for _ in range(20)}
        assert verdicts == {Verdict(RESTART_DELAY_S)}

    def test_a_crash_loop_is_said_once_and_slows_down(self) -> None:
        policy = RestartPolicy()
        verdicts = [policy.died(0.1, starting=False) for _ in range(CRASH_LOOP_DEATHS_MAX + 1)]
        assert verdicts[:-2] == [Verdict(RESTART_DELAY_S)] * (CRASH_LOOP_DEATHS_MAX - 1)
        assert verdicts[-2:] == [Verdict(CRASH_LOOP_DELAY_S, crash_loop=True), Verdict(CRASH_LOOP_DELAY_S)]

    def test_a_long_life_ends_a_crash_loop(self) -> None:
        policy = RestartPolicy()
        for _ in range(CRASH_LOOP_DEATHS_MAX):
            policy.died(0.1, starting=False)
        assert policy.died(60.0, starting=False) == Verdict(RESTART_DELAY_S)

    def test_before_the_cluster_was_ready_it_gives_up(self) -> None:
        policy = RestartPolicy()
        verdicts = [policy.died(0.1, starting=True) for _ in range(STARTUP_DEATHS_MAX)]
        assert [verdict.give_up for verdict in verdicts] == [False] * (STARTUP_DEATHS_MAX - 1) + [True]


class TestLines:
    def test_lines_come_whole_however_the_bytes_come(self) -> None:
        text = "one\ntwo ä\r\n\nlast"
        for step in range(1, 8):
            splitter, data = LineSplitter(), text.encode()
            lines = [line for at in range(0, len(data), step) for line in splitter.feed(data[at : at + step])]
            assert lines + splitter.end() == ["one", "two ä", "", "last"]

    @pytest.mark.parametrize("step", [1, 3, 1_000])
    def test_an_endless_line_is_cut_once_and_the_next_is_whole(self, step: int) -> None:
        splitter, data = LineSplitter(line_bytes_max=10), b"x" * 95 + b"\nnext\n"
        lines = [line for at in range(0, len(data), step) for line in splitter.feed(data[at : at + step])]
        assert lines == ["x" * 10 + CUT_MARK, "next"]

    def test_a_line_of_the_very_limit_is_not_cut(self) -> None:
        assert LineSplitter(line_bytes_max=10).feed(b"x" * 10 + b"\n") == ["x" * 10]

    def test_every_line_stands_behind_its_name(self) -> None:
        stream = io.StringIO()
        output = Output(["n1", "gateway"], stream)
        output.line("n1", "hello")
        output.say("a\nb")
        assert stream.getvalue() == "n1      │ hello\nhoming  │ a\nhoming  │ b\n"

    def test_a_closed_reader_is_told_once(self) -> None:
        closed: list[bool] = []
        stream = io.StringIO()
        output = Output(["n1"], stream, on_closed=lambda: closed.append(True))
        stream.close()
        output.line("n1", "hello")
        output.line("n1", "hello")
        assert closed == [True]


class TestPlan:
    def cluster(self, nodes: int = 3, etcd_urls: str = "") -> plan.Cluster:
        ports = plan.Ports(8787, 8788, 9464, range(20_000, 20_064), range(9465, 9529), 2379, 2380)
        env = {"PATH": "/bin", "HOMING_NODE_ID": "stray", "HOMING_API_TOKEN": "secret", "ETCD_NAME": "stray"}
        return plan.Cluster("dev-1", Path("/app"), Path("/state"), nodes, ports, etcd_urls, Path("/etcd"), env=env)

    @pytest.mark.parametrize(("nodes", "replicas"), [(1, 1), (2, 1), (3, 3), (5, 3)])
    def test_replicas_follow_from_nodes(self, nodes: int, replicas: int) -> None:
        envs = [part.env for part in plan.node_parts(self.cluster(nodes))]
        assert [env["HOMING_REPLICAS"] for env in envs] == [str(replicas)] * nodes
        assert [env["HOMING_NODE_ID"] for env in envs] == [f"n{n + 1}" for n in range(nodes)]
        assert {env["HOMING_INITIAL_NODES"] for env in envs} == {str(nodes)}

    @pytest.mark.parametrize(
        ("nodes", "cores", "workers"), [(1, 1, 1), (1, 8, 8), (3, 2, 1), (3, 3, 1), (3, 4, 2), (3, 8, 3), (5, 64, 13)]
    )
    def test_nodes_share_the_cores(self, nodes: int, cores: int, workers: int) -> None:
        """All cores have a worker, and each node has one; with one less for each node, a core would be idle."""
        assert plan.workers_for(nodes, cores) == workers
        assert nodes * workers >= cores > nodes * (workers - 1)

    def test_each_node_has_its_workers(self) -> None:
        cluster = dataclasses.replace(self.cluster(), workers=4)
        assert [part.env["HOMING_WORKERS"] for part in plan.node_parts(cluster)] == ["4"] * 3

    def test_nodes_share_nothing_but_the_cluster(self) -> None:
        own = ("HOMING_NODE_ID", "HOMING_LISTEN", "HOMING_METRICS_LISTEN", "HOMING_DATA_DIR")
        envs = [part.env for part in plan.node_parts(self.cluster())]
        for name in own:
            assert len({env[name] for env in envs}) == 3, name
        assert all(env["HOMING_ETCD"] == "http://127.0.0.1:2379" for env in envs)

    def test_variables_of_the_caller_reach_the_parts_but_not_those_of_one_process(self) -> None:
        env = plan.gateway_part(self.cluster()).env
        assert env["HOMING_API_TOKEN"] == "secret"
        assert env["PATH"] == "/bin"
        assert "HOMING_NODE_ID" not in env
        assert "ETCD_NAME" not in plan.etcd_part(self.cluster()).env

    def test_nodes_are_in_zones_in_turn(self) -> None:
        cluster = dataclasses.replace(self.cluster(), zones=["berlin", "ohio"], jurisdictions="eu=berlin")
        nodes = plan.node_parts(cluster)
        assert [part.env["HOMING_ZONE"] for part in nodes] == ["berlin", "ohio", "berlin"]
        parts = [*nodes, plan.gateway_part(cluster)]
        assert {part.env["HOMING_JURISDICTIONS"] for part in parts} == {"eu=berlin"}
        assert {part.env["HOMING_ZONE"] for part in plan.node_parts(self.cluster())} == {""}

    def test_a_jurisdiction_without_a_node_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        for zones, text in ((["a"], "eu=b"), ([], "eu=b"), (["a", "b"], "eu=b")):
            wish = Wish(tmp_path, 1, None, tmp_path, zones=zones, jurisdictions=text)
            with pytest.raises(ConfigurationError, match="Name its zones with --zones"):
                told_jurisdictions(wish)
        enough = Wish(tmp_path, 2, None, tmp_path, zones=["a", "b"], jurisdictions=" eu = b,c ; us=a")
        assert told_jurisdictions(enough) == "eu=b,c;us=a"

    def test_another_etcd_is_used_as_it_was_named(self) -> None:
        env = plan.gateway_part(self.cluster(etcd_urls="http://a:1,http://b:2")).env
        assert env["HOMING_ETCD"] == "http://a:1,http://b:2"

    def test_etcd_keeps_its_fsyncs_and_to_loopback(self) -> None:
        argv = plan.etcd_part(self.cluster()).argv
        assert not [flag for flag in argv if "fsync" in flag]
        assert all("127.0.0.1" in flag for flag in argv if "urls" in flag)

    def test_ports_follow_the_port(self) -> None:
        assert plan.first_ports(None, 3) == (8787, 8788, 9464, [9465, 9466, 9467])
        assert plan.first_ports(9000, 3) == (9000, 9001, 9002, [])


class TestEtcd:
    @pytest.mark.parametrize(
        ("release", "sound"),
        [
            ((3, 3, 27), False),
            ((3, 4, 0), True),
            ((3, 4, 23), True),
            ((3, 5, 0), False),
            ((3, 5, 1), False),
            ((3, 5, 2), False),
            ((3, 5, 3), True),
            ((3, 6, 1), True),
        ],
    )
    def test_which_releases_hold_state(self, release: tuple[int, int, int], sound: bool) -> None:
        assert etcd.is_sound(release) is sound

    def test_the_version_is_read_of_its_own_words(self) -> None:
        assert etcd.parse_version("etcd Version: 3.4.23\nGit SHA: Not provided") == (3, 4, 23)
        assert etcd.parse_version("something else 1.2.3") is None

    def test_an_unsound_etcd_on_path_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, release in (("first", "3.5.1"), ("second", "3.4.30")):
            (tmp_path / name).mkdir()
            program = tmp_path / name / "etcd"
            program.write_text(f"#!/bin/sh\necho 'etcd Version: {release}'\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}:/usr/bin:/bin")
        found = etcd.find_etcd()
        assert (found.path, found.release, found.sound) == (tmp_path / "second" / "etcd", "3.4.30", True)

    def test_the_wheel_is_the_last_resort_and_called_unsound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        found = etcd.find_etcd()
        assert (found.release, found.sound) == ("3.5.1", False)


class TestDataDir:
    SHAPE = Shape(nodes=3, replicas=3, slots=1_024, etcd=OWN_ETCD)

    def test_the_cluster_keeps_its_name(self, tmp_path: Path) -> None:
        assert open_state(tmp_path, self.SHAPE) == open_state(tmp_path, self.SHAPE)

    def test_another_shape_is_refused_with_what_differs(self, tmp_path: Path) -> None:
        open_state(tmp_path, self.SHAPE)
        with pytest.raises(ConfigurationError, match=r"made with nodes 3, not 5\. Start it as it was made"):
            open_state(tmp_path, Shape(nodes=5, replicas=3, slots=1_024, etcd=OWN_ETCD))

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        open_state(tmp_path, self.SHAPE)
        (tmp_path / "dev.json").write_text("{")
        with pytest.raises(ConfigurationError, match="cannot be read"):
            open_state(tmp_path, self.SHAPE)

    def test_a_later_format_is_refused(self, tmp_path: Path) -> None:
        open_state(tmp_path, self.SHAPE)
        text = (tmp_path / "dev.json").read_text()
        (tmp_path / "dev.json").write_text(text.replace('"format": 1', '"format": 2'))
        with pytest.raises(ConfigurationError, match="has format 2"):
            open_state(tmp_path, self.SHAPE)


class TestApplication:
    def test_a_folder_needs_a_main_module_or_a_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"has no main\.py"):
            find_application(tmp_path)
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "main.py").touch()
        assert find_application(tmp_path) == tmp_path

    def test_one_file_is_an_application(self, tmp_path: Path) -> None:
        (tmp_path / "chat.py").touch()
        assert find_application(tmp_path / "chat.py") == tmp_path / "chat.py"
        with pytest.raises(ConfigurationError, match="no application at"):
            find_application(tmp_path / "absent")

    def test_the_call_to_try_takes_no_arguments(self, tmp_path: Path) -> None:
        (tmp_path / "main.py").write_text(
            "import homing\n"
            "class Helper: \n    def no(self): ...\n"
            "class A(homing.DurableObject):\n"
            "    def _no(self): ...\n"
            "    def no(self, x): ...\n"
            "    async def fetch(self): ...\n"
            "    async def yes(self, x=1): ...\n"
        )
        assert example_call(tmp_path) == Call("A", "yes")

    def test_code_that_cannot_be_read_gives_no_call(self, tmp_path: Path) -> None:
        (tmp_path / "main.py").write_text("class A(")
        assert example_call(tmp_path) is None


class TestStatus:
    def cluster(self) -> status.Cluster:
        return status.Cluster(
            nodes=[status.Node("n2", "127.0.0.1:2", "", "up"), status.Node("n1", "127.0.0.1:1", "a", "up")],
            gateways=[status.Process(1)],
            slots=[
                status.Slot(0, "ACTIVE", 1, "n1", ["n1"]),
                status.Slot(1, "ACTIVE", 4, "n1", ["n1"]),
                status.Slot(2, "RECOVERING", 2, "n2", ["n2"]),
                status.Slot(3, "ACTIVE", 0, None, ["n2"]),
            ],
        )

    def test_nodes_slots_epochs_and_lag(self) -> None:
        rows = [line.split() for line in status.render(self.cluster(), {"n1": 7, "n2": None}).splitlines()]
        assert rows[1] == ["n1", "0", "up", "a", "127.0.0.1:1", "2", "2", "0", "1-4", "7", "0"]
        assert rows[2] == ["n2", "0", "up", "-", "127.0.0.1:2", "1", "0", "1", "2", "-", "0"]

    def test_only_restless_slots_are_listed_unless_all_are_asked_for(self) -> None:
        text = status.render(self.cluster(), {})
        assert "4 slots: 3 ACTIVE, 1 RECOVERING, 1 without an owner" in text
        assert [line.split()[0] for line in text.splitlines()[-2:]] == ["2", "3"]
        every = status.render(self.cluster(), {}, every_slot=True)
        assert [line.split()[0] for line in every.splitlines()[-4:]] == ["0", "1", "2", "3"]

    def test_each_jurisdiction_has_a_line(self) -> None:
        cluster = self.cluster()
        cluster.jurisdictions = [status.Bound("eu", ["a", "c"], 2, 1), status.Bound("us", ["b"], 3, 1)]
        text = status.render(cluster, {})
        assert "jurisdiction eu in a, c (n1): 0 of 1 slots are served" in text
        assert "jurisdiction us in b (no node): 0 of 1 slots are served" in text
        assert (cluster.hashed_slots, cluster.names) == (2, ["eu", "us"])

    def test_an_object_of_a_jurisdiction_is_named_with_it(self) -> None:
        cluster = status.Cluster(jurisdictions=[status.Bound("eu", ["a"], 1_024, 128)])
        bound = ObjectId.from_name("Room", "a/b", 0)
        assert object_of("Room@eu/a/b", ["eu"]) == object_of(f"Room@eu/id:{bound}", ["eu"]) == bound
        assert slot_of("Room@eu/a/b", cluster) == bound.slot() >= 1_024
        assert slot_of("Room/a/b", cluster) == ObjectId.from_name("Room", "a/b").slot()
        with pytest.raises(UnknownLocation, match="there are eu"):
            slot_of("Room@us/a", cluster)
        for text in ("Room@eu", "Room@eu/", "/a", "x"):
            with pytest.raises(BadRequest):
                slot_of(text, cluster)

    def test_the_greatest_lag_is_read_of_metrics(self) -> None:
        text = '# HELP homing_replica_lag_records x\nhoming_replica_lag_records{replica="n2"} 3.0\n'
        assert status.greatest(text + 'homing_replica_lag_records{replica="n3"} 12.0\n', status.LAG_METRIC) == 12
        assert status.greatest("homing_replica_lag_records_total 5\n", status.LAG_METRIC) is None

    def test_numbers_stand_to_the_right(self) -> None:
        assert table(["A", "B"], [["x", 1], ["yy", 10]]) == "A    B\nx    1\nyy  10"
        assert table(["A"], []) == "A"


class TestTail:
    @pytest.mark.parametrize(
        ("told", "shown"),
        [
            ({"class": "Room", "id": "ab", "name": "lobby", "kind": "log", "level": "info", "message": "hi"},
             "n1 Room/lobby info hi"),
            ({"class": "Room", "id": "ab", "kind": "exception", "level": "error", "message": "Traceback\n  x\nE: no\n"},
             "n1 Room/id:ab error Traceback\n      x\n    E: no"),
            ({"class": "Default", "kind": "outcome", "event": "fetch GET /", "outcome": "ok", "duration_ms": 1.5,
              "message": "status 200"}, "n1 Default fetch GET / ok in 1.5 ms: status 200"),
            ({"class": "Room", "id": "ab", "name": "\x1b[2J", "kind": "log", "level": "info",
              "message": "a\x1b]0;x\x07\tb"}, "n1 Room/\\x1b[2J info a\\x1b]0;x\\x07\tb"),
            ({"kind": "tail", "level": "warning", "message": "not followed"}, "n1 (tail) warning not followed"),
            ({"kind": "log", "level": "info", "message": ""}, "n1 (ended) info "),
        ],
    )  # fmt: skip
    def test_a_line_is_readable_and_gives_a_terminal_no_orders(
        self, told: dict[str, object], shown: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Seen to fail without `_printable`."""
        tail._show(json.dumps({"time": "2026-01-01T00:00:00.123Z", "node": "n1", **told}))
        at, _, text = capsys.readouterr().out.rstrip("\n").partition(" ")
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.123", at)
        assert text == shown

    def test_a_gateway_that_goes_away_is_followed_again_and_one_that_was_never_there_is_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers: list[BaseException | list[bytes]] = [
            [b'{"a":1}\n\n{"b"', b":2}\n"], Unavailable("gone"), [b'{"c":3}\n'], KeyboardInterrupt(),
        ]  # fmt: skip

        class Api:
            @contextlib.contextmanager
            def stream(self, path: str, **query: object) -> Iterator[Iterator[bytes]]:
                found = answers.pop(0)
                if not isinstance(found, list):
                    raise found
                yield iter(found)

        monkeypatch.setattr(tail.time, "sleep", lambda _: None)
        lines: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            tail._follow(cast("GatewayApi", Api()), {}, lines.append)
        assert lines == ['{"a":1}', '{"b":2}', '{"c":3}']
        answers[:] = [Unavailable("no gateway answers")]
        with pytest.raises(Unavailable):
            tail._follow(cast("GatewayApi", Api()), {}, lines.append)

    @pytest.mark.parametrize("target", ["/a", "Room/"])
    def test_a_target_that_is_none_is_refused(self, target: str) -> None:
        done = CliRunner().invoke(main, ["tail", target, "--url", "http://127.0.0.1:1"])
        assert done.exit_code == 1
        assert "write CLASS, CLASS/NAME or CLASS/id:" in done.output


def test_a_drain_is_watched_for_as_long_as_what_runs_may_take_to_end() -> None:
    """Else it says that nobody can take a slot whose object has a minute of `homing.run` to await."""
    assert drain_grace_s + 10 < DRAIN_STALLED_S
