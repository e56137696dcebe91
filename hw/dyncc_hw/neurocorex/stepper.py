"""One step of a core, from its start to its mark in the log, within a bound."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import CoreSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation


def step_limit(spec: CoreSpec, implementation: Implementation = STANDARD) -> int:
    """Cycles after which a step is broken off: twice those of the longest step.

    The longest one delivers all sources, all neurons fire, and every synapse is used once.
    """
    return 2 * Core.step_cycles(
        spec, spec.sources, spec.neurons, spec.synapse_words, spec.classes, implementation
    )


def checked_limit(limit: int) -> int:
    """`limit`, if it is a number of cycles."""
    if limit < 1:
        raise ConfigError(f"limit must be at least 1 cycle, not {limit}")
    return limit


class Stepper(wiring.Component):
    """Carries out a step, or breaks it off.

    Takes the cycles of the core, and `SETTLE` + 3 more; never more than `limit` + 2.

    Parameters
    ----------
    limit
        Cycles after which a step is broken off; see `step_limit`.

    Members
    -------
    step
        High until `done`: a step is to be carried out.
    done, broken
        High in the last cycle, and whether the step was broken off.
    core_start, core_busy, core_step_done
        The core's members of those names. A core that clears itself starts when it has.
    fired
        Whether a neuron comes out of the core, which goes to the log in the same cycle.
    mark, commit
        The log's, of a step that is whole.
    """

    #: Cycles without a neuron after which all of a step are out.
    SETTLE = 4

    def __init__(self, limit: int) -> None:
        self.limit = checked_limit(limit)
        super().__init__(
            {
                "step": In(1),
                "done": Out(1),
                "broken": Out(1),
                "core_start": Out(1),
                "core_busy": In(1),
                "core_step_done": In(1),
                "fired": In(1),
                "mark": Out(1),
                "commit": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Start, wait for the core, wait for its neurons, with an eye on the clock."""
        m = Module()
        begun, ended = Signal(), Signal()
        left, quiet = Signal(range(self.limit + 1)), Signal(range(self.SETTLE))
        m.d.comb += [
            self.core_start.eq(self.step & ~begun),
            self.broken.eq(self.step & (left == 0) & ~self.commit),
            self.mark.eq(self.step & ended & (quiet == 0) & ~self.fired & ~self.done),
            self.done.eq(self.commit | self.broken),
        ]
        m.d.sync += [left.eq(left - 1), self.commit.eq(self.mark)]
        with m.If(self.core_busy):
            m.d.sync += begun.eq(1)
        with m.If(self.core_step_done):
            m.d.sync += ended.eq(1)
        with m.If(~ended | self.fired):
            m.d.sync += quiet.eq(self.SETTLE - 1)
        with m.Else():
            m.d.sync += quiet.eq(quiet - 1)
        with m.If(~self.step | self.done):
            m.d.sync += [begun.eq(0), ended.eq(0), left.eq(self.limit)]
        return m
