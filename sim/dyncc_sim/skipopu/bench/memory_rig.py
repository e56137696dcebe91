"""The memory of a SkipOPU by itself: port, master of a bus, load and store engine, and clients."""

from __future__ import annotations

from typing import Any

from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import read_signature, write_signature
from dyncc_hw.skipopu.memory.axi import AxiMaster
from dyncc_hw.skipopu.memory.load import LoadEngine
from dyncc_hw.skipopu.memory.port import Port
from dyncc_hw.skipopu.memory.store import StoreEngine
from dyncc_hw.skipopu.memory.wishbone import WishboneMaster

MASTERS = {"wishbone": WishboneMaster, "axi": AxiMaster}
#: Clients whose part the bench plays; the last reader is the stream's competitor.
READERS, WRITERS = ("near", "far"), ("copy",)
_CONTROL = ("memory_bytes", "windows", "abort", "trap", "taken", "busy", "idle", "waiting")


class MemoryRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """All parts of the memory, connected; the rest is ports.

    Parameters
    ----------
    arch
        The instance.
    bus
        One of `MASTERS`.
    """

    def __init__(self, arch: ArchSpec, bus: str) -> None:
        self.port = Port(arch, (*READERS, "vectors", "stream"), (*WRITERS, "store"), last="stream")
        self.master = MASTERS[bus](self.port.geometry)
        self.load_engine, self.store_engine = LoadEngine(arch), StoreEngine(arch)
        size = arch.bus_bytes
        ports = self.port.signature.members
        self._taken: dict[str, tuple[Any, tuple[str, ...]]] = {
            "load": (self.load_engine, ("work", "vector", "narrow", "wide")),
            "store": (self.store_engine, ("work", "vector")),
        }
        members: dict[str, Any] = {
            "bus": self.master.signature.members["bus"],
            **{f"port_{name}": ports[name] for name in _CONTROL},
            **{name: In(read_signature(size)) for name in READERS},
            **{name: In(write_signature(size)) for name in WRITERS},
            "stream_trap": self.load_engine.signature.members["stream_trap"],
            "stream_idle": self.load_engine.signature.members["stream_idle"],
            "restart": In(1),
        }
        for prefix, (engine, names) in self._taken.items():
            for name in names:
                members[f"{prefix}_{name}"] = engine.signature.members[name]
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Engines are reset by themselves, as in the machine."""
        m = Module()
        port, master, load, store = self.port, self.master, self.load_engine, self.store_engine
        m.submodules.port, m.submodules.master = port, master
        m.submodules.load = ResetInserter(self.restart)(load)
        m.submodules.store = ResetInserter(self.restart)(store)
        wiring.connect(m, port.bus, master.port)
        wiring.connect(m, master.bus, wiring.flipped(self.bus))
        for name in (*READERS, *WRITERS):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(port, name))
        wiring.connect(m, load.vectors, port.vectors)
        wiring.connect(m, load.stream, port.stream)
        wiring.connect(m, store.memory, port.store)
        for prefix, (engine, names) in self._taken.items():
            for name in names:
                outer = getattr(self, f"{prefix}_{name}")
                wiring.connect(m, getattr(engine, name), wiring.flipped(outer))
        for name in _CONTROL:
            if port.signature.members[name].flow == In:
                m.d.comb += getattr(port, name).eq(getattr(self, f"port_{name}"))
            else:
                m.d.comb += getattr(self, f"port_{name}").eq(getattr(port, name))
        m.d.comb += [
            load.memory_bytes.eq(self.port_memory_bytes),
            self.stream_trap.eq(load.stream_trap),
            self.stream_idle.eq(load.stream_idle),
        ]
        return m
