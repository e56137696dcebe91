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

**Registers.** 32 integer registers of 40 bits (addresses in bytes, counts), 8 scalars (F25, one
for each token), the predicates A and M (one bit for each token). R0 is always 0; `RESERVED` names
those with a fixed meaning. The KV engine's counter of slots is taken from `R_NEXT_SLOT` when a
program starts, and put back when it halts. What an operand holds that is no address counts as
`COUNT_BITS` ones if it is larger.

**Buffers.** The vector buffer holds F25 numbers, the activation buffer BFP blocks; both have the
same places for each token of the batch. A place of the vector buffer is a multiple of the numbers
that the instance works on in a cycle. An instruction works on all tokens of the batch that have its
predicate.

**Matrices** are streamed. An ``LD`` of one counts as done when its first words arrive; what follows
goes to the PE array, or to the router, as it is taken. ``GEMV``, ``GEMM`` and ``ROUTE`` take their
rows from the stream, in the order in which it was loaded, and wait for them by themselves; several
may share a matrix, if all but the last take a multiple of the rows that the array works on
together. How far an ``LD`` runs ahead depends on the instance: it may have to wait until
all rows of the matrices before it are taken, so nothing that takes them may wait for it. When a
program starts, the stream is empty, and all tokens have both predicates.

**Loops** nest four deep. A program must end with ``HALT``. What leaves memory or a buffer, an
undefined opcode or field, or a queue that can never move again, traps (`Trap`).
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.fields import Code, Field, pack, unpack
from dyncc.arch.skipopu.formats import WeightType

INSTRUCTION_BITS = 64
REGISTERS, REGISTER_BITS = 32, 40
#: Width of counts, sizes and places as engines see them; what is larger counts as the largest.
COUNT_BITS = 24
SCALARS = 8
SEMAPHORES = 6
#: Width of a semaphore; a program that releases more is stopped.
SEMAPHORE_BITS = 8
LOOP_DEPTH = 4
#: Instructions that an engine's queue holds.
QUEUE_DEPTH = 8
R_ZERO, R_TOKENS, R_POSITION, R_CONTEXT, R_SLOT_LIMIT, R_NEXT_SLOT = range(6)
RESERVED = {
    R_ZERO: "0",
    R_TOKENS: "tokens of the batch",
    R_POSITION: "position of the batch's first token",
    R_CONTEXT: "positions of a row of the table of slots",
    R_SLOT_LIMIT: "slots of the pool",
    R_NEXT_SLOT: "first slot that is free",
}
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
    BUS = 9, "memory answered with an error"
    WATCHDOG = 10, "memory did not answer in time"
    SEMAPHORE = 11, "more releases than a semaphore counts"


#: Operands that are addresses, or bytes from one address to the next.
ADDRESSES = ("memory", "index", "stride", "table", "pool", "eps")


@dataclass(frozen=True)
class Operand(Field):
    """A field of a body: a register's number, a code, or a plain number."""

    register: bool = False
    code: type[Code] | None = None

    @property
    def value_bits(self) -> int:
        """Bits of what an engine sees: the register's contents, or the field itself."""
        if not self.register:
            return self.bits
        return REGISTER_BITS if self.name in ADDRESSES else COUNT_BITS


def _registers(**meanings: str) -> tuple[Operand, ...]:
    return tuple(Operand(name, 5, False, text, register=True) for name, text in meanings.items())


def _code(name: str, bits: int, code: type[Code]) -> Operand:
    return Operand(name, bits, False, f"see {code.__name__}", code=code)


def _number(name: str, bits: int, meaning: str, signed: bool = False) -> Operand:
    return Operand(name, bits, signed, meaning)


def _body(*fields: Operand) -> tuple[Operand, ...]:
    rest = BODY_BITS - sum(item.bits for item in fields)
    return (*fields, Operand("reserved", rest, False, "0")) if rest else fields


_VECTOR = "place in the vector buffer"
_BLOCKS = "first block in the activation buffer"
_PRODUCT = _body(
    _code("type", 2, WeightType),
    _number("scaled", 1, "multiply results by the scalar"),
    _number("scalar", 3, "scalar register"),
    _number("add", 1, "add to what the destination holds"),
    *_registers(
        blocks=_BLOCKS, vector=f"{_VECTOR}, written", rows="rows of the matrix", columns="columns"
    ),
)

