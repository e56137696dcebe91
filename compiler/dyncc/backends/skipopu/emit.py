"""Programs of a decoder: one pass over a batch of tokens, whatever their position.

Engines run side by side; semaphores carry what they wait for:

====  ===================  ==========================================================
 0    VECTOR to PE         blocks are ready
 1    PE to VECTOR         products are ready
 2    VECTOR to KV         keys and values are ready; at the end PE to STORE: logits are
 3    KV to PE             a slot is written; at the end STORE to PE: room for logits
 4    LOAD to VECTOR       a vector has arrived
 5    VECTOR to LOAD       room for another gain (two fit)
====  ===================  ==========================================================

Each instruction of a sublayer has its predicate, also those that only pass a semaphore on, so that
all counts are the same on every path.
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.skipopu.formats import FRACTION_BITS, WeightType, f25_code
from dyncc.arch.skipopu.isa import (
    BODIES,
    R_ZERO,
    RESERVED,
    Function,
    Instruction,
    LoadMode,
    Op,
    Pred,
    SetMode,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.image import MemoryMap, Stored
from dyncc.backends.skipopu.plan import DecoderPlan, LayerPlan
from dyncc.core.errors import ConfigError

_BLOCKS, _PRODUCTS, _READY, _SLOT, _ARRIVED, _ROOM = range(6)
_LOGITS, _LOGITS_ROOM = _READY, _SLOT
#: Logits that are computed together at most; fewer, or as many as the array makes at once.
_CHUNK = 512
#: Places of the most likely token are F25 numbers, exact up to here.
_COUNTABLE = 1 << (FRACTION_BITS + 1)


@dataclass(frozen=True)
class Places:
    """Where vectors and blocks are in the buffers."""

    x: int
    q: int
    k: int
    v: int
    attention: int
    gate: int
    up: int
    gains: tuple[int, int]
    logits: tuple[int, int]
    best: int
    normed_blocks: int
    q_blocks: int
    attention_blocks: int
    hidden_blocks: int


class Emitter:
    """Writes a program.

    Parameters
    ----------
    plan, arch, places
        The decoder, the instance, its memory.
    matrices
        Shapes and formats of matrices.
    all_logits
        Whether all logits go to memory; otherwise only the most likely token does.

    Raises
    ------
    ConfigError
        If the decoder does not fit the instance; says what it needs and what there is.
    """

    def __init__(
        self,
        plan: DecoderPlan,
        arch: ArchSpec,
        places: MemoryMap,
        matrices: dict[str, Stored],
        all_logits: bool,
    ) -> None:
        self._plan, self._arch, self._memory = plan, arch, places
        self._matrices, self._all_logits = matrices, all_logits
        self._place = buffers(plan, arch)
        for matrix in matrices.values():
            arch.tile_bytes(matrix.kind, matrix.columns)
        self._found: list[Instruction] = []
        #: What each register holds, and when it was last used.
        self._held: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._gain = 0

    def program(self) -> list[Instruction]:
        """The instructions."""
        for _ in range(2):
            self._emit(Op.NOP, {}, release=(_ROOM,))
        matrix = self._matrices[self._plan.embedding]
        self._emit(
            Op.LD,
            {
                "mode": LoadMode.ROW_Q8_0, "type": matrix.kind,
                "memory": self._memory.address(self._plan.embedding), "vector": self._place.x,
                "rows": matrix.rows, "columns": self._plan.width,
                "index": self._memory.address("tokens"),
            },
            release=(_ARRIVED,),
        )  # fmt: skip
        for index, layer in enumerate(self._plan.layers):
            self._layer(index, layer)
        self._head()
        self._emit(Op.HALT, {})
        return self._found

    # --- a layer ------------------------------------------------------------------------------

    def _layer(self, index: int, layer: LayerPlan) -> None:
        plan, place = self._plan, self._place
        attention = Pred.ALWAYS if layer.router_attention is None else Pred.A
        mlp = Pred.ALWAYS if layer.router_mlp is None else Pred.M
        kept = Pred.ALWAYS if plan.policy == "dense" else attention
        routed = f"router.{index}" in self._memory.regions
        if routed:
            self._load(f"router.{index}", WeightType.BFP16, 4, plan.width)
        self._emit(
            Op.ROUTE,
            {
                "route": int(routed), "scalar": 0, "vector": place.x, "columns": plan.width,
                "eps": self._eps(),
            },
            wait=(_ARRIVED if index == 0 else _PRODUCTS,),
        )  # fmt: skip
        self._normalise(layer.norm_attention, kept)
        heads, shared = plan.heads * plan.head_size, plan.kv_heads * plan.head_size
        self._product(layer.k, place.normed_blocks, place.k, kept, wait=(_BLOCKS,))
        self._product(layer.v, place.normed_blocks, place.v, kept, release=(_PRODUCTS,))
        self._product(layer.q, place.normed_blocks, place.q, attention, release=(_PRODUCTS,))
        self._rope(place.k, shared, kept, wait=(_PRODUCTS,), release=(_READY,))
        self._rope(place.q, heads, attention, wait=(_PRODUCTS,))
        self._vector(Function.TO_BFP, attention, place.q_blocks, place.q, heads, release=(_BLOCKS,))
        slots = {
            "layer": index, "kv_heads": plan.kv_heads, "head_size": plan.head_size,
            "table": self._memory.address("table"), "pool": self._memory.address("pool"),
        }  # fmt: skip
        if kept != Pred.ALWAYS:
            # Before the slots are appended: attention waits for these.
            self._emit(
                Op.KVSEL,
                {
                    "evict": int(plan.policy == "evict"), "layer": index,
                    "table": self._memory.address("table"),
                },
                Pred.NOT_A,
            )  # fmt: skip
        self._emit(Op.KVAPP, {**slots, "k": place.k, "v": place.v}, kept, (_READY,), (_SLOT,))
        self._emit(
            Op.ATTN,
            {
                **slots, "blocks": place.q_blocks, "vector": place.attention, "heads": plan.heads,
            },
            attention, (_BLOCKS, _SLOT), (_PRODUCTS,),
        )  # fmt: skip
        self._vector(
            Function.TO_BFP, attention, place.attention_blocks, place.attention, heads,
            wait=(_PRODUCTS,), release=(_BLOCKS,),
        )  # fmt: skip
        self._product(
            layer.output, place.attention_blocks, place.x, attention,
            wait=(_BLOCKS,), release=(_PRODUCTS,), scaled=False, add=True,
        )  # fmt: skip
        self._mlp(layer, mlp)

    def _mlp(self, layer: LayerPlan, mlp: Pred) -> None:
        plan, place = self._plan, self._place
        self._sum_squares(mlp)
        self._normalise(layer.norm_mlp, mlp)
        self._product(layer.gate, place.normed_blocks, place.gate, mlp, wait=(_BLOCKS,))
        self._product(layer.up, place.normed_blocks, place.up, mlp, release=(_PRODUCTS,))
        self._vector(
            Function.SWIGLU, mlp, place.gate, place.gate, plan.hidden, place.up,
            wait=(_PRODUCTS,),
        )  # fmt: skip
        self._vector(
            Function.TO_BFP, mlp, place.hidden_blocks, place.gate, plan.hidden, release=(_BLOCKS,)
        )
        self._product(
            layer.down, place.hidden_blocks, place.x, mlp,
            wait=(_BLOCKS,), release=(_PRODUCTS,), scaled=False, add=True,
        )  # fmt: skip

    # --- the output matrix --------------------------------------------------------------------

    def _head(self) -> None:
        plan, place = self._plan, self._place
        output = plan.output or plan.embedding
        matrix = self._matrices[output]
        self._sum_squares(Pred.ALWAYS)
        self._normalise(plan.norm, Pred.ALWAYS)
        self._load(output, matrix.kind, matrix.rows, matrix.columns)
        if self._all_logits:
            # The semaphores of keys and values serve the logits from here on.
            self._emit(Op.SYNC, {})
            for _ in range(2):
                self._emit(Op.NOP, {}, release=(_LOGITS_ROOM,))
        chunk = chunk_rows(self._arch, matrix.kind)
        firsts = range(0, matrix.rows, chunk)
        for turn, first in enumerate(firsts):
            rows = min(chunk, matrix.rows - first)
            logits = place.logits[turn % 2]
            wait = [_BLOCKS] if turn == 0 else []
            if self._all_logits:
                wait.append(_LOGITS_ROOM)
            elif turn >= 2:
                # ARGMAX of the chunk before the last has made room.
                wait.append(_BLOCKS)
            self._product(
                output, place.normed_blocks, logits, Pred.ALWAYS, wait=tuple(wait),
                release=(_LOGITS if self._all_logits else _PRODUCTS,), rows=rows, load=False,
            )  # fmt: skip
            if self._all_logits:
                self._emit(
                    Op.ST,
                    {
                        "memory": self._memory.address("logits") + 4 * first, "vector": logits,
                        "columns": rows, "stride": 4 * plan.vocabulary,
                    },
                    wait=(_LOGITS,), release=(_LOGITS_ROOM,),
                )  # fmt: skip
            else:
                self._vector(
                    Function.ARGMAX, Pred.ALWAYS, place.best, logits, rows, first,
                    wait=(_PRODUCTS,),
                    release=(_BLOCKS,) if turn + 2 < len(firsts) else (),
                )  # fmt: skip
        self._emit(Op.SYNC, {})
        if not self._all_logits:
            self._emit(
                Op.ST,
                {
                    "memory": self._memory.address("result"), "vector": place.best, "columns": 2,
                    "stride": 8,
                },
            )  # fmt: skip

    # --- pieces -------------------------------------------------------------------------------

    def _sum_squares(self, pred: Pred) -> None:
        """The scalar of a norm of x, once the products before are added to it."""
        self._vector(
            Function.SUM_SQUARES, pred, R_ZERO, self._place.x, self._plan.width,
            memory=self._eps(), wait=(_PRODUCTS,),
        )  # fmt: skip

    def _normalise(self, gain: str, pred: Pred) -> None:
        """Blocks of x times a gain; the norm's scalar is multiplied to the products."""
        place = self._place.gains[self._gain % 2]
        self._gain += 1
        self._emit(
            Op.LD,
            {
                "mode": LoadMode.VECTOR_F32, "type": 0, "memory": self._memory.address(gain),
                "vector": place, "rows": 0, "columns": self._plan.width, "index": 0,
            },
            pred, (_ROOM,), (_ARRIVED,),
        )  # fmt: skip
        self._vector(
            Function.TO_BFP_GAIN, pred, self._place.normed_blocks, self._place.x,
            self._plan.width, place, wait=(_ARRIVED,), release=(_BLOCKS, _ROOM),
        )  # fmt: skip

    def _load(
        self, name: str, kind: WeightType, rows: int, columns: int, pred: Pred = Pred.ALWAYS
    ) -> None:
        """Begin to stream a matrix."""
        self._emit(
            Op.LD,
            {
                "mode": LoadMode.WEIGHTS, "type": kind, "memory": self._memory.address(name),
                "vector": 0, "rows": rows, "columns": columns, "index": 0,
            },
            pred,
        )  # fmt: skip

    def _product(
        self, name: str, blocks: int, vector: int, pred: Pred, *, wait: tuple[int, ...] = (),
        release: tuple[int, ...] = (), scaled: bool = True, add: bool = False,
        rows: int | None = None, load: bool = True,
    ) -> None:  # fmt: skip
        matrix = self._matrices[name]
        if load:
            self._load(name, matrix.kind, matrix.rows, matrix.columns, pred)
        op = Op.GEMV if self._arch.tokens == 1 else Op.GEMM
        self._emit(
            op,
            {
                "type": matrix.kind, "scaled": int(scaled), "scalar": 0, "add": int(add),
                "blocks": blocks, "vector": vector, "rows": matrix.rows if rows is None else rows,
                "columns": matrix.columns,
            },
            pred, wait, release,
        )  # fmt: skip

    def _rope(
        self, vector: int, columns: int, pred: Pred, wait: tuple[int, ...],
        release: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self._vector(
            Function.ROPE, pred, vector, vector, columns, self._plan.head_size,
            memory=self._memory.address("rotations"), wait=wait, release=release,
        )  # fmt: skip

    def _vector(
        self, function: Function, pred: Pred, d: int, a: int, columns: int, b: int = 0, *,
        memory: int = 0, wait: tuple[int, ...] = (), release: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self._emit(
            Op.NPE,
            {
                "function": function, "scalar": 0, "d": d, "a": a, "b": b, "columns": columns,
                "memory": memory,
            },
            pred, wait, release,
        )  # fmt: skip

    def _eps(self) -> int:
        """Eps as an F25 code."""
        return f25_code(self._plan.eps)

    def _emit(
        self, op: Op, values: dict[str, int], pred: Pred = Pred.ALWAYS,
        wait: tuple[int, ...] = (), release: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """Put values into registers where registers are wanted, then the instruction."""
        wanted = [item for item in BODIES[op] if item.register]
        fields = {name: int(value) for name, value in values.items()}
        taken: set[int] = set()
        for item in wanted:
            fields[item.name] = self._register(fields[item.name], taken)
        masks = [sum(1 << bit for bit in set(bits)) for bits in (wait, release)]
        self._found.append(Instruction(op, fields, pred, *masks))

    def _register(self, value: int, taken: set[int]) -> int:
        """A register that holds a value; the one that was not used for longest is set to it."""
        if value == 0:
            return R_ZERO
        number = self._held.get(value)
        if number is None:
            free = [n for n in range(len(RESERVED), 32) if n not in taken]
            number = min(free, key=lambda n: self._used.get(n, -1))
            self._held = {kept: n for kept, n in self._held.items() if n != number}
            self._held[value] = number
            self._set(number, value)
        taken.add(number)
        self._used[number] = len(self._found)
        return number

    def _set(self, number: int, value: int) -> None:
        if value < 1 << 31:
            steps = [(SetMode.IMMEDIATE, value)]
        else:
            # Addresses beyond 2 GB are multiples of the alignment.
            steps = [(SetMode.IMMEDIATE, value >> 6), (SetMode.SHIFT_LEFT, 6)]
            if value & 63:
                steps.append((SetMode.ADD_IMMEDIATE, value & 63))
        for mode, imm in steps:
            fields = {"d": number, "s": number, "mode": int(mode), "imm": imm}
            self._found.append(Instruction(Op.SETR, fields))


def chunk_rows(arch: ArchSpec, kind: WeightType) -> int:
    """Rows of the output matrix that are worked on by one instruction."""
    together = arch.tile_rows(kind)
    return max(1, _CHUNK // together) * together


def buffers(plan: DecoderPlan, arch: ArchSpec) -> Places:
    """Places in the buffers; raises ConfigError if they are too small."""
    heads, shared = plan.heads * plan.head_size, plan.kv_heads * plan.head_size
    for name, size in (
        ("width", plan.width), ("hidden", plan.hidden), ("head_size", plan.head_size),
    ):  # fmt: skip
        if size % arch.block:
            raise ConfigError(
                f"{name} is {size}, and {arch.name} works on multiples of {arch.block}"
            )
    if plan.vocabulary > _COUNTABLE:
        raise ConfigError(
            f"the vocabulary is {plan.vocabulary}, and the overlay counts to {_COUNTABLE} in F25"
        )
    words = block = 0
    chunk = max(chunk_rows(arch, kind) for kind in WeightType)

    def vector(size: int) -> int:
        nonlocal words
        words += size
        return words - size

    def blocks(size: int) -> int:
        nonlocal block
        block += size // arch.block
        return block - size // arch.block

    found = Places(
        x=vector(plan.width), q=vector(heads), k=vector(shared), v=vector(shared),
        attention=vector(heads), gate=vector(plan.hidden), up=vector(plan.hidden),
        gains=(vector(plan.width), vector(plan.width)),
        logits=(vector(chunk), vector(chunk)), best=vector(2),
        normed_blocks=blocks(plan.width), q_blocks=blocks(heads),
        attention_blocks=blocks(heads), hidden_blocks=blocks(plan.hidden),
    )  # fmt: skip
    for need, has, what in (
        (words, arch.vector_words, "numbers of the vector buffer"),
        (block, arch.blocks, "blocks of the activation buffer"),
    ):
        if need > has:
            raise ConfigError(
                f"the decoder needs {need} {what}, and {arch.name} has {has}",
                hint="Choose a larger instance.",
            )
    return found
