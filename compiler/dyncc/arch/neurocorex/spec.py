"""Size of a core, and the widths of its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.fields import Code
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
#: Fraction bits of STDP traces, and of the learning rates; traces are unsigned and saturate.
TRACE_FRACTION_BITS = 12
TRACE_BITS = 16
#: Steps before a post spike that SuperNeuroMAT's rule looks back.
LAGS = 8
#: Entries of the exponent table of dynamic termination, and the fraction bits of an entry.
TABLE_ENTRIES = 64
TABLE_FRACTION_BITS = 12


class Dynamics(Code):
    """How a neuron's membrane potential moves; see `dyncc_models.spiking.twin`."""

    EXPONENTIAL = 0, "decays to `rest` (NIR, snnTorch)"
    LINEAR_CLAMPED = 1, "moves by `leak` to `reset_to` (SuperNeuroMAT)"
    LINEAR = 2, "loses `leak`, without a bound (NeuroCoreX as published)"


class Reset(Code):
    """What a spike does to the membrane potential."""

    TO_VALUE = 0, "to `reset_to`"
    BY_SUBTRACTION = 1, "by the threshold"


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
    synapse_words
        0 for a weight from every source to every neuron (dense); otherwise the words of `lanes`
        synapses that a sparse core holds, up to 2^20.
    learning
        Whether the core has an STDP engine; weights then carry fraction bits.
    max_delay
        Longest axonal delay in steps, 1..16.
    classes
        Most neurons that dynamic termination may watch, 0..64; 0 leaves it out.

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
    synapse_words: int = 0
    learning: bool = False
    max_delay: int = 1
    classes: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "neurons": (1, 4096),
            "inputs": (0, 4096),
            "weight_bits": (2, 16),
            "state_bits": (18, 32),
            "lanes": (1, 64),
            "parameter_sets": (1, 4096),
            "synapse_words": (0, 1 << 20),
            "max_delay": (1, 16),
            "classes": (0, 64),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
            if not low <= value <= high:
                raise ConfigError(f"{name} must be an integer in {low}..{high}, not {value}")
        if self.lanes & (self.lanes - 1):
            raise ConfigError(f"lanes must be a power of two, not {self.lanes}")
        if not isinstance(self.learning, bool):
            raise TypeError(f"learning must be True or False, not {self.learning!r}")
        if self.classes > self.neurons:
            raise ConfigError(f"{self.classes} classes need as many neurons, not {self.neurons}")

    @property
    def sources(self) -> int:
        """Input lines and neurons."""
        return self.inputs + self.neurons

    @property
    def sparse(self) -> bool:
        """Whether synapses are stored as lists of targets."""
        return self.synapse_words > 0

    @property
    def accumulator_bits(self) -> int:
        """Width that holds the sum of all weights of one neuron, whatever spikes."""
        return self.weight_bits + self.sources.bit_length()

    @property
    def row_words(self) -> int:
        """Words of sums for all neurons; a source of a dense core has as many words of weights."""
        return -(-self.neurons // self.lanes)

    @property
    def weight_range(self) -> tuple[int, int]:
        """Smallest and largest delivered weight."""
        high = (1 << (self.weight_bits - 1)) - 1
        return -high - 1, high
