"""Bench of the synapse unit: sums and changed words equal the twin, in the documented cycles.

Rounds of what a step does: rows are delivered, columns potentiate, sums are read and cleared,
depressions and marks are set; with gaps everywhere, and with weights, targets and changes of all
magnitudes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import (
    WEIGHT_FRACTION_BITS,
    Rule,
    Space,
    memory_depth,
    pack,
    synapse_fields,
    width,
)
from dyncc_hw.neurocorex.synapses import SynapseUnit, growth_shape
from dyncc_models.spiking.plasticity import changed, delivered, stored_bounds
from dyncc_sim.neurocorex_block import Block
from dyncc_sim.pins import Values, random_field, random_integers

ROUNDS = 40
#: Cycles after `issue` in which the number of weights delivered is known.
ADDED = 2
#: Fields of the synapses of a word, each an array of shape (lanes,).
Word = dict[str, numpy.ndarray]
OUTPUTS = ("write", "write_address", "write_data", "added", "sums")


@cocotb.test()
async def synapses(dut: Any) -> None:
    """Rounds with rules and bounds of their own; sums and learning state stay between them."""
    bench = Bench(Block(dut, "synapses"))
    await bench.block.reset()
    await bench.forget()
    for number in range(ROUNDS):
        await bench.round(least=number == 0)
    spec, coverage = bench.spec, bench.block.coverage
    assert coverage["sums compared"] == ROUNDS * spec.neurons
    required = ["gaps", "rows", "least sum"]
    if spec.learning:
        required += [
            "columns", "writes compared", "grown", "shrunk", "clipped as delivered",
            "clipped as stored", "not plastic",
        ]  # fmt: skip
        required += [f"{rule.name} writes" for rule in Rule if rule != Rule.OFF]
    bench.block.finish(*required)


class Bench:
    """The unit's memories as the twin has them.

    Attributes
    ----------
    sums, depressions, marks
        By neuron, and by those that fill up the last word.
    """

    def __init__(self, block: Block) -> None:
        self.block, self.spec, self.draw = block, block.spec, block.draw
        self.layout = synapse_fields(self.spec)
        self.fraction = WEIGHT_FRACTION_BITS if self.spec.learning else 0
        self.active, self.rule, self.drift, self.bounds = False, Rule.OFF, 0, (0, 0)
        places = self.spec.row_words * self.spec.lanes
        self.sums = numpy.zeros(places, numpy.int64)
        self.depressions = numpy.zeros(places, numpy.int64)
        self.marks = numpy.zeros(places, bool)

    async def forget(self) -> None:
        """Clear all sums, as the core does after reset."""
        neurons = range(self.spec.neurons)
        await self._play([{"clear": 1, "clear_index": neuron} for neuron in neurons])
        await self._play([{"clear": 0}])

    async def round(self, least: bool) -> None:
        """Deliver, potentiate, read sums, clear, set what learning needs.

        Parameters
        ----------
        least
            Deliver the smallest weight from all sources to all neurons.
        """
        spec, draw = self.spec, self.draw
        bits = spec.weight_bits + WEIGHT_FRACTION_BITS
        rule = Rule(int(draw.integers(0, len(Rule)))) if spec.learning and not least else Rule.OFF
        active = rule != Rule.OFF
        bounds = tuple(sorted(random_integers(draw, bits, True, 2).tolist()))
        drift = int(random_integers(draw, bits + 1, True, 1)[0]) if rule == Rule.LAGS else 0
        if spec.learning:
            low, high = bounds
            await self._play(
                [{"active": active, "rule": rule, "low": low, "high": high, "drift": drift}]
            )
            # The rule is in the pipeline before the first word.
            await self._play([{}] * 2)
        self.active, self.rule, self.drift = active, rule, drift
        self.bounds = (bounds[0], bounds[1])
        rows = spec.sources if least else int(draw.integers(1, spec.sources + 1))
        words = [item for _ in range(rows) for item in self._row(least)]
        await self._work(words, self._deliver, column=False)
        if active:
            await self._work(words, self._potentiate, column=True)
        await self._compare_sums()
        await self._set()

    # --- words ------------------------------------------------------------------------------------
    def _row(self, least: bool) -> list[Word]:
        """Words of a source: a synapse to each neuron at most, as the sums are made for."""
        spec, draw = self.spec, self.draw
        lanes, words = spec.lanes, spec.row_words
        targets = numpy.array([draw.permutation(words) for _ in range(lanes)]).T
        return [
            self._word(targets[number] if spec.sparse else numpy.full(lanes, number), least)
            for number in range(words)
        ]

    def _word(self, target: numpy.ndarray, least: bool) -> Word:
        """A word of synapses to these words of neurons, one for each lane."""
        spec, draw = self.spec, self.draw
        word = {item.name: random_field(draw, item, spec.lanes) for item in self.layout}
        word["target"] = target
        word["present"] = (draw.random(spec.lanes) < (0.7 if spec.sparse else 1)).astype(int)
        word.setdefault("plastic", numpy.zeros(spec.lanes, numpy.int64))
        if least:
            word["weight"][:] = -(1 << (spec.weight_bits - 1 + self.fraction))
            word["present"][:] = 1
        elif spec.learning and self.rule != Rule.LAGS:
            # Most plastic weights are within their bounds, as an image has them.
            limited = numpy.clip(word["weight"], *self.bounds)
            inside = (word["plastic"] == 1) & (draw.random() < 0.9)
            word["weight"] = numpy.where(inside, limited, word["weight"])
        beyond = self._places(word) >= spec.neurons
        for name in ("weight", "plastic", "present"):
            word[name] = numpy.where(beyond, 0, word[name])
        return word

    def _places(self, word: Word) -> numpy.ndarray:
        places: numpy.ndarray = word["target"] * self.spec.lanes + numpy.arange(self.spec.lanes)
        return places

    def _packed(self, word: Word) -> int:
        bits = width(self.layout)
        return sum(
            pack(self.layout, {name: values[lane] for name, values in word.items()})
            << (bits * lane)
            for lane in range(self.spec.lanes)
        )

    async def _work(
        self,
        words: list[Word],
        model: Callable[[Word, Values], numpy.ndarray],
        column: bool,
    ) -> None:
        """Issue the words in one mode; compare what is written, and when."""
        spec, draw, coverage = self.spec, self.draw, self.block.coverage
        cycles: list[dict[str, int]] = []
        # Words come in the cycle after they were asked for, and only then.
        coming: dict[int, dict[str, int]] = {}
        due: dict[int, tuple[int, int]] = {}
        added: dict[int, int] = {}
        growth_bits = growth_shape(spec).width

        def idle() -> None:
            cycles.append({"issue": 0, "mask": int(draw.integers(1 << spec.lanes))})

        for number, word in enumerate(words):
            while draw.random() < 0.3:
                idle()
                coverage["gaps"] += 1
            start = len(cycles)
            address = number % memory_depth(spec, Space.WEIGHTS)
            growth = int(random_integers(draw, growth_bits, True, 1)[0])
            mask = int(draw.integers(1 << spec.lanes))
            place = int(word["target"][0]) if not spec.sparse else 0
            cycles.append(
                {"issue": 1, "column": int(column), "address": address, "word": place, "mask": mask}
            )
            coming[start + 1] = {"weights": self._packed(word), "growth": growth}
            after = model(word, {"growth": growth, "mask": mask})
            if self.active:
                due[start + SynapseUnit.LATENCY] = address, self._packed({**word, "weight": after})
                change = after - word["weight"]
                coverage["grown"] += int((change > 0).sum())
                coverage["shrunk"] += int((change < 0).sum())
                coverage["not plastic"] += int((word["plastic"] == 0).sum())
                coverage[f"{self.rule.name} writes"] += 1
            if spec.sparse and not column:
                added[start + ADDED] = int(word["present"].sum())
        for _ in range(SynapseUnit.LATENCY + 2):
            idle()
        wrong = {"weights": 0, "growth": -1}
        timed = [given | coming.get(cycle, wrong) for cycle, given in enumerate(cycles)]
        answers = await self._play(timed)
        coverage["columns" if column else "rows"] += len(words)
        for cycle, seen in enumerate(answers):
            assert seen["added"] == added.get(cycle, 0), cycle
            assert seen["write"] == (cycle in due), cycle
            if cycle in due:
                assert (seen["write_address"], seen["write_data"]) == due[cycle], cycle
                coverage["writes compared"] += 1

    # --- models -----------------------------------------------------------------------------------
    def _deliver(self, word: Word, _: Values) -> numpy.ndarray:
        places, plastic = self._places(word), word["plastic"] == 1
        weight = word["weight"]
        got = weight
        if self.spec.learning:
            learns = plastic & self.active
            got = delivered(weight, learns, self.drift, self.bounds)
            plain = weight >> WEIGHT_FRACTION_BITS
            self.block.coverage["clipped as delivered"] += int((got != plain).sum())
        numpy.add.at(self.sums, places, numpy.where(word["present"] == 1, got, 0))
        return self._changed(word, -self.depressions[places])

    def _potentiate(self, word: Word, given: Values) -> numpy.ndarray:
        lanes = numpy.arange(self.spec.lanes)
        marked = self.marks[self._places(word)]
        hit = marked if self.spec.sparse else (given["mask"] >> lanes & 1).astype(bool)
        return self._changed(word, numpy.where(hit, given["growth"], 0))

    def _changed(self, word: Word, by: numpy.ndarray) -> numpy.ndarray:
        bounds = stored_bounds(self.rule, self.spec.weight_bits, self.bounds)
        plastic = word["plastic"] == 1
        found = changed(word["weight"], plastic, by, bounds)
        beyond = (found != word["weight"] + by) & plastic
        self.block.coverage["clipped as stored"] += int(beyond.sum())
        return found

    # --- sums, depressions, marks -----------------------------------------------------------------
    async def _compare_sums(self) -> None:
        """Read the sums of all neurons, word by word."""
        spec, coverage = self.spec, self.block.coverage
        words = list(range(spec.row_words))
        cycles: list[Values] = [{"sum_word": word} for word in words]
        answers = await self._play([*cycles, {}])
        bits = spec.accumulator_bits
        for neuron in range(spec.neurons):
            word, lane = divmod(neuron, spec.lanes)
            expected = int(self.sums[neuron])
            found = answers[word + 1]["sums"] >> (bits * lane) & ((1 << bits) - 1)
            assert found == expected & ((1 << bits) - 1), neuron
            coverage["sums compared"] += 1
            coverage["least sum"] += expected == spec.sources * spec.weight_range[0]

    async def _set(self) -> None:
        """Clear the sums, one by one; set depressions and marks of some neurons."""
        spec, draw = self.spec, self.draw
        cycles: list[dict[str, int]] = []
        for neuron in draw.permutation(spec.neurons).tolist():
            given = {"clear": 1, "clear_index": neuron}
            self.sums[neuron] = 0
            if spec.learning:
                depression = int(random_integers(draw, 17, False, 1)[0])
                marked = int(draw.random() < 0.5)
                given |= {"depress": 1, "depress_index": neuron, "depression": depression}
                given |= {"mark": 1, "mark_index": neuron, "marked": marked}
                self.depressions[neuron], self.marks[neuron] = depression, bool(marked)
            cycles.append(given)
        await self._play(cycles)
        await self._play([{"clear": 0, "depress": 0, "mark": 0}])

    async def _play(self, cycles: Any) -> list[dict[str, int]]:
        return await self.block.pins.play(cycles, OUTPUTS)
