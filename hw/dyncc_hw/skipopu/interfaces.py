"""What the parts of the overlay say to each other: payloads of streams, and who is who.

An engine gets `Work` one at a time and says when it is done. Memory is reached through read and
write clients of the port, the vector buffer through streams of addresses and of words. All streams
are those of `amaranth.lib.stream`.
"""

from typing import Any

from amaranth import Shape, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import (
    ATTENTION_TILE,
    BODIES,
    COUNT_BITS,
    ENGINES,
    REGISTER_BITS,
    Engine,
    Trap,
)
from dyncc.arch.skipopu.isa import HEADER as ISA_HEADER
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS

ADDRESS_BITS = REGISTER_BITS
#: Bytes of a transfer.
LENGTH_BITS = COUNT_BITS
TRAP_BITS = max(Trap).bit_length()
OP_BITS = next(item.bits for item in ISA_HEADER if item.name == "op")


def work_layout(engine: Engine, arch: ArchSpec) -> data.StructLayout:
    """What an engine is told: the fields of its instructions by name, and about the batch.

    Members
    -------
    op
        Which of the engine's instructions; a field that it does not have means nothing.
    active
        A bit for each token of the batch that it works on; at least one, since suppressed
        instructions do not get here.
    tokens
        Tokens of the batch.
    position, context
        As `dyncc_sim.skipopu.sequencer.Work` has them.
    """
    members: dict[str, Any] = {"op": OP_BITS}
    for op, owner in ENGINES.items():
        if owner == engine:
            for item in BODIES[op]:
                if item.name != "reserved":
                    bits = max(item.value_bits, Shape.cast(members.get(item.name, 0)).width)
                    members[item.name] = unsigned(bits)
    members |= {
        "active": arch.tokens, "tokens": range(arch.tokens + 1),
        "position": COUNT_BITS, "context": COUNT_BITS,
    }  # fmt: skip
    return data.StructLayout(members)


def work_signature(engine: Engine, arch: ArchSpec) -> wiring.Signature:
    """From the sequencer to an engine.

    Members
    -------
    start
        Stream of `work_layout`. An engine that is `ready` is idle.
    done
        In one cycle, after the one in which `start` was taken: the instruction is done, and all
        that it wrote can be read. Not together with `start.ready`.
    trap
        With `done`: why it could not be carried out, of `dyncc.arch.skipopu.isa.Trap`; 0 for none.
    starved
        It waits for rows of a matrix, or for room for them, and has nothing else to do.
    """
    return wiring.Signature(
        {
            "start": Out(stream.Signature(work_layout(engine, arch))),
            "done": In(1),
            "trap": In(TRAP_BITS),
            "starved": In(1),
        }
    )


REQUEST = data.StructLayout({"address": ADDRESS_BITS, "bytes": LENGTH_BITS})


def read_signature(bus_bytes: int) -> wiring.Signature:
    """From one who reads memory to the port.

    Members
    -------
    request
        Stream of addresses, and bytes, at least one. Both are even.
    data
        Stream of the answers, in order: words of `bus_bytes`, of which the first begins with the
        byte at the address, whatever its alignment; and whether it is the `last` word of its
        request, which may have garbage behind the last byte. A client may request again before
        everything has come.
    """
    word = data.StructLayout({"word": 8 * bus_bytes, "last": 1})
    return wiring.Signature(
        {"request": Out(stream.Signature(REQUEST)), "data": In(stream.Signature(word))}
    )


def write_signature(bus_bytes: int) -> wiring.Signature:
    """From one who writes memory to the port.

    Members
    -------
    request
        As of `read_signature`.
    data
        Stream of words of `bus_bytes`, the first beginning with the byte that goes to the address.
    done
        In one cycle, once for each request, in order: memory has it, and who reads gets it.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(REQUEST)),
            "data": Out(stream.Signature(8 * bus_bytes)),
            "done": In(1),
        }
    )


def place_layout(arch: ArchSpec) -> data.StructLayout:
    """A word of the vector buffer: whose, and which of `vector_lanes` numbers each."""
    words = -(-arch.vector_words // arch.vector_lanes)
    return data.StructLayout({"token": range(max(2, arch.tokens)), "word": range(max(2, words))})


def numbers(arch: ArchSpec) -> data.ArrayLayout:
    """Numbers of a word of the vector buffer, F25."""
    return data.ArrayLayout(CODE_BITS, arch.vector_lanes)


def vector_read_signature(arch: ArchSpec) -> wiring.Signature:
    """From one who reads the vector buffer.

    Members
    -------
    place
        Stream of `place_layout`.
    numbers
        Stream of `numbers`, in the order of places. Places may run ahead of it by some words.
    """
    return wiring.Signature(
        {
            "place": Out(stream.Signature(place_layout(arch))),
            "numbers": In(stream.Signature(numbers(arch))),
        }
    )


def vector_write_signature(arch: ArchSpec) -> wiring.Signature:
    """From one who writes the vector buffer: a stream of a `place`, `numbers`, and which to `keep`.

    What was taken in a cycle can be read from the next one on.
    """
    written = data.StructLayout(
        {"place": place_layout(arch), "numbers": numbers(arch), "keep": arch.vector_lanes}
    )
    return wiring.Signature({"write": Out(stream.Signature(written))})


def group_layout(arch: ArchSpec) -> data.StructLayout:
    """A group of a matrix's row as it comes from memory: from the load engine to the PE array.

    Members
    -------
    weights
        In order of columns; 4-bit ones in the lower half of their byte.
    scale, minimum
        Binary16; only `WeightType.Q4_1` has a minimum.
    """
    return data.StructLayout(
        {"weights": data.ArrayLayout(8, arch.block), "scale": 16, "minimum": 16}
    )


def wide_group_layout(arch: ArchSpec) -> data.StructLayout:
    """The same of a router's row (`WeightType.BFP16`), from the load to the vector engine."""
    return data.StructLayout(
        {"weights": data.ArrayLayout(signed(16), arch.block), "exponent": signed(16)}
    )


