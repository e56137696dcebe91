r"""snnTorch modules as networks.

The module is run once on a sample, and the calls of its layers are followed from tensor to tensor;
the layers become a NIR graph, and that a network (see `dyncc.spiking.nir_import`).

snnTorch resets a neuron a step after its spike, unless told otherwise: with reset by subtraction
:math:`v_t = \beta v_{t-1} + I_t - \theta s_{t-1}`. The core resets at once. With potentials that
are higher by :math:`c = \theta (1/\beta - 1)`, rest at :math:`c` and threshold
:math:`\theta / \beta`, both are the same: what is subtracted decays by :math:`\beta` before the
next step. So spikes are equal, but for the rounding of weights and potentials.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy

from dyncc.core.errors import ConfigError, MissingToolError, ModelError
from dyncc.spiking.connectors import Reals
from dyncc.spiking.network import Network
from dyncc.spiking.nir_import import from_nir

#: Modules that change nothing when a network is used.
_PLAIN = ("Identity", "Dropout", "Dropout1d", "Dropout2d", "Flatten")
_LINEAR = ("Linear", "Conv1d", "Conv2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d")
_NEURONS = ("Leaky", "Synaptic", "RLeaky", "RSynaptic")
#: The input of a network.
INPUT = "input"


def from_snntorch(module: Any, sample: Any, dt: float = 1e-4) -> Network:
    """A network from a torch module with snnTorch layers.

    Parameters
    ----------
    module
        Of Linear, Conv1d, Conv2d, AvgPool2d, BatchNorm and Flatten layers, and Leaky, Synaptic,
        RLeaky and RSynaptic neurons, each leading to others directly. Neurons without a reset
        (``reset_mechanism="none"``) are readouts, whose potentials are shown.
    sample
        Argument to call it with, of batch size 1. It is run in evaluation mode, without gradients,
        and keeps its state. Its `forward` may do one step, or all steps of a run.
    dt
        Step in seconds, by which time constants are told to the network; map it with the method
        ``euler``, which gives the module's factors.

    Returns
    -------
    Network
        Its input is ``input``, with _ behind if a layer has that name; outputs are the neurons that
        lead to no other layer, by the names of
        their modules.

    Raises
    ------
    ModelError
        With every layer that the core does not have; or if a layer's input is no output of another
        layer.
    MissingToolError
        If snnTorch is missing.
    """
    try:
        import snntorch
    except ImportError as error:
        raise MissingToolError(
            "snnTorch is missing", hint="Install it: pip install snntorch"
        ) from error
    calls = _traced(module, sample, snntorch)
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    entry = INPUT
    while entry in calls:
        entry += "_"
    for name, call in calls.items():
        edges.append((call.source or entry, name))
        _add(name, call, nodes, edges, dt)
    shape = next(call.before for call in calls.values() if not call.source)
    nodes[entry] = nir.Input(input_type={"input": numpy.array(shape)})
    leading = {source for source, target in edges if target in calls}
    for name, call in calls.items():
        if name not in leading:
            if call.kind not in _NEURONS:
                raise ModelError(
                    f"the last layer {name!r} ({call.kind}) is no neuron",
                    hint="Let it lead to a Leaky with reset_mechanism='none', a readout.",
                )
            nodes[_end(name)] = nir.Output(output_type={"output": numpy.array(call.after)})
            edges.append((name, _end(name)))
    network = from_nir(nir.NIRGraph(nodes=nodes, edges=edges, type_check=False), dt)
    for name, call in calls.items():
        if call.kind in _NEURONS:
            population = network.populations[name]
            network.populations[name] = replace(population, **_reset(name, call.module))
    network.outputs = {
        name.removesuffix(_end("")): shown for name, shown in network.outputs.items()
    }
    return network


@dataclass(frozen=True)
class _Call:
    """A layer as it was called: what led to it ("" is the input), shapes without the batch axis."""

    module: Any
    kind: str
    source: str
    before: tuple[int, ...]
    after: tuple[int, ...]


def _end(name: str) -> str:
    return f"{name} (output)"


def _traced(module: Any, sample: Any, snntorch: Any) -> dict[str, _Call]:
    """Calls of layers, in order, of the first step."""
    import torch

    layers = dict(_layers(module))
    _check_layers(layers, snntorch)
    calls: dict[str, _Call] = {}
    counts: Counter[str] = Counter()
    # Tensors are kept, since memory that is let go of is used again, and then looks the same.
    kept: list[Any] = []
    made: dict[tuple[int, int], str] = {}
    entry: list[Any] = []

    def called(name: str, layer: Any, arguments: Any, result: Any) -> None:
        counts[name] += 1
        given, given_out = arguments[0], result[0] if isinstance(result, tuple) else result
        kept.extend((given, given_out))
        source = made.get(_place(given), "")
        made[_place(given_out)] = name
        if name in calls:
            if source != calls[name].source:
                raise ModelError(
                    f"the layer {name!r} is called with what different layers give",
                    hint="Each layer must have one place in a step.",
                )
            return
        if not source:
            if entry and _place(entry[0]) != _place(given):
                raise ModelError(
                    f"what leads to {name!r} is neither the input nor the output of a layer",
                    hint="Layers must lead to each other directly, without operations between.",
                )
            entry.append(given)
        shapes = tuple(given.shape[1:]), tuple(given_out.shape[1:])
        calls[name] = _Call(layer, type(layer).__name__, source, *shapes)

    hooks = [
        layer.register_forward_hook(
            lambda layer, arguments, result, name=name: called(name, layer, arguments, result)
        )
        for name, layer in layers.items()
    ]
    training = module.training
    states = [
        (layer, state, getattr(layer, state))
        for layer in layers.values()
        for state in ("mem", "syn", "spk", "reset")
        if hasattr(layer, state)
    ]
    try:
        module.eval()
        with torch.no_grad():
            module(sample)
    finally:
        module.train(training)
        for layer, state, value in states:
            setattr(layer, state, value)
        for hook in hooks:
            hook.remove()
    if not calls:
        raise ModelError("the module has no layers that were called")
    most = max(counts.values())
    for name, count in counts.items():
        if count != most:
            raise ModelError(
                f"the layer {name!r} is called {count} times, and others {most} times",
                hint="Each layer must be called once in a step.",
            )
    return calls


def _place(tensor: Any) -> tuple[int, int]:
    """What is equal for a tensor and its views that hold all of it, such as flattened ones."""
    return tensor.data_ptr(), tensor.numel()


def _layers(module: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Modules without parts, and neurons with their recurrent parts."""
    parts = list(module.named_children())
    if type(module).__name__ in _NEURONS or not parts:
        return [(prefix or "layer", module)]
    return [
        layer
        for name, part in parts
        for layer in _layers(part, f"{prefix}.{name}" if prefix else name)
    ]


