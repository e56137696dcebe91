"""The queue of an engine: instructions wait for semaphores, and release when they are done."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, QUEUE_DEPTH, SEMAPHORES, Engine
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import TRAP_BITS, work_layout, work_signature


def entry_layout(engine: Engine, arch: ArchSpec) -> data.StructLayout:
    """An instruction in a queue: its place `pc`, semaphores, whether it is suppressed, `work`."""
    return data.StructLayout(
        {
            "pc": COUNT_BITS, "wait": SEMAPHORES, "release": SEMAPHORES, "suppressed": 1,
            "work": work_layout(engine, arch),
        }
    )  # fmt: skip


class EngineQueue(wiring.Component):
    """Holds an engine's instructions and starts them in order.

    The head asks for its semaphores with `asks` and starts in the cycle in which it is `granted`;
    one that waits for none starts at once. A suppressed instruction is done in the next cycle;
    others go to the engine.

    Parameters
    ----------
    engine, arch
        Which engine, of which instance.

    Members
    -------
    put
        Stream of `entry_layout`.
    work
        To the engine.
    asks, wait, granted
        The head wants to start, and which semaphores it takes.
    begun
        In one cycle: an instruction starts.
    finished, release, trap
        In one cycle: an instruction is done, what it releases, why it failed.
    busy, pc, op, suppressed
        An instruction has started and is not done; which one.
    waiting
        Instructions that have not started.
    starved
        The engine waits for rows of a matrix.
    """

    def __init__(self, engine: Engine, arch: ArchSpec) -> None:
        self.layout = entry_layout(engine, arch)
        op = work_layout(engine, arch)["op"].shape
        super().__init__(
            {
                "put": In(stream.Signature(self.layout)),
                "work": Out(work_signature(engine, arch)),
                "asks": Out(1), "wait": Out(SEMAPHORES), "granted": In(1), "begun": Out(1),
                "finished": Out(1), "release": Out(SEMAPHORES), "trap": Out(TRAP_BITS),
                "busy": Out(1), "pc": Out(COUNT_BITS), "op": Out(op), "suppressed": Out(1),
                "active": Out(arch.tokens), "waiting": Out(range(QUEUE_DEPTH + 1)),
                "starved": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A FIFO, and what has started."""
        m = Module()
        queue = fifo.SyncFIFOBuffered(width=self.layout.size, depth=QUEUE_DEPTH)
        m.submodules.queue = queue
        head = data.View(self.layout, queue.r_data)
        current = Signal(self.layout, reset_less=True)
        busy, offered = Signal(), Signal()
        m.d.comb += [
            queue.w_en.eq(self.put.valid), queue.w_data.eq(self.put.payload),
            self.put.ready.eq(queue.w_rdy),
            self.asks.eq(queue.r_rdy & ~busy & head.wait.any()), self.wait.eq(head.wait),
            self.begun.eq(self.granted | (queue.r_rdy & ~busy & ~head.wait.any())),
            queue.r_en.eq(self.begun),
            self.work.start.valid.eq(offered), self.work.start.payload.eq(current.work),
            self.finished.eq(busy & (current.suppressed | self.work.done)),
            self.release.eq(current.release),
            self.busy.eq(busy), self.pc.eq(current.pc), self.op.eq(current.work.op),
            self.suppressed.eq(current.suppressed), self.active.eq(current.work.active),
            self.waiting.eq(queue.level),
            self.starved.eq(busy & ~current.suppressed & ~offered & self.work.starved),
        ]  # fmt: skip
        with m.If(self.work.done & ~current.suppressed):
            m.d.comb += self.trap.eq(self.work.trap)
        with m.If(self.begun):
            m.d.sync += [
                current.eq(queue.r_data), busy.eq(1), offered.eq(~head.suppressed),
            ]  # fmt: skip
        with m.If(offered & self.work.start.ready):
            m.d.sync += offered.eq(0)
        with m.If(self.finished):
            m.d.sync += busy.eq(0)
        return m
