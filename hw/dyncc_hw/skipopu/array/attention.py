"""ATTN: the heads of all active tokens over the tiles of a layer, one after the other.

For each tile of positions, token and head: exponents of keys, so that each position's accumulator
has its own; scores; probabilities; for each block of values the probabilities as a block of
mantissas, then the weighted sums, which merge into the head's state (`AttentionState`). Steps as in
the twin `dyncc_models.skipopu.numerics.attention`. While this goes on, the history fetches the next
tile.
"""

import math
from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import PROBABILITY_BITS, score_scale
from dyncc.arch.skipopu.isa import ATTENTION_TILE, COUNT_BITS, Engine
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.arithmetic.softmax import P_BITS, SCORE_BITS, ProbabilityBlocks
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.array.activations import slice_signature
from dyncc_hw.skipopu.array.attention_items import AttentionItems
from dyncc_hw.skipopu.array.attention_shape import HeadShape
from dyncc_hw.skipopu.array.attention_state import AttentionState
from dyncc_hw.skipopu.array.attention_units import TileScores
from dyncc_hw.skipopu.array.feed import item_layout
from dyncc_hw.skipopu.array.matrix_engine import lowest
from dyncc_hw.skipopu.interfaces import (
    TRAP_BITS,
    history_signature,
    kv_words,
    vector_write_signature,
    work_layout,
)
from dyncc_hw.skipopu.shape import ArrayShape


