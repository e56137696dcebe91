"""Bench of the learning engine: traces, what it asks of the synapse unit, and for how long it runs.

Steps with random spikes, gaps, rules and, in a sparse core, rows; now and then it forgets, the rule
changes, or learning is off. Half of the steps let it work on a word in every cycle, and their
length is exact; in the others it has to wait for its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import Learning, Rule, pack, row_fields
from dyncc_hw.neurocorex.plasticity import TraceUnit
from dyncc_hw.neurocorex.synapses import SynapseUnit, growth_shape
from dyncc_models.spiking.plasticity import depression, move_post, move_pre, potentiation
from dyncc_models.spiking.random_images import random_learning
from dyncc_sim.neurocorex_block import Block
from dyncc_sim.pins import Values

STEPS = 60
OUTPUTS = (
    "done", "issue", "row", "word", "mask", "growth", "find", "find_index", "depress",
    "depress_index", "depression", "pre", "post",
)  # fmt: skip


@cocotb.test()
async def learning(dut: Any) -> None:
    """Steps, one after the other."""
    bench = Bench(Block(dut, "learning"))
    await bench.block.reset()
    await bench.forget()
    for _ in range(STEPS):
        await bench.step()
    required = [
        "gaps", "arrivals", "nobody fired", "somebody fired", "steps without learning",
        "steps with every turn", "steps with pauses", "forgotten", "words compared",
    ]  # fmt: skip
    bench.block.finish(*required, *(f"{rule.name} steps" for rule in Rule))


class Bench:
    """The engine's traces as the twin has them."""

    def __init__(self, block: Block) -> None:
        self.block, self.spec, self.draw = block, block.spec, block.draw
        self.learning = Learning(rule=Rule.OFF)
        self.pre = numpy.zeros(self.spec.sources, numpy.int64)
        self.post = numpy.zeros(self.spec.neurons, numpy.int64)
        # First word and number of words of each row of a sparse core.
        self.rows: list[tuple[int, int]] = []

    async def forget(self) -> None:
        """Forget all traces; depressions become zero."""
        cycles: list[Values] = [{"clear": 1, "clear_index": i} for i in range(self.spec.sources)]
        answers = await self._play([*cycles, {"clear": 0}])
        written = {seen["depress_index"]: seen["depression"] for seen in answers if seen["depress"]}
        assert written == dict.fromkeys(range(self.spec.neurons), 0)
        self.pre[:], self.post[:] = 0, 0

    async def step(self) -> None:
        """A step of the core, as the engine sees it."""
        spec, draw, coverage = self.spec, self.draw, self.block.coverage
        if draw.random() < 0.3:
            self._change_rule()
        if draw.random() < 0.1:
            await self.forget()
            coverage["forgotten"] += 1
        rule = self.learning.rule
        coverage[f"{rule.name} steps"] += 1
        arrived = draw.random(spec.sources) < draw.choice([0, 0.3, 1])
        fired = draw.random(spec.neurons) < draw.choice([0, 0, 0.3, 1])
        coverage["arrivals"] += int(arrived.sum())
        coverage["nobody fired"] += not fired.any()
        coverage["somebody fired"] += bool(fired.any())
        await self._play(self._spikes(arrived, fired))

        always = bool(draw.random() < 0.5)
        answers = await self._run(always)
        if rule == Rule.OFF:
            assert len(answers) == 1
            assert not any(seen["issue"] or seen["depress"] for seen in answers)
            coverage["steps without learning"] += 1
        else:
            self.pre = move_pre(self.learning, self.pre, arrived)
            self.post = move_post(self.learning, self.post, fired)
            self._check_words(answers, fired)
            written = [
                (seen["depress_index"], seen["depression"]) for seen in answers if seen["depress"]
            ]
            assert written == list(enumerate(depression(self.learning, self.post).tolist()))
            if always:
                assert len(answers) == self._cycles(fired)
            else:
                assert len(answers) >= self._cycles(fired)
            coverage["steps with every turn" if always else "steps with pauses"] += 1
        await self._check_traces()

    def _change_rule(self) -> None:
        """Another rule and other rows; traces of other rules mean nothing to `Rule.LAGS`."""
        spec, draw = self.spec, self.draw
        self.learning = random_learning(spec, draw, Rule(int(draw.integers(0, len(Rule)))))
        self.block.set_registers(self.learning.registers(spec))
        counts = draw.integers(0, 4, spec.sources)
        starts = numpy.cumsum(counts) - counts
        self.rows = list(zip(starts.tolist(), counts.tolist(), strict=True))

    def _spikes(self, arrived: numpy.ndarray, fired: numpy.ndarray) -> Iterator[Values]:
        """Spikes that arrive, in any order, then the neurons in theirs."""
        draw = self.draw
        events: list[Values] = [
            {"arrived": 1, "source": source}
            for source in draw.permutation(numpy.flatnonzero(arrived)).tolist()
        ]
        for neuron, fires in enumerate(fired.tolist()):
            events.append({"updated": 1, "neuron": neuron, "fired": int(fires)})
        nothing = {"arrived": 0, "updated": 0, "fired": 1}
        for event in events:
            while draw.random() < 0.3:
                yield nothing
                self.block.coverage["gaps"] += 1
            yield nothing | dict(event)
        # The core starts the engine when its pipelines are empty.
        yield from [nothing] * 3

    async def _run(self, always: bool) -> list[dict[str, int]]:
        """From `start` to `done`."""
        done = False

        def cycles() -> Iterator[Values]:
            yield {"start": 1, "turn": 1}
            while not done:
                turn = always or bool(self.draw.random() < 0.6)
                yield {"start": 0, "turn": int(turn)}
                assert len(seen_so_far) < 20_000, "the engine does not end"

        seen_so_far: list[None] = []

        def reply(seen: dict[str, int]) -> Values | None:
            nonlocal done
            done = bool(seen["done"])
            seen_so_far.append(None)
            if not seen["find"] or seen["find_index"] >= self.spec.sources:
                return None
            first, count = self.rows[seen["find_index"]]
            return {"pointer": pack(row_fields(self.spec), {"first": first, "count": count})}

        answers = await self.block.pins.play(cycles(), OUTPUTS, reply)
        await self._play([{"start": 0}])
        return answers

    def _cycles(self, fired: numpy.ndarray) -> int:
        """Cycles from `start` to `done`, both included, if it may work in every cycle."""
        sources = self.spec.sources
        traces = 1 + sources + TraceUnit.LATENCY + 1
        if not self.spec.sparse:
            return traces + int(fired.sum()) * (1 + sources + SynapseUnit.LATENCY) + 1
        words = sum(count for _, count in self.rows)
        return traces + (2 * sources + words if fired.any() else 0) + 1 + SynapseUnit.LATENCY

    def _check_words(self, answers: list[dict[str, int]], fired: numpy.ndarray) -> None:
        """Words are issued in order, each with the growth of its source in the next cycle."""
        spec = self.spec
        growths = potentiation(self.learning, self.pre) & ((1 << growth_shape(spec).width) - 1)
        wanted: list[tuple[int, ...]] = []
        if spec.sparse:
            for source, (first, count) in enumerate(self.rows if fired.any() else ()):
                wanted += [(first + word, int(growths[source])) for word in range(count)]
        else:
            for neuron in numpy.flatnonzero(fired).tolist():
                word, lane = divmod(neuron, spec.lanes)
                wanted += [
                    (source * spec.row_words + word, word, 1 << lane, int(growths[source]))
                    for source in range(spec.sources)
                ]
        names = ("row",) if spec.sparse else ("row", "word", "mask")
        found = [
            (*(seen[name] for name in names), after["growth"])
            for seen, after in pairwise(answers)
            if seen["issue"]
        ]
        assert found == wanted
        self.block.coverage["words compared"] += len(wanted)

    async def _check_traces(self) -> None:
        """Read all traces."""
        cycles = [{"peek": index} for index in range(self.spec.sources)]
        answers = (await self._play([*cycles, {}]))[1:]
        assert [seen["pre"] for seen in answers] == self.pre.tolist()
        assert [seen["post"] for seen in answers[: self.spec.neurons]] == self.post.tolist()

    async def _play(self, cycles: Any) -> list[dict[str, int]]:
        return await self.block.pins.play(cycles, OUTPUTS)
