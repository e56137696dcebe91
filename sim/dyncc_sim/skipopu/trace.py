"""What a machine did, in a form that simulator and hardware share.

A line for each instruction that an engine carried out or suppressed, in the order of that engine::

    PE 3 pc=41 GEMM tokens=0,2 crc=9c1e02f7
    VECTOR 7 pc=42 NPE suppressed

The number counts the engine's instructions; the CRC-32 is that of what was written, as
little-endian 32-bit words (mantissas extended by their sign, bytes by zeros), token by token.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy

from dyncc.arch.skipopu.isa import ENGINES, Engine
from dyncc_sim.skipopu.sequencer import Work


class Trace:
    """Collects lines by engine."""

    def __init__(self) -> None:
        self.lines: dict[Engine, list[str]] = {engine: [] for engine in Engine}

    def add(self, work: Work, written: Any) -> None:
        """Record an instruction that is done."""
        op = work.instruction.op
        engine = ENGINES[op]
        lines = self.lines[engine]
        text = f"{engine.name} {len(lines)} pc={work.pc} {op.name}"
        if work.suppressed:
            text += " suppressed"
        else:
            tokens = ",".join(str(token) for token in numpy.flatnonzero(work.active))
            text += f" tokens={tokens}"
            if written is not None:
                content = numpy.ascontiguousarray(written).astype("<i4").tobytes()
                text += f" crc={zlib.crc32(content):08x}"
        lines.append(text)

    def text(self) -> str:
        """All lines, engine by engine."""
        return "".join(f"{line}\n" for lines in self.lines.values() for line in lines)
