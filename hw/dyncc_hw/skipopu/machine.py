"""The machine: sequencer, engines, buffers, and the memory port."""

from typing import Any

from amaranth import Module, ResetInserter
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.csr import READERS, WRITERS
from dyncc.arch.skipopu.isa import (
    COUNT_BITS,
    REGISTER_BITS,
    REGISTERS,
    SEMAPHORE_BITS,
    SEMAPHORES,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.array.engine import PeEngine
from dyncc_hw.skipopu.control.front import Front, State, engine_layout
from dyncc_hw.skipopu.control.sequencer import WORKERS
from dyncc_hw.skipopu.interfaces import (
    ADDRESS_BITS,
    TRAP_BITS,
    block_write_signature,
    vector_write_signature,
)
from dyncc_hw.skipopu.kv.engine import KvEngine
from dyncc_hw.skipopu.kv.history import History
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_hw.skipopu.memory.load import LoadEngine
from dyncc_hw.skipopu.memory.port import Port
from dyncc_hw.skipopu.memory.requests import WINDOW, WINDOWS
from dyncc_hw.skipopu.memory.store import StoreEngine
from dyncc_hw.skipopu.shape import ArrayShape
from dyncc_hw.skipopu.vector.buffer import VectorBuffer
from dyncc_hw.skipopu.vector.engine import VectorEngine, scalar_write_layout


def trace_signature(arch: ArchSpec) -> wiring.Signature:
    """What engines do and write, for benches.

    Members
    -------
    begun, finished, engines
        See `front.Front`.
    pe, load, vector; pe_write, load_write, vector_write
        In a cycle, a word of the vector buffer is written; see `interfaces.vector_write_signature`.
    blocks, block
        The same of the activation buffer, see `interfaces.block_write_signature`.
    scalar, attention, mlp
        A scalar that is written; predicates.
    """
    written = vector_write_signature(arch).members["write"].signature.members["payload"].shape
    block = block_write_signature(arch).members["write"].signature.members["payload"].shape
    names = ("pe", "load", "vector")
    return wiring.Signature(
        {
            "begun": Out(len(WORKERS)), "finished": Out(len(WORKERS)),
            "engines": Out(data.ArrayLayout(engine_layout(arch), len(WORKERS))),
            **dict.fromkeys(names, Out(1)), **{f"{name}_write": Out(written) for name in names},
            "blocks": Out(1), "block": Out(block), "scalar": Out(scalar_write_layout(arch)),
            "attention": Out(arch.tokens), "mlp": Out(arch.tokens),
        }
    )  # fmt: skip


def machine_members(arch: ArchSpec) -> dict[str, Any]:
    """Members of a machine other than its bus and trace: what it is told, and what it tells."""
    engines = len(WORKERS)
    taken = data.StructLayout(
        {"valid": 1, "client": range(len(READERS + WRITERS)), "bytes": COUNT_BITS}
    )
    return {
        "start": In(1), "base": In(ADDRESS_BITS), "length": In(COUNT_BITS),
        "watchdog": In(32),
        "number": In(range(REGISTERS)), "value": In(REGISTER_BITS), "write": In(1),
        "read": Out(REGISTER_BITS),
        "state": Out(State), "trap": Out(TRAP_BITS), "pc": Out(COUNT_BITS),
        "memory_bytes": In(ADDRESS_BITS),
        "windows": In(data.ArrayLayout(WINDOW, WINDOWS)),
        "forget": In(1),
        "begun": Out(engines), "finished": Out(engines), "dispatched": Out(1),
        "starved": Out(1), "taken": Out(taken), "busy": Out(1),
        "resident": Out(1), "fetched": Out(1),
        "engines": Out(data.ArrayLayout(engine_layout(arch), engines)),
        "counts": Out(data.ArrayLayout(SEMAPHORE_BITS, SEMAPHORES)),
    }  # fmt: skip


class Machine(wiring.Component):
    """A SkipOPU without its bus.

    Parameters
    ----------
    arch
        The instance.
    target
        Its multipliers, see `shape.ArrayShape`.
    traced
        Whether it has a `trace`.

    Members
    -------
    start, base, length, watchdog, number, value, write, read, state, trap, pc, engines, counts
        See `front.Front`.
    memory_bytes, windows
        See `port.Port`.
    forget
        The history is empty from now on: memory was changed from outside.
    begun, finished, dispatched, starved, taken, busy, resident, fetched
        Events to be counted, see `front.Front`, `port.Port`, `history.History`.
    bus
        To the master of a bus, see `bursts.burst_signature`.
    trace
        What engines write, see `trace_signature`; for benches.
    """

    def __init__(self, arch: ArchSpec, target: str, traced: bool = False) -> None:
        self.arch, self.shape, self.traced = arch, ArrayShape(arch, target), traced
        self._port = Port(arch, READERS, WRITERS, READERS[-1])
        members = {
            **machine_members(arch), "bus": Out(burst_signature(Geometry.of(arch))),
        }  # fmt: skip
        if traced:
            members["trace"] = Out(trace_signature(arch))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Engines are reset when a program starts; buffers, tags and scalars stay as they are."""
        m = Module()
        arch = self.arch
        m.submodules.front = front = Front(arch)
        m.submodules.port = port = self._port
        # Its words stay; those that an aborted engine asked for must not reach the next program.
        buffer = VectorBuffer(arch)
        m.submodules.buffer = ResetInserter(front.clear)(buffer)
        load, store = LoadEngine(arch), StoreEngine(arch)
        pe, vector = PeEngine(self.shape), VectorEngine(arch)
        kv, history = KvEngine(arch), History(arch)
        parts = {
            "load": load, "store": store, "pe": pe, "vector": vector, "kv": kv, "history": history,
        }  # fmt: skip
        for name, part in parts.items():
            m.submodules[name] = ResetInserter(front.clear)(part)
        for one, other in (
            (front.load, load.work), (front.store, store.work), (front.pe, pe.work),
            (front.vector, vector.work), (front.kv, kv.work),
            (front.memory, port.fetch), (load.vectors, port.vectors), (load.stream, port.stream),
            (vector.read, port.rotations), (history.memory, port.history), (kv.read, port.entries),
            (store.memory, port.store), (kv.write, port.slots),
            (vector.first, buffer.first), (pe.before, buffer.read_pe),
            (store.vector, buffer.read_store), (kv.vector, buffer.read_kv),
            (vector.second, buffer.read_second), (pe.vector, buffer.write_pe),
            (load.vector, buffer.write_load), (vector.write, buffer.write_vector),
            (load.narrow, pe.stream), (load.wide, vector.router), (vector.blocks, pe.blocks),
            (pe.scalars, vector.scalar), (pe.history, history.history), (kv.keep, history.keep),
        ):  # fmt: skip
            wiring.connect(m, one, other)
        wiring.connect(m, port.bus, wiring.flipped(self.bus))
        m.d.comb += [
            *(
                getattr(front, name).eq(getattr(self, name))
                for name in (
                    "start", "base", "length", "watchdog", "number", "value", "write",
                )
            ),
            *(
                getattr(self, name).eq(getattr(front, name))
                for name in ("read", "state", "trap", "pc", "begun", "finished", "dispatched")
            ),
            port.memory_bytes.eq(self.memory_bytes), load.memory_bytes.eq(self.memory_bytes),
            port.windows.eq(self.windows), port.abort.eq(front.abort),
            front.port_idle.eq(port.idle), front.port_waiting.eq(port.waiting),
            front.port_trap.eq(port.trap), front.stream_trap.eq(load.stream_trap),
            front.attention.eq(vector.attention), front.mlp.eq(vector.mlp),
            kv.load_slots.eq(front.load_slots), kv.slot_start.eq(front.slot_start),
            kv.slot_limit.eq(front.slot_limit), history.slot_limit.eq(front.slot_limit),
            front.next_slot.eq(kv.next_slot), history.forget.eq(self.forget),
            self.engines.eq(front.engines), self.counts.eq(front.counts),
            self.starved.eq(pe.work.starved), self.taken.eq(port.taken), self.busy.eq(port.busy),
            self.resident.eq(history.resident), self.fetched.eq(history.fetched),
        ]  # fmt: skip
        if self.traced:
            self._connect_trace(m, front, vector, buffer)
        return m

    def _connect_trace(
        self, m: Module, front: Front, vector: VectorEngine, buffer: VectorBuffer
    ) -> None:
        """What the front starts, and what goes into the buffers."""
        trace = self.trace
        m.d.comb += [
            trace.begun.eq(front.begun), trace.finished.eq(front.finished),
            trace.engines.eq(front.engines), trace.scalar.eq(vector.written),
            trace.attention.eq(vector.attention), trace.mlp.eq(vector.mlp),
            trace.blocks.eq(vector.blocks.write.valid & vector.blocks.write.ready),
            trace.block.eq(vector.blocks.write.payload),
        ]  # fmt: skip
        for name in ("pe", "load", "vector"):
            write = getattr(buffer, f"write_{name}").write
            m.d.comb += [
                getattr(trace, name).eq(write.valid & write.ready),
                getattr(trace, f"{name}_write").eq(write.payload),
            ]
