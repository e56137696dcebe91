"""A mapped network: what a core is programmed with, and how its inputs and outputs are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import STATE_FRACTION_BITS, WEIGHT_FRACTION_BITS, CoreImage
from dyncc.core.errors import ConfigError, InputError
from dyncc.spiking.connectors import Reals
from dyncc.spiking.core import Core, Progress, Recording, quiet
from dyncc.spiking.engines import open_core
from dyncc.spiking.report import MappingReport


@dataclass(frozen=True)
class Output:
    """Where an output is on the core.

    Attributes
    ----------
    first, size
        Its neurons.
    level
        Steps by which it lags.
    spiking
        Whether it shows spikes; otherwise potentials.
    potential_unit
        What a potential of one on the core stands for.
    """

    first: int
    size: int
    level: int
    spiking: bool
    potential_unit: float = 1.0


@dataclass(frozen=True)
class SynapsePlaces:
    """Where the synapses of a projection are on the core.

    Attributes
    ----------
    source, target
        Names.
    rows
        Row of each synapse among all weights of the core, int of shape (source size, target size),
        -1 where there is none. Rows of relays stand for synapses with longer delays.
    first
        Column of the first target.
    unit
        What a weight of one on the core stands for.
    """

    source: str
    target: str
    rows: Integers
    first: int
    unit: float


@dataclass
class SpikingProgram:
    """A core image with the places of a network's inputs and outputs.

    Attributes
    ----------
    image
        What the core is programmed with.
    dt
        Step in seconds.
    inputs
        First line and size of each input, by name.
    outputs
        By name.
    places
        Of the synapses of each projection.
    report
        What mapping did, or None.
    readout
        The population that dynamic termination watches, or None.
    """

    image: CoreImage
    dt: float
    inputs: dict[str, tuple[int, int]]
    outputs: dict[str, Output]
    places: tuple[SynapsePlaces, ...] = field(default=())
    report: MappingReport | None = None
    readout: Output | None = None

    def run(
        self, *args: Any, engine: str = "twin", progress: Progress = quiet, **kwargs: Any
    ) -> dict[str, Any]:
        """Run from rest.

        Parameters
        ----------
        args, kwargs
            Spikes of each input, zeros and ones of shape (steps, size), in order or by name.
        engine
            What runs it, such as ``twin``, ``rtl`` or ``serial:/dev/ttyUSB0``: see
            `dyncc.spiking.open_core`.
        progress
            Called in long work.

        Returns
        -------
        dict
            For each output an array of shape (steps, size): bool spikes, or float potentials. If
            dynamic termination stops the run, arrays end with the step that decided, and those of
            populations that lag behind the classes before it.

        Raises
        ------
        InputError
            If an array does not fit.
        ConfigError, LinkError
            If the engine cannot be opened, or fails.
        """
        with open_core(engine, self.image, progress) as core:
            return self.run_on(core, *args, **kwargs)

    def run_on(self, core: Core, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run on a core that holds this program, from the state in which it is.

        Parameters
        ----------
        args, kwargs
            As of `run`, which says what it gives.
        """
        lines = self.lines(*args, **kwargs)
        return self.results(core.run(lines, self.recorded), len(lines) - self.lag)

    def neurons(self, population: str) -> range:
        """Neurons of a population; raises ConfigError if there is none."""
        placed = () if self.report is None else self.report.populations
        for item in placed:
            if item.name == population:
                return range(item.first, item.first + item.size)
        raise ConfigError(f"there is no population {population!r}")

    @property
    def recorded(self) -> list[int]:
        """Neurons whose potentials the outputs need."""
        return [
            neuron
            for output in self.outputs.values()
            if not output.spiking
            for neuron in range(output.first, output.first + output.size)
        ]

    @property
    def lag(self) -> int:
        """Steps by which the last output or readout lags: so many steps a run takes longer."""
        shown = [*self.outputs.values(), *([] if self.readout is None else [self.readout])]
        return max((output.level for output in shown), default=0)

    def lines(self, *args: Any, **kwargs: Any) -> Any:
        """Input lines of a core in a run: bool, shape (steps + lag, inputs of the core).

        Parameters
        ----------
        args, kwargs
            As of `run`.

        Raises
        ------
        InputError
            If an array does not fit.
        """
        if len(args) > len(self.inputs):
            raise InputError(f"there are {len(self.inputs)} inputs, and {len(args)} were given")
        given = dict(zip(self.inputs, args, strict=False)) | kwargs
        if set(given) != set(self.inputs):
            raise InputError(
                f"the inputs are {', '.join(self.inputs)}, not {', '.join(given) or 'none'}"
            )
        arrays = {name: numpy.asarray(values) for name, values in given.items()}
        steps = {len(values) for values in arrays.values() if values.ndim}
        if len(steps) != 1:
            raise InputError(f"the inputs have different numbers of steps: {sorted(steps)}")
        count = steps.pop()
        lines = numpy.zeros((count + self.lag, self.image.spec.inputs), bool)
        for name, (first, size) in self.inputs.items():
            values = arrays[name]
            if values.shape != (count, size):
                raise InputError(
                    f"expected spikes of shape ({count}, {size}), got {values.shape}", where=name
                )
            if not numpy.isin(values, (0, 1)).all():
                raise InputError("spikes must be zeros and ones", where=name)
            lines[:count, first : first + size] = values.astype(bool)
        return lines

    def results(self, recording: Recording, steps: int) -> dict[str, Any]:
        """Outputs from what a core did for `lines`.

        Parameters
        ----------
        recording
            With the potentials of the neurons `recorded`.
        steps
            Of the input, without the lag.
        """
        if self.readout is not None:
            steps = max(0, min(steps, len(recording.spikes) - self.readout.level))
        results: dict[str, Any] = {}
        potentials = recording.potentials * 2.0**-STATE_FRACTION_BITS
        place = 0
        for name, output in self.outputs.items():
            rows = slice(output.level, output.level + steps)
            if output.spiking:
                results[name] = recording.spikes[rows, output.first : output.first + output.size]
            else:
                columns = slice(place, place + output.size)
                results[name] = potentials[rows, columns] * output.potential_unit
                place += output.size
        return results

    def describe(self) -> str:
        """What it holds, as text: the core, inputs and outputs, and the report of the mapping."""
        spec = self.image.spec
        size = f"{spec.neurons} neurons, {spec.inputs} input lines, {spec.parameter_sets} parameter"
        lines = [f"{size} sets, step {self.dt:g} s"]
        for name, (first, count) in self.inputs.items():
            lines.append(f"input {name}: lines {first}..{first + count - 1}")
        for name, output in self.outputs.items():
            what = "spikes" if output.spiking else "potentials"
            last = output.first + output.size - 1
            lines.append(f"output {name}: {what} of neurons {output.first}..{last}")
        if self.image.learning is not None:
            learning = self.image.learning
            lines.append(
                f"learning: {learning.rule.name.lower()}, {int(self.image.plastic.sum())} plastic "
                f"synapses, weights in {learning.weight_min}..{learning.weight_max}"
            )
        if self.image.termination is not None:
            rule = self.image.termination
            lines.append(
                f"termination: {rule.test.name.lower()} of neurons {rule.first_class}.."
                f"{rule.first_class + rule.class_count - 1}, after {rule.least_steps} steps or more"
            )
        if self.report is not None:
            lines += ["", self.report.to_text(spec)]
        return "\n".join(lines)

    def weights_of(self, source: str, target: str, weights: Any = None) -> Reals:
        """Weights from an input or population to a population, in the network's units.

        Parameters
        ----------
        weights
            As `Core.weights` gives them, after learning; by default the initial ones.

        Returns
        -------
        ndarray of float64, shape (source size, target size)
            The sum over synapses of all delays.

        Raises
        ------
        ConfigError
            If there is no such projection.
        """
        found = [p for p in self.places if (p.source, p.target) == (source, target)]
        if not found:
            raise ConfigError(f"there is no projection from {source!r} to {target!r}")
        all_weights = (
            self.image.weights
            if weights is None
            else numpy.asarray(weights) / (1 << self._fraction_bits)
        )
        total: Reals = numpy.zeros(found[0].rows.shape)
        columns = found[0].first + numpy.arange(found[0].rows.shape[1])
        for index, places in enumerate(found):
            new = places.rows >= 0
            for before in found[:index]:  # projections may share a place, which counts once
                new &= places.rows != before.rows
            total += numpy.where(new, all_weights[places.rows, columns], 0) * places.unit
        return total

    def with_weights(self, weights: Any, learning: bool = True) -> SpikingProgram:
        """The program with other weights, such as those that a core learnt.

        Parameters
        ----------
        weights
            As `Core.weights` gives them; fractions are dropped, as when they are delivered.
        learning
            Whether it goes on to learn.

        Raises
        ------
        ConfigError
            If a weight does not fit the core.
        """
        found = numpy.asarray(weights)
        if found.shape != self.image.weights.shape or found.dtype.kind not in "iu":
            raise ConfigError(
                f"weights must be integers of shape {self.image.weights.shape}, "
                f"not {found.dtype} of shape {found.shape}"
            )
        delivered = found.astype(numpy.int64) >> self._fraction_bits
        lines = self.image.spec.inputs
        image = replace(
            self.image,
            input_weights=delivered[:lines],
            recurrent_weights=delivered[lines:],
            learning=self.image.learning if learning else None,
        )
        return replace(self, image=image)

    @property
    def _fraction_bits(self) -> int:
        return WEIGHT_FRACTION_BITS if self.image.spec.learning else 0
