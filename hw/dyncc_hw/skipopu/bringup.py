"""The bring-up instance: a PE array behind a serial line, for devices too small for a machine."""

from typing import Any

from amaranth import Cat, Const, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.bringup import CONTROL, IDENTITY, STATUS, ArrayMap, Region, Word
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.link.serial import SerialLink
from dyncc_hw.skipopu.array.terms import PeArray
from dyncc_hw.skipopu.control.control import register_signature
from dyncc_hw.skipopu.host.commands import CommandProcessor
from dyncc_hw.skipopu.shape import ArrayShape


def array_map(array: PeArray) -> ArrayMap:
    """The words of an array."""
    return ArrayMap(
        array.gives.size, array.scales_layout.size, array.takes.size, array.shape.slices
    )


class ArrayRegisters(wiring.Component):
    """A PE array behind words of `dyncc.arch.skipopu.bringup`.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    registers
        From the host, see `register_signature`.
    busy
        The array has not taken what was handed over, or a result waits.
    lost
        Something was written where there was no room.

    Raises
    ------
    ConfigError
        If there are not enough words for the array.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self._array = PeArray(shape)
        self.map = array_map(self._array)
        super().__init__({"registers": In(register_signature()), "busy": Out(1), "lost": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Registers before two streams, and words that choose among the bits of the third."""
        m = Module()
        array, bus = self._array, self.registers
        clear, take = Signal(), Signal()
        m.submodules.array = ResetInserter(clear)(array)
        control = bus.write & (bus.address == Word.CONTROL)
        asked = dict(zip((item.name for item in CONTROL), bus.write_data, strict=False))
        m.d.comb += [take.eq(control & asked["take"]), clear.eq(control & asked["clear"])]

        scales_wait, scales_lost = self._give(m, "scales", self.map.scales, array.scales)
        slices_wait, slices_lost = self._give(m, "slices", self.map.blocks, array.input)
        with m.If(scales_lost | slices_lost):
            m.d.sync += self.lost.eq(1)
        with m.If(clear):
            m.d.sync += [scales_wait.eq(0), slices_wait.eq(0), self.lost.eq(0)]

        waits = array.output.valid
        m.d.comb += [
            array.output.ready.eq(take),
            self.busy.eq(scales_wait | slices_wait | waits),
        ]
        status = {
            "scales": ~scales_wait, "slices": ~slices_wait, "result": waits, "lost": self.lost
        }  # fmt: skip
        result = Value.cast(array.output.payload)
        words: dict[int, Value] = {
            Word.IDENTITY: Const(IDENTITY, csr.WORD_BITS),
            Word.STATUS: Cat(status[item.name] for item in STATUS),
        }
        for number in range(self.map.result.words):
            words[Word.RESULT + number] = result.word_select(number, csr.WORD_BITS)
        # It stays until the next one is read.
        with m.If(bus.read):
            m.d.sync += bus.read_data.eq(0)
            with m.Switch(bus.address):
                for place, word in words.items():
                    with m.Case(int(place)):
                        m.d.sync += bus.read_data.eq(word)
        return m

    def _give(self, m: Module, name: str, region: Region, target: Any) -> tuple[Signal, Signal]:
        """Words into a register before a stream: whether it waits there; whether one is lost."""
        bus = self.registers
        # Not reset: what is valid was written whole.
        item = Signal(len(Value.cast(target.payload)), name=name, reset_less=True)
        waits, lost, mine = (
            Signal(name=f"{name}_wait"), Signal(name=f"{name}_lost"), Signal(name=f"{name}_mine")
        )  # fmt: skip
        inside, number = region.size.bit_length() - 1, region.stride.bit_length() - 1
        word = bus.address[:number]
        m.d.comb += [
            mine.eq(
                bus.write & (bus.address[inside:] == region.first >> inside) & (word < region.words)
            ),
            lost.eq(mine & waits),
            target.valid.eq(waits),
            Value.cast(target.payload).eq(item),
        ]
        with m.If(waits & target.ready):
            m.d.sync += waits.eq(0)
        for index in range(region.words):
            with m.If(mine & ~waits & (word == index)):
                part = item.word_select(index, csr.WORD_BITS)
                m.d.sync += part.eq(bus.write_data)
                if index == region.words - 1:
                    m.d.sync += waits.eq(1)
        return waits, lost


class ArrayDevice(wiring.Component):
    """A PE array that a host reaches over a serial line.

    What it answers is in `dyncc.arch.link` and `dyncc.arch.skipopu.packets`; it has no memory, and
    its words are those of `dyncc.arch.skipopu.bringup`.

    Parameters
    ----------
    arch, target
        The instance, and its multipliers as of `ArrayShape`.
    link
        The device's side of the link. The clock is that of domain ``sync``.

    Members
    -------
    rx, tx
        The serial line; `rx` may be in any clock domain.
    busy, fault
        As `busy` and `lost` of `ArrayRegisters`.

    Raises
    ------
    ConfigError
        If there is no such array, or there are not enough words for it.
    """

    def __init__(self, arch: ArchSpec, target: str, link: LinkSpec) -> None:
        self.arch, self.target, self.link = arch, target, link
        self._array = ArrayRegisters(ArrayShape(arch, target))
        self._commands = CommandProcessor(arch, link, None)
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "fault": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        m.submodules.link = link = SerialLink(self.link)
        m.submodules.commands = commands = self._commands
        m.submodules.array = array = self._array
        wiring.connect(m, link.requests, commands.requests)
        wiring.connect(m, commands.responses, link.responses)
        wiring.connect(m, commands.registers, array.registers)
        m.d.comb += [
            link.rx.eq(self.rx), self.tx.eq(link.tx),
            self.busy.eq(array.busy), self.fault.eq(array.lost),
        ]  # fmt: skip
        return m
