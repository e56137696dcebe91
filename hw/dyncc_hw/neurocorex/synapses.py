"""Words of synapses: added up for the neurons they lead to, and changed by learning."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    WEIGHT_FRACTION_BITS,
    CoreSpec,
    Rule,
    Space,
    memory_bits,
    synapse_fields,
    width,
)
from dyncc_hw.fixed import clip, layout_of


def index_bits(depth: int) -> int:
    """Width of an index into `depth` places."""
    return max(1, (depth - 1).bit_length())


def growth_shape(spec: CoreSpec) -> Any:
    """Shape of a potentiation: holds a product of rate and trace, and the sum of all lags."""
    return signed(max(18, spec.weight_bits + WEIGHT_FRACTION_BITS + 3))


class Banks:
    """A memory for each lane; neuron n is in bank ``n % lanes`` at ``n // lanes``."""

    def __init__(self, m: Module, name: str, spec: CoreSpec, shape: Any) -> None:
        self._spec = spec
        self.lane_bits = spec.lanes.bit_length() - 1
        self.writes, self.reads = [], []
        for lane in range(spec.lanes):
            # An address has a bit at least.
            bank = memory.Memory(shape=shape, depth=max(2, spec.row_words), init=[])
            m.submodules[f"{name}_{lane}"] = bank
            write = bank.write_port()
            self.writes.append(write)
            # Words in succession may hit the same place, so that a write is passed through.
            self.reads.append(bank.read_port(transparent_for=(write,)))

    def write(self, m: Module, index: Any, data: Any) -> None:
        """Write the place of a neuron."""
        for lane, port in enumerate(self.writes):
            hit = index[: self.lane_bits] == lane if self.lane_bits else 1
            m.d.comb += [
                port.addr.eq(index >> self.lane_bits),
                port.data.eq(data),
                port.en.eq(hit),
            ]


