"""A whole board but for its pins: device and controller of an SDRAM, as on a ULX3S."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import Cat, Module, Mux, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.device import Device
from dyncc_hw.skipopu.memory import sdram_chip
from dyncc_hw.skipopu.memory.bursts import Geometry
from dyncc_hw.skipopu.memory.sdram import SdramController
from dyncc_hw.skipopu.memory.sdram_chip import SdramChip
from dyncc_hw.skipopu.memory.sdram_pins import SdramPins, sdram_signature
from dyncc_sim.simulated_line import SimulatedLine

BENCH = "dyncc_sim.skipopu.bench.board_bench"
#: What the bench is told beside the line's commands: reset for so many cycles, in the middle of a
#: burst if there is one soon; whether memory is silent; write what the chip holds, and what it saw,
#: to the file of the options.
RESET, SILENCE, DUMP = b"R", b"Q", b"D"
#: Pins of the chip that a controller drives, as they are in `BoardRig.pins`.
PINS = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe")


def pin_widths(chip: SdramChip) -> dict[str, int]:
    """Bits of each of `PINS`, in order."""
    members = sdram_signature(chip).members
    return {name: int(Shape.cast(members[name].shape).width) for name in PINS}


class BoardRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """A device and the controller of its memory.

    Parameters
    ----------
    arch, target, link
        As of `Device`; its memory is all of the chip.
    chip
        The chip; the clock is that of `link`.

    Members
    -------
    rx, tx, busy, fault
        As of `Device`.
    silent
        Nothing goes to the controller or comes from it, as if it were stuck.
    pins
        Outputs to the chip, one behind the other as `PINS`; above them the words of a burst that
        the controller takes in this cycle, 0 for none and for one beyond the chip. In one signal,
        since a bench looks at them in every cycle.
    dq_i
        The word from the chip.
    """

    def __init__(self, arch: ArchSpec, target: str, link: LinkSpec, chip: SdramChip) -> None:
        self.chip, self.geometry = chip, Geometry.of(arch)
        self._device = Device(arch, target, link, chip.bytes)
        self._controller = SdramController(self.geometry, chip, link.clk_hz, SdramPins.latency)
        pins = sum(pin_widths(chip).values())
        super().__init__(
            {
                "rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "fault": Out(1),
                "silent": In(1), "pins": Out(pins + self.geometry.words.width), "dq_i": In(16),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Connect them."""
        m = Module()
        m.submodules.device = device = self._device
        m.submodules.controller = controller = self._controller
        near, far, goes = device.memory, controller.port, ~self.silent
        for name in ("command", "data", "answer"):
            one, other = getattr(near, name), getattr(far, name)
            source, sink = (other, one) if name == "answer" else (one, other)
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid & goes),
                source.ready.eq(sink.ready & goes),
            ]
        m.d.comb += [near.written.eq(far.written), near.failed.eq(far.failed)]
        sdram, command = controller.sdram, far.command
        within = command.payload.address < self.chip.words
        taken = command.valid & command.ready & within
        m.d.comb += [
            device.rx.eq(self.rx),
            *(getattr(self, name).eq(getattr(device, name)) for name in ("tx", "busy", "fault")),
            self.pins.eq(
                Cat(*(getattr(sdram, name) for name in PINS), Mux(taken, command.payload.words, 0))
            ),
            sdram.dq_i.eq(self.dq_i),
        ]
        return m


@dataclass(frozen=True)
class Chip:
    """What a bench knows of a chip.

    Attributes
    ----------
    words
        By their addresses, those that were written.
    coverage
        How often what happened, see `sdram_model`.
    """

    words: dict[int, int]
    coverage: dict[str, int]

    def bytes(self, address: int, count: int) -> bytes:
        """Bytes that were written; raises KeyError if they were not. Both numbers are even."""
        words = range(address // 2, (address + count) // 2)
        return b"".join(self.words[word].to_bytes(2, "little") for word in words)


class SimulatedUlx3s(SimulatedLine):
    """A board with an SDRAM in Verilator; one that was not built before takes minutes to build.

    Parameters
    ----------
    arch, target, link
        As of `BoardRig`.
    chip
        Name of a chip in `dyncc_hw.skipopu.memory.sdram_chip`.

    Raises
    ------
    MissingToolError, ToolError
        If the simulator is missing or fails.
    """

    def __init__(self, arch: ArchSpec, target: str, link: LinkSpec, chip: str) -> None:
        rig = BoardRig(arch, target, link, getattr(sdram_chip, chip))
        self._report = tempfile.TemporaryDirectory(prefix="dyncc-board.")
        self._path = Path(self._report.name) / "chip.json"
        # The longest request is a CHECK of a piece.
        super().__init__(rig, link, 1 << 18, BENCH, {"chip": chip, "report": str(self._path)})

    def reset(self, cycles: int = 3) -> None:
        """Reset the board in the middle of a burst, if there is one soon; the chip is not told."""
        self.tell(RESET, cycles)

    def silence(self, silent: bool) -> None:
        """Memory answers nothing and takes nothing from now on, or is as before."""
        self.tell(SILENCE, silent)

    def chip(self) -> Chip:
        """What the chip holds now, and what it saw since the start."""
        self.tell(DUMP, 0)
        # An answer comes when that is done.
        self.read(0)
        found = json.loads(self._path.read_text(encoding="utf-8"))
        words = {int(place): word for place, word in found["words"].items()}
        return Chip(words, found["coverage"])

    def close(self) -> None:
        """End the simulation."""
        super().close()
        self._report.cleanup()
