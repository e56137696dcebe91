"""Control and status registers, and the machine with them: what a board connects."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import Field
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.csr import Place
from dyncc.arch.skipopu.isa import COUNT_BITS, REGISTERS
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.control.counters import Counters
from dyncc_hw.skipopu.control.front import State
from dyncc_hw.skipopu.machine import Machine, machine_members
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature

#: Cycles from `read` to a word.
READ_CYCLES = 4
#: Members of a machine that belong to its registers.
_TOLD = (
    "start", "base", "length", "watchdog", "number", "value", "write", "memory_bytes", "windows",
    "forget",
)  # fmt: skip
_SEEN = (
    "read", "state", "trap", "pc", "finished", "dispatched", "taken", "busy", "resident", "fetched",
    "engines", "counts",
)  # fmt: skip


def register_signature() -> wiring.Signature:
    """From a host to registers.

    Members
    -------
    address
        Number of a word, see `dyncc.arch.skipopu.csr`.
    write, write_data
        Write a word in this cycle.
    read, read_data
        Read a word: it is there `READ_CYCLES` cycles later, and stays until the next `read`, which
        may come then. Not together with `write`.
    """
    return wiring.Signature(
        {
            "address": Out(csr.ADDRESS_BITS),
            "write": Out(1), "write_data": Out(csr.WORD_BITS),
            "read": Out(1), "read_data": In(csr.WORD_BITS),
        }
    )  # fmt: skip


class Registers(wiring.Component):
    """The registers of `dyncc.arch.skipopu.csr`, and the counters among them.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    registers
        From the host, see `register_signature`.
    others
        As those of `machine.Machine`, the other way round.
    """

    def __init__(self, arch: ArchSpec) -> None:
        members = machine_members(arch)
        super().__init__(
            {
                "registers": In(register_signature()),
                **{name: members[name].flip() for name in (*_TOLD, *_SEEN)},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A wide register each; words are its halves."""
        m = Module()
        bus = self.registers
        number, upper = bus.address[1:], bus.address[0]
        # What is read: its place a cycle later, its value after three, when counters have theirs.
        asked, wants_upper = Signal.like(number), Signal()
        steps = Signal(READ_CYCLES - 1)
        m.d.sync += steps.eq(Cat(bus.read, steps))
        with m.If(bus.read | bus.write):
            m.d.sync += [asked.eq(number), wants_upper.eq(upper)]
        lower_word, upper_word = Signal(csr.WORD_BITS), Signal(csr.WORD_BITS)
        stopped = Signal()
        m.d.comb += [
            stopped.eq((self.state != State.STARTING) & (self.state != State.RUNNING)),
            # The machine's registers are far away: they are written a cycle later.
            self.number.eq(asked),
        ]
        writes = bus.write & stopped
        with m.If(bus.write & ~upper):
            m.d.sync += lower_word.eq(bus.write_data)
        whole = Cat(lower_word, bus.write_data)
        control = writes & ~upper & (number == Place.CONTROL)
        m.d.sync += [
            self.value.eq(whole),
            self.write.eq(writes & upper & self._within(number, Place.REGISTERS, REGISTERS)),
        ]
        m.d.comb += [
            self.start.eq(control & _bit(bus.write_data, csr.CONTROL, "start")),
            self.forget.eq(control & _bit(bus.write_data, csr.CONTROL, "forget")),
        ]
        kept = self._kept()
        for place, bits in csr.WRITABLE.items():
            half = upper if bits > csr.WORD_BITS else ~upper
            with m.If(writes & half & (number == place)):
                m.d.sync += kept[place].eq(whole if bits > csr.WORD_BITS else bus.write_data)

        # Comes late in its cycle.
        machine = Signal.like(self.read)
        m.d.sync += machine.eq(self.read)
        m.submodules.counters = counters = self._count(m)
        counted = self._within(asked, Place.COUNTERS, len(csr.COUNTERS))
        m.d.comb += [
            counters.number.eq(asked - Place.COUNTERS),
            counters.read.eq(steps[0] & ~wants_upper & counted),
        ]
        found = Signal(2 * csr.WORD_BITS)
        with m.Switch(asked):
            for place, value in self._readable(kept).items():
                with m.Case(int(place)):
                    m.d.comb += found.eq(value)
        with m.If(self._within(asked, Place.REGISTERS, REGISTERS)):
            m.d.comb += found.eq(machine)
        with m.If(counted):
            m.d.comb += found.eq(counters.value)
        with m.If(steps[-1]):
            m.d.sync += bus.read_data.eq(Mux(wants_upper, upper_word, found))
            with m.If(~wants_upper):
                m.d.sync += upper_word.eq(found[csr.WORD_BITS :])
        return m

    @staticmethod
    def _within(number: Value, first: int, count: int) -> Value:
        """Whether a number is that of one of several; `first` is a multiple of the next power."""
        bits = (count - 1).bit_length()
        assert first % (1 << bits) == 0
        found = number[bits:] == first >> bits
        return found if count == 1 << bits else found & (number[:bits] < count)

    def _kept(self) -> dict[int, Value]:
        """What is written, and stays."""
        found: dict[int, Value] = {
            Place.BASE: self.base, Place.LENGTH: self.length, Place.WATCHDOG: self.watchdog,
            Place.MEMORY_BYTES: self.memory_bytes,
        }  # fmt: skip
        for index in range(csr.WINDOWS):
            window = self.windows[index]
            found[Place.WINDOWS + 2 * index] = window.start
            found[Place.WINDOWS + 2 * index + 1] = window.end
        return found

    def _readable(self, kept: dict[int, Value]) -> dict[int, Value]:
        """Registers by their numbers, but for counters and those of the machine."""
        names = [item.name for item in csr.ENGINE if item.name != "reserved"]
        engines = {
            Place.ENGINES + index: _packed(
                csr.ENGINE, {name: self.engines[index][name] for name in names}
            )
            for index in range(len(csr.WORKERS))
        }
        status = {"state": self.state.as_value(), "trap": self.trap, "pc": self.pc}
        return {
            Place.IDENTITY: Value.cast(csr.IDENTITY),
            Place.STATUS: _packed(csr.STATUS, status),
            Place.SEMAPHORES: Value.cast(self.counts),
            **kept, **engines,
        }  # fmt: skip

    def _count(self, m: Module) -> Counters:
        """Counters, of which the first are those of bytes."""
        clients = len(csr.CLIENTS)
        counters = Counters(clients, len(csr.COUNTERS) - clients, COUNT_BITS)
        runs = self.state == State.RUNNING
        events: dict[str, Value] = {
            "cycles": runs, "instructions": self.dispatched, "port_cycles": self.busy,
            "resident": self.resident, "fetched": self.fetched,
        }  # fmt: skip
        for index, name in enumerate(csr.CLIENTS):
            events[f"{name}_requests"] = self.taken.valid & (self.taken.client == index)
        for index, engine in enumerate(csr.WORKERS):
            name, its, done = engine.name.lower(), self.engines[index], self.finished[index]
            events[f"{name}_cycles"], events[f"{name}_starved"] = its.busy, its.starved
            events[f"{name}_instructions"] = done
            events[f"{name}_suppressed"] = done & its.suppressed
        wanted = csr.COUNTERS[clients:]
        # Events come from everywhere: they are counted a cycle later.
        m.d.sync += [
            counters.events.eq(Cat(events[item.name] & runs for item in wanted)),
            counters.amount.valid.eq(self.taken.valid & runs),
            counters.amount.client.eq(self.taken.client),
            counters.amount.bytes.eq(self.taken.bytes),
        ]
        m.d.comb += counters.clear.eq(self.start)
        return counters


