"""Integer twins of the arithmetic, against exact rational numbers and float64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dyncc.arch.skipopu.formats import GUARD, ZERO, KvType, WeightType, score_scale
from dyncc.arch.skipopu.matrices import matrix_bytes, quantise, to_memory
from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.error_contract import bounds
from dyncc_models.skipopu.error_contract.dots import numbers as real
from dyncc_models.skipopu.numerics import f25
from dyncc_models.skipopu.numerics import functions as twin
from dyncc_models.skipopu.numerics.attention import attend
from dyncc_models.skipopu.numerics.bfp import from_bfp, to_bfp
from dyncc_models.skipopu.numerics.dot import accumulate, exact, reconstruct
from dyncc_models.skipopu.numerics.kv import from_slots, to_half, to_slot
from dyncc_models.skipopu.numerics.norms import WIDE_BITS, inverse_rms
from dyncc_models.skipopu.numerics.weights import Matrix, from_memory

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6)


def code(value: float) -> int:
    return int(f25.from_float(numpy.float32(value)))


def fraction(found: int) -> Fraction:
    return Fraction(float(f25.to_float(found)))


def nearest(value: Fraction) -> Fraction:
    """The F25 nearest to a rational number, halves to even, by another way than the twin's."""
    if value == 0:
        return Fraction(0)
    size = abs(value)
    exponent = math.floor(math.log2(size))
    while Fraction(2) ** exponent > size:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    unit = Fraction(2) ** (exponent - 16)
    found = round(size / unit) * unit  # Python rounds halves to even
    found = min(found, Fraction(2) ** 128 - Fraction(2) ** 111)
    if found < Fraction(2) ** -126:
        found = Fraction(0)
    return found if value > 0 else -found


@given(finite)
def test_conversion_rounds_to_nearest(value: float) -> None:
    # What rounds below the smallest normal number is zero before it is rounded.
    assume(value == 0 or abs(value) >= 2.0**-126)
    assert fraction(code(value)) == nearest(Fraction(value))


@given(finite, finite)
def test_sums_and_products_are_exact_and_rounded_once(x: float, y: float) -> None:
    a, b = code(x), code(y)
    assert fraction(f25.add(a, b)) == nearest(fraction(a) + fraction(b))
    assert fraction(f25.multiply(a, b)) == nearest(fraction(a) * fraction(b))
    assert (f25.order(a) < f25.order(b)) == (fraction(a) < fraction(b))
    assert int(f25.add_all(numpy.int32(a), numpy.int32(b))) == f25.add(a, b)


@given(st.integers(0, 0xFFFF))
def test_binary16_comes_back(bits: int) -> None:
    if bits >> 10 & 31 == 31:
        return
    value = numpy.array([bits], "<u2").view("<f2")[0]
    found = f25.from_half(bits)
    assert fraction(found) == Fraction(float(value))
    expected = 0 if bits == 0x8000 else bits
    assert to_half(found) == expected


@given(moderate)
def test_binary16_rounds_to_nearest(value: float) -> None:
    number = float(fraction(code(value)))
    found = numpy.array([to_half(code(value))], "<u2").view("<f2")[0]
    assert found == numpy.float64(max(-65504.0, min(65504.0, number))).astype(numpy.float16)


def test_limits_of_functions() -> None:
    assert twin.reciprocal(0) == f25.LARGEST
    assert twin.inverse_root(0) == twin.inverse_root(code(-2.0)) == f25.LARGEST
    assert twin.power_of_two(-200 << 16) == 0
    assert twin.power_of_two(200 << 16) == f25.LARGEST
    assert twin.probability(0) == 1 << 16
    assert twin.probability(-60 << 16) == 0
    assert twin.to_fixed(code(1e30), 16, 32) == (1 << 31) - 1
    assert twin.to_fixed(code(-1e30), 16, 32) == -(1 << 31) + 1
    assert twin.to_fixed(code(2.0**-17), 16, 32) == 0  # a half, to even
    assert twin.to_fixed(code(1.5 * 2.0**-16), 16, 32) == 2


@given(st.floats(-30, 30, width=32), moderate)
def test_swiglu(a: float, b: float) -> None:
    x, y = float(fraction(code(a))), float(fraction(code(b)))
    found = float(fraction(int(twin.swiglu(*numpy.int32([code(a), code(b)])))))
    assert found == pytest.approx(x / (1 + math.exp(-x)) * y, rel=bounds.SWIGLU.value(x), abs=1e-12)


