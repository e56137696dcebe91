r"""Integer twin of the NeuroCoreX core: the same bits as the hardware, a step at a time.

Order of operations in step :math:`t`, for every neuron :math:`j`. Potentials are Q.16 in
``state_bits`` bits, currents Q.24 in 32; ``sat`` limits to that width and never wraps, ``rs`` drops
bits, rounding to nearest, halves up:

1. Synapses: :math:`a_j = \sum_i s^{in}_i[t] W^{in}_{ij} + \sum_k s_k[t-1-d_k] W^{rec}_{kj}`,
   exact; :math:`d_k` is the neuron's ``delay``.
2. Current: :math:`I_j = sat(rs(decay_i I_j, 16) + gain\, a_j)`.
3. Membrane, by the neuron's dynamics:

   - exponential:
     :math:`v_j = sat(rest + rs(decay_v (v_j - rest), 16) + rs(couple\, I_j, 24) + bias)`
   - linear, clamped: :math:`v_j` moves by `leak` towards ``reset_to`` and not past it, then
     :math:`v_j = sat(v_j + rs(couple\, I_j, 24) + bias)`
   - linear: :math:`v_j = sat(v_j + bias - leak + rs(couple\, I_j, 24))`

4. Fire: :math:`s_j[t] = fires \wedge v_j > threshold \wedge r_j = 0`.
5. Refractory: :math:`r_j` counts down to 0; a spike sets it to ``refractory``.
6. Reset of neurons that fired: :math:`v_j =` ``reset_to``, or :math:`v_j - threshold`.
7. Learning, if on: see `dyncc_models.spiking.learning`.
8. Dynamic termination, if on: see `dyncc_models.spiking.termination`.

The exponential mode holds NIR's LIF, CubaLIF, IF and LI (see `parameters`); the clamped one is
SuperNeuroMAT's neuron tick for tick; the linear one is NeuroCoreX as published (Gautam et al.,
arXiv:2506.14138), whose refractory period blocks firing only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import CoreImage
from dyncc_models.spiking.learning import Synapses
from dyncc_models.spiking.neuron import NeuronState, Spikes, update
from dyncc_models.spiking.termination import decide


@dataclass
class Counters:
    """What the core counts, for estimates of energy.

    Attributes
    ----------
    steps
        Steps carried out.
    input_spikes, spikes
        Spikes that came in, and that neurons fired.
    synaptic_operations
        Weights added: non-zero or not, every weight of a row that a spike fetched.
    weight_reads, weight_writes
        Words of the weight memory that steps read and wrote.
    """

    steps: int = 0
    input_spikes: int = 0
    spikes: int = 0
    synaptic_operations: int = 0
    weight_reads: int = 0
    weight_writes: int = 0


@dataclass(frozen=True)
class Recording:
    """Spikes (steps, neurons) and, if asked for, potentials and currents of the same shape."""

    spikes: Spikes
    potentials: Integers | None = None
    currents: Integers | None = None


class CoreTwin:
    """A core that was programmed with an image.

    Attributes
    ----------
    v, i
        Membrane potentials (Q.16) and currents (Q.24), int64 of shape (neurons,).
    refractory
        Steps left in which a neuron cannot fire, shape (neurons,).
    travelling
        Spikes on their way to the synapses, a bit for each step from the next but one on.
    arriving
        Neurons whose spikes are delivered in the next step, bool of shape (neurons,).
    synapses
        Weights and traces.
    counters
        What was done so far.
    decided, winner
        Whether the test of dynamic termination holds after the last step, and for which class.
    """

    def __init__(self, image: CoreImage) -> None:
        self.image = image
        self.spec = image.spec
        sets = image.assignment
        self._parameters = {name: values[sets] for name, values in image.parameters.items()}
        self._fan_out: Integers = image.present.sum(axis=1)
        self._row_counts = image.row_counts
        self.reset()

    def reset(self) -> None:
        """Return to the state after programming: initial potentials and weights, no spikes."""
        spec = self.spec
        self.v: Integers = self.image.initial_v.astype(numpy.int64)
        self.i: Integers = self.image.initial_i.astype(numpy.int64)
        self.refractory: Integers = self.image.initial_refractory.astype(numpy.int64)
        self.travelling: Integers = numpy.zeros(spec.neurons, numpy.int64)
        self.arriving: Spikes = numpy.zeros(spec.neurons, bool)
        self.decided, self.winner = False, 0
        self.synapses = Synapses(self.image)
        self.counters = Counters()

    def clear(self) -> None:
        """What the register ``clear`` does: no spikes that arrive, traces and counters zero."""
        self.arriving = numpy.zeros_like(self.arriving)
        self.synapses.pre = numpy.zeros_like(self.synapses.pre)
        self.synapses.post = numpy.zeros_like(self.synapses.post)
        self.synapses.drift = 0
        self.counters = Counters()
        self.decided, self.winner = False, 0

    def step(self, inputs: Any = None) -> Spikes:
        """Carry out one step.

        Parameters
        ----------
        inputs
            Input spikes, bool of shape (inputs,); None for none.

        Returns
        -------
        ndarray of bool, shape (neurons,)
            The spikes of this step.

        Raises
        ------
        ValueError
            If the shape does not fit the core.
        """
        spec, neuron = self.spec, self._parameters
        given = numpy.zeros(spec.inputs, bool) if inputs is None else numpy.asarray(inputs, bool)
        if given.shape != (spec.inputs,):
            raise ValueError(f"inputs must have shape ({spec.inputs},), not {given.shape}")
        sources = numpy.concatenate((given, self.arriving))

        accumulated = self.synapses.collect(sources)
        before = NeuronState(self.v, self.i, self.refractory, self.travelling)
        found = update(neuron, before, accumulated, spec.state_bits)
        self.v, self.i = found.state.v, found.state.i
        self.refractory, self.travelling = found.state.refractory, found.state.travelling
        fired = found.fired
        self.synapses.learn(sources, fired)

        self._count(given, sources, fired)
        self.arriving = found.arrives
        if self.image.termination is not None:
            self.decided, self.winner = decide(self.image.termination, self.v, self.counters.steps)
        return fired

    def _count(self, given: Spikes, sources: Spikes, fired: Spikes) -> None:
        counters, spec = self.counters, self.spec
        reads = int(self._row_counts[sources].sum())
        writes = 0
        if self.synapses.learning is not None:
            # A sparse core looks for the synapses of all that fired at once.
            columns = int(fired.sum()) * spec.sources
            if spec.sparse:
                columns = int(self._row_counts.sum()) if fired.any() else 0
            reads, writes = reads + columns, reads + columns
        counters.steps += 1
        counters.input_spikes += int(given.sum())
        counters.spikes += int(fired.sum())
        counters.synaptic_operations += int(self._fan_out[sources].sum())
        counters.weight_reads += reads
        counters.weight_writes += writes

    def run(self, inputs: Any, record: bool = False) -> Recording:
        """Carry out a step for each row of `inputs`, bool of shape (steps, inputs).

        Ends before if dynamic termination decides; the recording is then shorter.

        Parameters
        ----------
        record
            Also record potentials (after reset) and currents.
        """
        rows = numpy.asarray(inputs, bool)
        if rows.ndim != 2 or rows.shape[1] != self.spec.inputs:
            raise ValueError(
                f"inputs must have shape (steps, {self.spec.inputs}), not {rows.shape}"
            )
        shape = (len(rows), self.spec.neurons)
        spikes = numpy.zeros(shape, bool)
        potentials = numpy.zeros(shape, numpy.int64) if record else None
        currents = numpy.zeros(shape, numpy.int64) if record else None
        for t, row in enumerate(rows):
            spikes[t] = self.step(row)
            if potentials is not None and currents is not None:
                potentials[t], currents[t] = self.v, self.i
            if self.decided:
                done = slice(t + 1)
                return Recording(
                    spikes[done],
                    None if potentials is None else potentials[done],
                    None if currents is None else currents[done],
                )
        return Recording(spikes, potentials, currents)

    def report(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self.counters)


def simulate(image: CoreImage, lines: Any) -> tuple[Spikes, Integers]:
    """Spikes and potentials, both (steps, neurons), for input spikes (steps, inputs)."""
    found = CoreTwin(image).run(lines, record=True)
    assert found.potentials is not None
    return found.spikes, found.potentials
