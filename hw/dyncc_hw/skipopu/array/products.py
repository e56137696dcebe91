"""Dot products of blocks: the multipliers of the PE array, and the sums behind them."""

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Mux, Value, signed
from amaranth.lib import data

from dyncc_hw.skipopu.arithmetic.f25 import fit
from dyncc_hw.skipopu.arithmetic.packed import lanes_of, operand
from dyncc_hw.skipopu.arithmetic.pipeline import WHEN, Pipe, Timed, Unit, joined
from dyncc_hw.skipopu.shape import NIBBLE, ArrayShape


class BlockProducts(Unit):
    """Integer dot products of blocks of weights and activations, for all rows at once.

    Throughput: a slice of the columns a cycle. Latency: `latency` cycles from the last slice of a
    block. A multiplier holds `products` 4-bit weights of as many outputs, or one wide weight of the
    first of them. Products that a scheme may add up are added before lanes are taken apart.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    input
        `weights` of each row and column, 4-bit ones from the lowest bit on; `activations` of each
        column; `wide` for wide weights; `unsigned` for 4-bit weights in 0..15; `first` and `last`
        slice of a block. A slice of several blocks is both.
    output
        `products` of each row, lane and way; `sums` of the mantissas of each way.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        weights = data.ArrayLayout(shape.weight_bits, arch.columns)
        ways = data.ArrayLayout(signed(shape.product_bits), shape.ways)
        lanes = data.ArrayLayout(ways, arch.products)
        packed, apart = self._groups()
        super().__init__(
            {
                "weights": data.ArrayLayout(weights, arch.rows),
                "activations": data.ArrayLayout(signed(arch.mantissa_bits), arch.columns),
                "wide": 1, "unsigned": 1, "first": 1, "last": 1,
            },
            {
                "products": data.ArrayLayout(lanes, arch.rows),
                "sums": data.ArrayLayout(signed(shape.sum_bits), shape.ways),
            },
            # Operands, products, unpacking, accumulation, the offset of unsigned weights.
            5 + stages(packed) + stages(apart),
        )  # fmt: skip

    def _groups(self) -> tuple[int, int]:
        """Products that are added in a packed form, and such sums in a block's part of a slice."""
        size = min(self.shape.scheme.terms, self.shape.span)
        return size, -(-self.shape.span // size)

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """Rows side by side; the sums of mantissas are common to all."""
        shape, arch = self.shape, self.shape.arch
        first, last = given["first"], given["last"]
        activations = [
            pipe.stage(lambda value: value, Timed(given["activations"].value[column]))
            for column in range(arch.columns)
        ]
        sums = []
        for way in range(shape.ways):
            part = activations[way * shape.span : (way + 1) * shape.span]
            total = pipe.total(part, shape.sum_bits)
            sums.append(pipe.accumulate(total, first, shape.sum_bits))
        missing = [pipe.stage(self._missing, total, given["unsigned"]) for total in sums]
        found = []
        for row in range(arch.rows):
            operands = [
                pipe.stage(
                    self._operand, Timed(given["weights"].value[row][column]),
                    given["wide"], given["unsigned"],
                )
                for column in range(arch.columns)
            ]  # fmt: skip
            ways = []
            for way in range(shape.ways):
                held = slice(way * shape.span, (way + 1) * shape.span)
                names = [product_name(row, column) for column in range(arch.columns)][held]
                lanes = self._row(pipe, names, operands[held], activations[held], given["wide"])
                ways.append(
                    [
                        pipe.stage(
                            self._finish,
                            pipe.accumulate(lane, first, shape.product_bits),
                            missing[way],
                        )
                        for lane in lanes
                    ]
                )  # fmt: skip
            found += [lanes[lane] for lane in range(arch.products) for lanes in ways]
        return {
            "products": joined(pipe, found), "sums": joined(pipe, sums), WHEN: last,
        }  # fmt: skip

    def _operand(self, weight: Any, wide: Any, unsigned: Any) -> Value:
        """What goes into a multiplier; unsigned weights less 8."""
        shape, count = self.shape, self.shape.arch.products
        nibbles = [weight[NIBBLE * lane : NIBBLE * (lane + 1)] for lane in range(count)]
        moved = [Cat(nibble[:-1], nibble[-1] ^ unsigned).as_signed() for nibble in nibbles]
        port = shape.scheme.weight_port
        return Mux(
            wide, fit(weight[: shape.wide_bits].as_signed(), port), operand(shape.scheme, *moved)
        )

    def _row(
        self, pipe: Pipe, names: Sequence[str], weights: Sequence[Timed],
        activations: Sequence[Timed], wide: Timed,
    ) -> list[Timed]:  # fmt: skip
        """The sums of the lanes of a row over a block's part of a slice."""
        shape, scheme = self.shape, self.shape.scheme
        size, _ = self._groups()
        products = [
            pipe.stage(lambda w, x: w * x, w, x, name=name)
            for name, w, x in zip(names, weights, activations, strict=True)
        ]

        def take_apart(total: Any, wide: Any) -> Any:
            lanes = lanes_of(scheme, total, size)
            # A wide weight's products are one number.
            whole = fit(total, shape.product_bits)
            return (Mux(wide, whole, lanes[0]), *lanes[1:])

        groups = []
        for begin in range(0, len(products), size):
            total = pipe.total(products[begin : begin + size], scheme.result_bits)
            groups.append(pipe.stage(take_apart, total, wide))
        return [pipe.total(lane, shape.product_bits) for lane in zip(*groups, strict=True)]

    def _missing(self, total: Any, unsigned: Any) -> Value:
        """What unsigned weights lack: 8 times the sum of the mantissas."""
        return fit(Mux(unsigned, total << (NIBBLE - 1), 0), self.shape.product_bits)

    def _finish(self, product: Any, missing: Any) -> Value:
        return fit(product + missing, self.shape.product_bits)


def product_name(row: int, column: int) -> str:
    """Name of the register behind a multiplier, by which a floor plan finds it."""
    return f"product_{row}_{column}"


def stages(count: int, radix: int = 4) -> int:
    """Stages of `Pipe.total` of so many values."""
    found = 0
    while count > 1:
        count, found = -(-count // radix), found + 1
    return found
