"""Root mean squares, from blocks with 16-bit mantissas."""

from __future__ import annotations

from typing import Any

from numba import njit

from dyncc.arch.skipopu.formats import GUARD, ZERO
from dyncc_models.skipopu.numerics.dot import shift_round
from dyncc_models.skipopu.numerics.f25 import add, compose, multiply
from dyncc_models.skipopu.numerics.functions import inverse_root, reciprocal

#: Mantissas of what routers and norms read.
WIDE_BITS = 16


@njit(cache=True)
def inverse_rms(mantissas: Any, exponents: Any, block: int, eps: int) -> int:
    """1 / sqrt(mean(x^2) + eps) as F25.

    Parameters
    ----------
    mantissas, exponents
        Blocks of x with `WIDE_BITS`.
    eps
        F25.
    """
    top = ZERO
    for e in exponents:
        top = max(top, e)
    total, base = 0, 2 * top - GUARD
    if top != ZERO:
        for b in range(exponents.shape[0]):
            if exponents[b] == ZERO:
                continue
            square = 0
            for i in range(b * block, (b + 1) * block):
                square += int(mantissas[i]) * int(mantissas[i])
            total += shift_round(square, base - 2 * exponents[b])
    count = compose(False, mantissas.shape[0], 0)
    mean = multiply(compose(False, total, base), reciprocal(count))
    return inverse_root(add(mean, eps))
