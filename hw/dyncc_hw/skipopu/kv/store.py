"""Places for keys and values on chip, one bank for each position of a tile of attention."""

from typing import Any

from amaranth import Module, Mux, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import ZERO, KvType
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.interfaces import kv_groups, kv_words

#: Numbers that share an exponent in memory, where it is `KvType.BFP8`; bits of theirs.
KV_BLOCK, KV_BITS = 32, 8
#: Exponents on chip are signed bytes, as those of `KvType.BFP8` are; the least marks zeros.
STORED_BITS, STORED_ZERO = 8, -128
#: Most bytes of a slot that are put into a place in a cycle.
FILL_BYTES = 8


class KvShape:
    """Sizes that follow from an instance.

    Parameters
    ----------
    arch
        The instance.

    Attributes
    ----------
    number_bytes
        Of a number in memory.
    block
        Numbers on chip that share an exponent.
    bits
        Of a mantissa on chip.
    fill_bytes, fill_numbers
        What is put into a place in a cycle.
    places
        Of the history.
    groups, words, blocks
        Groups of places; words and blocks of a place.
    slot_bits
        Width of the bytes of a slot.

    Raises
    ------
    ConfigError
        If places are no groups, or if numbers are no words, blocks or bytes.
    """

    def __init__(self, arch: ArchSpec) -> None:
        stored = arch.kv == KvType.BFP8
        if arch.kv_tokens % ATTENTION_TILE:
            raise ConfigError(f"{arch.kv_tokens} places are no groups of {ATTENTION_TILE}")
        if KV_BLOCK % arch.columns:
            raise ConfigError(
                f"{arch.columns} columns do not divide a block of {KV_BLOCK} keys or values"
            )
        if KV_BLOCK % arch.vector_lanes or (stored and arch.vector_lanes == KV_BLOCK):
            raise ConfigError(
                f"a block of {KV_BLOCK} keys or values is not some runs of "
                f"{arch.vector_lanes} lanes"
            )
        if arch.kv_width % arch.block:
            raise ConfigError(f"{arch.kv_width} keys are no blocks of {arch.block}")
        if stored and arch.mantissa_bits < KV_BITS:
            raise ConfigError(
                f"keys have {KV_BITS} bits, and mantissas of the array {arch.mantissa_bits}"
            )
        self.arch = arch
        self.number_bytes = 1 if stored else 2
        self.block = KV_BLOCK if stored else arch.block
        self.bits = KV_BITS if stored else arch.mantissa_bits
        self.fill_bytes = min(arch.bus_bytes, self.number_bytes * arch.columns, FILL_BYTES)
        self.fill_numbers = self.fill_bytes // self.number_bytes
        self.places = arch.kv_tokens
        self.groups, self.words = kv_groups(arch), kv_words(arch)
        self.blocks = 2 * arch.kv_width // self.block
        self.slot_bits = self.slot_bytes(arch.kv_width).bit_length()

    def slot_bytes(self, numbers: Any) -> Any:
        """Bytes of a slot with so many keys, an integer or a value; always even."""
        if self.arch.kv == KvType.F16:
            return numbers << 2
        return (numbers + (numbers >> (KV_BLOCK - 1).bit_length())) << 1


def place_signature(shape: KvShape) -> wiring.Signature:
    """From one who fills places: numbers of a word, and the exponent of a block.

    Members
    -------
    group, place
        Where; which of the group's places.
    enable, word, piece, mantissas
        In a cycle with `enable`: which numbers of which word change.
    closes, block, exponent
        In a cycle with `closes`: the block's exponent, `STORED_ZERO` for a block of zeros.
    """
    pieces = shape.arch.columns // shape.fill_numbers
    mantissas = data.ArrayLayout(signed(shape.bits), shape.fill_numbers)
    return wiring.Signature(
        {
            "group": Out(range(shape.groups)), "place": Out(range(ATTENTION_TILE)),
            "enable": Out(1), "word": Out(range(shape.words)), "piece": Out(range(max(2, pieces))),
            "mantissas": Out(mantissas),
            "closes": Out(1), "block": Out(range(shape.blocks)),
            "exponent": Out(signed(STORED_BITS)),
        }
    )  # fmt: skip


class KvStore(wiring.Component):
    """Words of all places, read at once for a group of them.

    A bank for each place of a group holds mantissas, and one memory all exponents; they become
    block RAM. A word must not be read in the cycle in which it is written.
    Throughput: one read and one write a cycle. Latency of a read: 1 cycle.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    write
        From who fills places.
    enable, group, word, mantissas, exponents
        The port of attention, see `interfaces.history_signature`.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        arch = shape.arch
        mantissas = data.ArrayLayout(signed(arch.mantissa_bits), arch.columns)
        super().__init__(
            {
                "write": In(place_signature(shape)),
                "enable": In(1), "group": In(range(shape.groups)),
                "word": In(range(shape.words)),
                "mantissas": Out(data.ArrayLayout(mantissas, ATTENTION_TILE)),
                "exponents": Out(data.ArrayLayout(signed(BASE_BITS), ATTENTION_TILE)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Banks that are read at the same address and written one at a time."""
        m = Module()
        shape, write, columns = self.shape, self.write, self.shape.arch.columns
        pieces = columns // shape.fill_numbers
        word = data.ArrayLayout(shape.bits * shape.fill_numbers, pieces)
        address = write.group * shape.words + write.word
        for place in range(ATTENTION_TILE):
            m.submodules[f"bank_{place}"] = bank = memory.Memory(
                shape=word, depth=shape.groups * shape.words, init=[], attrs=ANY_ON_COLLISION
            )
            into = bank.write_port(granularity=1)
            found = clocked_read(m, bank, self.group * shape.words + self.word, self.enable)
            mantissas = data.View(data.ArrayLayout(signed(shape.bits), columns), found.as_value())
            mine = write.enable & (write.place == place)
            m.d.comb += [
                into.addr.eq(address),
                into.en.eq(Mux(mine, 1 << write.piece, 0)[:pieces]),
                *(into.data[piece].eq(write.mantissas.as_value()) for piece in range(pieces)),
                *(self.mantissas[place][column].eq(mantissas[column]) for column in range(columns)),
            ]
        bytes_of_all = data.ArrayLayout(signed(STORED_BITS), ATTENTION_TILE)
        m.submodules.exponents = exponents = memory.Memory(
            shape=bytes_of_all, depth=shape.groups * shape.blocks, init=[], attrs=ANY_ON_COLLISION
        )
        into = exponents.write_port(granularity=1)
        block = self.word >> (shape.block // columns).bit_length() - 1
        found = clocked_read(m, exponents, self.group * shape.blocks + block, self.enable)
        m.d.comb += [
            into.addr.eq(write.group * shape.blocks + write.block),
            into.en.eq(Mux(write.closes, 1 << write.place, 0)[:ATTENTION_TILE]),
            *(into.data[place].eq(write.exponent) for place in range(ATTENTION_TILE)),
            *(
                self.exponents[place].eq(Mux(found[place] == STORED_ZERO, ZERO, found[place]))
                for place in range(ATTENTION_TILE)
            ),
        ]
        return m
