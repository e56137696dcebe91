"""The vector buffer: F25 numbers of all tokens, between streams of places and of words."""

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.interfaces import (
    numbers,
    place_layout,
    vector_read_signature,
    vector_write_signature,
)

#: Who reads through the port that is shared, and who writes; the first goes first.
READERS = ("pe", "store", "kv", "second")
WRITERS = ("pe", "load", "vector")
#: Words that a reader may have on their way: with two it gets one in each cycle.
AHEAD = 2


class Answers(wiring.Component):
    """Words that were read for one client, until it takes them.

    A word is offered in the cycle in which it comes, so it costs no time.

    Parameters
    ----------
    shape
        Of a word.

    Members
    -------
    room
        Whether another word may be asked for.
    asked
        In this cycle one is: it comes in the next one.
    word
        What comes.
    numbers
        Stream of what came, in order.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        super().__init__(
            {
                "room": Out(1),
                "asked": In(1),
                "word": In(shape),
                "numbers": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Two registers behind what comes; a count of words that are not taken."""
        m = Module()
        out = self.numbers
        comes = Signal()
        kept = Signal(range(AHEAD + 1))
        older, newer = (
            Signal(Value.cast(self.word).shape(), name=name, reset_less=True)
            for name in ("older", "newer")
        )
        word = Value.cast(self.word)
        taken = out.valid & out.ready
        left = Signal(range(AHEAD + 1))
        m.d.comb += [
            left.eq(kept + comes - taken),
            # What is asked for now comes when this many wait.
            self.room.eq(kept + comes < AHEAD),
            out.valid.eq(comes | (kept != 0)),
            Value.cast(out.payload).eq(Mux(kept == 0, word, older)),
        ]
        m.d.sync += [comes.eq(self.asked), kept.eq(left)]
        with m.If(taken & (kept == AHEAD)):
            m.d.sync += older.eq(newer)
        # The word that comes goes behind those that stay.
        with m.If(comes):
            with m.If((kept == 0) | (taken & (kept == 1))):
                m.d.sync += older.eq(word)
            with m.Else():
                m.d.sync += newer.eq(word)
        return m


class VectorBuffer(wiring.Component):
    """Numbers of each token, in words of `vector_lanes`.

    Throughput: a word in each cycle to `first`; one to the first of `READERS` that wants one and
    has room for it; one from the first of `WRITERS` that has one. Latency: a word is there in the
    cycle after its place was taken; what was written can be read from the next cycle on, and a word
    that is read while it is written is not defined: semaphores keep readers and writers apart. A
    client that does not take its words holds up nobody but itself. Contents survive reset.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    first
        See `interfaces.vector_read_signature`: the vector engine's first operand.
    read_pe, read_store, read_kv, read_second
        Others that read; the last is the vector engine's second operand.
    write_pe, write_load, write_vector
        See `interfaces.vector_write_signature`.

    Raises
    ------
    ConfigError
        If the numbers of a token are no words of whole lanes.
    """

    def __init__(self, arch: ArchSpec) -> None:
        if arch.vector_words % arch.vector_lanes:
            raise ConfigError(
                f"{arch.vector_words} numbers are no words of {arch.vector_lanes} lanes"
            )
        self.arch = arch
        read, write = vector_read_signature(arch), vector_write_signature(arch)
        super().__init__(
            {
                "first": In(read),
                **{f"read_{name}": In(read) for name in READERS},
                **{f"write_{name}": In(write) for name in WRITERS},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The same words in two memories, of which each has a port to read."""
        m = Module()
        writers = [getattr(self, f"write_{name}").write for name in WRITERS]
        written = Signal(writers[0].payload.shape())
        chosen = first_of(m, written, [(item.valid, item.payload) for item in writers])
        m.d.comb += [item.ready.eq(free) for item, free in zip(writers, chosen, strict=True)]
        writes = Cat(item.valid for item in writers).any()
        self._copy(m, "first", [self.first], written, writes)
        others = [getattr(self, f"read_{name}") for name in READERS]
        self._copy(m, "others", others, written, writes)
        return m

    def _copy(
        self, m: Module, name: str, clients: Sequence[Any], written: Any, writes: Value
    ) -> None:
        """A memory that all write and some read."""
        arch = self.arch
        word_bits = len(written.place.word)

        def line(place: Any) -> Value:
            return Cat(place.word, place.token if arch.tokens > 1 else Const(0, 0))

        m.submodules[name] = store = memory.Memory(
            shape=numbers(arch), depth=arch.tokens << word_bits, init=[], attrs=ANY_ON_COLLISION
        )
        into = store.write_port(granularity=1)
        m.d.comb += [
            into.addr.eq(line(written.place)),
            into.data.eq(written.numbers),
            into.en.eq(Mux(writes, written.keep, 0)),
        ]
        answers = [Answers(numbers(arch)) for _ in clients]
        wants = [Signal(name=f"wants_{name}_{index}") for index in range(len(clients))]
        place = Signal(place_layout(arch), name=f"place_{name}")
        places = [client.place.payload for client in clients]
        chosen = first_of(m, place, list(zip(wants, places, strict=True)))
        word = clocked_read(m, store, line(place))
        for index, (client, answer) in enumerate(zip(clients, answers, strict=True)):
            m.submodules[f"{name}_{index}"] = answer
            m.d.comb += [
                wants[index].eq(client.place.valid & answer.room),
                client.place.ready.eq(answer.room & chosen[index]),
                answer.asked.eq(wants[index] & chosen[index]),
                Value.cast(answer.word).eq(Value.cast(word)),
            ]
            wiring.connect(m, answer.numbers, wiring.flipped(client.numbers))


def first_of(m: Module, chosen: Any, given: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Choose the payload of the first who wants to go; who may if it wants to."""
    free, found = Const(1, 1), []
    for wants, _ in given:
        found.append(free)
        free = free & ~wants
    # The last one's is there if nobody wants to.
    value = Value.cast(given[-1][1])
    for wants, payload in reversed(given[:-1]):
        value = Mux(wants, Value.cast(payload), value)
    m.d.comb += Value.cast(chosen).eq(value)
    return found
