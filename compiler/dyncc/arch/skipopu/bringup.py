"""Words by which a host reaches a PE array without the rest of a machine: the bring-up instance.

The device answers the requests of `dyncc.arch.skipopu.packets`, and has no memory. In place of the
registers of `csr` it has these words of 32 bits; what is not there reads as 0:

- `Word.IDENTITY`, `Word.CONTROL` and `Word.STATUS`, see there;
- behind `Word.STATUS` the result that waits, if one does; it stays until it is taken;
- the scales of a block (or of a slice of several blocks), which a host writes before its slices;
- slices: places for as many as a block has, so that one request carries many of them.

A payload of the array begins with the lowest bits of its first word. Its last word hands it over;
until the array has taken it, what is written to words of the same stream is lost, and `STATUS` says
so. Over a line this does not happen as long as scales come before their slices, and results are
taken after each dot product: the array is done with a block before the next request is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.fields import Code, Field
from dyncc.arch.skipopu import csr
from dyncc.core.errors import ConfigError

#: What `Word.IDENTITY` holds.
IDENTITY = int.from_bytes(b"SkPE", "big")


class Word(Code):
    """Numbers of the words that every array has."""

    IDENTITY = 0, 'the letters "SkPE"'
    CONTROL = 1, "takes a result, or clears the array; reads as 0"
    STATUS = 2, "which streams have room, whether a result waits, whether something was lost"
    RESULT = 3, "the first word of the result that waits"


CONTROL = (
    Field("take", 1, False, "the next result, please"),
    Field("clear", 1, False, "forget all that was written, and what the array holds"),
)
STATUS = (
    Field("scales", 1, False, "there is room for scales"),
    Field("slices", 1, False, "there is room for a slice"),
    Field("result", 1, False, "a result waits"),
    Field("lost", 1, False, "something was written where there was no room; until clear"),
)


@dataclass(frozen=True)
class Region:
    """Words of a stream.

    Attributes
    ----------
    first
        Number of the first one, a multiple of `size`.
    words
        Words of an item.
    items
        Places for items, a power of two; they are all the same.
    """

    first: int
    words: int
    items: int = 1

    @property
    def stride(self) -> int:
        """Words from a place to the next, a power of two; nothing is behind the item's own."""
        return 1 << (self.words - 1).bit_length()

    @property
    def size(self) -> int:
        """Words in all, a power of two."""
        return self.stride * self.items

    def content(self, items: list[int]) -> list[int]:
        """Words of items, to be written from `first` on; 0 between them."""
        mask = (1 << csr.WORD_BITS) - 1
        shifts = [csr.WORD_BITS * number for number in range(self.stride)]
        found = [item >> shift & mask for item in items for shift in shifts]
        return found[: len(found) - self.stride + self.words]


@dataclass(frozen=True)
class ArrayMap:
    """The words of an array.

    Parameters
    ----------
    result_bits, scales_bits, slice_bits
        Bits of the payloads of its streams.
    slices
        Slices of a block.

    Raises
    ------
    ConfigError
        If there are not enough words.
    """

    result_bits: int
    scales_bits: int
    slice_bits: int
    slices: int

    def __post_init__(self) -> None:
        needed = self.blocks.first + self.blocks.size
        if needed > 1 << csr.ADDRESS_BITS:
            raise ConfigError(
                f"the array needs {needed} words, and there are {1 << csr.ADDRESS_BITS}",
                hint="Choose fewer rows or columns.",
            )

    @property
    def result(self) -> Region:
        """Results of a lane; they are read."""
        return Region(int(Word.RESULT), _words(self.result_bits))

    @property
    def scales(self) -> Region:
        """Scales."""
        end = self.result.first + self.result.words
        return _behind(end, Region(0, _words(self.scales_bits)))

    @property
    def blocks(self) -> Region:
        """Slices of a block."""
        places = 1 << (self.slices - 1).bit_length()
        end = self.scales.first + self.scales.size
        return _behind(end, Region(0, _words(self.slice_bits), places))


def _words(bits: int) -> int:
    return -(-bits // csr.WORD_BITS)


def _behind(end: int, region: Region) -> Region:
    """A region at the first multiple of its size that is not before `end`."""
    return Region(-(-end // region.size) * region.size, region.words, region.items)
