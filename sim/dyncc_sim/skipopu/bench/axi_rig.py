"""The registers of a SkipOPU on AXI4-Lite, without a machine behind them."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.axi_device import REGISTERS
from dyncc_hw.skipopu.control.control import Registers
from dyncc_hw.skipopu.host.axi_lite import AxiLiteSlave, axi_lite_signature


class AxiRegisters(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """Registers that nothing but a host writes: the machine is idle for ever."""

    def __init__(self, arch: ArchSpec) -> None:
        self.registers, self.slave = Registers(arch), AxiLiteSlave()
        super().__init__({REGISTERS[:-1]: In(axi_lite_signature())})

    def elaborate(self, platform: Any) -> Module:
        """Connect both."""
        m = Module()
        m.submodules.registers, m.submodules.slave = self.registers, self.slave
        wiring.connect(m, self.slave.registers, self.registers.registers)
        wiring.connect(m, wiring.flipped(getattr(self, REGISTERS[:-1])), self.slave.bus)
        return m