@given(st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8), st.floats(-50, 50))
def test_rotations_keep_lengths(values: list[float], angle: float) -> None:
    vector = f25.from_float(numpy.float32(values)).reshape(2, 4)
    angles = numpy.float32([angle, angle / 7])
    turns = f25.from_float(numpy.cos(angles)), f25.from_float(numpy.sin(angles))
    found = twin.rope(vector, *turns)
    pairs, turned = (f25.to_float(v).astype(float).reshape(-1, 2) for v in (vector, found))
    c, s = (
        numpy.tile(numpy.cos(angles.astype(float)), 2),
        numpy.tile(numpy.sin(angles.astype(float)), 2),
    )
    expected = numpy.stack(
        (pairs[:, 0] * c - pairs[:, 1] * s, pairs[:, 0] * s + pairs[:, 1] * c), axis=1
    )
    length = numpy.hypot(pairs[:, 0], pairs[:, 1])[:, None]
    # Angles are binary32.
    assert (numpy.abs(turned - expected) <= length * bounds.ROPE.value() * 1.01).all()


blocks = st.lists(st.one_of(moderate, st.just(0.0)), min_size=64, max_size=64)


@given(blocks, st.sampled_from([8, 12, 16]))
def test_blocks_round_each_number_to_nearest(values: list[float], bits: int) -> None:
    codes = f25.from_float(numpy.float32(values))
    mantissas, exponents = to_bfp(codes, 32, bits)
    limit = (1 << (bits - 1)) - 1
    for block in range(2):
        part = [fraction(int(c)) for c in codes[block * 32 : block * 32 + 32]]
        m = mantissas[block * 32 : block * 32 + 32]
        largest = max(abs(x) for x in part)
        if largest == 0:
            assert exponents[block] == ZERO
            assert not m.any()
            continue
        unit = Fraction(2) ** int(exponents[block])
        assert largest < unit * 2 ** (bits - 1) <= 2 * largest
        assert [int(i) for i in m] == [max(-limit, min(limit, round(x / unit))) for x in part]
    again = from_bfp(mantissas, exponents, 32)
    assert (to_bfp(again, 32, bits)[0] * 1.0 == mantissas).all() or limit in abs(mantissas)


def random_matrix(
    kind: WeightType, rows: int, columns: int, group: int, draw: numpy.random.Generator
) -> Matrix:
    values = draw.normal(size=(rows, columns)) * 2.0 ** draw.integers(-6, 6, (rows, 1))
    return from_memory(kind, columns, group, to_memory(kind, group, quantise(kind, values, group)))


KINDS = pytest.mark.parametrize("kind", WeightType)


@KINDS
@pytest.mark.parametrize("group", [32, 128])
def test_matrices_hold_what_was_rounded(kind: WeightType, group: int) -> None:
    draw = numpy.random.default_rng(1)
    values = draw.normal(size=(6, 256))
    content = to_memory(kind, group, quantise(kind, values, group))
    assert len(content) == matrix_bytes(kind, 6, 256, group)
    found = real(from_memory(kind, 256, group, content)).reshape(-1, group)
    parts = values.reshape(-1, group)
    spread = parts.max(1) - parts.min(1) if kind == WeightType.Q4_1 else 2 * abs(parts).max(1)
    steps = {WeightType.Q4_1: 15, WeightType.Q8_0: 254, WeightType.Q4_0G: 14}.get(kind, 65534)
    # Half a step, and binary16 scales and minima.
    allowed = spread / steps / 2 * 1.02 + spread * 2.0**-10 + abs(parts).max(1) * 2.0**-11
    assert (abs(found - parts).max(1) <= allowed).all()


def test_matrices_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="100 columns are not a multiple of 32"):
        quantise(WeightType.Q4_1, numpy.zeros((2, 100)), 32)
    with (
        pytest.raises(ConfigError, match=r"numbers up to 1e\+09 are too large for Q8_0"),
        numpy.errstate(over="ignore"),
    ):
        quantise(WeightType.Q8_0, numpy.full((1, 32), 1e9), 32)


