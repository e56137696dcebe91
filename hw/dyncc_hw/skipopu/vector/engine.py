"""The vector engine: what is done element by element, norms, and routes."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import SCALARS, Engine, Function, Op, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.arithmetic.normaliser import Normaliser
from dyncc_hw.skipopu.interfaces import (
    block_write_signature,
    matrix_signature,
    read_signature,
    scalar_read_signature,
    vector_read_signature,
    vector_write_signature,
    wide_group_layout,
    work_layout,
    work_signature,
)
from dyncc_hw.skipopu.vector.checks import TO_BLOCKS, TWO_OPERANDS, Checks, among
from dyncc_hw.skipopu.vector.lanes import Lanes
from dyncc_hw.skipopu.vector.largest import Largest
from dyncc_hw.skipopu.vector.norms import Norms
from dyncc_hw.skipopu.vector.rotations import HeadCheck, Rotations
from dyncc_hw.skipopu.vector.router_store import RouterStore
from dyncc_hw.skipopu.vector.walk import Source, Walk


def scalar_write_layout(arch: ArchSpec) -> data.StructLayout:
    """A scalar that is written in a cycle: its number, whose it is, and its F25."""
    return data.StructLayout(
        {"valid": 1, "scalar": 3, "token": range(max(2, arch.tokens)), "value": CODE_BITS}
    )


class VectorEngine(wiring.Component):
    """Carries out `Op.NPE` and `Op.ROUTE`.

    Twin: the methods ``_vector`` and ``_route`` of `dyncc_sim.skipopu.executor.Executor`. A
    destination may be an operand's place; it must not begin within one. Throughput and latency of
    each function: see docs/skipopu-hardware.md. Reset ends what is done and gives all tokens both
    predicates; scalars survive it.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    work
        See `interfaces.work_signature`.
    first, second, write
        To the vector buffer, see `buffer.VectorBuffer`.
    blocks
        To the activation buffer, see `interfaces.block_write_signature`.
    read
        To the memory port, for rotations.
    router
        Routers, see `interfaces.matrix_signature`.
    scalar
        See `interfaces.scalar_read_signature`.
    attention, mlp
        Whether tokens run attention and the MLP, a bit each; all ones after reset.
    written
        Scalars that are written, for traces; see `scalar_write_layout`.

    Raises
    ------
    ConfigError
        If a block is no even number of words, or lanes are neither one nor an even number.
    """

    def __init__(self, arch: ArchSpec) -> None:
        lanes = arch.vector_lanes
        if arch.block % (2 * lanes):
            raise ConfigError(f"a block of {arch.block} is no even number of words of {lanes}")
        if arch.vector_words % lanes:
            raise ConfigError(f"{arch.vector_words} numbers are no words of {lanes} lanes")
        self.arch = arch
        self._block_bits = (arch.block // lanes).bit_length() - 1
        self._source = Source(arch)
        place_bits = len(self._source.a)
        self._results = Walk(
            arch, max(place_bits, (arch.blocks - 1).bit_length() + self._block_bits, 1)
        )
        super().__init__(
            {
                "work": In(work_signature(Engine.VECTOR, arch)),
                "first": Out(vector_read_signature(arch)),
                "second": Out(vector_read_signature(arch)),
                "write": Out(vector_write_signature(arch)),
                "blocks": Out(block_write_signature(arch)),
                "read": Out(read_signature(arch.bus_bytes)),
                "router": In(matrix_signature(wide_group_layout(arch))),
                "scalar": In(scalar_read_signature(arch)),
                "attention": Out(arch.tokens, init=-1),
                "mlp": Out(arch.tokens, init=-1),
                "written": Out(scalar_write_layout(arch)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Operands go to one of the units; their results come in the order of `Walk`."""
        m = Module()
        arch = self.arch
        work = Signal(work_layout(Engine.VECTOR, arch), reset_less=True)
        m.submodules.source = source = self._source
        m.submodules.results = results = self._results
        m.submodules.checks = checks = Checks(arch)
        m.submodules.head = head = HeadCheck(arch)
        m.submodules.rotations = rotations = Rotations(arch)
        m.submodules.store = store = RouterStore(arch)
        begin = Signal()
        lane_bits = arch.vector_lanes.bit_length() - 1
        routes = Signal()
        function = Signal.like(work.function)
        norms, blocks, largest = Signal(), Signal(), Signal()
        m.d.comb += [
            checks.work.eq(work),
            routes.eq(work.op == Op.ROUTE),
            function.eq(Mux(routes, Function.SUM_SQUARES, work.function)),
            norms.eq(function == Function.SUM_SQUARES),
            blocks.eq(among(function, *TO_BLOCKS)),
            largest.eq(function == Function.ARGMAX),
            source.begin.eq(begin),
            source.active.eq(work.active),
            source.count.eq((work.columns + (arch.vector_lanes - 1)) >> lane_bits),
            source.two.eq(among(function, *TWO_OPERANDS)),
            source.a.eq(Mux(routes, work.vector, work.a) >> lane_bits),
            source.b.eq(work.b >> lane_bits),
            results.begin.eq(begin),
            results.active.eq(work.active),
            results.first.eq(Mux(blocks, work.d << self._block_bits, work.d >> lane_bits)),
            results.count.eq(
                Mux(norms, 1, Mux(largest, 2 if arch.vector_lanes == 1 else 1, source.count))
            ),
            head.head.eq(work.b),
            head.columns.eq(work.columns),
            head.memory.eq(work.memory),
            head.position.eq(work.position),
            rotations.active.eq(work.active),
            rotations.head.eq(work.b),
            rotations.address.eq(head.address),
            rotations.beyond.eq(head.beyond),
        ]
        wiring.connect(m, source.first, wiring.flipped(self.first))
        wiring.connect(m, rotations.read, wiring.flipped(self.read))
        wiring.connect(m, wiring.flipped(self.router), store.stream)
        ended = self._units(m, work, function, source, rotations, store, results)
        self._control(m, work, routes, function, begin, ended, checks, head, rotations, store)
        return m

    def _units(
        self, m: Module, work: Any, function: Value, source: Any, rotations: Any, store: Any,
        results: Any,
    ) -> Value:  # fmt: skip
        """Hand operands to units and results to where they go; whether the last result goes."""
        arch = self.arch
        lanes_count = arch.vector_lanes
        m.submodules.lanes = lanes = Lanes(lanes_count)
        m.submodules.normaliser = normaliser = Normaliser(
            arch.block, arch.mantissa_bits, lanes_count
        )
        m.submodules.norms = norms = Norms(arch)
        m.submodules.largest = largest = Largest(arch)
        is_norm = function == Function.SUM_SQUARES
        is_largest = function == Function.ARGMAX
        is_blocks = among(function, *TO_BLOCKS)
        is_lanes = ~is_norm & ~is_largest
        given = source.operands
        tail = work.columns % lanes_count
        all_lanes = (1 << lanes_count) - 1
        keep = Signal(lanes_count)
        m.d.comb += keep.eq(Mux(tail == 0, all_lanes, (Const(1, 1) << tail) - 1))
        # Operands.
        m.d.comb += [
            given.ready.eq(
                Mux(
                    is_norm,
                    norms.input.ready,
                    Mux(is_largest, largest.input.ready, lanes.input.ready),
                )
            ),
            lanes.function.eq(function),
            lanes.input.valid.eq(given.valid & is_lanes),
            lanes.input.payload.eq(given.payload),
            norms.input.valid.eq(given.valid & is_norm),
            norms.input.payload.a.eq(given.payload.a),
            norms.input.payload.last.eq(given.payload.last),
            norms.columns.eq(work.columns),
            norms.eps.eq(Mux(work.op == Op.ROUTE, work.eps, work.memory)[:CODE_BITS]),
            largest.first.eq(work.b),
            largest.input.valid.eq(given.valid & is_largest),
            largest.input.payload.a.eq(given.payload.a),
            largest.input.payload.last.eq(given.payload.last),
            largest.input.payload.keep.eq(Mux(given.payload.last, keep, all_lanes)),
        ]
        wiring.connect(m, lanes.turn, rotations.turn)
        m.d.comb += [
            store.word.eq(norms.word), store.enable.eq(norms.enable),
            norms.weights.eq(store.weights), norms.exponents.eq(store.exponents),
        ]  # fmt: skip
        # The second port has the second operand, or what was found before.
        second, asked, before = self.second, source.second, largest.before
        m.d.comb += [
            second.place.valid.eq(Mux(is_largest, before.place.valid, asked.place.valid)),
            second.place.payload.eq(Mux(is_largest, before.place.payload, asked.place.payload)),
            asked.place.ready.eq(second.place.ready & ~is_largest),
            before.place.ready.eq(second.place.ready & is_largest),
            asked.numbers.valid.eq(second.numbers.valid & ~is_largest),
            before.numbers.valid.eq(second.numbers.valid & is_largest),
            asked.numbers.payload.eq(second.numbers.payload),
            before.numbers.payload.eq(second.numbers.payload),
            second.numbers.ready.eq(Mux(is_largest, before.numbers.ready, asked.numbers.ready)),
        ]
        # Results.
        step, out = results.steps, lanes.output
        blocks = normaliser.output
        write, mantissas = self.write.write, self.blocks.write
        goes = Signal()
        token, word = step.payload.token, step.payload.word
        m.d.comb += [
            write.valid.eq(
                step.valid
                & Mux(is_largest, largest.output.valid, out.valid & is_lanes & ~is_blocks)
            ),
            write.payload.place.token.eq(token),
            write.payload.place.word.eq(word),
            largest.place.eq(write.payload.place),
            write.payload.numbers.eq(Mux(is_largest, largest.output.payload.numbers, out.payload)),
            write.payload.keep.eq(
                Mux(
                    is_largest,
                    largest.output.payload.keep,
                    Mux(step.payload.last, keep, all_lanes),
                )
            ),
            largest.output.ready.eq(step.valid & write.ready & is_largest),
            normaliser.input.valid.eq(out.valid & is_blocks),
            normaliser.input.payload.codes.eq(out.payload),
            out.ready.eq(
                Mux(is_blocks, normaliser.input.ready, step.valid & write.ready & is_lanes)
            ),
            mantissas.valid.eq(step.valid & blocks.valid),
            mantissas.payload.token.eq(token),
            mantissas.payload.block.eq(word >> self._block_bits),
            mantissas.payload.word.eq(word[: self._block_bits]),
            mantissas.payload.mantissas.eq(blocks.payload.mantissas),
            mantissas.payload.exponent.eq(blocks.payload.exponent),
            blocks.ready.eq(step.valid & mantissas.ready),
            norms.output.ready.eq(step.valid & is_norm),
            goes.eq(
                (write.valid & write.ready)
                | (mantissas.valid & mantissas.ready)
                | (norms.output.valid & norms.output.ready)
            ),
            step.ready.eq(goes),
        ]
        self._scalars(m, work, norms.output, token)
        return goes & step.payload.end

    def _scalars(self, m: Module, work: Any, found: Any, token: Value) -> None:
        """Scalars of all tokens, and what routes decide."""
        arch = self.arch
        m.submodules.scalars = scalars = memory.Memory(
            shape=CODE_BITS, depth=SCALARS * arch.tokens, init=[]
        )
        into, read = scalars.write_port(), scalars.read_port(domain="comb")
        goes = found.valid & found.ready
        number = token if arch.tokens > 1 else Const(0, 0)
        wanted = self.scalar.token if arch.tokens > 1 else Const(0, 0)
        m.d.comb += [
            into.addr.eq(Cat(number, work.scalar)),
            into.data.eq(found.payload.scalar),
            into.en.eq(goes),
            read.addr.eq(Cat(wanted, self.scalar.scalar)),
            self.scalar.value.eq(read.data),
            self.written.valid.eq(goes), self.written.scalar.eq(work.scalar),
            self.written.token.eq(number), self.written.value.eq(found.payload.scalar),
        ]  # fmt: skip
        with m.If(goes & (work.op == Op.ROUTE) & work.route):
            m.d.sync += [
                self.attention.bit_select(token, 1).eq(found.payload.attention),
                self.mlp.bit_select(token, 1).eq(found.payload.mlp),
            ]

    def _control(
        self, m: Module, work: Any, routes: Value, function: Value, begin: Value, ended: Value,
        checks: Any, head: Any, rotations: Any, store: Any,
    ) -> None:  # fmt: skip
        """One instruction after the other."""
        start = self.work.start
        batch = Signal(self.arch.tokens)
        m.d.comb += batch.eq((Const(1, 1) << work.tokens) - 1)
        trap = Signal.like(self.work.trap, reset_less=True)
        takes = routes & work.route
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += start.ready.eq(1)
                with m.If(start.valid):
                    m.d.sync += work.eq(start.payload)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += head.begin.eq(1)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += trap.eq(checks.trap)
                with m.If(checks.trap != 0):
                    m.next = "END"
                with m.Elif(takes):
                    m.next = "ROUTER"
                with m.Elif(function == Function.ROPE):
                    m.next = "HEAD"
                with m.Else():
                    m.next = "BEGIN"
            with m.State("ROUTER"):
                m.d.comb += self.work.starved.eq(~store.whole)
                with m.If(store.known & (~store.good | (store.columns != work.columns))):
                    m.d.sync += trap.eq(Trap.SHAPE)
                    m.next = "END"
                with m.Elif(store.whole):
                    m.next = "BEGIN"
            with m.State("HEAD"), m.If(head.done):
                m.d.sync += trap.eq(head.trap)
                m.next = "BEGIN"
                with m.If(head.trap != 0):
                    m.next = "END"
            with m.State("BEGIN"):
                m.d.comb += begin.eq(1)
                with m.If(routes):
                    m.d.sync += [
                        self.attention.eq(self.attention | batch), self.mlp.eq(self.mlp | batch),
                    ]  # fmt: skip
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(ended):
                    m.next = "END"
                with m.If(rotations.trap != 0):
                    m.d.sync += trap.eq(rotations.trap)
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [
                    self.work.done.eq(1), self.work.trap.eq(trap), store.release.eq(takes),
                ]  # fmt: skip
                m.next = "IDLE"
        m.d.comb += rotations.begin.eq(begin & (function == Function.ROPE))