class AttentionEngine(wiring.Component):
    """Attention of a layer.

    Parameters
    ----------
    shape
        Of the array, with as many rows as columns, none wider than a block.

    Members
    -------
    begin, work, ends, trap
        As of `MatrixEngine`.
    activations
        See `ActivationBuffer`.
    item, sums
        To and from `ArrayFeed`.
    history
        Keys and values.
    vector
        Client of the vector buffer.

    Raises
    ------
    ConfigError
        If the array's shape is another, or heads are to overlap.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        if arch.rows != arch.columns or arch.columns > arch.block or arch.columns > ATTENTION_TILE:
            raise ConfigError(
                f"attention needs as many rows as columns, up to {ATTENTION_TILE} and a block, not "
                f"{arch.rows} x {arch.columns}"
            )
        if arch.overlapped_heads > 1:
            raise ConfigError(f"heads do not overlap, and {arch.name} wants it")
        rows = data.ArrayLayout(signed(shape.accumulator_bits), arch.rows)
        sums = data.StructLayout({"accumulators": rows, "lane": range(max(2, arch.products))})
        super().__init__(
            {
                "begin": In(1), "work": In(work_layout(Engine.PE, arch)),
                "ends": Out(1), "trap": Out(TRAP_BITS),
                "activations": Out(slice_signature(shape)),
                "item": Out(stream.Signature(item_layout(shape))),
                "sums": In(stream.Signature(sums)),
                "history": Out(history_signature(arch)),
                "vector": Out(vector_write_signature(arch)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """One sequence of states for it all."""
        m = Module()
        arch, shape, work = self.shape.arch, self.shape, self.work
        m.submodules.sizes = sizes = HeadShape(arch)
        m.submodules.scores = scores = TileScores(shape)
        m.submodules.weights = blocks = ProbabilityBlocks(arch.mantissa_bits)
        m.submodules.state = state = AttentionState(shape)
        m.submodules.items = items = AttentionItems(shape)
        wiring.connect(m, items.item, wiring.flipped(self.item))
        wiring.connect(m, state.vector, wiring.flipped(self.vector))
        history, tile = self.history, self.history.tile
        passes, slices = ATTENTION_TILE // arch.rows, shape.slices
        columns_of_values = ATTENTION_TILE // arch.columns
        scale = self._scale(m, platform)
        trap, last = Signal(TRAP_BITS), Signal(range(max(2, arch.tokens)))
        tokens_left = Signal(arch.tokens)
        token, others = lowest(tokens_left), tokens_left & (tokens_left - 1)
        #: Position of the token less the tile's first one.
        first = Signal(COUNT_BITS)
        mask, left = Signal(ATTENTION_TILE), Signal(ATTENTION_TILE)
        head, shared = Signal(range(arch.heads)), Signal(COUNT_BITS)
        key_word = Signal(range(kv_words(arch)))
        query = Signal(len(self.activations.block))
        out_word, state_word = Signal(len(state.place)), Signal(len(state.state))
        block, at, turn = (
            Signal(len(query)), Signal(range(max(2, slices))), Signal(len(items.turn)),
        )  # fmt: skip
        p = [Signal(P_BITS, name=f"p_{i}") for i in range(ATTENTION_TILE)]
        own = [Signal(signed(BASE_BITS), name=f"own_{i}") for i in range(ATTENTION_TILE)]
        w = [Signal(signed(arch.mantissa_bits), name=f"w_{i}") for i in range(ATTENTION_TILE)]
        # What goes into the blocks: to choose it takes most of a cycle.
        weighed, picked = blocks.input, Signal()
        weight = Signal(blocks.input.payload.shape(), reset_less=True)
        m_tile, d_tile = Signal(signed(SCORE_BITS)), Signal(CODE_BITS)
        base_of_sums = Signal(signed(BASE_BITS))
        place = lowest(left)
        others_left = left & (left - 1)
        below = (work.position + token - first).as_signed()
        limit = Mux(below > ATTENTION_TILE - 1, ATTENTION_TILE - 1, below)[:5]
        causal = Mux(below < 0, 0, (2 << limit) - 1)[:ATTENTION_TILE]
        advance, issue, flying, values, seen = (
            items.advance, items.issue, items.flying, items.values, Signal(),
        )  # fmt: skip
        of_values = Signal()
        drained, wanted = Signal(COUNT_BITS), Signal(COUNT_BITS)
        sizes_of_block = arch.block // arch.columns
        # They follow from the instruction, and stay.
        last_block, last_head = Signal.like(sizes.blocks), Signal.like(sizes.heads)
        last_shared = Signal.like(sizes.shared)
        m.d.sync += [
            last_block.eq(sizes.blocks - 1), last_head.eq(sizes.heads - 1),
            last_shared.eq(sizes.shared - 1),
        ]  # fmt: skip
        ends_block = block == last_block
        m.d.comb += [
            sizes.begin.eq(self.begin), sizes.work.eq(work), self.trap.eq(trap),
            self.activations.token.eq(token),
            self.activations.block.eq((query + block)[: len(query)]),
            self.activations.slice.eq(at),
            values.eq(of_values), items.at.eq(at), items.turn.eq(turn),
            items.begins.eq(values | (block == 0)),
            items.ends.eq(values | ends_block), items.scan.eq(seen), items.weights.eq(Cat(w)),
            items.query.eq(self.activations.mantissas),
            items.query_exponent.eq(self.activations.exponents[0]),
            items.mantissas.eq(history.mantissas), items.exponents.eq(history.exponents),
            history.group.eq(tile.payload.group),
            weighed.valid.eq(picked), weighed.payload.eq(weight),
            scores.mask.eq(mask), scores.scale.eq(scale),
            scores.bases.eq(items.bases),
            Value.cast(scores.sums.payload).eq(Value.cast(self.sums.payload.accumulators)),
            Value.cast(state.sums.payload.accumulators).eq(
                Value.cast(self.sums.payload.accumulators)
            ),
            state.sums.payload.base.eq(base_of_sums),
            scores.sums.valid.eq(self.sums.valid & ~values),
            state.sums.valid.eq(self.sums.valid & values),
            self.sums.ready.eq(Mux(values, state.sums.ready, scores.sums.ready)),
            state.token.eq(token), state.head.eq(head), state.words.eq(sizes.state_words),
            state.state.eq(state_word), state.place.eq(out_word),
            state.m.eq(m_tile), state.d.eq(d_tile),
            history.request.payload.layer.eq(work.layer),
            history.request.payload.context.eq(work.context),
            history.request.payload.last.eq(work.position + last),
            history.request.payload.kv_heads.eq(work.kv_heads),
            history.request.payload.head_size.eq(work.head_size),
            history.request.payload.table.eq(work.table),
            history.request.payload.pool.eq(work.pool),
        ]  # fmt: skip
        with m.If(self.sums.valid & self.sums.ready):
            m.d.sync += drained.eq(drained + 1)
        with m.If(weighed.ready):
            m.d.sync += picked.eq(0)
        key_at = key_word + block * sizes_of_block + at
        value_at = kv_words(arch) // 2 + key_word + block * sizes_of_block + turn
        ends_head = head == last_head

        def restart_head() -> list[Any]:
            return [
                head.eq(0), shared.eq(0), key_word.eq(0), query.eq(work.blocks), state_word.eq(0),
                out_word.eq(work.vector // arch.vector_lanes),
            ]  # fmt: skip

        def next_head() -> list[Any]:
            ends_shared = shared == last_shared
            return [
                head.eq(head + 1), shared.eq(Mux(ends_shared, 0, shared + 1)),
                key_word.eq(Mux(ends_shared, key_word + sizes.key_words, key_word)),
                query.eq(query + sizes.blocks), state_word.eq(state_word + sizes.state_words),
                out_word.eq(out_word + sizes.out_words),
            ]  # fmt: skip

        with m.FSM():
            with m.State("IDLE"), m.If(self.begin):
                m.d.sync += [trap.eq(0), tokens_left.eq(work.active), first.eq(0)]
                m.d.comb += state.clear.eq(1)
                m.next = "SIZES"
            with m.State("SIZES"):
                m.d.sync += [*restart_head()]
                for number in range(arch.tokens):
                    with m.If(work.active[number]):
                        m.d.sync += last.eq(number)
                with m.If(sizes.done):
                    m.d.sync += trap.eq(sizes.trap)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += history.request.valid.eq(~trap.any())
                with m.If(trap.any()):
                    m.next = "END"
                with m.Elif(history.request.ready):
                    m.next = "TILE"
            with m.State("TILE"), m.If(tile.valid):
                m.d.sync += [mask.eq(tile.payload.present & causal), block.eq(0), at.eq(0)]
                m.next = "MASK"
                with m.If(tile.payload.trap.any()):
                    m.d.sync += trap.eq(tile.payload.trap)
                    m.d.comb += tile.ready.eq(1)
                    m.next = "END"
            with m.State("MASK"):
                # All heads of a token have the same positions; without any, nothing changes.
                m.d.comb += items.clear.eq(1)
                m.d.sync += [seen.eq(0), turn.eq(0)]
                m.next = "KEYS"
                with m.If(~mask.any()):
                    m.next = "NEXT TOKEN"
            with m.State("KEYS"):
                m.d.comb += [
                    self.activations.enable.eq(1),
                    history.enable.eq(1),
                    history.word.eq(key_at),
                ]
                m.d.sync += [seen.eq(1), block.eq(block + 1)]
                with m.If(ends_block):
                    m.d.sync += block.eq(0)
                    m.next = "KEYS END"
            with m.State("KEYS END"):
                m.d.sync += [seen.eq(0), of_values.eq(0), drained.eq(0)]
                m.next = "SCORES"
            with m.State("SCORES"):
                m.d.comb += [
                    issue.eq(advance),
                    self.activations.enable.eq(issue),
                    history.enable.eq(issue),
                    history.word.eq(key_at),
                ]
                with m.If(issue):
                    m.d.sync += at.eq(at + 1)
                    with m.If(at == slices - 1):
                        m.d.sync += [at.eq(0), block.eq(block + 1)]
                        with m.If(ends_block):
                            m.d.sync += [block.eq(0), turn.eq(turn + 1)]
                            with m.If(turn == passes - 1):
                                m.d.sync += [turn.eq(0), left.eq(mask)]
                                m.next = "PROBABILITIES"
            with m.State("PROBABILITIES"):
                m.d.comb += scores.output.ready.eq(1)
                with m.If(scores.output.valid):
                    m.d.sync += left.eq(others_left)
                    for number in range(ATTENTION_TILE):
                        with m.If(place == number):
                            m.d.sync += p[number].eq(scores.output.payload.p)
                    with m.If(scores.output.payload.last):
                        m.d.sync += [
                            m_tile.eq(scores.output.payload.m), d_tile.eq(scores.output.payload.d),
                        ]  # fmt: skip
                        m.next = "MERGE"
            with m.State("MERGE"):
                # Also those of positions that do not count.
                m.d.comb += state.begin.eq(drained == passes)
                with m.If(state.begin):
                    m.d.sync += [of_values.eq(1), drained.eq(0), wanted.eq(0)]
                    m.next = "VALUES"
            with m.State("VALUES"):
                # What was read before has to be in the array.
                m.d.comb += [history.enable.eq(advance), history.word.eq(value_at)]
                m.d.sync += left.eq(mask)
                with m.If(advance):
                    m.next = "EXPONENTS"
            with m.State("EXPONENTS"):
                m.d.sync += [own[i].eq(history.exponents[i]) for i in range(ATTENTION_TILE)]
                m.d.sync += [item.eq(0) for item in w]
                m.next = "WEIGH"
            with m.State("WEIGH"), m.If(weighed.ready | ~picked):
                m.d.sync += [
                    picked.eq(1), left.eq(others_left),
                    weight.p.eq(Array(p)[place]), weight.own.eq(Array(own)[place]),
                    weight.last.eq(~others_left.any()),
                ]  # fmt: skip
                with m.If(~others_left.any()):
                    m.d.sync += left.eq(mask)
                    m.next = "WEIGHTS"
            with m.State("WEIGHTS"):
                # The exponent of the sums before may still be wanted.
                m.d.comb += blocks.output.ready.eq(drained == wanted)
                with m.If(blocks.output.valid & blocks.output.ready):
                    m.d.sync += [
                        left.eq(others_left),
                        base_of_sums.eq(blocks.output.payload.shared - PROBABILITY_BITS),
                    ]
                    for number in range(ATTENTION_TILE):
                        with m.If(place == number):
                            m.d.sync += w[number].eq(blocks.output.payload.weight)
                    with m.If(blocks.output.payload.last):
                        m.next = "SUMS"
            with m.State("SUMS"):
                m.d.comb += [
                    issue.eq(advance),
                    history.enable.eq(issue),
                    history.word.eq(value_at),
                ]
                with m.If(issue):
                    m.d.sync += at.eq(at + 1)
                    with m.If(at == columns_of_values - 1):
                        m.d.sync += [at.eq(0), turn.eq(turn + 1), wanted.eq(wanted + 1)]
                        with m.If(turn == sizes_of_block - 1):
                            m.d.sync += [turn.eq(0), block.eq(block + 1)]
                            m.next = "VALUES"
                            with m.If(ends_block):
                                m.d.sync += block.eq(0)
                                m.next = "DRAIN"
            with m.State("DRAIN"), m.If((drained == wanted) & ~state.busy & ~flying):
                m.next = "NEXT HEAD"
            with m.State("NEXT HEAD"):
                m.d.sync += next_head()
                m.next = "MASK"
                with m.If(ends_head):
                    m.next = "NEXT TOKEN"
            with m.State("NEXT TOKEN"):
                m.d.sync += [*restart_head(), tokens_left.eq(others)]
                m.next = "TILE"
                with m.If(~others.any()):
                    m.d.comb += tile.ready.eq(1)
                    m.d.sync += [
                        tokens_left.eq(work.active), first.eq(first + ATTENTION_TILE),
                    ]  # fmt: skip
                    with m.If(tile.payload.last):
                        m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += state.finish.eq(1)
                m.next = "FINISHING"
            with m.State("FINISHING"), m.If(~state.busy):
                m.d.sync += next_head()
                m.next = "FINISH"
                with m.If(ends_head):
                    m.d.sync += [*restart_head(), tokens_left.eq(others)]
                    with m.If(~others.any()):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += self.ends.eq(1)
                m.next = "IDLE"
        return m

    def _scale(self, m: Module, platform: Any) -> Value:
        """The scale of scores, from a table of head sizes."""
        step = self.shape.arch.block
        count = max(2, self.shape.arch.kv_width // step)
        words = [score_scale(step * (index + 1)) for index in range(count)]
        m.submodules.scales = table = memory.Memory(shape=CODE_BITS, depth=count, init=words)
        port = table.read_port()
        shift = int(math.log2(step))
        m.d.comb += port.addr.eq((self.work.head_size >> shift) - 1)
        return Value.cast(port.data)
