"""A SkipOPU behind a serial line: everything but pins, clock and memory."""

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.packets import PATIENCE
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.link.serial import SerialLink
from dyncc_hw.skipopu.control.control import ControlledMachine
from dyncc_hw.skipopu.control.front import State
from dyncc_hw.skipopu.host.arbiter import TURNS, Arbiter
from dyncc_hw.skipopu.host.commands import CommandProcessor
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature


class Device(wiring.Component):
    """A SkipOPU device.

    What it answers is in `dyncc.arch.link` and `dyncc.arch.skipopu.packets`; its twin is
    `dyncc_sim.skipopu.device.DeviceTwin`.

    Parameters
    ----------
    arch, target
        As of `machine.Machine`.
    link
        The device's side of the link. The clock is that of domain ``sync``.
    memory_bytes
        Of the memory behind `memory`.
    turns, patience
        See `host.arbiter.Arbiter` and `host.access.MemoryAccess`.

    Members
    -------
    rx, tx
        The serial line; `rx` may be in any clock domain.
    busy
        A program runs.
    fault
        A program was stopped by a trap, and none was started since.
    memory
        To the controller of a memory, see `bursts.burst_signature`. At most
        ``arch.memory_requests + 1`` bursts are on their way.

    Raises
    ------
    ConfigError
        If there are no addresses for the memory, or the machine cannot be built.
    """

    def __init__(
        self, arch: ArchSpec, target: str, link: LinkSpec, memory_bytes: int, *,
        turns: int = TURNS, patience: int = PATIENCE,
    ) -> None:  # fmt: skip
        self.arch, self.target, self.link, self.memory_bytes = arch, target, link, memory_bytes
        self._machine = ControlledMachine(arch, target)
        self._commands = CommandProcessor(arch, link, memory_bytes, patience)
        self._arbiter = Arbiter(Geometry.of(arch), turns)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "busy": Out(1),
                "fault": Out(1),
                "memory": Out(burst_signature(Geometry.of(arch))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        m.submodules.link = link = SerialLink(self.link)
        m.submodules.commands = commands = self._commands
        m.submodules.arbiter = arbiter = self._arbiter
        m.submodules.machine = machine = self._machine
        wiring.connect(m, link.requests, commands.requests)
        wiring.connect(m, commands.responses, link.responses)
        wiring.connect(m, commands.registers, machine.registers)
        wiring.connect(m, commands.memory, arbiter.host)
        wiring.connect(m, machine.bus, arbiter.machine)
        wiring.connect(m, arbiter.bus, wiring.flipped(self.memory))
        runs = (machine.state == State.STARTING) | (machine.state == State.RUNNING)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            commands.running.eq(runs),
            self.busy.eq(runs),
            self.fault.eq(machine.state == State.TRAPPED),
        ]
        return m
