"""What the learning engine and dynamic termination are told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dyncc.arch.fields import Code
from dyncc.arch.neurocorex.spec import (
    FACTOR_BITS,
    LAGS,
    TABLE_ENTRIES,
    TABLE_FRACTION_BITS,
    TRACE_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    CoreSpec,
)
from dyncc.core.errors import ConfigError


class Rule(Code):
    """How synapses learn; see `dyncc_models.spiking.learning`."""

    OFF = 0, "no weight changes"
    TRACES = 1, "pairs of spikes, with exponential traces"
    WINDOWS = 2, "pairs of spikes within a window, as in the published core"
    LAGS = 3, "an amount for each lag, as in SuperNeuroMAT"


@dataclass(frozen=True)
class Learning:
    """Parameters of STDP; traces and rates in Q.12, weights carry 8 fraction bits.

    Attributes
    ----------
    decay_pre, decay_post
        Factors of the traces in a step, Q.16 (`Rule.TRACES`); below one, a trace loses at least
        one unit.
    bump_pre, bump_post
        What a spike adds to a trace; with `Rule.WINDOWS`, the steps for which it counts.
    rate_plus, rate_minus
        Learning rates: weight change for a trace of one, in delivered weight units; with
        `Rule.WINDOWS` the change for a pair within the window.
    weight_min, weight_max
        Bounds of delivered weights.
    rule
        Which rule.
    lags
        With `Rule.LAGS`: by how much, in 1/256 of a weight unit, a synapse grows if its spike was
        delivered that many steps before the neuron fired; at most `spec.LAGS`.
    drift
        With `Rule.LAGS`: what every plastic synapse gains in each step, same unit.
    """

    decay_pre: int = 0
    decay_post: int = 0
    bump_pre: int = 1 << TRACE_FRACTION_BITS
    bump_post: int = 1 << TRACE_FRACTION_BITS
    rate_plus: int = 0
    rate_minus: int = 0
    weight_min: int = -128
    weight_max: int = 127
    rule: Rule = Rule.TRACES
    lags: tuple[int, ...] = ()
    drift: int = 0

    def __post_init__(self) -> None:
        for name in ("decay_pre", "decay_post"):
            if not 0 <= getattr(self, name) <= 1 << FACTOR_BITS:
                raise ConfigError(f"{name} must be in 0..{1 << FACTOR_BITS}")
        for name in ("bump_pre", "bump_post", "rate_plus", "rate_minus"):
            if not 0 <= getattr(self, name) < 1 << TRACE_BITS:
                raise ConfigError(f"{name} must be in 0..65535, not {getattr(self, name)}")
        if self.weight_min > self.weight_max:
            raise ConfigError("weight_min must not be above weight_max")
        if len(self.lags) > LAGS:
            raise ConfigError(f"the core looks back {LAGS} steps, not {len(self.lags)}")

    def registers(self, spec: CoreSpec) -> dict[str, int]:
        """Control registers of a core that learns so.

        Raises
        ------
        ConfigError
            If a lag, the drift or a bound is out of the core's range.
        """
        low, high = spec.weight_range
        one = 1 << WEIGHT_FRACTION_BITS
        for name in ("weight_min", "weight_max"):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be in {low}..{high}, not {getattr(self, name)}")
        for value in (*self.lags, self.drift):
            if not low * one <= value < (high + 1) * one:
                raise ConfigError(
                    f"a lag and the drift must be in {low * one}..{(high + 1) * one - 1}, "
                    f"not {value}"
                )
        names = ("decay_pre", "decay_post", "bump_pre", "bump_post", "rate_plus", "rate_minus")
        lags = (*self.lags, *(0,) * LAGS)[:LAGS]
        return {
            "rule": int(self.rule),
            **{name: getattr(self, name) for name in names},
            "weight_min": self.weight_min * one,
            "weight_max": (self.weight_max + 1) * one - 1,
            "drift": self.drift if self.rule == Rule.LAGS else 0,
            **{f"lag_{lag}": value for lag, value in enumerate(lags)},
        }


class Test(Code):
    """When dynamic termination stops a run; see `dyncc_models.spiking.termination`."""

    NEVER = 0, "runs to the end"
    MARGIN = 1, "distance of the best two scores"
    SOFTMAX = 2, "softmax of the best score"


@dataclass(frozen=True)
class Termination:
    """Parameters of dynamic termination (Li, Jones and Furber, ICCV 2023).

    The scores are the potentials of consecutive neurons.

    Attributes
    ----------
    test
        Which test.
    first_class, class_count
        The neurons that are watched.
    limit
        With `Test.MARGIN` the least distance (Q.16) between the best two scores; with
        `Test.SOFTMAX` the largest sum of table entries (Q.12).
    shift
        Bits dropped from a distance to the best score before it enters the table.
    table
        `TABLE_ENTRIES` entries, Q.12; larger distances count as 0.
    least_steps
        Steps before which the test does not hold.
    """

    test: Test
    first_class: int
    class_count: int
    limit: int
    shift: int = 0
    table: tuple[int, ...] = (0,) * TABLE_ENTRIES
    least_steps: int = 1

    @staticmethod
    def softmax(
        first_class: int, class_count: int, confidence: float, alpha: float, least_steps: int = 1
    ) -> Termination:
        """The test ``max softmax(v / alpha) >= confidence``, without a division.

        It holds if ``sum_k exp(-(v_max - v_k) / alpha) <= 1 / confidence``.

        Parameters
        ----------
        confidence
            In (0, 1).
        alpha
            In units of potential.
        """
        if not 0 < confidence < 1 or not alpha > 0:
            raise ConfigError(
                f"confidence must be in (0, 1) and alpha positive, not {confidence:g}, {alpha:g}"
            )
        # The table reaches to where an entry rounds to nothing: exp(-9) * 4096 < 0.5.
        shift = max(0, math.ceil(math.log2(9.1 * alpha * (1 << 16) / TABLE_ENTRIES)))
        if shift > 31:
            raise ConfigError(f"alpha is too large: {alpha:g}")
        one = 1 << TABLE_FRACTION_BITS
        step = (1 << shift) / (1 << 16) / alpha
        # An entry stands for the middle of its interval, but the first, which the best score hits.
        middles = [0.0, *(i + 0.5 for i in range(1, TABLE_ENTRIES))]
        return Termination(
            Test.SOFTMAX, first_class, class_count, math.floor(one / confidence), shift,
            tuple(round(one * math.exp(-step * i)) for i in middles), least_steps,
        )  # fmt: skip

    def registers(self, spec: CoreSpec) -> dict[str, int]:
        """Control registers; raises ConfigError if a value does not fit the core."""
        if not 1 <= self.class_count <= spec.classes:
            raise ConfigError(
                f"the core watches up to {spec.classes} classes, not {self.class_count}"
            )
        if not 0 <= self.first_class <= spec.neurons - self.class_count:
            raise ConfigError(
                f"classes {self.first_class}..{self.first_class + self.class_count - 1} "
                f"are not neurons of the core, which has {spec.neurons}"
            )
        if len(self.table) != TABLE_ENTRIES or not all(
            0 <= entry <= 1 << TABLE_FRACTION_BITS for entry in self.table
        ):
            raise ConfigError(
                f"the table must have {TABLE_ENTRIES} entries in 0..{1 << TABLE_FRACTION_BITS}"
            )
        for name, bits in (("limit", 32), ("shift", 5), ("least_steps", 16)):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise ConfigError(f"{name} must be in 0..{(1 << bits) - 1}")
        names = ("first_class", "class_count", "limit", "shift", "least_steps")
        return {"test": int(self.test), **{name: getattr(self, name) for name in names}}
