"""Bench of the runner: words at any time, a core of any speed, and one that hangs.

The core is played: its steps take random times, some never end, its neurons come late. What the
runner hands to it and writes down is compared with what the words say.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy
from cocotb.triggers import ReadOnly, RisingEdge

from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.neurocorex.packets import (
    DRAIN,
    MAX_STEPS,
    STEP_END_BIT,
    STEPS_BIT,
    log_words,
    queue_words,
)
from dyncc_hw.neurocorex.stepper import Stepper
from dyncc_sim.pins import Coverage, Pins
from dyncc_sim.runner import settings

INPUTS = (
    "run__word", "run__push", "run__hold", "run__stop", "run__clear", "log__position", "log__free",
    "log__read", "log__index", "lines__ready", "busy", "step_done", "decided", "fired", "neuron",
)  # fmt: skip
OUTPUTS = (
    "run__room", "run__held", "run__running", "run__decided", "run__log_full", "run__disordered",
    "run__watchdog", "log__start", "log__end", "log__inside", "log__available", "log__busy",
    "log__word", "lines__valid", "lines__payload", "start", "step_end", "reset",
)  # fmt: skip
POSITIONS = 1 << DRAIN[0].bits
COVER = [
    "lines", "steps", "neurons", "neurons after the end", "broken off", "decided", "disordered",
    "log full", "queue full", "held", "stopped", "cleared", "words read", "words freed",
    "dropped words", "steps of none",
]  # fmt: skip


class PlayedCore:
    """What stands for a core: plans a step when one starts, and carries it out."""

    def __init__(self, spec: CoreSpec, draw: numpy.random.Generator, limit: int) -> None:
        self._spec, self._draw, self._limit = spec, draw, limit
        self.rest()

    def rest(self) -> None:
        """As after reset."""
        self.fired: list[int] = []
        self._left = self._after = 0
        self.stuck = self.decided = False

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return self.stuck or self._left > 0

    def begin(self) -> None:
        """Plan a step: when it ends, what fires."""
        draw = self._draw
        self.decided = bool(draw.random() < 0.02)
        self.stuck = bool(draw.random() < 0.03)
        self.fired = numpy.flatnonzero(draw.random(self._spec.neurons) < 0.4).tolist()
        self._left = int(draw.integers(2, self._limit // 3))

    def cycle(self) -> dict[str, int]:
        """Pins in this cycle; neurons may come for as long as the last one came lately."""
        done = self._left == 1 and not self.stuck
        pins = {"busy": self.busy, "step_done": done, "decided": self.decided, "fired": 0}
        if self._left:
            self._left -= 1
            self._after = 0
        else:
            self._after += 1
        late = not self.busy and self._after == Stepper.SETTLE
        if self.fired and (late or self._draw.random() < 0.3):
            self._after = 0
            pins |= {"fired": 1, "neuron": self.fired.pop(0)}
        return {name: int(value) for name, value in pins.items()}


class Words:
    """What stimulus words say, in their order."""

    def __init__(self, spec: CoreSpec, coverage: Coverage) -> None:
        self._spec, self._coverage = spec, coverage
        self.waiting: deque[int] = deque()
        self.steps, self._least = 0, 0
        self.disordered: bool | None = False

    def clear(self) -> None:
        """Forget the order of lines."""
        self._least, self.disordered = 0, False

    def drop(self) -> None:
        """Forget all words."""
        self._coverage["dropped words"] += len(self.waiting)
        self.waiting.clear()
        self.steps = 0

    def stop(self) -> None:
        """Forget all words; it is not known which of those that do not show were taken before."""
        if self.waiting and not self.disordered:
            self.disordered = None
        self.drop()

    def idle(self) -> None:
        """Take the words before the next one that shows."""
        while self.waiting and not self.steps:
            word = self.waiting[0]
            if word >> STEPS_BIT:
                self.steps = word & MAX_STEPS
                self._coverage["steps of none"] += not self.steps
            elif self._least <= word < self._spec.inputs:
                return
            else:
                self.disordered = True
                self._coverage["disordered"] += 1
            self.waiting.popleft()

    def line(self) -> int:
        """The line that is to be handed over now."""
        self.idle()
        assert not self.steps
        self._least = self.waiting[0] + 1
        return self.waiting.popleft()

    def step(self) -> None:
        """A step begins."""
        self.idle()
        assert self.steps, "no word says so"
        self.steps -= 1
        self._least = 0


class Bench:
    """Plays the core and the host, cycle by cycle, and compares."""

    def __init__(self, dut: Any) -> None:
        options = settings()
        self.dut = dut
        self.spec = CoreSpec(**options["spec"])
        self.limit: int = options["limit"]
        self.draw = numpy.random.default_rng(options["seed"])
        self.coverage = Coverage()
        self.pins = Pins(dut, "", INPUTS)
        self.core = PlayedCore(self.spec, self.draw, self.limit)
        self.words = Words(self.spec, self.coverage)
        self.log: list[int] = []
        self.freed = 0
        self._step: list[int] | None = None
        self._held_for = 0
        self._asked: int | None = None
        self._busiest, self._laziest = 0.5, 0.5
        self._last = dict.fromkeys(OUTPUTS, 0)
        self._hold = self._last_push = 0

    # --- the host ---------------------------------------------------------------------------

    def host(self) -> dict[str, int]:
        """What the host does in the next cycle, given the last one."""
        draw, last = self.draw, self._last
        if draw.random() < 0.002:
            self._busiest, self._laziest = draw.random(2) ** 2
        pins = dict.fromkeys(("run__push", "run__stop", "run__clear", "log__free", "log__read"), 0)
        if draw.random() < 0.02:
            pins["run__hold"] = int(draw.random() < 0.2)
        # A word pushed in the last cycle is not counted yet.
        if last["run__room"] > 1 and draw.random() < self._busiest:
            pins |= {"run__push": 1, "run__word": self._word()}
        if last["run__held"] and self._held_for > 3 and draw.random() < 0.02:
            pins |= {"run__stop": 1, "run__push": 0, "run__hold": 1}
        elif not last["run__running"] and not self._last_push and draw.random() < 0.1:
            pins |= {"run__clear": 1, "run__push": 0}
        held = len(self.log) - self.freed
        ahead = int(draw.choice([0, held, int(draw.integers(held + 1)), held + 1, -1]))
        pins["log__position"] = (self.freed + ahead) % POSITIONS
        pins["log__free"] = int(0 <= ahead <= held and draw.random() < self._laziest**2 / 50)
        if last["log__end"] != last["log__start"] and draw.random() < 0.3:
            pins |= {"log__read": 1, "log__index": int(draw.integers(256))}
        return pins

    def _word(self) -> int:
        kind = self.draw.random()
        if kind < 0.25:
            return 1 << STEPS_BIT | int(self.draw.choice([0, 1, 1, 2, 40]))
        return self.spec.inputs if kind < 0.3 else int(self.draw.integers(self.spec.inputs))

    # --- a cycle ----------------------------------------------------------------------------

    async def cycle(self) -> None:
        """One cycle: inputs, outputs, and what they mean."""
        given = self.host() | self.core.cycle() | {"lines__ready": int(not self.core.busy)}
        if self.draw.random() < 0.2:
            given["lines__ready"] = 0
        self.pins.drive(given)
        self._hold = given.get("run__hold", self._hold)
        await ReadOnly()
        seen = self.pins.read(OUTPUTS)
        self._check_log(given, seen)
        self._check_run(given, seen)
        self._last, self._last_push = seen, given["run__push"]
        await RisingEdge(self.dut.clk)

    def _check_run(self, given: dict[str, int], seen: dict[str, int]) -> None:
        words, coverage = self.words, self.coverage
        in_step = self._step is not None
        if seen["run__held"]:
            assert self._hold
            assert not in_step
            coverage["held"] += 1
        self._held_for = self._held_for + 1 if self._hold else 0
        assert seen["run__held"] or self._held_for < self.limit + 100
        coverage["log full"] += seen["run__log_full"]
        coverage["queue full"] += seen["run__room"] <= 1
        if seen["lines__valid"] and given["lines__ready"]:
            assert seen["lines__payload"] == words.line()
            coverage["lines"] += 1
        if seen["start"] and not in_step:
            assert not self._hold or self._held_for == 1
            room = log_words(self.spec) - (len(self.log) - self.freed)
            assert room > self.spec.neurons
            words.step()
            self._step = []
        if seen["start"] and not self.core.busy and self.draw.random() < 0.7:
            self.core.begin()
        if given["fired"]:
            assert self._step is not None
            self._step.append(given["neuron"])
            coverage["neurons"] += 1
            coverage["neurons after the end"] += not given["busy"]
        if seen["step_end"]:
            assert self._step is not None
            assert not self.core.fired
            mark = 1 << STEP_END_BIT | given["decided"]
            self.log += [*self._step, mark]
            self._step = None
            coverage["steps"] += 1
            coverage["decided"] += given["decided"]
        if seen["reset"]:
            self.core.rest()
            self._step = None
            coverage["broken off"] += 1
        if not seen["run__running"]:
            words.idle()
            assert not words.waiting
            assert not words.steps
            assert seen["run__room"] == queue_words(self.spec)
            assert words.disordered in (None, seen["run__disordered"])
        if given["run__stop"]:
            words.stop()
            coverage["stopped"] += 1
        elif seen["run__decided"] or seen["run__watchdog"]:
            words.drop()
        elif given["run__push"]:
            words.waiting.append(given["run__word"])
        if given["run__clear"]:
            words.clear()
            coverage["cleared"] += 1

    def _check_log(self, given: dict[str, int], seen: dict[str, int]) -> None:
        held = len(self.log) - self.freed
        assert seen["log__start"] == self.freed % POSITIONS
        assert seen["log__end"] == len(self.log) % POSITIONS
        ahead = (given["log__position"] - self.freed) % POSITIONS
        assert seen["log__inside"] == (ahead <= held)
        if self._asked is not None:
            assert seen["log__word"] == self._asked
            self.coverage["words read"] += 1
        self._asked = None
        if seen["log__inside"]:
            assert seen["log__available"] == held - ahead
        self.coverage["words freed"] += ahead * given["log__free"]
        if given["log__read"] and not seen["log__busy"] and given["log__index"] < held:
            self._asked = self.log[self.freed + given["log__index"]]
        if given["log__free"]:
            self.freed += ahead


@cocotb.test()
async def does_what_words_say(dut: Any) -> None:
    """Everything at random."""
    bench = Bench(dut)
    await bench.pins.reset()
    for _ in range(settings()["cycles"]):
        await bench.cycle()
    bench.coverage.finish("runner", COVER)