@KINDS
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("group", [32, 128])
def test_accumulators_are_the_sum_of_rounded_terms(kind: WeightType, bits: int, group: int) -> None:
    """Every accumulator, term by term, in Python's integers."""
    draw = numpy.random.default_rng(2)
    matrix = random_matrix(kind, 5, 256, group, draw)
    x = draw.normal(size=(3, 256))
    x[1, :group] = 0.0
    width = WIDE_BITS if kind == WeightType.BFP16 else bits
    pairs = [to_bfp(f25.from_float(row.astype("f4")), group, width) for row in x]
    mantissas, exponents = (numpy.array(part) for part in zip(*pairs, strict=True))
    found, bases = accumulate(matrix, mantissas, exponents)

    def rounded(value: int, shift: int) -> int:
        return math.floor(Fraction(value) / Fraction(2) ** shift + Fraction(1, 2))

    for t in range(3):
        top = max(int(e) for e in exponents[t])
        assert bases[t] == max(matrix.top_scale, matrix.top_minimum) + top - GUARD
        for r in range(5):
            total = 0
            for g in range(256 // group):
                part = slice(g * group, g * group + group)
                w, m = matrix.weights[r, part].tolist(), mantissas[t, part].tolist()
                shift = int(bases[t] - exponents[t, g])
                if exponents[t, g] == ZERO:
                    continue
                product = sum(a * b for a, b in zip(w, m, strict=True)) * int(matrix.scales[r, g])
                total += rounded(product, shift - int(matrix.scale_exponents[r, g]))
                if matrix.minima[r, g]:
                    least = int(matrix.minima[r, g]) * sum(m)
                    total += rounded(least, shift - int(matrix.minimum_exponents[r, g]))
            assert found[t, r] == total
    assert numpy.abs(found).max() < 1 << 56


def extreme(
    kind: WeightType, rows: int, groups: int, group: int, bits: int, draw: numpy.random.Generator
) -> tuple[Matrix, numpy.ndarray, numpy.ndarray]:
    """A matrix and 5 vectors with numbers at the ends of their ranges and exponents far apart."""
    low, high = {
        WeightType.Q4_1: (0, 15), WeightType.Q8_0: (-128, 127), WeightType.Q4_0G: (-8, 7),
        WeightType.BFP16: (-32767, 32767),
    }[kind]  # fmt: skip
    limit = (1 << (bits - 1)) - 1
    shape = rows, groups
    weights = draw.choice([low, high, high, high], (rows, groups * group))
    scales = draw.choice([-2047, 2047, 2047, 1, 0], shape)
    minima = draw.choice([-2047, 2047, 5, 0], shape) * (kind == WeightType.Q4_1)
    if kind == WeightType.BFP16:
        scales = numpy.ones(shape, int)
    exponents = draw.integers(-24, 6, (2, *shape))
    matrix = Matrix(
        kind, group, weights.astype(numpy.int16 if kind == WeightType.BFP16 else numpy.int8),
        scales.astype(numpy.int64), exponents[0], minima.astype(numpy.int64), exponents[1], 5, 5,
    )  # fmt: skip
    mantissas = draw.choice([-limit, limit, limit, limit, 1], (5, groups * group))
    x_exponents = draw.integers(-60, 8, (5, groups)).astype(numpy.int32)
    mantissas[1, :group] = 0
    x_exponents[1, 0] = ZERO
    return matrix, mantissas.astype(numpy.int16), x_exponents


@KINDS
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("group", [32, 128])
def test_tokens_together_are_tokens_alone(kind: WeightType, bits: int, group: int) -> None:
    """And parts of a matrix; all are sums of Python's integers, also at the ends of ranges."""
    draw = numpy.random.default_rng(8)
    matrix, mantissas, exponents = extreme(kind, 150, 4, group, bits, draw)
    narrow = kind == WeightType.Q4_1 or kind == WeightType.Q4_0G or bits < 16
    assert exact(matrix, int(numpy.abs(mantissas).max())) == (kind != WeightType.BFP16 and narrow)
    found, bases = accumulate(matrix, mantissas, exponents)
    alone = [accumulate(matrix, mantissas[t : t + 1], exponents[t : t + 1])[0][0] for t in range(5)]
    assert (numpy.array(alone) == found).all()
    for first, end in ((0, 1), (10, 100), (64, 150), (70, 80)):
        part = matrix.part(5, 150).part(first - 5, end - 5) if first else matrix.part(0, end)
        assert (accumulate(part, mantissas, exponents)[0] == found[:, first:end]).all()

    def rounded(value: int, shift: int) -> int:
        return (value << -shift) if shift <= 0 else (value + (1 << (shift - 1))) >> shift

    weights, numbers = matrix.weights.reshape(150, 4, group).tolist(), mantissas.tolist()
    for t, r in ((0, 0), (0, 149), (1, 77), (2, 64), (3, 9), (4, 140)):
        total = 0
        for g in range(4):
            x = numbers[t][g * group : (g + 1) * group]
            shift = int(bases[t]) - int(exponents[t, g])
            dot = sum(q * m for q, m in zip(weights[r][g], x, strict=True))
            for item, value, own in (
                (matrix.scales, dot, matrix.scale_exponents),
                (matrix.minima, sum(x), matrix.minimum_exponents),
            ):
                total += rounded(int(item[r, g]) * value, shift - int(own[r, g]))
        assert found[t, r] == total


@KINDS
@pytest.mark.parametrize("bits", [8, 12])
def test_products_against_float64(kind: WeightType, bits: int) -> None:
    """From blocks on only the last rounding and half a unit of each term are lost."""
    draw = numpy.random.default_rng(3)
    matrix = random_matrix(kind, 16, 576, 32, draw)
    width = WIDE_BITS if kind == WeightType.BFP16 else bits
    mantissas, exponents = to_bfp(f25.from_float(draw.normal(size=576).astype("f4")), 32, width)
    accumulators, bases = accumulate(matrix, mantissas[None], exponents[None])
    none = numpy.zeros(0, numpy.int32), numpy.zeros((0, 0), numpy.int32)
    found = f25.to_float(reconstruct(accumulators, bases, *none))[0].astype(float)
    x = numpy.ldexp(mantissas.reshape(-1, 32).astype(float), exponents[:, None]).reshape(-1)
    expected = real(matrix) @ x
    lost = bounds.ACCUMULATOR.value(18 * 2) * 2.0 ** bases[0]
    assert (abs(found - expected) <= abs(expected) * bounds.U + lost).all()
    scalar, before = f25.from_float([0.37]), f25.from_float(draw.normal(size=(1, 16)))
    scaled = f25.to_float(reconstruct(accumulators, bases, scalar, before))[0]
    product = found * f25.to_float(scalar)
    wanted = product + f25.to_float(before)[0]
    size = abs(product) + abs(f25.to_float(before)[0])
    assert (numpy.abs(scaled - wanted) <= bounds.RECONSTRUCTION.value() * size).all()


@given(st.integers(0, 10**6), st.sampled_from([1e-6, 1.0, 1e5]))
@settings(max_examples=40)
def test_norms(seed: int, scale: float) -> None:
    x = (numpy.random.default_rng(seed).normal(size=96) * scale).astype("f4")
    codes = f25.from_float(x)
    found = float(fraction(inverse_rms(*to_bfp(codes, 32, WIDE_BITS), 32, code(1e-5))))
    values = f25.to_float(codes).astype(float)
    assert found == pytest.approx((numpy.mean(values**2) + 1e-5) ** -0.5, rel=bounds.RMS.value(32))


@pytest.mark.parametrize(
    ("kind", "bits", "bound"), [(KvType.BFP8, 8, 0.03), (KvType.F16, 12, 2e-3)]
)
def test_attention_against_float64(kind: KvType, bits: int, bound: float) -> None:
    draw = numpy.random.default_rng(4)
    positions, kv_heads, heads, size = 75, 2, 6, 64
    k, v = draw.normal(size=(2, positions, kv_heads * size)).astype("f4")
    q = draw.normal(size=(heads, size)).astype("f4")
    slots = numpy.array(
        [to_slot(kind, f25.from_float(a), f25.from_float(b)) for a, b in zip(k, v, strict=True)]
    )
    parts = from_slots(kind, slots, kv_heads, size, 32, bits)
    mantissas, exponents = to_bfp(f25.from_float(q.reshape(-1)), 32, bits)
    present = draw.random(positions) < 0.8
    present[16:32] = False  # a tile without any
    args = mantissas.reshape(heads, size), exponents.reshape(heads, -1), *parts
    found = attend(*args, present, 32, bits, score_scale(size))
    keys, values = (
        numpy.repeat(item.reshape(positions, kv_heads, size), heads // kv_heads, 1)[present]
        for item in (k.astype(float), v.astype(float))
    )
    scores = numpy.einsum("hs,ths->ht", q.astype(float), keys) / math.sqrt(size)
    shares = numpy.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    expected = numpy.einsum("ht,ths->hs", shares, values)
    error = f25.to_float(found) - expected
    assert numpy.sqrt((error**2).mean() / (expected**2).mean()) <= bound
    # Positions without a slot do not count, wherever tiles begin.
    alone = attend(
        *args[:2], *(part[present] for part in parts), numpy.ones(present.sum(), bool), 32, bits,
        score_scale(size),
    )  # fmt: skip
    assert numpy.abs(f25.to_float(alone) - expected).max() <= bound * 3
    nothing = attend(*args, numpy.zeros(positions, bool), 32, bits, score_scale(size))
    assert not nothing.any()


def test_slots() -> None:
    draw = numpy.random.default_rng(5)
    k, v = (f25.from_float(draw.normal(size=64).astype("f4")) for _ in range(2))
    k[:32] = 0
    slot = to_slot(KvType.BFP8, k, v)
    assert slot.dtype == numpy.uint8
    assert len(slot) == 2 * (64 + 2)
    found = from_slots(KvType.BFP8, slot[None], 1, 64, 32, 8)
    assert found[1][0, 0, 0] == ZERO
    for numbers, mantissas, exponents in ((k, *found[:2]), (v, *found[2:])):
        expected = to_bfp(numbers, 32, 8)
        assert (mantissas.reshape(-1) == expected[0]).all()
        assert (exponents.reshape(-1) == expected[1]).all()
    halves = from_slots(KvType.F16, to_slot(KvType.F16, k, v)[None], 1, 64, 32, 12)
    # Binary16 rounds to 11 bits before the block does.
    assert numpy.abs(halves[2].reshape(-1) - to_bfp(v, 32, 12)[0]).max() <= 1
