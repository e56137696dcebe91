"""A SkipOPU on AXI buses: a slave for its registers, a master for its memory."""

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.control.control import ControlledMachine
from dyncc_hw.skipopu.host.axi_lite import AxiLiteSlave, axi_lite_signature
from dyncc_hw.skipopu.memory.axi import AxiMaster, axi_signature
from dyncc_hw.skipopu.memory.bursts import Geometry

#: Prefixes of the ports, by which Vivado knows them as buses.
REGISTERS, MEMORY = "s_axi_", "m_axi_"


class AxiDevice(wiring.Component):
    """A SkipOPU for a system on a chip, or behind a bridge of PCI Express.

    Parameters
    ----------
    arch, target
        As of `machine.Machine`.

    Members
    -------
    s_axi_*
        The registers, see `host.axi_lite.axi_lite_signature`.
    m_axi_*
        Memory, see `memory.axi.axi_signature`; ids have one bit.

    Raises
    ------
    ConfigError
        If the machine cannot be built, or AXI has no such bursts.
    """

    def __init__(self, arch: ArchSpec, target: str) -> None:
        self.arch = arch
        self._machine = ControlledMachine(arch, target)
        self._master = AxiMaster(Geometry.of(arch))
        slave, master = axi_lite_signature().flip(), axi_signature(self._master.geometry, 1)
        super().__init__(
            {f"{REGISTERS}{name}": member for name, member in slave.members.items()}
            | {f"{MEMORY}{name}": member for name, member in master.members.items()}
        )

    def elaborate(self, platform: Any) -> Module:
        """Connect the machine, and give the buses' wires their names."""
        m = Module()
        m.submodules.machine = machine = self._machine
        m.submodules.master = master = self._master
        m.submodules.slave = slave = AxiLiteSlave()
        wiring.connect(m, machine.bus, master.port)
        wiring.connect(m, slave.registers, machine.registers)
        for prefix, bus in ((REGISTERS, slave.bus), (MEMORY, master.bus)):
            for name, member in bus.signature.members.items():
                outside, inside = getattr(self, prefix + name), getattr(bus, name)
                m.d.comb += outside.eq(inside) if member.flow == Out else inside.eq(outside)
        return m
