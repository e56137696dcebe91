"""A core that can be programmed and run, whatever it is: the twin, a simulation, a board."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import CoreImage, CoreSpec


@dataclass(frozen=True)
class Recording:
    """What a core did in a run.

    Attributes
    ----------
    spikes
        Bool, shape (steps, neurons). Fewer steps than asked for if dynamic termination decided.
    potentials
        Of the neurons that were recorded, after each step: Q.16, int64, shape (steps, recorded).
    decided, winner
        Whether dynamic termination ended the run, and for which class.
    """

    spikes: NDArray[Any]
    potentials: Integers
    decided: bool
    winner: int


class Core(ABC):
    """A core; use it in a ``with`` statement, or `close` it."""

    spec: CoreSpec

    @abstractmethod
    def program(self, image: CoreImage) -> None:
        """Load an image: the core is then at rest, with initial weights and counters at zero.

        Raises
        ------
        ConfigError
            If the image is for another core.
        """

    @abstractmethod
    def rest(self) -> None:
        """Return to rest, as after `program`, but keep the weights that were learnt."""

    @abstractmethod
    def run(self, lines: Any, record: Sequence[int] = ()) -> Recording:
        """Carry out a step for each row of `lines`; state goes on from the run before.

        Parameters
        ----------
        lines
            Input spikes, bool, shape (steps, inputs).
        record
            Neurons whose potentials to record.
        """

    @abstractmethod
    def weights(self) -> Integers:
        """Weights of all synapses, int64 of shape (inputs + neurons, neurons), row is source.

        With `WEIGHT_FRACTION_BITS` fraction bits if the core learns; 0 where there is no synapse.
        """

    @abstractmethod
    def counters(self) -> dict[str, int]:
        """What the core counted since it was programmed or came to rest."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds; calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
