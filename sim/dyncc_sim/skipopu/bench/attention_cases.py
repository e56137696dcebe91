"""Items for softmax, merging and the reductions, and what the twins make of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import GUARD, ZERO, WeightType, score_scale
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_hw.skipopu.arithmetic.reductions import InverseRms, Reducer
from dyncc_hw.skipopu.arithmetic.softmax import Merger, ProbabilityBlocks, Scorer, TileSoftmax
from dyncc_models.skipopu.numerics import attention, f25, functions, norms
from dyncc_models.skipopu.numerics.dot import accumulate, shift_round
from dyncc_models.skipopu.numerics.weights import Matrix
from dyncc_sim.pins import random_integers
from dyncc_sim.skipopu.bench.block_cases import COUNT, note, random_codes
from dyncc_sim.skipopu.bench.rig import Cases, Maker, steady

NOTHING = -(1 << 62)


def random_scores(draw: Any, size: int) -> Any:
    """Scores near to each other, others of all magnitudes."""
    near = draw.integers(-12 << 16, 12 << 16, size)
    return numpy.where(draw.random(size) < 0.7, near, random_integers(draw, 32, True, size))


def score(draw: Any) -> Cases:
    """Scores of a head of 64."""
    cases = Cases(Scorer(), required=("saturates", "zero"))
    scale = score_scale(64)
    for code in random_codes(draw, COUNT).tolist():
        cases.give(dot=code, scale=scale)
        found = functions.to_fixed(f25.multiply(code, scale), 16, attention.SCORE_BITS)
        cases.coverage["saturates"] += abs(found) == (1 << 31) - 1
        cases.coverage["zero"] += found == 0
        cases.want(score=found)
    return cases


def softmax(draw: Any) -> Cases:
    """Tiles of one to sixteen positions."""
    cases = Cases(TileSoftmax(), required=("full tiles", "tiles of one", "nothing", "ones"))
    for turn in range(60):
        size = [1, ATTENTION_TILE, int(draw.integers(1, ATTENTION_TILE + 1))][turn % 3]
        scores = random_scores(draw, size).tolist()
        if turn % 7 == 0:
            scores = [scores[0]] * size
        m, total = max(scores), 0
        cases.coverage["full tiles"] += size == ATTENTION_TILE
        cases.coverage["tiles of one"] += size == 1
        for number, fixed in enumerate(scores):
            last = number == size - 1
            cases.give(score=fixed, last=last)
            p = functions.probability(fixed - m)
            total += p
            cases.coverage["nothing"] += p == 0
            cases.coverage["ones"] += p == 1 << 16
            cases.want(p=p, m=m, d=f25.compose(False, total, -16), last=last)
    return cases


def weigh(bits: int, draw: Any) -> Cases:
    """Probabilities with exponents of values, some of blocks of zeros."""
    cases = Cases(
        ProbabilityBlocks(bits),
        required=("a block of zeros", "nothing", "saturates", "up", "empty"),
    )
    limit = (1 << (bits - 1)) - 1
    for turn in range(60):
        size = int(draw.integers(1, ATTENTION_TILE + 1))
        p = draw.integers(0, 1 << draw.integers(1, 18, size))
        p[p > 1 << 16] = 1 << 16
        p[0] = draw.choice([1 << 16, 0xFFFF, 0x1FF, 1])
        own = draw.integers(-9, 3, size) if turn % 4 else draw.integers(-130, 120, size)
        own = numpy.where(draw.random(size) < 0.2, ZERO, own)
        if turn % 10 == 0:
            own[:] = ZERO
        live = (p != 0) & (own != ZERO)
        needed = [
            e + f25.bit_length(q) + 1 - bits
            for q, e, there in zip(p.tolist(), own.tolist(), live, strict=True)
            if there
        ]
        shared = max([ZERO, *needed])
        cases.coverage["empty"] += not needed
        for number, (q, e, there) in enumerate(zip(p.tolist(), own.tolist(), live, strict=True)):
            last = number == size - 1
            cases.give(p=q, own=e, last=last)
            weight = min(shift_round(q, shared - e), limit) if there else 0
            cases.coverage["a block of zeros"] += e == ZERO
            cases.coverage["nothing"] += there and weight == 0
            cases.coverage["saturates"] += weight == limit
            cases.coverage["up"] += there and shared < e
            cases.want(weight=weight, shared=shared, last=last)
    return cases


def merge(draw: Any) -> Cases:
    """States of tiles, in which either maximum is the larger; some are the first."""
    cases = Cases(Merger(), required=("fresh", "equal", "mine", "theirs", "one vanishes"))
    scores = random_scores(draw, 2 * COUNT).reshape(-1, 2)
    scores[::9, 1] = scores[::9, 0]
    codes = random_codes(draw, 2 * COUNT).reshape(-1, 2)
    fresh = draw.random(COUNT) < 0.1
    for (mine_m, theirs_m), (mine, theirs), first in zip(
        scores.tolist(), codes.tolist(), fresh.tolist(), strict=True
    ):
        state = numpy.array([NOTHING if first else mine_m, mine, 0], numpy.int64)
        attention.merge(state, theirs_m, theirs, numpy.zeros(1, numpy.int64))
        cases.give(mine_m=mine_m, mine=mine, theirs_m=theirs_m, theirs=theirs, fresh=first)
        cases.coverage["fresh"] += first
        cases.coverage["equal"] += not first and mine_m == theirs_m
        cases.coverage["mine"] += not first and mine_m > theirs_m
        cases.coverage["theirs"] += not first and mine_m < theirs_m
        cases.coverage["one vanishes"] += not first and abs(mine_m - theirs_m) > 200 << 16
        cases.want(m=int(state[0]), result=int(state[1]))
    return cases


def reduce(block: int, lanes: int, serial: bool, draw: Any) -> Cases:
    """Vectors of up to six blocks with the four rows of a router."""
    most = 6
    unit = Reducer(block, most, lanes, serial=serial)
    cases = Cases(
        unit, required=("ties", "attention", "no attention", "mlp", "no mlp", "zeros", "extreme")
    )
    top = 12
    for turn in range(30):
        blocks, extreme = int(draw.integers(1, most + 1)), turn % 5 == 0
        size = (blocks, block)
        x = draw.integers(-32767, 32768, size)
        exponents = draw.integers(-20, 12, blocks)
        weights = draw.integers(-32768, 32768, (4, *size))
        weight_exponents = draw.integers(top - 30, top + 1, (4, blocks))
        # Every vector has the header's exponent somewhere.
        weight_exponents[0, 0] = top
        if extreme:
            x[:], weights[:] = 32767, 32767
            exponents[:], weight_exponents[:] = exponents[0], top
        if turn % 5 == 1:
            weights[1], weight_exponents[1] = weights[0], weight_exponents[0]
        if turn % 5 == 2:
            x[0], exponents[0] = 0, ZERO
        if turn % 15 == 3:
            x[:], exponents[:] = 0, ZERO
        flat = x.reshape(-1).astype(numpy.int16)
        none = numpy.zeros((4, blocks), numpy.int64)
        matrix = Matrix(
            WeightType.BFP16, block, weights.reshape(4, -1).astype(numpy.int16), none + 1,
            weight_exponents, none, none, top, ZERO,
        )  # fmt: skip
        logits, _ = accumulate(matrix, flat[None], exponents[None])
        squares, base = _squares(x, exponents)
        for b in range(blocks):
            for first in range(0, block, lanes):
                part = slice(first, first + lanes)
                ends = first + lanes == block
                cases.give(
                    mantissas=x[b, part].tolist(), weights=weights[:, b, part].tolist(),
                    begins=first == 0, ends=ends, exponent=exponents[b],
                    weight_exponents=weight_exponents[:, b].tolist(),
                    last=ends and b == blocks - 1, top=top,
                )  # fmt: skip
        attention_runs, mlp_runs = logits[0, 1] > logits[0, 0], logits[0, 3] > logits[0, 2]
        cases.want(squares=squares, base=base, attention=attention_runs, mlp=mlp_runs)
        cases.coverage["ties"] += logits[0, 1] == logits[0, 0]
        cases.coverage["attention" if attention_runs else "no attention"] += 1
        cases.coverage["mlp" if mlp_runs else "no mlp"] += 1
        cases.coverage["zeros"] += bool((exponents == ZERO).all())
        cases.coverage["extreme"] += extreme
    return cases


def _squares(x: Any, exponents: Any) -> tuple[int, int]:
    """The sum inside of `norms.inverse_rms`, which does not return it; `rms` compares the whole."""
    base = 2 * int(exponents.max()) - GUARD
    total = 0
    for row, e in zip(x.tolist(), exponents.tolist(), strict=True):
        total += shift_round(sum(number * number for number in row), base - 2 * e)
    return total, base


def rms(draw: Any) -> Cases:
    """Whole vectors of blocks, of which the unit gets the sum of squares."""
    cases = Cases(InverseRms(56), required=("largest", "zeros", "usual"))
    for turn in range(200):
        blocks = int(draw.integers(1, 20))
        x = draw.integers(-32767, 32768, (blocks, 32))
        exponents = draw.integers(-30, 2, blocks)
        if turn % 4 == 0:
            exponents = draw.integers(-140, 110, blocks)
        if turn % 20 == 0:
            x[:], exponents[:] = 0, ZERO
        eps = 0 if turn % 3 == 0 else int(f25.from_float(1e-5))
        squares, base = _squares(x, exponents)
        found = norms.inverse_rms(x.reshape(-1).astype(numpy.int16), exponents, 32, eps)
        cases.give(squares=squares, base=base, count=x.size, eps=eps)
        note(cases, int(found))
        cases.coverage["zeros"] += squares == 0
        cases.coverage["usual"] += 110 < found >> 16 < 144
        cases.want(result=int(found))
    return cases


ATTENTION: dict[str, Maker] = {
    "score": score,
    "softmax": softmax,
    "weigh_8": partial(weigh, 8),
    "weigh_12": partial(weigh, 12),
    "merge": merge,
    "reduce_32_by_16": partial(reduce, 32, 16, False),
    "reduce_32_by_16_serial": partial(reduce, 32, 16, True),
    "reduce_32_steady": partial(steady, partial(reduce, 32, 1, False)),
    "reduce_32_serial_steady": partial(steady, partial(reduce, 32, 1, True)),
    "reduce_128_by_8_steady": partial(steady, partial(reduce, 128, 8, False)),
    "rms": rms,
}