class SynapseUnit(wiring.Component):
    """Pipeline for words of synapses, one a cycle; result after `LATENCY` cycles.

    In row mode, delivers the weights of a source: adds them to the sums of their neurons, then
    depresses those that learn. In column mode, potentiates those that lead to neurons that fired.

    Members
    -------
    issue, column, mask, address, word
        A word to work on: its mode, lanes to change in column mode (dense cores), its address, and
        the word of sums it leads to (dense cores).
    weights, growth
        The word, and the potentiation of its source; valid in the cycle after `issue`.
    write, write_address, write_data
        The changed word, if the core learns.
    active, rule, low, high, drift
        Learning: whether it is on, see `Rule`; bounds and common gain of plastic weights.
    sum_word, sums
        Reads the sums of a word of neurons, valid in the next cycle; while no word is worked on.
    clear, clear_index
        Sets the sum of a neuron to zero; while no word is worked on.
    depress, depress_index, depression
        Sets by how much spikes to a neuron depress.
    mark, mark_index, marked
        Sets whether a neuron fired.
    added
        Number of weights delivered in this cycle.
    """

    LATENCY = 5

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        self.layout = layout_of(synapse_fields(spec))
        self.weight_bits = spec.weight_bits + (WEIGHT_FRACTION_BITS if spec.learning else 0)
        self.growth_shape = growth_shape(spec)
        neuron = unsigned(index_bits(spec.neurons))
        address = unsigned(index_bits(max(2, spec.synapse_words or spec.sources * spec.row_words)))
        word = unsigned(memory_bits(spec, Space.WEIGHTS))
        super().__init__(
            {
                "issue": In(1),
                "column": In(1),
                "mask": In(spec.lanes),
                "address": In(address),
                "word": In(index_bits(spec.row_words)),
                "weights": In(word),
                "growth": In(self.growth_shape),
                "write": Out(1),
                "write_address": Out(address),
                "write_data": Out(word),
                "active": In(1),
                "rule": In(2),
                "low": In(signed(self.weight_bits)),
                "high": In(signed(self.weight_bits)),
                "drift": In(signed(self.weight_bits + 1)),
                "sum_word": In(index_bits(spec.row_words)),
                "sums": Out(spec.lanes * spec.accumulator_bits),
                "clear": In(1),
                "clear_index": In(neuron),
                "depress": In(1),
                "depress_index": In(neuron),
                "depression": In(17),
                "mark": In(1),
                "mark_index": In(neuron),
                "marked": In(1),
                "added": Out(range(spec.lanes + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the pipeline; the numbers are cycles after `issue`."""
        m = Module()
        spec = self.spec
        lanes, total = range(spec.lanes), spec.accumulator_bits
        sums = Banks(m, "sums", spec, signed(total))
        bits = width(synapse_fields(spec))

        def later(value: Any, cycles: int, name: str) -> Any:
            for cycle in range(cycles):
                kept = Signal(value.shape(), name=f"{name}_{cycle}")
                m.d.sync += kept.eq(value)
                value = kept
            return value

        row_2 = later(self.issue & ~self.column, 2, "row")
        word_2 = later(self.word, 2, "word")
        raw_2 = Signal(len(self.weights))
        m.d.sync += raw_2.eq(self.weights)
        synapses_2 = [Signal(self.layout, name=f"synapse_{lane}") for lane in lanes]
        m.d.comb += [
            synapse.as_value().eq(raw_2.word_select(lane, bits))
            for lane, synapse in zip(lanes, synapses_2, strict=True)
        ]
        targets_2 = [synapse.target if spec.sparse else word_2 for synapse in synapses_2]
        present_2 = [synapse.present if spec.sparse else Const(1) for synapse in synapses_2]

        # 2: what is delivered; the sums are read.
        row_3 = later(row_2, 1, "row_of_sums")
        for lane in lanes:
            synapse, port = synapses_2[lane], sums.reads[lane]
            delivered = synapse.weight
            if spec.learning:
                drifted = clip(synapse.weight + self.drift, self.low, self.high)
                delivered = (
                    Mux(synapse.plastic & self.active, drifted, synapse.weight)
                    >> WEIGHT_FRACTION_BITS
                )
            delivered_3 = Signal(signed(spec.weight_bits), name=f"delivered_{lane}")
            m.d.sync += delivered_3.eq(Mux(present_2[lane], delivered, 0))
            m.d.comb += port.addr.eq(Mux(row_2, targets_2[lane], self.sum_word))
            # 3: added, to what the word before is about to write if it leads to the same neuron.
            # 4: written.
            write = sums.writes[lane]
            target_3 = later(targets_2[lane], 1, f"target_{lane}")
            adds_3 = row_3 & later(present_2[lane], 1, f"present_{lane}")
            target_4 = later(target_3, 1, f"summed_target_{lane}")
            adds_4 = later(adds_3, 1, f"summed_{lane}")
            sum_4 = Signal(signed(total), name=f"sum_{lane}")
            before = Mux(adds_4 & (target_3 == target_4), sum_4, port.data)
            m.d.sync += sum_4.eq(before + delivered_3)
            with m.If(adds_4):
                m.d.comb += [write.addr.eq(target_4), write.data.eq(sum_4), write.en.eq(1)]
        with m.If(self.clear):
            sums.write(m, self.clear_index, 0)
        m.d.comb += self.sums.eq(Cat(port.data for port in sums.reads))
        m.d.comb += self.added.eq(
            Mux(row_2, sum((flag for flag in present_2[1:]), present_2[0]), 0) if spec.sparse else 0
        )
        if spec.learning:
            self._learn(m, synapses_2, targets_2, later)
        return m

    def _learn(self, m: Module, synapses: list[Any], targets: list[Any], later: Any) -> None:
        spec = self.spec
        depressions = Banks(m, "depressions", spec, unsigned(17))
        with m.If(self.depress):
            depressions.write(m, self.depress_index, self.depression)
        if spec.sparse:
            fired = Banks(m, "fired", spec, unsigned(1))
            with m.If(self.mark):
                fired.write(m, self.mark_index, self.marked)
        column_3 = later(self.column, 3, "column")
        mask_3 = later(self.mask, 3, "mask")
        growth_3 = Signal(self.growth_shape)
        growth_2 = later(self.growth, 1, "growth")
        m.d.sync += growth_3.eq(growth_2)
        whole = 1 << (self.weight_bits - 1)
        low, high = Signal(signed(self.weight_bits)), Signal(signed(self.weight_bits))
        wide = self.rule == Rule.LAGS
        m.d.sync += [
            low.eq(Mux(wide, -whole, self.low)),
            high.eq(Mux(wide, whole - 1, self.high)),
        ]
        changed = []
        for lane, synapse in enumerate(synapses):
            m.d.comb += depressions.reads[lane].addr.eq(targets[lane])
            hit = mask_3[lane]
            if spec.sparse:
                m.d.comb += fired.reads[lane].addr.eq(targets[lane])
                hit = fired.reads[lane].data
            old = Signal(self.layout, name=f"old_{lane}")
            m.d.sync += old.eq(synapse)
            # 3: the sum; 4: within bounds, and written.
            gained, learns = Signal(signed(self.growth_shape.width + 1)), Signal()
            kept = Signal(self.layout, name=f"kept_{lane}")
            change = Mux(column_3, Mux(hit, growth_3, 0), -depressions.reads[lane].data)
            m.d.sync += [
                gained.eq(old.weight + change),
                learns.eq(old.plastic),
                kept.eq(old),
            ]
            new = Signal(self.layout, name=f"new_{lane}")
            m.d.comb += [
                new.eq(kept),
                new.weight.eq(Mux(learns, clip(gained, low, high), kept.weight)),
            ]
            changed.append(new.as_value())
        m.d.sync += [
            self.write.eq(later(self.issue & self.active, 4, "issued")),
            self.write_address.eq(later(self.address, 4, "address")),
            self.write_data.eq(Cat(changed)),
        ]
