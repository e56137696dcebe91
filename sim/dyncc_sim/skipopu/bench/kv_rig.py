"""The engine of keys and values and the history, together, for their bench."""

from __future__ import annotations

from typing import Any

from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import REGISTER_BITS, Engine
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import (
    history_signature,
    read_signature,
    vector_read_signature,
    work_signature,
    write_signature,
)
from dyncc_hw.skipopu.kv.engine import KvEngine
from dyncc_hw.skipopu.kv.history import History


class KvRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """Both parts; `restart` resets them as the machine does before a program.

    Parameters
    ----------
    arch
        The instance.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        super().__init__(
            {
                "work": In(work_signature(Engine.KV, arch)),
                "vector": Out(vector_read_signature(arch)),
                "read": Out(read_signature(arch.bus_bytes)),
                "write": Out(write_signature(arch.bus_bytes)),
                "memory": Out(read_signature(arch.bus_bytes)),
                "history": In(history_signature(arch)),
                "load_slots": In(1), "slot_start": In(REGISTER_BITS),
                "slot_limit": In(REGISTER_BITS), "next_slot": Out(REGISTER_BITS),
                "forget": In(1), "resident": Out(1), "fetched": Out(1), "restart": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Connect."""
        m = Module()
        engine, history = KvEngine(self.arch), History(self.arch)
        m.submodules.engine = ResetInserter(self.restart)(engine)
        m.submodules.history = ResetInserter(self.restart)(history)
        wiring.connect(m, wiring.flipped(self.work), engine.work)
        wiring.connect(m, engine.vector, wiring.flipped(self.vector))
        wiring.connect(m, engine.read, wiring.flipped(self.read))
        wiring.connect(m, engine.write, wiring.flipped(self.write))
        wiring.connect(m, engine.keep, history.keep)
        wiring.connect(m, history.memory, wiring.flipped(self.memory))
        wiring.connect(m, wiring.flipped(self.history), history.history)
        m.d.comb += [
            engine.load_slots.eq(self.load_slots),
            engine.slot_start.eq(self.slot_start),
            engine.slot_limit.eq(self.slot_limit),
            history.slot_limit.eq(self.slot_limit),
            history.forget.eq(self.forget),
            self.next_slot.eq(engine.next_slot),
            self.resident.eq(history.resident),
            self.fetched.eq(history.fetched),
        ]
        return m
