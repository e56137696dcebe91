"""What makes a core run: stimulus words in, log words out."""

from typing import Any

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.neurocorex.spikelog import LOG_PORT, SpikeLog
from dyncc_hw.neurocorex.stepper import Stepper
from dyncc_hw.neurocorex.stimulus import RUN_PORT, StimulusQueue
from dyncc_hw.neurocorex.synapses import index_bits


class Runner(wiring.Component):
    """Hands spikes to a core, starts its steps, and writes down what fires, as
    `dyncc.arch.neurocorex.packets` says.

    Parameters
    ----------
    limit
        Cycles after which a step is broken off; see `dyncc_hw.neurocorex.stepper.step_limit`.

    Members
    -------
    run, log
        To the command processor; see `RUN_PORT` and `LOG_PORT`.
    lines
        To the core's `events_in`.
    start, busy, step_done, decided
        The core's members of those names.
    fired, neuron
        A neuron that comes out of the core; it is taken always.
    step_end
        High when the last neuron of a step is out and the step counts.
    reset
        High for a cycle when the core has to be reset.
    """

    def __init__(self, spec: CoreSpec, limit: int) -> None:
        self.spec = spec
        self._stepper = Stepper(limit)
        super().__init__(
            {
                "run": In(RUN_PORT),
                "log": In(LOG_PORT),
                "lines": Out(stream.Signature(index_bits(max(1, spec.inputs)))),
                "start": Out(1),
                "busy": In(1),
                "step_done": In(1),
                "decided": In(1),
                "fired": In(1),
                "neuron": In(index_bits(spec.neurons)),
                "step_end": Out(1),
                "reset": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        m.submodules.stimulus = stimulus = StimulusQueue(self.spec)
        m.submodules.stepper = stepper = self._stepper
        m.submodules.log = log = SpikeLog(self.spec)
        connect(m, flipped(self.run), stimulus.run)
        connect(m, stimulus.lines, flipped(self.lines))
        connect(m, flipped(self.log), log.log)
        m.d.comb += [
            stepper.step.eq(stimulus.step),
            stepper.core_busy.eq(self.busy),
            stepper.core_step_done.eq(self.step_done),
            stepper.fired.eq(self.fired),
            stimulus.step_done.eq(stepper.done),
            stimulus.step_broken.eq(stepper.broken),
            stimulus.step_decided.eq(self.decided),
            stimulus.log_room.eq(log.room),
            log.write.eq(self.fired),
            log.neuron.eq(self.neuron),
            log.mark.eq(stepper.mark),
            log.decided.eq(self.decided),
            log.commit.eq(stepper.commit),
            log.discard.eq(stepper.broken),
            self.start.eq(stepper.core_start),
            self.step_end.eq(stepper.commit),
            self.reset.eq(stepper.broken),
        ]
        return m
