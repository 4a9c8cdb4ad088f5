"""When a worker is killed for being unwell, and when it is not: time and CPU are numbers here."""

from __future__ import annotations

from homing_node.workers.process_pulse import Pulse

TICK_S = 0.25


class Patient:
    """A pulse, its clock, and a worker that behaves as told."""

    def __init__(self) -> None:
        self.pulse = Pulse(0.0, turn_cpu_s_max=3.0, silence_s_max=5.0, turn_wall_s_max=20.0)
        self.now = 0.0
        self.cpu = 0.0
        self.asked = 0

    def answer(self) -> None:
        """Answer the last PING."""
        self.pulse.pong(self.asked, self.now)

    def go(self, seconds: float, *, answers: bool = False, beats: bool = False, cpu: float = 0.0) -> str | None:
        """Let time pass; returns why it was killed. `cpu` is used per second."""
        for _ in range(int(seconds / TICK_S)):
            self.now += TICK_S
            self.cpu += cpu * TICK_S
            wrong = self.pulse.tick(self.now, self.cpu)
            if wrong is not None:
                return wrong
            number = self.pulse.ping(self.now)
            self.asked = number or self.asked
            if answers:
                self.answer()
            if beats:
                self.pulse.beat(self.now)
        return None


def test_a_worker_that_answers_lives_however_much_it_computes():
    assert Patient().go(1000, answers=True, beats=True, cpu=1.0) is None


def test_silence_is_death_after_its_limit_and_not_before():
    patient = Patient()
    assert patient.go(5.0) is None
    assert patient.go(0.5) == "it gave no sign of life for 5 s"


def test_a_turn_that_computes_is_killed_for_its_cpu_alone():
    patient = Patient()
    assert patient.go(2.9, cpu=1.0) is None
    assert patient.go(0.75, cpu=1.0) == "one turn used more than 3 s of CPU"


def test_cpu_is_counted_per_turn():
    patient = Patient()
    for _ in range(10):
        assert patient.go(2.5, cpu=1.0, beats=True) is None
        patient.answer()


def test_busy_on_a_starved_machine_is_not_hung():
    """A tenth of a core, for longer than any silence may last."""
    assert Patient().go(15, cpu=0.1) is None


def test_beats_alone_do_not_save_a_loop_that_is_blocked():
    patient = Patient()
    assert patient.go(20, beats=True) is None
    assert patient.go(1, beats=True) == "its loop was blocked for 20 s"


def test_a_pong_that_was_not_asked_for_says_nothing():
    patient = Patient()
    for number in range(100, 200):
        patient.pulse.pong(number, 4.9)
    assert patient.go(6) is not None


def test_a_node_that_was_stopped_does_not_blame_its_workers():
    """Seen to fail without `_forgive_own_pause`."""
    patient = Patient()
    assert patient.go(1, answers=True) is None
    patient.now += 60
    assert patient.go(4) is None
    assert patient.go(2) == "it gave no sign of life for 5 s"


def test_a_ping_is_sent_once():
    pulse = Pulse(0.0)
    assert pulse.ping(0.0) == 1
    assert pulse.ping(0.25) is None
    pulse.pong(1, 0.5)
    assert pulse.ping(0.5) == 2
