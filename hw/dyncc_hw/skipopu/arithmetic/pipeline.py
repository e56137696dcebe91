"""Pipelines between streams: values that know their cycle, and what registers follow from that.

A `Unit` describes what it computes as functions of values; `Pipe` places a register behind each
function and delays values that are needed later, so that all of them belong to the same item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import InternalError

#: Name of what says whether there is a result.
WHEN = "when"


@dataclass(frozen=True)
class Timed:
    """A value, and how many cycles after its item it is there."""

    value: Any
    time: int = 0


class Pipe:
    """Makes the registers of a pipeline.

    Parameters
    ----------
    m
        The module they go into. All of them move at once, or none.
    valid
        Whether there is an item at the beginning.
    """

    def __init__(self, m: Module, valid: Any) -> None:
        self.m = m
        self._valid = [valid]
        self._later: dict[int, list[Any]] = {}

    def register(self, value: Any, name: str = "kept") -> Any:
        """The value one cycle later. It has no reset: what is valid says another register."""
        value = Value.cast(value)
        kept = Signal(value.shape(), name=name, reset_less=True)
        self.m.d.sync += kept.eq(value)
        return kept

    def wire(self, value: Any) -> Any:
        """The value under a name: an expression that is used twice would be built twice."""
        value = Value.cast(value)
        named = Signal(value.shape())
        self.m.d.comb += named.eq(value)
        return named

    def align(self, *timed: Timed) -> tuple[list[Any], int]:
        """The values in the cycle of the latest one, and that cycle."""
        time = max(item.time for item in timed)
        return [self.at(item, time) for item in timed], time

    def at(self, item: Timed, time: int) -> Any:
        """The value in a cycle, not before its own."""
        # The values are kept, so that their identities stay theirs.
        line = self._later.setdefault(id(item.value), [item.value])
        while len(line) <= time - item.time:
            line.append(self.register(line[-1]))
        return line[time - item.time]

    def stage(self, function: Callable[..., Any], *timed: Timed, name: str = "kept") -> Any:
        """What a function makes of values, one cycle after the latest of them.

        Parameters
        ----------
        name
            Of registers that somebody has to find again in a netlist.

        Returns
        -------
        Timed, or tuple of Timed
            As the function returns one value or several.
        """
        values, time = self.align(*timed)
        found = function(*values)
        if isinstance(found, tuple):
            return tuple(Timed(self.register(value, name), time + 1) for value in found)
        return Timed(self.register(found, name), time + 1)

    def now(self, function: Callable[..., Any], *timed: Timed) -> Timed:
        """What a function makes of values, in the cycle of the latest of them."""
        values, time = self.align(*timed)
        return Timed(Value.cast(function(*values)), time)

    def valid(self, time: int) -> Any:
        """Whether there is an item after so many cycles."""
        while len(self._valid) <= time:
            kept = Signal(name=f"valid_{len(self._valid)}")
            self.m.d.sync += kept.eq(self._valid[-1])
            self._valid.append(kept)
        return self._valid[time]

    def accumulate(self, value: Timed, first: Timed, bits: int) -> Timed:
        """The sum of the values of all items since one that was `first`; one cycle later."""
        (value_now, first_now), time = self.align(value, first)
        total = Signal(signed(bits), reset_less=True)
        with self.m.If(self.valid(time)):
            self.m.d.sync += total.eq(Mux(first_now, 0, total) + value_now)
        return Timed(total, time + 1)

    def total(self, terms: Sequence[Timed], bits: int, radix: int = 4) -> Timed:
        """The sum of signed values, in stages that add `radix` of them each; none for one value.

        Parameters
        ----------
        bits
            Width of the sum, which holds it.
        """

        def sum_of(*values: Any) -> Any:
            return sum(values[1:], values[0])[:bits].as_signed()

        while len(terms) > 1:
            parts = range(0, len(terms), radix)
            terms = [self.stage(sum_of, *terms[first : first + radix]) for first in parts]
        return terms[0]

    def look_up(self, shape: Any, words: list[Any], address: Timed) -> Timed:
        """The word of a table, one cycle after its address."""
        self.m.submodules += (table := memory.Memory(shape=shape, depth=len(words), init=words))
        port = table.read_port()
        self.m.d.comb += port.addr.eq(address.value)
        return Timed(port.data, address.time + 1)


def joined(pipe: Pipe, parts: Sequence[Timed]) -> Timed:
    """Values side by side, the first lowest."""
    values, time = pipe.align(*parts)
    return Timed(Cat(values), time)


def ports(takes: data.Layout, gives: data.Layout) -> dict[str, Any]:
    """Members of a component with a stream `input` and a stream `output` of these payloads."""
    return {"input": In(stream.Signature(takes)), "output": Out(stream.Signature(gives))}


class Unit(wiring.Component):
    """A pipeline from a stream to a stream: an item in each cycle, in order.

    Items move all at once. While the last one is valid and not taken, nothing moves and nothing is
    accepted; so a unit needs no room for results, and `output.ready` reaches all its registers.
    Reset empties it.

    Parameters
    ----------
    takes, gives
        Shapes of what an item has, and of its results, by name.
    latency
        Cycles from an item to its results if nothing stalls.

    Members
    -------
    input, output
        Streams (`amaranth.lib.stream`) of structures.
    """

    def __init__(self, takes: dict[str, Any], gives: dict[str, Any], latency: int) -> None:
        self.takes, self.gives = data.StructLayout(takes), data.StructLayout(gives)
        self.latency = latency
        super().__init__(ports(self.takes, self.gives))

    def compute(self, pipe: Pipe, *_: Any, **given: Any) -> dict[str, Timed]:
        """The results of an item, by name; and as `WHEN`, whether it has any."""
        raise NotImplementedError

    def elaborate(self, platform: Any) -> Module:
        """The pipeline, and a bit beside it that says what is valid."""
        m, inside = Module(), Module()
        pipe = Pipe(inside, self.input.valid)
        given = {name: Timed(self.input.payload[name]) for name in self.takes.members}
        found = self.compute(pipe, **given)
        when = found.get(WHEN, Timed(Const(1)))
        (*values, any_result), time = pipe.align(
            *(found[name] for name in self.gives.members), when
        )
        if time != self.latency:
            raise InternalError(
                f"{type(self).__name__} takes {time} cycles, and says that it takes {self.latency}"
            )
        advance = Signal()
        m.submodules.pipe = EnableInserter(advance)(inside)
        m.d.comb += [
            advance.eq(self.output.ready | ~self.output.valid),
            self.input.ready.eq(advance),
            self.output.valid.eq(pipe.valid(time) & any_result),
        ]
        for name, value in zip(self.gives.members, values, strict=True):
            m.d.comb += self.output.payload[name].eq(value)
        return m