def _bit(word: Value, layout: tuple[Field, ...], name: str) -> Value:
    """A field of one bit."""
    place = 0
    for item in layout:
        if item.name == name:
            return word[place]
        place += item.bits
    raise KeyError(name)


def _packed(layout: tuple[Field, ...], values: dict[str, Any]) -> Value:
    """A register from its fields; those that are not given are 0."""
    parts = []
    for item in layout:
        value = Value.cast(values.get(item.name, 0))
        assert len(value) <= item.bits
        parts.append(Cat(value, Const(0, item.bits - len(value))))
    return Cat(parts)


class ControlledMachine(wiring.Component):
    """A SkipOPU with its registers, without its bus.

    Parameters
    ----------
    arch, target
        As of `machine.Machine`.

    Members
    -------
    registers
        From the host, see `register_signature`.
    bus
        To the master of a bus, see `bursts.burst_signature`.
    state
        What it does.
    """

    def __init__(self, arch: ArchSpec, target: str) -> None:
        self._machine = Machine(arch, target)
        super().__init__(
            {
                "registers": In(register_signature()),
                "bus": Out(burst_signature(Geometry.of(arch))),
                "state": Out(State),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The machine and the registers."""
        m = Module()
        m.submodules.machine = machine = self._machine
        m.submodules.registers = registers = Registers(machine.arch)
        wiring.connect(m, wiring.flipped(self.registers), registers.registers)
        wiring.connect(m, machine.bus, wiring.flipped(self.bus))
        for name in _TOLD:
            m.d.comb += Value.cast(getattr(machine, name)).eq(getattr(registers, name))
        for name in _SEEN:
            m.d.comb += Value.cast(getattr(registers, name)).eq(getattr(machine, name))
        m.d.comb += self.state.eq(machine.state)
        return m