def _check_layers(layers: dict[str, Any], snntorch: Any) -> None:
    known = (*_PLAIN, *_LINEAR, *_NEURONS)
    wrong = []
    for name, layer in layers.items():
        kind = type(layer).__name__
        if kind not in known:
            wrong.append(f"{name} ({kind})")
            continue
        if not isinstance(layer, snntorch.SpikingNeuron):
            if kind == "AvgPool2d" and (layer.ceil_mode or layer.divisor_override):
                wrong.append(f"{name} (AvgPool2d with ceil_mode or divisor_override)")
            if getattr(layer, "padding_mode", "zeros") != "zeros":
                wrong.append(f"{name} ({kind} with padding_mode {layer.padding_mode!r})")
            continue
        features = {
            "inhibition": layer.inhibition,
            "state_quant": layer.state_quant,
            "graded_spikes_factor": bool((layer.graded_spikes_factor != 1).any()),
        }
        late_zero = layer.reset_mechanism == "zero" and layer.reset_delay and kind != "Leaky"
        # Then snnTorch drops what comes in with the step after a spike.
        features["reset_mechanism='zero' and reset_delay"] = late_zero
        wrong += [f"{name} ({kind} with {what})" for what, there in features.items() if there]
    if wrong:
        raise ModelError(f"the core has no {', '.join(wrong)}", hint=f"It has {', '.join(known)}.")


def _add(
    name: str, call: _Call, nodes: dict[str, Any], edges: list[tuple[str, str]], dt: float
) -> None:
    """Add the node of a layer, and of its recurrent part."""
    layer, kind = call.module, call.kind
    if kind in _PLAIN:
        nodes[name] = nir.Scale(numpy.ones(1))
    elif kind in _LINEAR:
        nodes[name] = _linear(layer, kind, call.before)
    else:
        nodes[name] = _neuron(name, call, dt)
        if kind.startswith("R"):
            part = f"{name}.recurrent"
            nodes[part] = (
                _linear(layer.recurrent, type(layer.recurrent).__name__, call.after)
                if layer.all_to_all
                else nir.Scale(_values(layer.recurrent.V))
            )
            edges += [(name, part), (part, name)]