#: What comes before the groups of a matrix, row by row: its format, shape and header.
MATRIX = data.StructLayout(
    {
        "type": 2, "rows": COUNT_BITS, "columns": COUNT_BITS,
        "scale_exponent": signed(16), "minimum_exponent": signed(16),
    }
)  # fmt: skip


def matrix_signature(group: data.StructLayout) -> wiring.Signature:
    """A stream of matrices: `matrix`, then as many `group` as it has; the next one after that."""
    return wiring.Signature(
        {"matrix": Out(stream.Signature(MATRIX)), "group": Out(stream.Signature(group))}
    )


def scalar_read_signature(arch: ArchSpec) -> wiring.Signature:
    """From the PE array to the vector engine, which keeps scalars: combinational, no handshake."""
    return wiring.Signature(
        {"scalar": Out(3), "token": Out(range(max(2, arch.tokens))), "value": In(CODE_BITS)}
    )


def block_write_signature(arch: ArchSpec) -> wiring.Signature:
    """From the vector engine to the activation buffer: a stream of mantissas of blocks.

    Members of its payload are the `token`; the `block`; which `word` of `vector_lanes` numbers of
    it; their `mantissas`; and the block's `exponent`, the same for all its words.
    """
    written = data.StructLayout(
        {
            "token": range(max(2, arch.tokens)), "block": range(max(2, arch.blocks)),
            "word": range(max(2, arch.block // arch.vector_lanes)),
            "mantissas": data.ArrayLayout(signed(arch.mantissa_bits), arch.vector_lanes),
            "exponent": signed(BASE_BITS),
        }
    )  # fmt: skip
    return wiring.Signature({"write": Out(stream.Signature(written))})


def kv_groups(arch: ArchSpec) -> int:
    """Groups of `ATTENTION_TILE` places for slots on chip: of the history, and two that change."""
    return arch.kv_tokens // ATTENTION_TILE + 2


def kv_words(arch: ArchSpec) -> int:
    """Words of `columns` numbers of a slot on chip: keys first, then values, `kv_width` each."""
    return 2 * arch.kv_width // arch.columns


def attention_request_layout() -> data.StructLayout:
    """What attention asks the history for: the slots of a layer up to the position `last`."""
    count = COUNT_BITS
    return data.StructLayout(
        {
            "layer": count, "context": count, "last": count, "kv_heads": count,
            "head_size": count, "table": ADDRESS_BITS, "pool": ADDRESS_BITS,
        }
    )  # fmt: skip


def history_signature(arch: ArchSpec) -> wiring.Signature:
    """From attention to the history of keys and values.

    Members
    -------
    request
        Stream of `attention_request_layout`. Shapes have been checked.
    tile
        Stream of tiles of positions, in order, when all of their slots are on chip: `present`, a
        bit for each position that has a slot and is not beyond `last`; the `group` of places where
        they are; whether it is the `last` tile; or a `trap`, with which it is the last. A tile's
        places may change from when it was taken.
    enable, group, word
        In a cycle with `enable`: word `word` (see `kv_words`) of all places of `group` is read.
    mantissas, exponents
        Of that word, in the next cycle, until the one after the next `enable`: by place. An
        exponent is that of the block that the word belongs to, `ZERO` for a block of zeros.
    """
    groups = range(kv_groups(arch))
    tile = data.StructLayout(
        {"present": ATTENTION_TILE, "group": groups, "last": 1, "trap": TRAP_BITS}
    )
    mantissas = data.ArrayLayout(signed(arch.mantissa_bits), arch.columns)
    return wiring.Signature(
        {
            "request": Out(stream.Signature(attention_request_layout())),
            "tile": In(stream.Signature(tile)),
            "enable": Out(1),
            "group": Out(groups),
            "word": Out(range(kv_words(arch))),
            "mantissas": In(data.ArrayLayout(mantissas, ATTENTION_TILE)),
            "exponents": In(data.ArrayLayout(signed(BASE_BITS), ATTENTION_TILE)),
        }
    )