#: Bodies by opcode, the lowest field first.
BODIES: dict[Op, tuple[Operand, ...]] = {
    Op.NOP: _body(),
    Op.SETR: _body(
        *_registers(d="destination", s="source"),
        _code("mode", 3, SetMode),
        _number("imm", 32, "number; with ADD a register", signed=True),
    ),
    Op.LD: _body(
        _code("mode", 2, LoadMode),
        _code("type", 2, WeightType),
        *_registers(
            memory="address", vector=_VECTOR, rows="rows of the matrix", columns="numbers of a row",
            index="address of the tokens' numbers, u32; or bytes from a token's row to the next",
        ),
    ),
    Op.ST: _body(
        *_registers(
            memory="address of binary32 numbers", vector=_VECTOR, columns="numbers of a row",
            stride="bytes from a token's row to the next",
        ),
    ),
    Op.GEMV: _PRODUCT,
    Op.GEMM: _PRODUCT,
    Op.ATTN: _body(
        *_registers(
            blocks="first block of the queries", vector=f"{_VECTOR}, written", layer="layer",
            heads="query heads", kv_heads="key heads", head_size="numbers of a head",
            table="address of the table of slots", pool="address of slot 0",
        ),
    ),
    Op.NPE: _body(
        _code("function", 4, Function),
        _number("scalar", 3, "scalar register"),
        *_registers(
            d="destination", a="first operand", b="second operand", columns="numbers of a token",
            memory="address of the rotations, or eps as an F25 code",
        ),
    ),
    Op.ROUTE: _body(
        _number("route", 1, "whether routers decide; otherwise all tokens run"),
        _number("scalar", 3, "scalar register that gets 1 / sqrt(mean(x^2) + eps)"),
        *_registers(vector=_VECTOR, columns="numbers of a token", eps="eps as an F25 code"),
    ),
    Op.KVAPP: _body(
        *_registers(
            k="keys in the vector buffer", v="values in the vector buffer", layer="layer",
            kv_heads="key heads", head_size="numbers of a head",
            table="address of the table of slots", pool="address of slot 0",
        ),
    ),
    Op.KVSEL: _body(
        _number("evict", 1, "1: not attended to; 0: as in the layer before"),
        *_registers(layer="layer", table="address of the table of slots"),
    ),
    Op.LOOP: _body(
        *_registers(count="turns"), _number("length", 16, "instructions that are repeated"),
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

    def encode(self) -> int:
        """The word.

        Raises
        ------
        ValueError
            If a field is missing, unknown or out of range.
        """
        layout = BODIES[self.op]
        wanted = [item for item in layout if item.name != "reserved"]
        if set(self.fields) != {item.name for item in wanted}:
            raise ValueError(f"{self.op.name} has the fields {', '.join(i.name for i in wanted)}")
        for item in wanted:
            low = -(1 << (item.bits - 1)) if item.signed else 0
            if not low <= self.fields[item.name] < low + (1 << item.bits):
                raise ValueError(
                    f"{item.name} must be in {low}..{low + (1 << item.bits) - 1}, "
                    f"not {self.fields[item.name]}"
                )
        body = pack(layout, {"reserved": 0, **self.fields})
        head = {"op": self.op, "pred": self.pred, "wait": self.wait, "release": self.release}
        return body | pack(HEADER, head) << BODY_BITS


def operand_registers(op: Op) -> list[str]:
    """Fields of an instruction that name registers which it reads, in the order of the body."""
    if op == Op.SETR:
        return ["s"]
    return [item.name for item in BODIES[op] if item.register]


def dispatch_cycles(op: Op) -> int:
    """Cycles that the sequencer takes for an instruction if it does not have to wait.

    One to decode, one for each register that it reads, one to hand it over; one more to take
    semaphores, if the sequencer carries it out itself. `SetMode.ADD` takes one more,
    `SetMode.MULTIPLY` two and as many as its number has bits (all of a register's if it is
    negative). Behind the last instruction of a loop, a cycle passes for each loop that ends there,
    and one more if none of them goes on. After a jump, instructions have to be fetched.
    """
    return 2 + len(operand_registers(op))


def decode(word: int) -> Instruction:
    """The instruction of a word.

    Raises
    ------
    ValueError
        If the opcode, predicate, a code or reserved bits are undefined.
    """
    head = unpack(HEADER, word >> BODY_BITS)
    op, pred = Op(head["op"]), Pred(head["pred"])
    fields = unpack(BODIES[op], word)
    if fields.pop("reserved", 0):
        raise ValueError(f"reserved bits of {op.name} are set")
    for item in BODIES[op]:
        if item.code is not None:
            item.code(fields[item.name])
    return Instruction(op, fields, pred, head["wait"], head["release"])
