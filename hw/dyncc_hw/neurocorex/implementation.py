"""How a core is built: what changes its cycles and resources, and no bit of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class Implementation:
    """Choices for an FPGA.

    Parameters
    ----------
    multipliers
        ``parallel``: a multiplier for each product of a neuron, and a neuron a cycle. ``shared``:
        one multiplier for all of them, and a neuron in `NeuronPath.interval` cycles, 13 for
        potentials of 24 bits; parameter sets are in words of the bus, which on an iCE40 takes 2
        block memories instead of 14.
    memories
        ``dual``: a word of weights can be read while another is written. ``single``: the weights
        are in single-ported memory, which is SPRAM on an iCE40UP. While the core learns, words are
        read in every second cycle and written in the others.

    Raises
    ------
    ConfigError
        If there is no such choice.
    """

    multipliers: str = "parallel"
    memories: str = "dual"

    #: What each parameter may be.
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "multipliers": ("parallel", "shared"),
        "memories": ("dual", "single"),
    }

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string, not {type(value).__name__}")
            if value not in choices:
                raise ConfigError(f"{name} must be {' or '.join(choices)}, not {value!r}")

    @property
    def shared(self) -> bool:
        """Whether there is one multiplier for all products of a neuron."""
        return self.multipliers == "shared"

    @property
    def single(self) -> bool:
        """Whether the weights are in single-ported memory."""
        return self.memories == "single"


#: What simulators build, and FPGAs with enough of everything.
STANDARD = Implementation()
