"""The activation buffer: blocks of mantissas with an exponent each, for every token."""

from typing import Any

from amaranth import Cat, Module, Mux, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.interfaces import block_write_signature
from dyncc_hw.skipopu.shape import ArrayShape


def slice_signature(shape: ArrayShape) -> wiring.Signature:
    """From one who reads slices of blocks.

    Members
    -------
    token, block, slice, enable
        A slice of a block (or of as many blocks as a slice has, from a multiple of these) is read
        in a cycle with `enable`.
    mantissas, exponents
        Of it, in the next cycle, until the one after the next `enable`.
    """
    arch = shape.arch
    return wiring.Signature(
        {
            "token": Out(range(max(2, arch.tokens))),
            "block": Out(range(max(2, arch.blocks))),
            "slice": Out(range(max(2, shape.slices))),
            "enable": Out(1),
            "mantissas": In(data.ArrayLayout(signed(arch.mantissa_bits), arch.columns)),
            "exponents": In(data.ArrayLayout(signed(BASE_BITS), shape.ways)),
        }
    )


class ActivationBuffer(wiring.Component):
    """Blocks of activations; written by lanes, read by slices of the array's columns.

    Throughput: a word in and a slice out in each cycle. What is written can be read from the next
    cycle on. Contents survive reset.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    write
        See `interfaces.block_write_signature`; always ready.
    read
        See `slice_signature`.

    Raises
    ------
    ConfigError
        If lanes do not divide the columns.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        if arch.columns % arch.vector_lanes:
            raise ConfigError(
                f"{arch.columns} columns are no multiple of {arch.vector_lanes} vector lanes"
            )
        super().__init__(
            {
                "write": In(block_write_signature(arch).members["write"].signature),
                "read": In(slice_signature(shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Two memories: of mantissas by slice, of exponents by block."""
        m = Module()
        shape, arch = self.shape, self.shape.arch
        lanes = arch.vector_lanes
        given, wanted = self.write.payload, self.read
        words = -(-arch.blocks // shape.ways)
        runs = arch.columns // lanes
        m.submodules.store = store = memory.Memory(
            shape=data.ArrayLayout(lanes * arch.mantissa_bits, runs),
            depth=arch.tokens * words * shape.slices, init=[], attrs=ANY_ON_COLLISION,
        )  # fmt: skip
        m.submodules.exponents = exponents = memory.Memory(
            shape=data.ArrayLayout(BASE_BITS, shape.ways), depth=arch.tokens * words, init=[],
            attrs=ANY_ON_COLLISION,
        )  # fmt: skip
        into, exponent_into = (item.write_port(granularity=1) for item in (store, exponents))

        def line(token: Any, block: Any) -> Value:
            return (token * words if arch.tokens > 1 else 0) + block // shape.ways

        # Words of a block are in order, so their upper bits are the slice and the run in it.
        run = given.word % runs if shape.ways == 1 else given.word
        way = given.block % shape.ways if shape.ways > 1 else 0
        place = run if shape.ways == 1 else way * (shape.span // lanes) + run
        begin = line(wanted.token, wanted.block)
        mantissas = clocked_read(m, store, begin * shape.slices + wanted.slice, wanted.enable)
        m.d.comb += [
            self.write.ready.eq(1),
            into.addr.eq(line(given.token, given.block) * shape.slices + given.word // runs),
            into.en.eq(Mux(self.write.valid, 1 << place, 0)),
            exponent_into.addr.eq(line(given.token, given.block)),
            exponent_into.en.eq(Mux(self.write.valid, 1 << way, 0)),
            Value.cast(wanted.mantissas).eq(mantissas),
            Value.cast(wanted.exponents).eq(clocked_read(m, exponents, begin, wanted.enable)),
        ]
        for index in range(runs):
            m.d.comb += into.data[index].eq(Cat(given.mantissas))
        for index in range(shape.ways):
            m.d.comb += exponent_into.data[index].eq(given.exponent)
        return m
