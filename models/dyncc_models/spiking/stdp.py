r"""Float reference models of STDP, as pure functions of spikes, weights, state and parameters.

Each function carries out one step and returns new weights and a new state. Spikes are tensors of
zeros and ones: :math:`s_i`, of shape (sources,), of those that *arrive* in the step, and
:math:`z_j`, of shape (neurons,), of those *fired* in it. Weights :math:`w_{ij}`, of shape (sources,
neurons), stay in :math:`[w_{min}, w_{max}]`. Order in a step, the same for all rules:

1. Depression of the weights of all sources whose spike arrives, by what is known of the neurons'
   spikes of the steps before.
2. The state of the sources takes up the spikes that arrive.
3. Potentiation of the weights of all neurons that fire, by the state of the sources.
4. The state of the neurons takes up the spikes that they fired.

So a spike that arrives in the step in which the neuron fires potentiates, and does not depress.
With :math:`\Delta` the time of the post spike minus that of the pre spike, both rules of pairs are

.. math::
    \Delta w = +W_+(\Delta) \text{ for } \Delta \geq 0, \qquad -W_-(-\Delta) \text{ for } \Delta < 0

- `trace_step`: :math:`W_\pm(\Delta) = A_\pm e^{-\Delta / \tau_\pm}` (Song, Miller and Abbott,
  Nature Neuroscience 3:919, 2000), summed over all pairs by a trace for each source and neuron
  (Morrison, Diesmann and Gerstner, Biological Cybernetics 98:459, 2008, section 4.1).
- `window_step`: :math:`W_\pm = A_\pm` within a window and 0 beyond, of the nearest pair; NeuroCoreX
  as published (Gautam et al., arXiv:2506.14138).
- `lag_step`: an amount for each lag; SuperNeuroMAT (Date et al., ICONS 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plasticity:
    """What all rules know of synapses.

    Attributes
    ----------
    w_min, w_max
        Bounds of weights that learn.
    plastic
        Which weights learn, bool, shape (sources, neurons), or one for all.
    """

    w_min: float = -math.inf
    w_max: float = math.inf
    plastic: Tensor | bool = True

    def learnt(self, weights: Tensor, gain: Tensor | float) -> Tensor:
        """`weights`, those that learn with `gain` added, within the bounds."""
        changed = (weights + gain).clamp(self.w_min, self.w_max)
        return torch.where(torch.as_tensor(self.plastic), changed, weights)


@dataclass(frozen=True)
class TraceParameters(Plasticity):
    r"""Of `trace_step`.

    Attributes
    ----------
    a_plus, a_minus
        :math:`A_+` and :math:`A_-`, in units of weight, 0 or more.
    decay_pre, decay_post
        Factors of the traces in a step, :math:`e^{-\Delta t / \tau_+}` and
        :math:`e^{-\Delta t / \tau_-}`, as `dyncc_models.spiking.neurons.decay` gives them.
    """

    a_plus: float = 0.0
    a_minus: float = 0.0
    decay_pre: Tensor | float = 0.0
    decay_post: Tensor | float = 0.0


class TraceState(NamedTuple):
    """Traces of sources, shape (sources,), and neurons, shape (neurons,)."""

    pre: Tensor
    post: Tensor

    @classmethod
    def at_rest(cls, weights: Tensor) -> Self:
        """No spike has been seen by `weights`, of shape (sources, neurons)."""
        return cls(torch.zeros_like(weights[:, 0]), torch.zeros_like(weights[0]))


def trace_step(
    pre_spikes: Tensor,
    post_spikes: Tensor,
    weights: Tensor,
    state: TraceState,
    params: TraceParameters,
) -> tuple[Tensor, TraceState]:
    r"""One step of STDP with exponential windows, all pairs.

    .. math::
        w_{ij} &\leftarrow [w_{ij} - A_- s_i y_j]_{w_{min}}^{w_{max}} \\
        x_i &\leftarrow e^{-\Delta t / \tau_+} x_i + s_i \\
        w_{ij} &\leftarrow [w_{ij} + A_+ x_i z_j]_{w_{min}}^{w_{max}} \\
        y_j &\leftarrow e^{-\Delta t / \tau_-} (y_j + z_j)
    """
    weights = params.learnt(weights, -params.a_minus * torch.outer(pre_spikes, state.post))
    pre = params.decay_pre * state.pre + pre_spikes
    weights = params.learnt(weights, params.a_plus * torch.outer(pre, post_spikes))
    return weights, TraceState(pre, params.decay_post * (state.post + post_spikes))


@dataclass(frozen=True)
class WindowParameters(Plasticity):
    """Of `window_step`.

    Attributes
    ----------
    a_plus, a_minus
        Change of a pair within the window, in units of weight, 0 or more.
    steps_plus
        A neuron that fires potentiates synapses whose spike arrived in this step or one of the
        ``steps_plus - 1`` before.
    steps_minus
        A spike that arrives depresses if the neuron fired in one of the `steps_minus` steps before.
    """

    a_plus: float = 0.0
    a_minus: float = 0.0
    steps_plus: int = 0
    steps_minus: int = 0


class WindowState(NamedTuple):
    """Steps since the last spike of sources, shape (sources,), and of neurons (neurons,).

    Counted to the step that comes next; infinite if there was none.
    """

    pre: Tensor
    post: Tensor

    @classmethod
    def at_rest(cls, weights: Tensor) -> Self:
        """No spike has been seen by `weights`, of shape (sources, neurons)."""
        pre, post = torch.zeros_like(weights[:, 0]), torch.zeros_like(weights[0])
        return cls(pre + math.inf, post + math.inf)


def window_step(
    pre_spikes: Tensor,
    post_spikes: Tensor,
    weights: Tensor,
    state: WindowState,
    params: WindowParameters,
) -> tuple[Tensor, WindowState]:
    r"""One step of STDP with rectangular windows, nearest pairs.

    With :math:`a_i` the steps since the last spike of source :math:`i` arrived, this one included,
    and :math:`b_j` those since neuron :math:`j` fired, this one excluded:

    .. math::
        w_{ij} &\leftarrow [w_{ij} - A_- s_i \,(b_j \leq n_-)]_{w_{min}}^{w_{max}} \\
        w_{ij} &\leftarrow [w_{ij} + A_+ z_j \,(a_i < n_+)]_{w_{min}}^{w_{max}}
    """
    late = (state.post <= params.steps_minus).to(weights.dtype)
    weights = params.learnt(weights, -params.a_minus * torch.outer(pre_spikes, late))
    since = torch.where(pre_spikes > 0, 0.0, state.pre)
    early = (since < params.steps_plus).to(weights.dtype)
    weights = params.learnt(weights, params.a_plus * torch.outer(early, post_spikes))
    fired = torch.where(post_spikes > 0, 0.0, state.post)
    return weights, WindowState(since + 1, fired + 1)


@dataclass(frozen=True)
class LagParameters(Plasticity):
    """Of `lag_step`.

    Attributes
    ----------
    apos, aneg
        Gain of a synapse whose spike arrived that many steps before the neuron fired, and of all
        other synapses that learn, by lag; of the same length, in units of weight.
    """

    apos: tuple[float, ...] = ()
    aneg: tuple[float, ...] = ()


class LagState(NamedTuple):
    """The last steps of each source, the newest first, shape (lags, sources)."""

    arrived: Tensor

    @classmethod
    def at_rest(cls, weights: Tensor, params: LagParameters) -> Self:
        """No spike has been seen by `weights`, of shape (sources, neurons)."""
        return cls(weights.new_zeros((len(params.apos), len(weights))))


def lag_step(
    pre_spikes: Tensor,
    post_spikes: Tensor,
    weights: Tensor,
    state: LagState,
    params: LagParameters,
) -> tuple[Tensor, LagState]:
    r"""One step of SuperNeuroMAT's rule.

    With :math:`s_i^k` whether a spike of source :math:`i` arrived :math:`k` steps ago:

    .. math::
        w_{ij} \leftarrow w_{ij}
        + \sum_k \left(A^+_k s_i^k z_j + A^-_k (1 - s_i^k z_j)\right)

    A spike arrives a tick after SuperNeuroMAT's neuron fired, so lag 0 is its first. Weights have
    no bounds of their own here: what neurons get is ``params.learnt(weights, 0)``, so that a weight
    beyond a bound comes back as late as it would without bounds.
    """
    arrived = torch.cat((pre_spikes[None], state.arrived))[: len(params.apos)]
    apos, aneg = weights.new_tensor(params.apos), weights.new_tensor(params.aneg)
    gain = torch.outer((apos - aneg) @ arrived, post_spikes) + aneg.sum()
    return torch.where(torch.as_tensor(params.plastic), weights + gain, weights), LagState(arrived)


def pair_window(
    lag: Tensor, a_plus: float, a_minus: float, tau_plus: float, tau_minus: float
) -> Tensor:
    r"""Weight change of one pair of spikes, by the time of the post spike minus that of the pre.

    :math:`A_+ e^{-\Delta / \tau_+}` for :math:`\Delta \ge 0` and
    :math:`-A_- e^{\Delta / \tau_-}` else (Song, Miller and Abbott, Nature Neuroscience 3:919,
    2000; here a pair in the same step counts as pre before post).
    """
    plus = a_plus * torch.exp(-lag.clamp(min=0) / tau_plus)
    minus = -a_minus * torch.exp(lag.clamp(max=0) / tau_minus)
    return torch.where(lag >= 0, plus, minus)
