"""A core behind a serial line: everything but pins and clock."""

from typing import Any

from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.link.serial import SerialLink
from dyncc_hw.neurocorex.commands import CommandProcessor
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation
from dyncc_hw.neurocorex.runner import Runner
from dyncc_hw.neurocorex.stepper import step_limit
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
        m.submodules.runner = runner = Runner(spec, self.limit)
        core = Core(spec, self.implementation)
        m.submodules.core = ResetInserter(runner.reset)(core)
        connect(m, link.requests, commands.requests)
        connect(m, commands.responses, link.responses)
        connect(m, commands.bus, core.bus)
        connect(m, commands.run, runner.run)
        connect(m, commands.log, runner.log)
        connect(m, runner.lines, core.events_in)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            core.start.eq(runner.start),
            core.events_out.ready.eq(1),
            runner.busy.eq(core.busy),
            runner.step_done.eq(core.step_done),
            runner.decided.eq(core.decided),
            runner.fired.eq(core.events_out.valid),
            runner.neuron.eq(core.events_out.payload),
            self.busy.eq(runner.run.running),
            self.fault.eq(runner.run.disordered | runner.run.watchdog),
            self.spike.eq(core.events_out.payload),
            self.spike_valid.eq(core.events_out.valid),
            self.step_end.eq(runner.step_end),
        ]
        return m
