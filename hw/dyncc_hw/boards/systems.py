"""Boards on which a design is a part of a system of Vivado's: a block design, written in Tcl.

Such a design has AXI buses in place of a serial line (`dyncc_hw.skipopu.axi_device`). What is
around it - processor or PCI Express, memory, clocks - comes from Vivado's catalogue, so that the
project is the design's Verilog, a script for each board in the folder ``vivado``, and constraints.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any

from amaranth.back import rtlil, verilog

from dyncc.core.errors import ConfigError
from dyncc_hw.boards.board import Plan, Pll, Setup
from dyncc_hw.skipopu.axi_device import MEMORY, REGISTERS

#: Verilog around a design: clock and reset as Vivado wants them for the buses.
_WRAPPER = """\
// The clock goes with both buses, the reset is low when it is active.
module overlay (
  (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET aresetn" *)
  input wire aclk,
  input wire aresetn,
{ports}
);
  top top (
    .clk(aclk),
    .rst(~aresetn),
{connections}
  );
endmodule
"""


@dataclass(frozen=True)
class SystemBoard:
    """A board with a system of Vivado's.

    Attributes
    ----------
    name, summary, setups, products, estimate
        As of `board.Board`.
    part
        Of the device, as Vivado knows it.
    fastest_mhz
        Highest clock that the script can ask for.
    """

    name: str
    summary: str
    part: str
    fastest_mhz: float
    setups: dict[str, Setup]
    estimate: str
    products: tuple[str, ...] = ("top.bit", "timing.rpt", "utilization.rpt")
    serial: None = None

    def clock(self, wanted_mhz: float) -> tuple[int, None]:
        """The design's clock in Hz, which the system makes.

        Raises
        ------
        ConfigError
            If it makes none as fast.
        """
        if not 10 <= wanted_mhz <= self.fastest_mhz:
            raise ConfigError(
                f"{self.name} makes clocks from 10 to {self.fastest_mhz:g} MHz, not {wanted_mhz:g}"
            )
        return round(wanted_mhz * 1e6), None

    def plan(self, device: Any, clock_hz: int, pll: Pll | None, setup: Setup) -> Plan:
        """Files and commands for Vivado."""
        folder = resources.files("dyncc_hw.boards") / "vivado"
        values = {
            "PART": self.part, "CLOCK_MHZ": f"{clock_hz / 1e6:g}",
            "BUS_BITS": str(8 * device.arch.bus_bytes),
        }  # fmt: skip
        script = (folder / f"{self.name}.tcl").read_text(encoding="utf-8")
        head = "".join(f"set {name} {value}\n" for name, value in values.items())
        common = (folder / "finish.tcl").read_text(encoding="utf-8")
        netlist = rtlil.convert(device, name="top", emit_src=False)
        files = {
            # What `verilog.convert` does, without making the netlist once more.
            "top.v": verilog._convert_rtlil_text(netlist),
            "top.il": netlist,
            "overlay.v": _wrapper(device),
            "top.xdc": (folder / f"{self.name}.xdc").read_text(encoding="utf-8"),
            "top.tcl": f"{head}{script}{common}",
        }
        return Plan(files, (("vivado", "-mode", "batch", "-source", "top.tcl"),), self.products)


def _wrapper(device: Any) -> str:
    ports, connections = [], []
    for name, member in device.signature.members.items():
        bits = len(getattr(device, name))
        kind = "input" if member.flow.name == "In" else "output"
        ports.append(f"  {kind} wire [{bits - 1}:0] {name}")
        connections.append(f"    .{name}({name})")
    return _WRAPPER.format(
        buses=f"{REGISTERS[:-1]}:{MEMORY[:-1]}",
        ports=",\n".join(ports),
        connections=",\n".join(connections),
    )


_SYNTHESIS = "synth_xilinx -family xcup -flatten -noiopad -top top"
KV260 = SystemBoard(
    name="kv260",
    summary="AMD Kria KV260, Zynq UltraScale+ XCK26 (Vivado)",
    part="xck26-sfvc784-2LV-c",
    fastest_mhz=300,
    setups={"skipopu-axi": Setup(200, choices={"arch": "kv260_16x16"})},
    estimate=_SYNTHESIS,
)
ALVEO_U280 = SystemBoard(
    name="u280",
    summary="AMD Alveo U280, Virtex UltraScale+ with HBM2 (Vivado)",
    part="xcu280-fsvh2892-2L-e",
    fastest_mhz=300,
    setups={"skipopu-axi": Setup(225, choices={"arch": "u280_16x16"})},
    estimate=_SYNTHESIS,
)
