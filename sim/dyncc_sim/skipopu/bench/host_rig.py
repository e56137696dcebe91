"""What stands between a host's line and the machine, by itself: requests, registers, memory."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.link.framer import CONTENT
from dyncc_hw.skipopu.control.control import register_signature
from dyncc_hw.skipopu.host.arbiter import Arbiter
from dyncc_hw.skipopu.host.commands import CommandProcessor
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature


class HostRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """A command processor and an arbiter; the bench plays line, registers, machine and memory.

    Parameters
    ----------
    arch, link, memory_bytes, turns, patience
        As of `dyncc_hw.skipopu.device.Device`.

    Members
    -------
    requests, responses, registers, running, machine, bus
        As of its parts.
    waits, goes
        The host offers a burst; and it is taken.
    """

    def __init__(
        self, arch: ArchSpec, link: LinkSpec, memory_bytes: int, turns: int, patience: int
    ) -> None:
        geometry = Geometry.of(arch)
        self._commands = CommandProcessor(arch, link, memory_bytes, patience)
        self._arbiter = Arbiter(geometry, turns)
        super().__init__(
            {
                "requests": In(stream.Signature(8)),
                "responses": Out(stream.Signature(CONTENT)),
                "registers": Out(register_signature()),
                "running": In(1),
                "machine": In(burst_signature(geometry)),
                "bus": Out(burst_signature(geometry)),
                "waits": Out(1),
                "goes": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Connect them."""
        m = Module()
        m.submodules.commands = commands = self._commands
        m.submodules.arbiter = arbiter = self._arbiter
        connect(m, flipped(self.requests), commands.requests)
        connect(m, commands.responses, flipped(self.responses))
        connect(m, commands.registers, flipped(self.registers))
        connect(m, commands.memory, arbiter.host)
        connect(m, flipped(self.machine), arbiter.machine)
        connect(m, arbiter.bus, flipped(self.bus))
        offers = commands.memory.command
        m.d.comb += [
            commands.running.eq(self.running),
            self.waits.eq(offers.valid),
            self.goes.eq(offers.valid & offers.ready),
        ]
        return m
