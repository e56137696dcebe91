"""What the learning engine is told."""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.neurocorex.spec import FACTOR_BITS, TRACE_FRACTION_BITS
from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class Learning:
    """Parameters of trace-based STDP; traces and rates in Q.12, weights carry 8 fraction bits.

    Attributes
    ----------
    decay_pre, decay_post
        Factors of the traces in a step, Q.16.
    bump_pre, bump_post
        What a spike adds to a trace.
    rate_plus, rate_minus
        Learning rates: weight change for a trace of one, in delivered weight units.
    weight_min, weight_max
        Bounds of delivered weights.
    """

    decay_pre: int
    decay_post: int
    bump_pre: int = 1 << TRACE_FRACTION_BITS
    bump_post: int = 1 << TRACE_FRACTION_BITS
    rate_plus: int = 0
    rate_minus: int = 0
    weight_min: int = -128
    weight_max: int = 127

    def __post_init__(self) -> None:
        for name in ("decay_pre", "decay_post"):
            if not 0 <= getattr(self, name) <= 1 << FACTOR_BITS:
                raise ConfigError(f"{name} must be in 0..{1 << FACTOR_BITS}")
        for name in ("bump_pre", "bump_post", "rate_plus", "rate_minus"):
            if not 0 <= getattr(self, name) < 1 << 16:
                raise ConfigError(f"{name} must be in 0..65535, not {getattr(self, name)}")
        if self.weight_min > self.weight_max:
            raise ConfigError("weight_min must not be above weight_max")