def _linear(layer: Any, kind: str, before: tuple[int, ...]) -> nir.NIRNode:
    if kind.startswith("BatchNorm"):
        return _normalisation(layer, before)
    if kind == "AvgPool2d":
        if not layer.count_include_pad and numpy.any(layer.padding):
            raise ModelError("AvgPool2d must count its padding")
        values = (layer.kernel_size, layer.stride, layer.padding)
        return nir.AvgPool2d(*(numpy.array(value) for value in values))
    weight = _values(layer.weight)
    bias = numpy.zeros(len(weight)) if layer.bias is None else _values(layer.bias)
    if kind == "Linear":
        return nir.Affine(weight, bias)
    sizes: Any = (layer.stride, layer.padding, layer.dilation)
    if kind == "Conv1d":
        stride, padding, dilation = (s if isinstance(s, str) else s[0] for s in sizes)
        return nir.Conv1d(None, weight, stride, padding, dilation, layer.groups, bias)
    stride, padding, dilation = sizes
    return nir.Conv2d(None, weight, stride, padding, dilation, layer.groups, bias)


def _normalisation(layer: Any, before: tuple[int, ...]) -> nir.NIRNode:
    """Batch normalisation as a convolution with a kernel of one, or a diagonal matrix."""
    if layer.running_mean is None:
        raise ModelError("batch normalisation must track statistics")
    mean, variance = _values(layer.running_mean), _values(layer.running_var)
    factor = 1 / numpy.sqrt(variance + layer.eps)
    if layer.affine:
        factor = factor * _values(layer.weight)
    bias = -mean * factor + (_values(layer.bias) if layer.affine else 0.0)
    size = len(factor)
    if len(before) == 1:
        return nir.Affine(numpy.diag(factor), bias)
    kernel = factor.reshape(size, 1, *(1,) * (len(before) - 1))
    kind = nir.Conv1d if len(before) == 2 else nir.Conv2d
    return kind(None, kernel, 1, 0, 1, size, bias)


def _neuron(name: str, call: _Call, dt: float) -> nir.NIRNode:
    """The node whose Euler steps have the layer's factors."""
    layer, size = call.module, call.after
    beta = numpy.broadcast_to(_values(layer.beta).clip(0, 1), size)
    threshold = numpy.broadcast_to(_values(layer.threshold), size)
    shows = layer.reset_mechanism == "none"
    zero = numpy.zeros(size)
    if call.kind in ("Leaky", "RLeaky") and (beta == 1).all():
        rate = numpy.full(size, 1 / dt)
        return nir.I(rate) if shows else nir.IF(rate, threshold, zero)
    tau = _time(name, "beta", beta, dt)
    if call.kind in ("Leaky", "RLeaky"):
        if shows:
            return nir.LI(tau, tau / dt, zero)
        return nir.LIF(tau, tau / dt, zero, threshold, zero)
    alpha = numpy.broadcast_to(_values(layer.alpha).clip(0, 1), size)
    slow = _time(name, "alpha", alpha, dt)
    if shows:
        return nir.CubaLI(slow, tau, tau / dt, zero, slow / dt)
    return nir.CubaLIF(slow, tau, tau / dt, zero, threshold, zero, slow / dt)


def _time(name: str, what: str, factor: Reals, dt: float) -> Reals:
    if (factor == 1).any():
        raise ModelError(f"{what} of {name!r} is 1, and the core's decay needs less")
    found: Reals = dt / (1 - factor)
    return found


def _reset(name: str, layer: Any) -> dict[str, Any]:
    """Parameters of a population for the layer's way to reset."""
    if layer.reset_mechanism != "subtract":
        return {}
    if not layer.reset_delay:
        return {"subtract": True}
    beta, threshold = _values(layer.beta).clip(0, 1), _values(layer.threshold)
    if (beta == 0).any():
        raise ConfigError(
            f"beta of {name!r} is 0, so that its late reset by subtraction has no equal",
            hint="Use reset_mechanism='zero'.",
        )
    return {
        "subtract": True,
        "threshold": (threshold / beta).ravel(),
        **({} if (beta == 1).all() else {"v_leak": (threshold * (1 / beta - 1)).ravel()}),
    }


def _values(tensor: Any) -> Reals:
    found: Reals = tensor.detach().double().cpu().numpy()
    return found
