"""Whether a worker is well: a state machine over its signs of life and its CPU time. Pure; `process.py` feeds it.

A worker's main loop answers PING with PONG, a thread of it sends BEAT. Both together say where it stands:

- PONG comes: it makes progress.
- no PONG, but CPU time grows: one turn computes. It is busy until the turn has used its CPU.
- no PONG, no CPU, but BEAT comes: the loop waits for something that is not the loop. It is stuck after a while.
- nothing at all: it hangs.
"""

from __future__ import annotations

from homing_node.workers import limits


class Pulse:
    """The pulse of one worker.

    Args:
        now_s: a monotonic clock.
        turn_cpu_s_max: CPU that one turn may use.
        silence_s_max: how long a worker may give no sign of life.
        turn_wall_s_max: how long its loop may answer nothing.
    """

    def __init__(
        self,
        now_s: float,
        turn_cpu_s_max: float = limits.turn_cpu_s_max,
        silence_s_max: float = limits.silence_s_max,
        turn_wall_s_max: float = limits.turn_wall_s_max,
    ) -> None:
        self._turn_cpu_s_max = turn_cpu_s_max
        self._silence_s_max = silence_s_max
        self._turn_wall_s_max = turn_wall_s_max
        self._ticked_s = now_s
        self._alive_s = now_s  # the last sign of life
        self._cpu_s = 0.0
        self._pinged = 0  # the number of the last PING
        self._answered = True
        # Of the PING that is not answered, else meaningless:
        self._pinged_s = now_s
        self._pinged_cpu_s = 0.0

    def beat(self, now_s: float) -> None:
        """A BEAT came."""
        self._alive_s = now_s

    def pong(self, number: int, now_s: float) -> None:
        """A PONG came; a number that was never asked for says nothing."""
        if number == self._pinged:
            self._answered = True
            self._alive_s = now_s

    def tick(self, now_s: float, cpu_s: float) -> str | None:
        """Judge the worker; call it every `ping_interval_s`.

        Args:
            now_s: the same clock as before.
            cpu_s: CPU time that the worker has used in its life.

        Returns:
            Why it must be killed, as a phrase, or None.
        """
        self._forgive_own_pause(now_s)
        if cpu_s > self._cpu_s:
            self._cpu_s, self._alive_s = cpu_s, now_s
        if now_s - self._alive_s > self._silence_s_max:
            return f"it gave no sign of life for {self._silence_s_max:g} s"
        if self._answered:
            return None
        if cpu_s - self._pinged_cpu_s > self._turn_cpu_s_max:
            return f"one turn used more than {self._turn_cpu_s_max:g} s of CPU"
        if now_s - self._pinged_s > self._turn_wall_s_max:
            return f"its loop was blocked for {self._turn_wall_s_max:g} s"
        return None

    def _forgive_own_pause(self, now_s: float) -> None:
        """This process did not run for a while (stopped, or starved): the worker could not be heard meanwhile."""
        gap_s = now_s - self._ticked_s - limits.ping_interval_s
        self._ticked_s = now_s
        if gap_s > limits.own_pause_s_max:
            self._alive_s += gap_s
            self._pinged_s += gap_s

    def ping(self, now_s: float) -> int | None:
        """The number of the PING to send now, or None while the last one is not answered."""
        if not self._answered:
            return None
        self._answered = False
        self._pinged += 1
        self._pinged_s, self._pinged_cpu_s = now_s, self._cpu_s
        return self._pinged
