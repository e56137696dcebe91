"""A device with a memory of its own, so that nothing but its line is left to play."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.device import Device
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_sim.simulated_line import FASTEST, SimulatedLine
from dyncc_sim.skipopu.bench.instances import TARGETS

#: Feedback of a register of 16 bits that takes all states but 0.
_TAPS = (0, 2, 3, 5)


class BurstRam(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """A memory that carries out one burst after the other, and pauses at random.

    Parameters
    ----------
    geometry
        Of the port.
    words
        Of the bus.
    init
        What the first of them hold.

    Members
    -------
    port
        See `bursts.burst_signature`.
    """

    def __init__(self, geometry: Geometry, words: int, init: list[int] | None = None) -> None:
        self.geometry, self.words, self.init = geometry, words, init or []
        super().__init__({"port": In(burst_signature(geometry))})

    def elaborate(self, platform: Any) -> Module:
        """An address that counts."""
        m = Module()
        size, port = self.geometry.bus_bytes, self.port
        m.submodules.store = store = memory.Memory(shape=8 * size, depth=self.words, init=self.init)
        into, out = store.write_port(granularity=8), store.read_port(domain="comb")
        left, address, write = Signal(self.geometry.words), Signal(range(self.words)), Signal()
        noise, goes, ends, moves = Signal(16, init=1), Signal(), Signal(), Signal()
        m.d.sync += noise.eq(Cat(noise[1:], Cat(noise[tap] for tap in _TAPS).xor()))
        # What is offered stays: a pause begins with a word that was taken.
        with m.If(~goes):
            m.d.sync += goes.eq(noise[:2] != 0)
        with m.Elif(moves):
            m.d.sync += goes.eq(noise[:3] != 0)
        m.d.comb += [
            port.command.ready.eq(left == 0),
            out.addr.eq(address), into.addr.eq(address),
            port.answer.valid.eq((left != 0) & ~write & goes),
            port.answer.payload.word.eq(out.data),
            port.data.ready.eq((left != 0) & write & goes),
            into.data.eq(port.data.payload.word),
            into.en.eq(Mux(port.data.valid & port.data.ready, port.data.payload.strobe, 0)),
            moves.eq(Mux(write, port.data.valid & port.data.ready,
                         port.answer.valid & port.answer.ready)),
            ends.eq(moves & (left == 1)),
        ]  # fmt: skip
        m.d.sync += port.written.eq(ends & write)
        with m.If(port.command.valid & port.command.ready):
            m.d.sync += [
                left.eq(port.command.payload.words), address.eq(port.command.payload.address),
                write.eq(port.command.payload.write),
            ]  # fmt: skip
        with m.Elif(moves):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
        return m


def first_words(words: int, size: int) -> list[int]:
    """What memory holds at first: nothing that anybody may rely on."""
    return [(7919 * number + 12345) % (1 << 8 * size) for number in range(words)]


class DeviceRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """A device and a memory.

    Parameters
    ----------
    arch, target, link, memory_bytes, turns
        As of `Device`.
    """

    def __init__(
        self, arch: ArchSpec, target: str, link: LinkSpec, memory_bytes: int, turns: int = 2
    ) -> None:
        self._device = Device(arch, target, link, memory_bytes, turns=turns)
        geometry = Geometry.of(arch)
        words = memory_bytes // geometry.bus_bytes
        self._ram = BurstRam(geometry, words, first_words(words, geometry.bus_bytes))
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "fault": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        """Connect them."""
        m = Module()
        m.submodules.device = device = self._device
        m.submodules.ram = ram = self._ram
        connect(m, device.memory, ram.port)
        m.d.comb += [
            device.rx.eq(self.rx),
            *(getattr(self, name).eq(getattr(device, name)) for name in ("tx", "busy", "fault")),
        ]
        return m


class SimulatedBoard(SimulatedLine):
    """A small instance in Verilator; one that was not built before takes minutes to build.

    Parameters
    ----------
    arch
        One of `instances.INSTANCES`.
    memory_bytes
        Of its memory.
    link
        Its side of the link.

    Raises
    ------
    MissingToolError, ToolError
        If the simulator is missing or fails.
    """

    def __init__(self, arch: ArchSpec, memory_bytes: int, link: LinkSpec = FASTEST) -> None:
        rig = DeviceRig(arch, TARGETS[arch.name], link, memory_bytes)
        # The longest request is a CHECK of a piece.
        super().__init__(rig, link, 1 << 18)
