"""Bursts: what the memory port says to the master of a bus, whichever bus it is."""

from dataclasses import dataclass
from typing import Any

from amaranth import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.interfaces import ADDRESS_BITS

BUS_BYTES = (2, 64)


@dataclass(frozen=True)
class Geometry:
    """Sizes of bursts of an instance.

    Parameters
    ----------
    bus_bytes
        Bytes of a word of the bus, a power of two in `BUS_BYTES`.
    burst_bytes
        Most bytes of a burst, a power of two, at least a word. A burst does not cross a multiple
        of it.
    requests
        Bursts that are on their way at once.
    latency
        Cycles from a burst to its first word, as far as that is known: sizes FIFOs.

    Raises
    ------
    ConfigError
        If the port cannot be made for these.
    """

    bus_bytes: int
    burst_bytes: int
    requests: int
    latency: int

    def __post_init__(self) -> None:
        low, high = BUS_BYTES
        if not low <= self.bus_bytes <= high or self.bus_bytes & (self.bus_bytes - 1):
            raise ConfigError(
                f"a memory port has words of {low} to {high} bytes, a power of two, "
                f"not {self.bus_bytes}"
            )
        if self.burst_bytes < self.bus_bytes or self.burst_bytes & (self.burst_bytes - 1):
            raise ConfigError(
                f"bursts of {self.burst_bytes} bytes are no power of two of at least "
                f"{self.bus_bytes} bytes"
            )
        if self.requests < 1 or self.latency < 0:
            raise ConfigError("a memory port has a request at least, and no negative latency")

    @classmethod
    def of(cls, arch: ArchSpec) -> "Geometry":
        """Of an instance."""
        return cls(
            arch.bus_bytes, arch.burst_bytes, arch.memory_requests, arch.memory_latency_cycles
        )

    @property
    def shift(self) -> int:
        """Bits of an address within a word."""
        return int(exact_log2(self.bus_bytes))

    @property
    def burst_words(self) -> int:
        """Most words of a burst."""
        return self.burst_bytes // self.bus_bytes

    @property
    def word_address_bits(self) -> int:
        """Bits of a word's address."""
        return ADDRESS_BITS - self.shift

    @property
    def words(self) -> Any:
        """Shape of a number of words of a burst."""
        return unsigned(self.burst_words.bit_length())


def burst_signature(geometry: Geometry) -> wiring.Signature:
    """From the port to a master.

    Members
    -------
    command
        Stream of bursts, to `write` or to read, of so many `words` from the word `address` on. They
        are carried out in this order, or as if.
    answer
        Stream of all words that are read, in order, and whether one came with an `error`.
    data
        Stream of all words that are written, in order, with a bit of `strobe` for each byte that
        is. The master takes them after it took their burst.
    written, failed
        In one cycle, once for each burst that is written, in order: memory has it; or answered with
        an error.
    """
    size = geometry.bus_bytes
    command = data.StructLayout(
        {"write": 1, "address": geometry.word_address_bits, "words": geometry.words}
    )
    return wiring.Signature(
        {
            "command": Out(stream.Signature(command)),
            "answer": In(stream.Signature(data.StructLayout({"word": 8 * size, "error": 1}))),
            "data": Out(stream.Signature(data.StructLayout({"word": 8 * size, "strobe": size}))),
            "written": In(1),
            "failed": In(1),
        }
    )
