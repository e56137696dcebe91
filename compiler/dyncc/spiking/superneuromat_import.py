"""SuperNeuroMAT models (Date et al., ICONS 2023) as networks: the object, or the JSON it saves.

All neurons become one population, delay chains included, which are neurons of the model. An input
line stands for an amplitude at a neuron: one for each pair that the model's queued spikes have, or,
if there are none, one of amplitude 1 for each neuron.

Steps equal ticks exactly if the model's numbers are exact on the core: potentials, weights and
amplitudes that are multiples of a power of two, and small enough (the report of the mapping says
how much quantisation changed). What arrives at a neuron in a tick saturates at 128 times the
potential unit, which thresholds choose. With STDP three things differ:

- Weights have bounds on the core. They saturate where the model's go on.
- What is delivered of a weight are whole weight units; a change below waits until it is one.
- The model adds ``aneg[k]`` from its tick ``k + 1`` on only, and the core from its first step. So
  weights differ by the constant ``sum((k + 1) * aneg[k])``, unless the model did as many silent
  ticks as there are amounts before it was imported.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.core.errors import ModelError
from dyncc.spiking.connectors import from_list
from dyncc.spiking.learning_parameters import LagStdp
from dyncc.spiking.network import Network

#: The population, the input and the output of such a network.
NEURONS, INPUT, OUTPUT = "neurons", "input", "spikes"

_NUMBERS = (
    "neuron_thresholds", "neuron_leaks", "neuron_reset_states", "neuron_states",
    "neuron_refractory_periods", "neuron_refractory_periods_state",
)  # fmt: skip
_SYNAPSES = (
    "pre_synaptic_neuron_ids", "post_synaptic_neuron_ids", "synaptic_weights", "enable_stdp"
)  # fmt: skip
_OTHERS = (
    "input_spikes", "spike_train", "apos", "aneg", "stdp", "stdp_positive_update",
    "stdp_negative_update",
)  # fmt: skip
#: How far weights may grow beyond the largest of the model and its rule, unless a bound is given.
_GROWTH = 8.0


def load_superneuromat(
    path: str | Path, dt: float = 1.0, bound: float | None = None, network: int | str = 0
) -> Network:
    """Read a JSON file of SuperNeuroMAT (schema 0.1).

    Parameters
    ----------
    dt, bound
        See `from_superneuromat`.
    network
        Number or name of the network in the file.

    Raises
    ------
    ModelError
        If the file is missing or no such file.
    """
    return from_superneuromat(read_superneuromat(path, network), dt, bound)


def read_superneuromat(path: str | Path, network: int | str = 0) -> dict[str, Any]:
    """The fields of a model in a JSON file; see `load_superneuromat`."""
    if not Path(path).is_file():
        raise ModelError(
            f"there is no file {path}", hint="Give the path of a JSON file of SuperNeuroMAT."
        )
    try:
        networks = json.loads(Path(path).read_text(encoding="utf-8"))["networks"]
        names = [item.get("name") for item in networks]
        if isinstance(network, str) and names.count(network) != 1:
            raise ModelError(f"{path} has {names.count(network)} networks named {network!r}")
        chosen = networks[names.index(network) if isinstance(network, str) else network]
        meta = chosen["meta"]
        if meta["format"] != "snm" or meta["type"] != "SNN":
            raise ModelError(f"{path} holds a {meta['format']} {meta['type']} instead of an SNN")
        data = chosen["data"]
        return {name: _decoded(data[name]) for name in (*_NUMBERS, *_SYNAPSES, *_OTHERS)}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{path} cannot be read as a model of SuperNeuroMAT: {what}",
            hint="Write it with snn.saveas_json().",
        ) from error


def from_superneuromat(model: Any, dt: float = 1.0, bound: float | None = None) -> Network:
    """A network from a model.

    Parameters
    ----------
    model
        A ``superneuromat.SNN``, or what `read_superneuromat` gives.
    dt
        Step in seconds that a tick stands for.
    bound
        Largest weight, positive or negative, that learning may lead to; by default 8 times the
        largest of the model's weights and amounts.

    Raises
    ------
    ModelError
        If the model is not consistent, or spikes are on their way.
    """
    fields = _fields(model)
    size = len(fields["neuron_thresholds"])
    if not size:
        raise ModelError("the model has no neurons")
    pre, post, weights, enabled = (fields[name] for name in _SYNAPSES)
    pairs = list(zip(pre, post, strict=True))
    if len(set(pairs)) != len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise ModelError(f"the model has several synapses from neuron {twice[0]} to {twice[1]}")
    for pair in pairs:
        if not all(0 <= end < size for end in pair):
            raise ModelError(
                f"the synapse from neuron {pair[0]} to {pair[1]} is outside of {size} neurons"
            )
    rule = _rule(fields, bound)
    _check_history(fields, 0 if rule is None else max(len(rule.apos), len(rule.aneg)))
    network = Network(dt)
    lines = _lines(fields)
    network.input(INPUT, len(lines))
    network.population(
        NEURONS, "superneuromat", size,
        threshold=fields["neuron_thresholds"], leak=fields["neuron_leaks"],
        v_reset=fields["neuron_reset_states"], initial=fields["neuron_states"],
        refractory=fields["neuron_refractory_periods"],
        initial_refractory=fields["neuron_refractory_periods_state"],
    )  # fmt: skip
    network.connect(
        INPUT, NEURONS, from_list((line, *pair) for line, pair in enumerate(lines)), delay=0
    )
    mask = numpy.zeros((size, size), bool)
    if rule is not None:
        mask[pre, post] = enabled
        network.learn(rule)
    network.connect(
        NEURONS, NEURONS, from_list(zip(pre, post, weights, strict=True)), plastic=mask, delay=1
    )
    network.output(OUTPUT, NEURONS)
    return network


def superneuromat_spikes(model: Any, steps: int) -> NDArray[numpy.bool_]:
    """The queued spikes of a model for the input of its network: bool, shape (steps, lines).

    Parameters
    ----------
    model
        As of `from_superneuromat`.
    """
    fields = _fields(model)
    place = {pair: line for line, pair in enumerate(_lines(fields))}
    found = numpy.zeros((steps, len(place)), bool)
    for tick, pairs in _queued(fields).items():
        if tick < steps:
            for pair in pairs:
                found[tick, place[pair]] = True
    return found


def _fields(model: Any) -> dict[str, Any]:
    names = (*_NUMBERS, *_SYNAPSES, *_OTHERS)
    try:
        found = dict(model) if isinstance(model, dict) else {n: getattr(model, n) for n in names}
    except AttributeError as error:
        raise ModelError(
            f"a {type(model).__name__} is no model of SuperNeuroMAT: {error}"
        ) from error
    for group in (_NUMBERS, _SYNAPSES):
        sizes = {name: len(found[name]) for name in group}
        if len(set(sizes.values())) > 1:
            raise ModelError(
                "the model is not consistent: "
                + ", ".join(f"{name} has {count} values" for name, count in sizes.items())
            )
        for name in group:
            kind = int if name.endswith("_ids") else bool if name == "enable_stdp" else float
            found[name] = [kind(value) for value in found[name]]
    return found


def _queued(fields: dict[str, Any]) -> dict[int, list[tuple[int, float]]]:
    return {
        int(tick): [
            (int(neuron), float(value))
            for neuron, value in zip(spikes["nids"], spikes["values"], strict=True)
        ]
        for tick, spikes in fields["input_spikes"].items()
    }


def _lines(fields: dict[str, Any]) -> list[tuple[int, float]]:
    """Neuron and amplitude of each input line."""
    found = sorted({pair for pairs in _queued(fields).values() for pair in pairs})
    return found or [(neuron, 1.0) for neuron in range(len(fields["neuron_thresholds"]))]


def _rule(fields: dict[str, Any], bound: float | None) -> LagStdp | None:
    """How the model learns, by the conditions under which it does."""
    apos, aneg = (
        tuple(map(float, fields[name]))
        if fields[f"stdp_{sign}_update"] and any(fields[name])
        else ()
        for name, sign in (("apos", "positive"), ("aneg", "negative"))
    )
    if not (fields["stdp"] and any(fields["enable_stdp"]) and (apos or aneg)):
        return None
    largest = bound
    if largest is None:
        values = (*fields["synaptic_weights"], *apos, *aneg)
        largest = _GROWTH * max(map(abs, values))
    if not 0 < largest < math.inf:
        raise ModelError(f"the bound of weights must be positive, not {largest:g}")
    return LagStdp(w_min=-largest, w_max=largest, apos=apos, aneg=aneg)


def _check_history(fields: dict[str, Any], lags: int) -> None:
    """A core starts without spikes: those that the model still remembers would be lost."""
    train = numpy.asarray(fields["spike_train"])
    ticks = max(1, lags)
    late = numpy.argwhere(train[-ticks:]) if train.size else numpy.zeros((0, 2))
    if len(late):
        neurons = sorted({int(neuron) for _, neuron in late})
        shown = ", ".join(map(str, neurons[:8])) + (", ..." if len(neurons) > 8 else "")
        raise ModelError(
            f"neurons {shown} fired in the last {ticks} tick(s) of the model, and a core starts "
            f"without spikes",
            hint="Import it before it runs, or let it do so many silent ticks.",
        )


def _decoded(value: Any) -> Any:
    """A field as a list, which may be saved as the bytes of an array."""
    decoders: dict[str, Callable[[str], bytes]] = {
        "base64": base64.b64decode, "base85": base64.b85decode
    }  # fmt: skip
    for name, decode in decoders.items():
        if isinstance(value, dict) and name in value:
            try:
                return numpy.frombuffer(decode(value[name]), numpy.dtype(value["dtype"])).tolist()
            except binascii.Error as error:
                raise ValueError(f"an array is no {name}: {error}") from error
    return value
