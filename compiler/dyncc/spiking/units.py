"""From the units of a population to the integers of the core.

A population has one weight unit, what a weight of one on the core stands for, and one potential
unit, a power of two, what a potential of one (Q.16) stands for. It is one unless thresholds are far
from it, so that potentials in volts or millivolts are as precise as normalised ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from dyncc.arch.fields import Field
from dyncc.arch.neurocorex import STATE_FRACTION_BITS, CoreSpec, Dynamics, parameter_fields
from dyncc.core.errors import ConfigError
from dyncc.spiking import parameters
from dyncc.spiking.connectors import Reals
from dyncc.spiking.network import Population

#: Where each real parameter of a population ends up in a parameter set.
_FIELDS = {
    "threshold": "threshold", "reset_to": "v_reset", "rest": "v_leak", "leak": "leak",
    "bias": "bias", "gain": "weight_unit",
}  # fmt: skip


def weight_unit(population: Population, weights: Reals, bounds: Any, bits: int) -> float:
    """What a weight of one on the core stands for.

    Parameters
    ----------
    weights
        All weights to the population.
    bounds
        Bounds of plastic weights, in the network's units, or none.
    bits
        Width of a weight on the core.

    Raises
    ------
    ConfigError
        If a weight or bound is too large for the population's own `weight_unit`.
    """
    top = (1 << (bits - 1)) - 1
    largest = max((float(numpy.abs(weights).max(initial=0.0)), *map(abs, bounds)))
    unit = population.weight_unit
    if unit is None:
        return largest / top if largest else 1.0
    if round(largest / unit) > top:
        raise ConfigError(
            f"weights to population {population.name!r} reach {largest:g}, that is "
            f"{round(largest / unit)} units of {unit:g}, and the core's weights {top}",
            hint="Choose a larger weight_unit, or a core with more weight bits.",
        )
    return unit


def potential_unit(population: Population, weights: Reals, bias: Reals, state_bits: int) -> float:
    """What a potential of one on the core stands for: a power of two.

    Parameters
    ----------
    weights
        All weights to the population, shape (sources, size).
    bias
        Shape (size,).
    """
    top = 2.0 ** (state_bits - 1 - STATE_FRACTION_BITS)
    names = ["threshold", "v_reset"] if population.fires else []
    found = [population.values(name) for name in (*names, "v_leak")]
    if population.initial is not None:
        found.append(population.values("initial"))
    largest = float(numpy.abs(found).max())
    low, high = 1 / 8, min(8.0, top / 4)
    if not population.fires:
        # A readout has no threshold: its potential never leaves what all sources together drive.
        drive = numpy.abs(weights).sum(axis=0) * numpy.abs(population.values("w_in"))
        drive += numpy.abs(bias)
        largest += float((drive * numpy.abs(population.values("resistance"))).max())
        high = top
    if largest == 0 or low <= largest <= high:
        return 1.0
    return float(2.0 ** math.ceil(math.log2(largest / high) + (1 if population.fires else 0)))


def parameter_set_of_each(
    population: Population,
    bias: Reals,
    dt: float,
    unit: float,
    scale: float,
    method: str,
    spec: CoreSpec,
) -> list[parameters.ParameterSet]:
    """Parameter set of each neuron of a population.

    Parameters
    ----------
    bias
        Constant input, shape (size,).
    unit, scale
        See `weight_unit` and `potential_unit`.
    method
        How neurons are discretised, ``euler`` or ``exact``.

    Raises
    ------
    ConfigError
        If a value is out of the core's range; names the neuron.
    """
    if population.model.startswith("cuba") and numpy.any(bias):
        raise ConfigError(
            f"population {population.name!r} of model {population.model} has a bias, "
            f"which the core lacks",
            hint="Give it an input line that always spikes.",
        )
    names = (
        "tau", "tau_syn", "resistance", "v_leak", "threshold", "v_reset", "w_in", "leak",
        "refractory",
    )  # fmt: skip
    columns = {name: population.values(name) for name in names}
    layout = {item.name: item for item in parameter_fields(spec)}
    known: dict[tuple[float, ...], parameters.ParameterSet] = {}
    found = []
    for index in range(population.size):
        own = {name: float(values[index]) for name, values in columns.items()}
        own["bias"] = float(bias[index])
        key = tuple(own.values())
        if key not in known:
            try:
                values = _set(population, own, dt, unit, scale, method, spec.state_bits)
                _check(population.model, values, own | {"weight_unit": unit}, layout, scale)
            except ConfigError as error:
                where = f"neuron {index} of population {population.name!r}"
                raise ConfigError(error.message, hint=error.hint, where=where) from error
            known[key] = values
        found.append(known[key])
    return found


def _set(
    population: Population,
    own: dict[str, float],
    dt: float,
    unit: float,
    scale: float,
    method: str,
    state_bits: int,
) -> parameters.ParameterSet:
    model, refractory = population.model, int(own["refractory"])
    v = {name: own[name] / scale for name in ("v_leak", "threshold", "v_reset", "leak", "bias")}
    drive: dict[str, Any] = {
        "resistance": own["resistance"] / scale, "bias": own["bias"], "weight_unit": unit
    }  # fmt: skip
    fires: dict[str, Any] = {
        "threshold": v["threshold"], "v_reset": v["v_reset"], "subtract": population.subtract
    }  # fmt: skip
    rest: dict[str, Any] = {"v_leak": v["v_leak"], "method": method}
    if model == "if":
        values = parameters.integrate_and_fire(dt, **drive, **fires)
    elif model == "li":
        values = parameters.leaky_integrator(own["tau"], dt, **drive, **rest)
    elif model == "lif":
        values = parameters.lif(own["tau"], dt, **drive, **fires, **rest)
    elif model == "superneuromat":
        values = parameters.superneuromat(
            v["leak"], v["threshold"], v["v_reset"], weight_unit=unit / scale, state_bits=state_bits
        ) | {"bias": parameters.state(v["bias"])}
    elif model == "neurocorex":
        values = parameters.neurocorex(
            v["bias"], v["leak"], v["threshold"], weight_unit=unit / scale
        )
    else:
        del drive["bias"]
        values = parameters.cuba_lif(
            own["tau_syn"], own["tau"], dt, w_in=own["w_in"], **drive, **fires, **rest
        )
        values["fires"] = int(population.fires)
    return values | {"refractory": refractory}


def _check(
    model: str,
    values: parameters.ParameterSet,
    own: dict[str, float],
    layout: dict[str, Field],
    scale: float,
) -> None:
    for name, value in values.items():
        item = layout[name]
        top = 1 << (item.bits - item.signed)
        low = -top if item.signed else 0
        if low <= value < top:
            continue
        if name == "gain":
            raise ConfigError(
                f"a weight of one on the core would change the potential by "
                f"{value * scale / 2**24:g}, and the core's range is {128 * scale:g}",
                hint="Give the population smaller weights, or larger thresholds.",
            )
        bound = top * scale / 2**STATE_FRACTION_BITS
        raise ConfigError(
            f"{_FIELDS[name]} of {own[_FIELDS[name]]:g} is out of the core's range of {bound:g}",
            hint="Choose a core with more state bits.",
        )


def rewound(values: parameters.ParameterSet, v: int, steps: int) -> int:
    """The potential from which a neuron without input comes to `v` in so many steps.

    A population that lags does steps before the first of the network; so it starts as if it had
    not. Each step has a potential before it, because a step of decay never skips an integer.
    """
    rest, target = values.get("rest", 0), values.get("reset_to", 0)
    bias, leak, decay = values.get("bias", 0), values.get("leak", 0), values.get("decay_v", 0)
    for _ in range(steps):
        after = v - bias
        if values["dynamics"] == Dynamics.LINEAR:
            v = after + leak
        elif values["dynamics"] == Dynamics.LINEAR_CLAMPED:
            v = after + leak * ((after > target) - (after < target))
        elif decay:
            v = rest + (((after - rest) << 16) + decay // 2) // decay
        else:
            v = rest
    return v
