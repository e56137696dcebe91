"""Twin of a core as its bus shows it: words of memories, which steps read and change."""

from __future__ import annotations

import numpy

from dyncc.arch.fields import pack, unpack
from dyncc.arch.neurocorex import (
    BUS_BITS,
    CHUNK_BITS,
    COUNTERS,
    DECIDED_BIT,
    INDEX_BITS,
    READ_ONLY,
    WEIGHT_FRACTION_BITS,
    CoreSpec,
    Space,
    bus_words,
    control_registers,
    memory_bits,
    memory_depth,
    spaces,
    state_fields,
    synapse_fields,
    width,
)
from dyncc.arch.neurocorex.readback import read_image, read_synapses
from dyncc_models.spiking.twin import CoreTwin

_WORD = (1 << BUS_BITS) - 1
#: A memory, a word of it, and a part of that word.
Place = tuple[Space, int, int]


class BusAddressError(ValueError):
    """The core has no such word, or it cannot be written."""


class CoreMemories:
    """A core behind its bus.

    What steps change is kept in a `CoreTwin`, which is built anew from the words when these were
    written; words are brought up to date when they are read.

    Attributes
    ----------
    disordered
        Whether a spike was dropped since `clear`.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        self.disordered = False
        self._waiting: list[int] = []
        self._words = {
            space: [0] * memory_depth(spec, space)
            for space in spaces(spec)
            if space not in READ_ONLY
        }
        #: Words of each memory, and bus words of each of them.
        self._sizes = {
            space: (memory_depth(spec, space), bus_words(spec, space)) for space in spaces(spec)
        }
        self._staged = 0
        self._written, self._stepped = False, False
        self._build()

    def _build(self) -> None:
        self._twin = CoreTwin(read_image(self.spec, self._words))
        self._table = read_synapses(
            self.spec, self._words[Space.WEIGHTS], self._words.get(Space.ROWS)
        )

    # --- the bus ----------------------------------------------------------------------------

    def places(self, address: int, count: int, write: bool = False) -> list[Place]:
        """Where the bus words of a list are.

        Raises
        ------
        BusAddressError
            If one of them is outside of what the core has, or cannot be written and is to be.
        """
        found = []
        for _ in range(count):
            space, index, chunk = self._locate(address)
            if write and space in READ_ONLY:
                raise BusAddressError(f"{space.name} cannot be written")
            found.append((space, index, chunk))
            last = chunk == self._sizes[space][1] - 1
            address += (1 << CHUNK_BITS) - chunk if last else 1
        return found

    def read(self, place: Place) -> int:
        """A bus word."""
        space, index, chunk = place
        return self._word(space, index) >> (BUS_BITS * chunk) & _WORD

    def write(self, place: Place, value: int) -> None:
        """Write a bus word; the last part of a memory word stores it."""
        space, index, chunk = place
        low = BUS_BITS * chunk
        self._staged = self._staged & ~(_WORD << low) | (value & _WORD) << low
        if chunk < self._sizes[space][1] - 1:
            return
        if space == Space.CONTROL and index == 0:
            if value & 1:
                self.clear()
            return
        self._update_words()
        bits = memory_bits(self.spec, space)
        if space == Space.CONTROL:
            bits = control_registers(self.spec)[index].bits
        self._words[space][index] = self._staged & ((1 << bits) - 1)
        self._written = True

    def _locate(self, address: int) -> Place:
        chunk = address & ((1 << CHUNK_BITS) - 1)
        index = address >> CHUNK_BITS & ((1 << INDEX_BITS) - 1)
        number = address >> (CHUNK_BITS + INDEX_BITS)
        for space, (depth, parts) in self._sizes.items():
            if space == number and index < depth and chunk < parts:
                return space, index, chunk
        raise BusAddressError(f"there is no word {address:#010x}")

    def _word(self, space: Space, index: int) -> int:
        twin = self._twin
        if space == Space.COUNTERS:
            return self.counters()[COUNTERS[index].name] & _WORD
        if space in (Space.PRE, Space.POST):
            traces = twin.synapses.pre if space == Space.PRE else twin.synapses.post
            return int(traces[index])
        self._update_words()
        return self._words[space][index]

    def _update_words(self) -> None:
        """Bring into the words what steps changed."""
        if not self._stepped:
            return
        self._stepped = False
        twin, layout = self._twin, state_fields(self.spec)
        names = [item.name for item in layout]
        columns = [getattr(twin, name).tolist() for name in names]
        self._words[Space.STATE] = [
            pack(layout, dict(zip(names, values, strict=True)))
            for values in zip(*columns, strict=True)
        ]
        if not self.spec.learning:
            return
        table, fields = self._table, synapse_fields(self.spec)
        current = twin.synapses.weights[table.source, table.neuron]
        mask, lane_bits = (1 << fields[0].bits) - 1, width(fields)
        words = self._words[Space.WEIGHTS]
        for place in numpy.flatnonzero(current != table.weight).tolist():
            low = lane_bits * int(table.lane[place])
            word = int(table.word[place])
            words[word] = words[word] & ~(mask << low) | (int(current[place]) & mask) << low
        table.weight[:] = current

    # --- steps ------------------------------------------------------------------------------

    def clear(self) -> None:
        """What the register ``clear`` does, see `CoreTwin.clear`."""
        self.disordered = False
        self._waiting.clear()
        self._twin.clear()

    @property
    def decided(self) -> bool:
        """Whether dynamic termination decided in the last step."""
        return self._twin.decided

    def spike(self, line: int) -> None:
        """A spike for the next step; it is dropped if it does not come in the order of lines."""
        last = self._waiting[-1] if self._waiting else -1
        if last < line < self.spec.inputs:
            self._waiting.append(line)
        else:
            self.disordered = True

    def step(self) -> list[int]:
        """Carry out a step; returns the neurons that fired, in ascending order.

        Raises
        ------
        ConfigError
            If no image says what is in the memories.
        """
        if self._written:
            self._load()
        lines = numpy.zeros(self.spec.inputs, bool)
        lines[self._waiting] = True
        self._waiting.clear()
        fired: list[int] = numpy.flatnonzero(self._twin.step(lines)).tolist()
        self._stepped = True
        return fired

    def _load(self) -> None:
        """Go on with a twin that is built from the words."""
        self._update_words()
        old = self._twin
        self._build()
        self._written = False
        twin, table = self._twin, self._table
        states = [unpack(state_fields(self.spec), word) for word in self._words[Space.STATE]]
        for name in states[0]:
            setattr(twin, name, numpy.array([state[name] for state in states]))
        twin.arriving, twin.counters = old.arriving, old.counters
        twin.decided, twin.winner = old.decided, old.winner
        synapses = twin.synapses
        synapses.pre, synapses.post = old.synapses.pre, old.synapses.post
        synapses.drift = old.synapses.drift
        shift = 0 if self.spec.learning else WEIGHT_FRACTION_BITS
        synapses.weights = table.matrix(table.weight) << shift

    def counters(self) -> dict[str, int]:
        """Values of `COUNTERS`, which wrap; ``cycles`` is 0: a twin takes no time."""
        twin = self._twin
        found = {"cycles": 0, **twin.report(), "drift": twin.synapses.drift}
        found["input_spikes"] += len(self._waiting)
        found["decision"] = twin.winner | twin.decided << DECIDED_BIT
        return found
