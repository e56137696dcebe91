"""Maps a network onto a core: levels, quantised weights, parameter sets; refuses what does not fit.

A spike reaches neurons in the step after it was fired, so a population at level :math:`l` works
:math:`l` steps behind the first ones. Outputs are shifted back by their level, so that they are
those of a simulator in which a spike passes through all levels in one step. Synapses within a
level are recurrent: their spikes arrive a step later in either.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy

from dyncc.arch.neurocorex import STATE_FRACTION_BITS, CoreImage, CoreSpec, parameter_sets
from dyncc.core.errors import ConfigError, InputError
from dyncc.spiking import parameters
from dyncc.spiking.network import Network, Population, Reals

#: Modules with ``simulate(image, lines)``, which gives spikes (bool) and potentials (Q.16) of shape
#: (steps, neurons) for input spikes of shape (steps, inputs).
ENGINES = {"twin": "dyncc_models.spiking.twin", "rtl": "dyncc_sim.neurocorex"}


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
    """

    first: int
    size: int
    level: int
    spiking: bool


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
    """

    image: CoreImage
    dt: float
    inputs: dict[str, tuple[int, int]]
    outputs: dict[str, Output]

    def run(self, *args: Any, engine: str = "twin", **kwargs: Any) -> dict[str, Any]:
        """Run from rest.

        Parameters
        ----------
        args, kwargs
            Spikes of each input, zeros and ones of shape (steps, size), in order or by name.
        engine
            ``twin``, the integer model, or ``rtl``, the hardware in a simulator. Both give the
            same bits.

        Returns
        -------
        dict
            For each output an array of shape (steps, size): bool spikes, or float potentials.

        Raises
        ------
        InputError
            If an array does not fit.
        """
        if engine not in ENGINES:
            raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
        if len(args) > len(self.inputs):
            raise InputError(f"there are {len(self.inputs)} inputs, and {len(args)} were given")
        given = dict(zip(self.inputs, args, strict=False)) | kwargs
        lines = self._lines(given)
        steps = len(lines)
        late = max((output.level for output in self.outputs.values()), default=0)
        padded = numpy.concatenate((lines, numpy.zeros((late, lines.shape[1]), bool)))
        # By name, since the compiler does not depend on models or benches.
        simulate = import_module(ENGINES[engine]).simulate
        spikes, potentials = simulate(self.image, padded)
        scale = 1 << STATE_FRACTION_BITS
        results: dict[str, Any] = {}
        for name, output in self.outputs.items():
            rows = slice(output.level, output.level + steps)
            columns = slice(output.first, output.first + output.size)
            results[name] = (
                spikes[rows, columns] if output.spiking else potentials[rows, columns] / scale
            )
        return results

    def _lines(self, given: dict[str, Any]) -> Any:
        if set(given) != set(self.inputs):
            raise InputError(
                f"the inputs are {', '.join(self.inputs)}, not {', '.join(given) or 'none'}"
            )
        arrays = {name: numpy.asarray(values) for name, values in given.items()}
        steps = {len(values) for values in arrays.values() if values.ndim}
        if len(steps) != 1:
            raise InputError(f"the inputs have different numbers of steps: {sorted(steps)}")
        lines = numpy.zeros((steps.pop(), self.image.spec.inputs), bool)
        for name, (first, size) in self.inputs.items():
            values = arrays[name]
            if values.shape != (len(lines), size):
                raise InputError(
                    f"expected spikes of shape ({len(lines)}, {size}), got {values.shape}",
                    where=name,
                )
            if not numpy.isin(values, (0, 1)).all():
                raise InputError("spikes must be zeros and ones", where=name)
            lines[:, first : first + size] = values.astype(bool)
        return lines


def map_network(
    network: Network, spec: CoreSpec | None = None, method: str = "euler"
) -> SpikingProgram:
    """Map a network.

    Parameters
    ----------
    spec
        The core; by default one that is as large as the network.
    method
        How neurons are discretised: ``euler`` as most NIR simulators do, or ``exact``.

    Raises
    ------
    ConfigError
        If the network does not fit; says what it needs and what the core has.
    """
    levels = _levels(network)
    first, neurons = {}, 0
    for name in sorted(network.populations, key=lambda name: levels[name]):
        first[name] = neurons
        neurons += network.populations[name].size
    lines = {}
    count = 0
    for name, size in network.inputs.items():
        lines[name] = (count, size)
        count += size
    if not neurons:
        raise ConfigError("the network has no neurons")
    if spec is not None:
        for need, has, what in (
            (neurons, spec.neurons, "neurons"),
            (count, spec.inputs, "input lines"),
        ):
            if need > has:
                raise ConfigError(
                    f"the network needs {need} {what}, the core has {has}",
                    hint="Choose a larger core, or a smaller network.",
                )
    bits = spec.weight_bits if spec is not None else 8
    weights = numpy.zeros((count + neurons, neurons))
    bias = numpy.zeros(neurons)
    for projection in network.projections:
        inner = projection.source in network.inputs
        row = lines[projection.source][0] if inner else count + first[projection.source]
        column = first[projection.target]
        height, width = projection.weights.shape
        weights[row : row + height, column : column + width] += projection.weights
        if projection.bias is not None:
            bias[column : column + width] += projection.bias

    sets: dict[tuple[tuple[str, int], ...], int] = {}
    assignment = numpy.zeros(neurons, numpy.int64)
    quantised = numpy.zeros(weights.shape, numpy.int64)
    for name, population in network.populations.items():
        columns = slice(first[name], first[name] + population.size)
        unit, quantised[:, columns] = _quantise(weights[:, columns], bits)
        found = _sets(population, bias[columns], network.dt, unit, method)
        for offset, values in enumerate(found):
            place = sets.setdefault(tuple(values.items()), len(sets))
            assignment[first[name] + offset] = place
    core = spec or CoreSpec(neurons, count, parameter_sets=max(1, len(sets)))
    return SpikingProgram(
        _image(core, [dict(values) for values in sets], assignment, quantised, count),
        network.dt,
        lines,
        {
            name: Output(
                first[shown],
                network.populations[shown].size,
                levels[shown],
                network.populations[shown].model not in ("li", "cuba_li"),
            )
            for name, shown in network.outputs.items()
        },
    )


def _levels(network: Network) -> dict[str, int]:
    """Level of each population; raises ConfigError for synapses that skip or go back a level."""
    levels = dict.fromkeys(network.populations, 0)
    forward = [
        projection
        for projection in network.projections
        if projection.source in network.populations and projection.source != projection.target
    ]
    for _ in range(len(levels) + 1):
        before = dict(levels)
        for projection in forward:
            source, target = projection.source, projection.target
            levels[target] = max(levels[target], levels[source] + 1)
        if levels == before:
            break
    else:
        loop = ", ".join(sorted({p.target for p in forward if levels[p.target] > len(levels)}))
        raise ConfigError(
            f"the populations {loop or ', '.join(levels)} drive each other in a loop",
            hint="Join them into one population with recurrent synapses.",
        )
    for projection in network.projections:
        name, target = projection.source, projection.target
        behind = -1 if name in network.inputs else levels[name]
        if name != target and levels[target] != behind + 1:
            raise ConfigError(
                f"the synapses from {name!r} to {target!r} skip {levels[target] - behind - 1} "
                f"level(s), which needs delays",
                hint="Let each population be driven by the one before it.",
            )
    return levels


def _quantise(weights: Reals, bits: int) -> tuple[float, Any]:
    """What an integer weight of one stands for, and the integers."""
    top = (1 << (bits - 1)) - 1
    largest = float(numpy.abs(weights).max(initial=0.0))
    if not numpy.isfinite(largest):
        raise ConfigError("weights must be finite")
    unit = largest / top if largest else 1.0
    return unit, numpy.rint(weights / unit).astype(numpy.int64)


def _sets(
    population: Population, bias: Reals, dt: float, unit: float, method: str
) -> list[parameters.ParameterSet]:
    """Parameter set of each neuron."""
    model = population.model
    if model.startswith("cuba") and numpy.any(bias):
        raise ConfigError(
            f"population {population.name!r} of model {model} has a bias, which the core lacks",
            hint="Give it an input line that always spikes.",
        )
    names = ("tau", "tau_syn", "resistance", "v_leak", "threshold", "v_reset", "w_in")
    columns = {name: population.values(name) for name in names}
    found = []
    for index in range(population.size):
        own = {name: float(values[index]) for name, values in columns.items()}
        shared: dict[str, Any] = {"resistance": own["resistance"], "weight_unit": unit}
        fires: dict[str, Any] = {
            "threshold": own["threshold"],
            "v_reset": own["v_reset"],
            "subtract": population.subtract,
        }
        if model == "if":
            values = parameters.integrate_and_fire(dt, bias=float(bias[index]), **shared, **fires)
        elif model == "li":
            values = parameters.leaky_integrator(
                own["tau"], dt, v_leak=own["v_leak"], bias=float(bias[index]), method=method,
                **shared,
            )  # fmt: skip
        else:
            common: dict[str, Any] = {"v_leak": own["v_leak"], "method": method, **shared, **fires}
            if model == "lif":
                values = parameters.lif(own["tau"], dt, bias=float(bias[index]), **common)
            else:
                values = parameters.cuba_lif(
                    own["tau_syn"], own["tau"], dt, w_in=own["w_in"], **common
                )
        if model == "cuba_li":
            values["fires"] = 0
        values["refractory"] = population.refractory
        found.append(values)
    return found


def _image(
    spec: CoreSpec,
    sets: list[parameters.ParameterSet],
    assignment: Any,
    weights: Any,
    lines: int,
) -> CoreImage:
    """The image, with the core's spare neurons and lines left silent."""
    used = weights.shape[1]
    ingoing = numpy.zeros((spec.inputs, spec.neurons), numpy.int64)
    ingoing[:lines, :used] = weights[:lines]
    recurrent = numpy.zeros((spec.neurons, spec.neurons), numpy.int64)
    recurrent[:used, :used] = weights[lines:]
    spare = spec.neurons - used
    if spare:
        silent: parameters.ParameterSet = {}
        if silent not in sets:
            sets = [*sets, silent]
        assignment = numpy.concatenate((assignment, numpy.full(spare, sets.index(silent))))
    return CoreImage(spec, parameter_sets(spec, sets), assignment, ingoing, recurrent)
