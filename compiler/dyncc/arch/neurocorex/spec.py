"""Size of a core, and the widths of its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dyncc.core.errors import ConfigError

#: Fraction bits of membrane potentials. With 12 or fewer, or with decay by shifts,
#: published LIF spike times come out wrong.
STATE_FRACTION_BITS = 16
#: Currents, and the gain from weights to current, have more: a current enters the membrane scaled
#: down by the step, and the gain multiplies sums of many weights.
CURRENT_FRACTION_BITS = 24
CURRENT_BITS = 32
#: Fraction bits of the decay factors; a factor of one is ``1 << FACTOR_BITS``.
FACTOR_BITS = 16
#: Fraction bits that a plastic weight carries below the bits that are delivered.
WEIGHT_FRACTION_BITS = 8
#: Fraction bits of STDP traces, and of the learning rates.
TRACE_FRACTION_BITS = 12


class Dynamics(IntEnum):
    """How a neuron's membrane potential moves; see `dyncc_models.spiking.twin`."""

    EXPONENTIAL = 0
    LINEAR_CLAMPED = 1
    LINEAR = 2


class Reset(IntEnum):
    """What a spike does to the membrane potential."""

    TO_VALUE = 0
    BY_SUBTRACTION = 1


@dataclass(frozen=True)
class CoreSpec:
    """Size of a core.

    Parameters
    ----------
    neurons
        Number of neurons, 1..4096.
    inputs
        Number of input lines, 0..4096.
    weight_bits
        Width of a delivered weight (signed), 2..16.
    state_bits
        Width of membrane potentials (signed, 16 fraction bits), 18..32.
    lanes
        Weights fetched and added in a cycle, a power of two up to 64.
    parameter_sets
        Number of neuron parameter sets; each neuron names one of them.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    """

    neurons: int
    inputs: int = 0
    weight_bits: int = 8
    state_bits: int = 24
    lanes: int = 1
    parameter_sets: int = 16

    def __post_init__(self) -> None:
        ranges = {
            "neurons": (1, 4096),
            "inputs": (0, 4096),
            "weight_bits": (2, 16),
            "state_bits": (18, 32),
            "lanes": (1, 64),
            "parameter_sets": (1, 4096),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
            if not low <= value <= high:
                raise ConfigError(f"{name} must be an integer in {low}..{high}, not {value}")
        if self.lanes & (self.lanes - 1):
            raise ConfigError(f"lanes must be a power of two, not {self.lanes}")

    @property
    def accumulator_bits(self) -> int:
        """Width that holds the sum of all weights of one neuron, whatever spikes."""
        return self.weight_bits + (self.neurons + self.inputs).bit_length()

    @property
    def row_words(self) -> int:
        """Words of weight memory for the synapses of one source."""
        return -(-self.neurons // self.lanes)

    @property
    def weight_range(self) -> tuple[int, int]:
        """Smallest and largest delivered weight."""
        high = (1 << (self.weight_bits - 1)) - 1
        return -high - 1, high
