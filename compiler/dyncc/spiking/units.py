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
from dyncc.arch.fixed import round_shift
from dyncc.arch.neurocorex import (
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    STATE_FRACTION_BITS,
    CoreSpec,
    Dynamics,
    parameter_fields,
)
from dyncc.core.errors import ConfigError
from dyncc.spiking import parameters
from dyncc.spiking.connectors import Reals
from dyncc.spiking.population import Population

#: Binary places of weights that may be exact.
_PLACES = 20
#: Steps in which all sources spike before a readout that only integrates is full.
_STEPS = 256
#: Where each real parameter of a population ends up in a parameter set.
_FIELDS = {
    "threshold": "threshold", "reset_to": "v_reset", "rest": "v_leak", "leak": "leak",
    "bias": "bias", "gain": "weight_unit",
}  # fmt: skip


def weight_unit(
    population: Population, weights: Reals, bounds: Any, amounts: Any, bits: int
) -> float:
    """What a weight of one on the core stands for.

    It is the finest unit that holds all weights; if they are multiples of a larger one, such as
    integers, it is a part of that by a power of two, so that nothing is rounded.

    Parameters
    ----------
    weights
        All weights to the population.
    bounds
        Bounds of plastic weights, in the network's units, or none.
    amounts
        By which plastic weights change, if that is to be exact, or none.
    bits
        Width of a weight on the core.

    Raises
    ------
    ConfigError
        If a weight or bound is too large for the population's own `weight_unit`.
    """
    top = (1 << (bits - 1)) - 1
    largest: float = max(float(numpy.abs(weights).max(initial=0.0)), *map(abs, bounds), 0.0)
    unit = population.weight_unit
    if unit is None:
        if not largest:
            return 1.0
        finest = largest / top
        divisor = _divisor(weights, amounts)
        if divisor < finest:
            return finest
        return math.ldexp(divisor, -math.floor(math.log2(divisor / finest)))
    if round(largest / unit) > top:
        raise ConfigError(
            f"weights to population {population.name!r} reach {largest:g}, that is "
            f"{round(largest / unit)} units of {unit:g}, and the core's weights {top}",
            hint="Choose a larger weight_unit, or a core with more weight bits.",
        )
    return unit


def exact_weight_bits(weights: Reals, bounds: Any, amounts: Any) -> int:
    """Width of a weight that rounds nothing, if 16 bits do; at least 8."""
    divisor = _divisor(weights, amounts)
    largest = max(float(numpy.abs(weights).max(initial=0.0)), *map(abs, bounds), 0.0)
    if not divisor or largest / divisor >= 1 << 15:
        return 8
    return max(8, int(largest / divisor).bit_length() + 1)


def _divisor(weights: Reals, amounts: Any) -> float:
    """Largest number of which all values are multiples, if it has few binary places, or 0."""
    values = numpy.concatenate((weights[weights != 0], numpy.ravel(amounts)))
    scaled = values[values != 0] * 2.0**_PLACES
    if not scaled.size or (scaled != numpy.rint(scaled)).any() or numpy.abs(scaled).max() > 2**52:
        return 0.0
    return float(numpy.gcd.reduce(scaled.astype(numpy.int64))) / 2.0**_PLACES


def potential_unit(
    population: Population, weights: Reals, bias: Reals, dt: float, state_bits: int
) -> float:
    """What a potential of one on the core stands for: a power of two.

    Parameters
    ----------
    weights
        All weights to the population, or how large they may become, shape (sources, size).
    bias
        Shape (size,).
    """
    top = 2.0 ** (state_bits - 1 - STATE_FRACTION_BITS)
    names = ["threshold", "v_reset"] if population.fires else []
    found = [population.values(name) for name in (*names, "v_leak")]
    if population.initial is not None:
        found.append(population.values("initial"))
    largest = float(numpy.abs(found).max())
    # Above a threshold there is room for 16 of them.
    high = top / 16
    if not population.fires:
        # A readout has no threshold: it goes as far as all sources together drive it; an
        # integrator further with each step.
        high = top
        drive = numpy.abs(weights).sum(axis=0) * numpy.abs(population.values("w_in"))
        drive = (drive + numpy.abs(bias)) * numpy.abs(population.values("resistance"))
        largest += float(drive.max()) * (dt * _STEPS if population.model == "i" else 1.0)
    if largest == 0 or min(1 / 8, high / 64) <= largest <= high:
        return 1.0
    return math.ldexp(1.0, math.ceil(math.log2(largest / high)) + int(population.fires))


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
                _check(values, own | {"weight_unit": unit}, layout, scale)
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
    elif model == "i":
        values = parameters.integrator(dt, **drive)
    else:
        values = parameters.cuba_lif(
            own["tau_syn"], own["tau"], dt, w_in=own["w_in"], **drive, **fires, **rest
        )
        values["fires"] = int(population.fires)
    return values | {"refractory": refractory}


def _check(
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


def resting(values: parameters.ParameterSet) -> int:
    """The potential at which a neuron is at rest."""
    exponential = values["dynamics"] == Dynamics.EXPONENTIAL
    return values.get("rest" if exponential else "reset_to", 0)


def rewound(values: parameters.ParameterSet, v: int, i: int, steps: int) -> tuple[int, int]:
    """Potential and current from which a neuron without input comes to `v` and `i`.

    A population that lags does `steps` steps before the first of the network; so it starts as if
    it had not. Each state has one before it, because a step of decay never skips an integer.
    """
    rest, target = values.get("rest", 0), values.get("reset_to", 0)
    bias, leak = values.get("bias", 0), values.get("leak", 0)
    for _ in range(steps):
        after = v - bias - _through(values["couple"] * i)
        i = _grown(i, values.get("decay_i", 0))
        if values["dynamics"] == Dynamics.LINEAR:
            v = after + leak
        elif values["dynamics"] == Dynamics.LINEAR_CLAMPED:
            v = after + leak * ((after > target) - (after < target))
        else:
            v = rest + _grown(after - rest, values["decay_v"])
    return v, i


def _through(current: int) -> int:
    """What a current adds to a potential, rounded as by the core."""
    return int(round_shift(numpy.array(current, numpy.int64), CURRENT_FRACTION_BITS))


def _grown(value: int, decay: int) -> int:
    """What decays to `value` in a step; 0 if everything does."""
    return ((value << FACTOR_BITS) + decay // 2) // decay if decay else 0
