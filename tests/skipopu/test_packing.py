"""Every packing scheme, lane by lane: by exhaustion, and by SMT for sums of many terms."""

from __future__ import annotations

import itertools

import numpy
import pytest
import z3

from dyncc.arch.skipopu.packing import MANTISSAS, SCHEMES, Packing
from dyncc.core.errors import ConfigError

schemes = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))


def span(limits: tuple[int, int]) -> numpy.ndarray:
    return numpy.arange(limits[0], limits[1] + 1, dtype=numpy.int64)


def operands(scheme: Packing) -> tuple[list[numpy.ndarray], list[numpy.ndarray]]:
    """Every combination of weights and activations, on axes of their own."""
    axes = [span(scheme.weight_range)] * len(scheme.weight_offsets)
    axes += [span(scheme.activation_range)] * len(scheme.activation_offsets)
    grid = list(numpy.ix_(*axes))
    return grid[: len(scheme.weight_offsets)], grid[len(scheme.weight_offsets) :]


def fits(values: numpy.ndarray, bits: int) -> bool:
    return bool(values.min() >= -(1 << (bits - 1)) and values.max() < 1 << (bits - 1))


@schemes
def test_a_product_of_every_combination(scheme: Packing) -> None:
    weights, activations = operands(scheme)
    packed, other = scheme.pack_weights(*weights), scheme.pack_activations(*activations)
    assert fits(packed, scheme.weight_port)
    assert fits(other, scheme.activation_port)
    found = scheme.unpack(packed * other)
    expected = [w * x for x, w in itertools.product(activations, weights)]
    assert len(found) == scheme.products
    for lane, product in zip(found, expected, strict=True):
        assert (lane == product).all()


@schemes
def test_sums_of_all_terms_by_smt(scheme: Packing) -> None:
    """The result is the sum of the lanes' sums at their offsets, whatever was added.

    That one product is so was shown for every combination; the sum of `terms` of them is linear.
    """
    low, high = bounds(scheme)
    bits = scheme.result_bits
    sums = [z3.BitVec(f"lane_{lane}", bits) for lane in range(scheme.products)]
    within = [z3.And(lane >= scheme.terms * low, lane <= scheme.terms * high) for lane in sums]
    total = sum(
        (lane << offset for lane, offset in zip(sums[1:], scheme.lanes[1:], strict=True)), sums[0]
    )
    found = scheme.unpack(total)
    wrong = z3.Or(*(lane != wanted for lane, wanted in zip(found, sums, strict=True)))
    assert prove(within, wrong) == z3.unsat
    # The result does not wrap: the same sum in twice the width is no larger.
    largest = sum(scheme.terms * high << offset for offset in scheme.lanes)
    assert largest < 1 << (bits - 1)


@schemes
def test_more_terms_than_stated_do_not_fit(scheme: Packing) -> None:
    """The proof can fail: with twice the terms there are lanes that come out wrong."""
    low, high = bounds(scheme)
    width = scheme.lanes[1] - scheme.lanes[0]
    assert scheme.terms * max(-low, high) < 1 << (width - 1)
    bits = scheme.result_bits
    lane, upper = z3.BitVecs("lane upper", bits)
    within = [z3.And(lane >= 2 * scheme.terms * low, lane <= 2 * scheme.terms * high), upper == 1]
    found = scheme.unpack(lane + (upper << width))
    if scheme.products == 2:
        assert prove(within, z3.Or(found[0] != lane, found[1] != upper)) == z3.sat
    else:
        assert prove(within, found[0] != lane) == z3.sat


def bounds(scheme: Packing) -> tuple[int, int]:
    """Smallest and largest product."""
    products = [w * x for w, x in itertools.product(scheme.weight_range, scheme.activation_range)]
    return min(products), max(products)


def prove(assumptions: list[z3.BoolRef], negation: z3.BoolRef) -> z3.CheckSatResult:
    solver = z3.Solver()
    solver.add(*assumptions, negation)
    return solver.check()


@pytest.mark.parametrize("name", MANTISSAS)
def test_mantissas_that_overlap(name: str) -> None:
    """All pairs of a first and an other mantissa with a spread of second ones; SMT covers the rest.

    A second mantissa enters through its product alone, and through that modulo a power of two.
    """
    scheme = MANTISSAS[name]
    mantissas = numpy.arange(1 << scheme.bits, dtype=numpy.int64)
    for second in (0, 1, 127, 128, 1023, 1024, 1365, 2046, 2047):
        packed = scheme.pack(mantissas[:, None], second)
        assert packed.max() < 1 << (scheme.weight_port - 1)
        found = scheme.unpack(packed * mantissas, second, mantissas)
        assert (found[0] == mantissas[:, None] * mantissas).all()
        assert (found[1] == second * mantissas).all()
    assert mantissas.max() < 1 << (scheme.activation_port - 1)

    # p1 and p2 stand for the products; p2 is known modulo 2^overlap.
    bits = scheme.result_bits
    first, second_product = z3.BitVecs("p1 p2", bits)
    limit = ((1 << scheme.bits) - 1) ** 2
    within = [z3.ULE(first, limit), z3.ULE(second_product, limit)]
    mask = (1 << scheme.overlap) - 1
    result = first + (second_product << scheme.offset)
    found_first, found_second = scheme.unpack(result, second_product & mask, 1)
    wrong = z3.Or(found_first != first, found_second != second_product)
    assert prove(within, wrong) == z3.unsat
    missing = scheme.unpack(result, z3.BitVecVal(0, bits), 1)
    assert prove(within, missing[0] != first) == z3.sat


def test_wrong_number_of_weights() -> None:
    with pytest.raises(ConfigError, match="packs 2 values, not 3"):
        SCHEMES["ecp5_int4_bfp8"].pack_weights(1, 2, 3)
