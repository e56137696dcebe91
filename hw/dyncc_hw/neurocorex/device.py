"""A core behind a serial line: everything but pins and clock."""

from typing import Any

from amaranth import Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.link.serial import SerialLink
from dyncc_hw.neurocorex.commands import CommandProcessor
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation
from dyncc_hw.neurocorex.runner import Runner
from dyncc_hw.neurocorex.spikelog import SpikeLog
from dyncc_hw.neurocorex.stepper import Stepper, step_limit
from dyncc_hw.neurocorex.synapses import index_bits


class Device(wiring.Component):
    """A NeuroCoreX device.

    What it answers is in `dyncc.arch.link` and `dyncc.arch.neurocorex.packets`; its twin is
    `dyncc_models.spiking.device.DeviceTwin`.

    Parameters
    ----------
    spec, link
        Size of the core, and the device's side of the link. The clock is that of domain ``sync``.
    implementation
        How the core is built.
    limit
        Cycles after which the watchdog breaks a step off; None for twice those of the longest step.

    Members
    -------
    rx, tx
        The serial line; `rx` may be in any clock domain.
    busy
        Stimulus words are left, or a step is under way.
    fault
        A spike was out of order, or the watchdog broke a step off, since ``clear``.
    spike, spike_valid, step_end
        Neurons that fire, as they come out of the core, and the end of their step, for a router
        that joins cores. Nothing waits for who listens.
    """

    def __init__(
        self,
        spec: CoreSpec,
        link: LinkSpec,
        implementation: Implementation = STANDARD,
        limit: int | None = None,
    ) -> None:
        self.spec, self.link, self.implementation = spec, link, implementation
        self.limit = step_limit(spec, implementation) if limit is None else limit
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "busy": Out(1),
                "fault": Out(1),
                "spike": Out(index_bits(spec.neurons)),
                "spike_valid": Out(1),
                "step_end": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        spec = self.spec
        m.submodules.link = link = SerialLink(self.link)
        m.submodules.commands = commands = CommandProcessor(spec, self.link)
        m.submodules.runner = runner = Runner(spec)
        m.submodules.stepper = stepper = Stepper(self.limit)
        m.submodules.log = log = SpikeLog(spec)
        core_reset = Signal()
        core = Core(spec, self.implementation)
        m.submodules.core = ResetInserter(core_reset)(core)

        connect(m, link.requests, commands.requests)
        connect(m, commands.responses, link.responses)
        connect(m, commands.bus, core.bus)
        connect(m, runner.lines, core.events_in)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            # Requests
            runner.word.eq(commands.word),
            runner.push.eq(commands.push),
            runner.hold.eq(commands.hold),
            runner.stop.eq(commands.stop),
            runner.clear.eq(commands.clear),
            commands.held.eq(runner.held),
            commands.room.eq(runner.room),
            commands.running.eq(runner.running),
            commands.flags.eq(
                Cat(
                    runner.running,
                    runner.decided,
                    runner.log_full,
                    runner.disordered,
                    runner.watchdog,
                )
            ),
            log.position.eq(commands.log_position),
            log.free.eq(commands.log_free),
            log.read.eq(commands.log_read),
            log.index.eq(commands.log_index),
            commands.log_inside.eq(log.inside),
            commands.log_available.eq(log.available),
            commands.log_start.eq(log.start),
            commands.log_end.eq(log.end),
            commands.log_busy.eq(log.write | log.mark),
            commands.log_word.eq(log.word),
            # Steps
            stepper.step.eq(runner.step),
            stepper.fired.eq(core.events_out.valid),
            stepper.core_busy.eq(core.busy),
            stepper.core_step_done.eq(core.step_done),
            core.start.eq(stepper.core_start),
            core.events_out.ready.eq(1),
            core_reset.eq(stepper.broken),
            runner.step_done.eq(stepper.done),
            runner.step_broken.eq(stepper.broken),
            runner.step_decided.eq(core.decided),
            runner.log_room.eq(log.room),
            log.write.eq(core.events_out.valid),
            log.neuron.eq(core.events_out.payload),
            log.mark.eq(stepper.mark),
            log.commit.eq(stepper.commit),
            log.decided.eq(core.decided),
            log.discard.eq(stepper.broken),
            # Outside
            self.busy.eq(runner.running),
            self.fault.eq(runner.disordered | runner.watchdog),
            self.spike.eq(core.events_out.payload),
            self.spike_valid.eq(core.events_out.valid),
            self.step_end.eq(stepper.commit),
        ]
        return m
