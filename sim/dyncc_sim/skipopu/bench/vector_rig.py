"""The vector engine with the vector buffer, as its bench has them."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.vector.buffer import VectorBuffer
from dyncc_hw.skipopu.vector.engine import VectorEngine

#: What connects the engine with the buffer, by the names that these have in both.
INSIDE = {"first": "first", "second": "read_second", "write": "write_vector"}


class VectorRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """Both, and their other ports.

    Parameters
    ----------
    arch
        The instance.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._engine, self._buffer = VectorEngine(arch), VectorBuffer(arch)
        self._outside = [
            (part, name)
            for part, inside in ((self._engine, INSIDE), (self._buffer, INSIDE.values()))
            for name in part.signature.members
            if name not in inside
        ]
        super().__init__({name: part.signature.members[name] for part, name in self._outside})

    def elaborate(self, platform: Any) -> Module:
        """Connect them."""
        m = Module()
        m.submodules.engine = engine = self._engine
        m.submodules.buffer = buffer = self._buffer
        for own, other in INSIDE.items():
            wiring.connect(m, getattr(engine, own), getattr(buffer, other))
        for part, name in self._outside:
            given, port = getattr(self, name), getattr(part, name)
            member = self.signature.members[name]
            if member.is_port:
                m.d.comb += given.eq(port) if member.flow == Out else port.eq(given)
            elif member.flow == In:
                wiring.connect(m, wiring.flipped(given), port)
            else:
                wiring.connect(m, port, wiring.flipped(given))
        return m
