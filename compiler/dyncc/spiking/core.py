"""A core that can be programmed and run, whatever it is: the twin, a simulation, a board."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import CoreImage, CoreSpec
from dyncc.core.errors import ConfigError, InputError

#: Called in long work with what is done, steps so far, steps in all.
Progress = Callable[[str, int, int], None]


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

        Raises
        ------
        InputError
            If `lines` has another shape, or the core lacks a neuron to record.
        ConfigError
            If nothing was programmed, or dynamic termination ended the run before.
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

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.spec.neurons} neurons, {self.spec.inputs} inputs>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def quiet(_what: str, _done: int, _steps: int) -> None:
    """No progress is shown."""


def check_size(image: CoreSpec, core: CoreSpec) -> None:
    """Raise ConfigError, with both sizes, unless an image is for a core."""
    wanted, found = asdict(image), asdict(core)
    different = [name for name in found if wanted[name] != found[name]]
    if different:
        needs, has = (
            ", ".join(f"{name}={sizes[name]}" for name in different) for sizes in (wanted, found)
        )
        raise ConfigError(
            f"the image is for a core with {needs}, this one has {has}",
            hint="Map the network onto a core of this size.",
        )


def check_recorded(spec: CoreSpec, record: Sequence[int]) -> list[int]:
    """Neurons to record; raises InputError for one that the core does not have."""
    found = [int(neuron) for neuron in record]
    if found and not (min(found) >= 0 and max(found) < spec.neurons):
        raise InputError(
            f"neurons to record must be in 0..{spec.neurons - 1}, and span "
            f"{min(found)}..{max(found)}"
        )
    return found


def not_programmed() -> ConfigError:
    """An error for a core that holds no image."""
    return ConfigError("the core was not programmed", hint="Call program() with an image.")


def run_is_over() -> ConfigError:
    """An error for a run after dynamic termination decided."""
    return ConfigError("dynamic termination ended the run", hint="Call rest() before the next one.")
