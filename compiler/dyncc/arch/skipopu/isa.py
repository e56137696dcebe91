r"""Instructions of SkipOPU: their one layout, and what they mean.

An instruction is a 64-bit word: ``op[63:60] pred[59:57] wait[56:51] release[50:45] body[44:0]``.

**Dispatch.** The sequencer takes instructions in order. It carries out those of its own engine at
once; others it hands to the queue of their engine, with the values that their registers have then.
Before an instruction with a predicate is dispatched, the sequencer waits for every `Op.ROUTE` that
was dispatched before it. If no token of the batch has the predicate, the instruction is
*suppressed*: it is handed to its engine's queue all the same, where it waits and releases and does
nothing else. So a program cannot hang on a path that was not taken.

**Semaphores.** There are six counters, at zero in the beginning. The head of an engine's queue
starts when every semaphore of its ``wait`` is above zero, and takes one from each; when it is done,
it adds one to each of its ``release``. Engines run side by side; nothing else orders them. A
``SYNC`` makes the sequencer wait until all queues are empty and all engines idle.

**Registers.** 32 integer registers of 40 bits (addresses in bytes, counts), 8 scalars (F25, one for
each token), the predicates A and M (one bit for each token). R0 is always 0. `R_TOKENS` is the
number of tokens of the batch, `R_POSITION` the position of its first.

**Buffers.** The vector buffer holds F25 numbers, the activation buffer BFP blocks; both have the
same places for each token of the batch. An instruction works on all tokens of the batch that have
its predicate.

**Loops** nest four deep. A program must end with ``HALT``. What leaves memory or a buffer, an
undefined opcode or field, or a queue that can never move again, traps (`Trap`).
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.fields import Code, Field

INSTRUCTION_BITS = 64
REGISTERS, REGISTER_BITS = 32, 40
SCALARS = 8
SEMAPHORES = 6
LOOP_DEPTH = 4
#: Instructions that an engine's queue holds.
QUEUE_DEPTH = 8
R_ZERO, R_TOKENS, R_POSITION = 0, 1, 2
#: Positions of a tile of attention; partial results of tiles merge in order of position.
ATTENTION_TILE = 16
#: Table entry of a token that a layer does not attend to.
NO_SLOT = 0xFFFFFFFF

HEADER = (
    Field("release", SEMAPHORES, False, "semaphores to add one to when done"),
    Field("wait", SEMAPHORES, False, "semaphores to take one from before"),
    Field("pred", 3, False, "see Pred"),
    Field("op", 4, False, "see Op"),
)
BODY_BITS = INSTRUCTION_BITS - sum(item.bits for item in HEADER)


class Engine(Code):
    """What works side by side."""

    SEQUENCER = 0, "dispatch, registers, loops"
    LOAD = 1, "memory to buffers, and weights to the PE array"
    STORE = 2, "buffers to memory"
    PE = 3, "matrix products and attention"
    VECTOR = 4, "element by element, and the router"
    KV = 5, "keys and values: slots, tables, the history buffer"


class Pred(Code):
    """For which tokens an instruction is carried out."""

    ALWAYS = 0, "all tokens of the batch"
    A = 1, "those that run attention in this layer"
    NOT_A = 2, "those that skip attention"
    M = 3, "those that run the MLP"
    NOT_M = 4, "those that skip the MLP"


class Op(Code):
    """Opcodes; bodies are in `BODIES`."""

    NOP = 0, "nothing"
    SETR = 1, "R[d] = a value, see SetMode"
    LD = 2, "memory to the vector buffer; or a matrix, as a stream, to the PE array"
    ST = 3, "vector buffer to memory"
    GEMV = 4, "vector buffer = matrix x activation blocks, for each token; the matrix is streamed"
    GEMM = 5, "the same for a batch: each weight is read once for all tokens"
    ATTN = 6, "attention of all heads over the slots of a layer"
    NPE = 7, "element by element, see Function"
    ROUTE = 8, "sum of squares and router logits of a vector, which set A and M"
    KVAPP = 9, "keys and values of the tokens become slots of a layer"
    KVSEL = 10, "tokens without slots of their own in a layer: reuse the layer before, or none"
    LOOP = 11, "repeat the instructions that follow"
    SYNC = 12, "wait until everything dispatched is done"
    HALT = 15, "the end"


class SetMode(Code):
    """What `Op.SETR` sets."""

    IMMEDIATE = 0, "R[d] = imm"
    ADD_IMMEDIATE = 1, "R[d] = R[s] + imm"
    ADD = 2, "R[d] = R[s] + R[imm]"
    SHIFT_LEFT = 3, "R[d] = R[s] << imm"
    MULTIPLY = 4, "R[d] = R[s] * imm"


class LoadMode(Code):
    """What `Op.LD` loads."""

    VECTOR_F32 = 0, "binary32 rows, one for each token, rounded to F25"
    ROW_Q8_0 = 1, "rows of a Q8_0 matrix, chosen by each token's number in memory (embeddings)"
    WEIGHTS = 2, "a matrix, as a stream, for the next GEMV, GEMM or ROUTE"


class Function(Code):
    """What `Op.NPE` computes; a, b, d are places in the vector buffer, s a scalar."""

    COPY = 0, "d = a"
    ADD = 1, "d = a + b"
    MUL = 2, "d = a * b"
    SWIGLU = 3, "d = silu(a) * b"
    ROPE = 4, "d = a turned by the position, for heads of R[b] elements; tables at memory"
    TO_BFP = 5, "blocks d = a"
    TO_BFP_GAIN = 6, "blocks d = a * b, element by element (the gain of an RMSNorm)"
    SUM_SQUARES = 7, "S[s] = 1 / sqrt(mean(a^2) + eps)"
    ARGMAX = 8, "d = the largest element of a, and R[b] + its place; kept unless R[b] is 0"


class Trap(Code):
    """Why a program was stopped."""

    NONE = 0, "it was not"
    OPCODE = 1, "undefined opcode, predicate, mode, register or reserved bits"
    MEMORY = 2, "outside of memory, or of the program's windows"
    BUFFER = 3, "outside of a buffer"
    SHAPE = 4, "sizes that are not multiples of a block, or do not agree"
    DEADLOCK = 5, "engines wait for semaphores that nobody will release"
    LOOP = 6, "loops too deep, or of no length"
    SLOTS = 7, "no free slot for keys and values"
    RUNAWAY = 8, "the program counter left the program"


def _places(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, 5, False, f"register that holds {name}") for name in names)


def _body(*fields: Field) -> tuple[Field, ...]:
    rest = BODY_BITS - sum(item.bits for item in fields)
    return (*fields, Field("reserved", rest, False, "0")) if rest else fields


_SCALAR = Field("scalar", 3, False, "scalar register")
_SCALED = Field("scaled", 1, False, "multiply results by the scalar")
_ADD = Field("add", 1, False, "add to what the destination holds")
_TYPE = Field("type", 2, False, "see WeightType")

#: Bodies by opcode, the lowest field first. Fields that name a register hold its number.
BODIES: dict[Op, tuple[Field, ...]] = {
    Op.NOP: _body(),
    Op.SETR: _body(
        Field("d", 5, False, "destination register"),
        Field("s", 5, False, "source register"),
        Field("mode", 3, False, "see SetMode"),
        Field("imm", 32, True, "number, or register"),
    ),
    Op.LD: _body(
        Field("mode", 2, False, "see LoadMode"), _TYPE,
        *_places("memory", "vector", "rows", "columns", "index"),
    ),
    Op.ST: _body(*_places("memory", "vector", "columns", "stride")),
    Op.GEMV: _body(_TYPE, _SCALAR, _SCALED, _ADD, *_places("blocks", "vector", "rows", "columns")),
    Op.GEMM: _body(_TYPE, _SCALAR, _SCALED, _ADD, *_places("blocks", "vector", "rows", "columns")),
    Op.ATTN: _body(
        *_places("blocks", "vector", "layer", "heads", "kv_heads", "head_size", "table", "pool"),
    ),
    Op.NPE: _body(
        Field("function", 4, False, "see Function"), _SCALAR,
        *_places("d", "a", "b", "columns", "memory"),
    ),
    Op.ROUTE: _body(
        Field("route", 1, False, "whether routers decide; otherwise all tokens run"), _SCALAR,
        *_places("vector", "columns", "memory"),
    ),
    Op.KVAPP: _body(*_places("k", "v", "layer", "kv_heads", "head_size", "table", "pool", "slots")),
    Op.KVSEL: _body(
        Field("evict", 1, False, "1: not attended to; 0: as in the layer before"),
        *_places("layer", "table"),
    ),
    Op.LOOP: _body(
        *_places("count"), Field("length", 16, False, "instructions that are repeated"),
    ),
    Op.SYNC: _body(),
    Op.HALT: _body(),
}  # fmt: skip

ENGINES: dict[Op, Engine] = {
    Op.NOP: Engine.SEQUENCER,
    Op.SETR: Engine.SEQUENCER,
    Op.LD: Engine.LOAD,
    Op.ST: Engine.STORE,
    Op.GEMV: Engine.PE,
    Op.GEMM: Engine.PE,
    Op.ATTN: Engine.PE,
    Op.NPE: Engine.VECTOR,
    Op.ROUTE: Engine.VECTOR,
    Op.KVAPP: Engine.KV,
    Op.KVSEL: Engine.KV,
    Op.LOOP: Engine.SEQUENCER,
    Op.SYNC: Engine.SEQUENCER,
    Op.HALT: Engine.SEQUENCER,
}


@dataclass(frozen=True)
class Instruction:
    """A decoded instruction.

    Attributes
    ----------
    op, pred, wait, release
        As in the word; `wait` and `release` are masks of semaphores.
    fields
        The body by field name, without ``reserved``.
    """

    op: Op
    fields: dict[str, int]
    pred: Pred = Pred.ALWAYS
    wait: int = 0
    release: int = 0
