"""Bench of the whole core on networks that the caller describes, one after the other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import CoreImage, CoreSpec, Rule
from dyncc_models.spiking.random_images import random_image
from dyncc_sim.neurocorex_core_bench import compare
from dyncc_sim.neurocorex_driver import Driver
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings


@dataclass(frozen=True)
class Network:
    """A random network, and what it is given.

    Attributes
    ----------
    seed
        Of parameters, weights and inputs.
    rule
        How it learns, if the core does; None for an image that says nothing of it.
    density
        Part of the synapses that a sparse core holds.
    rate
        Part of the input lines that spike in a step.
    steps
        Number of steps.
    terminates
        Whether classes are watched, if the core can.
    """

    seed: int
    rule: Rule | None
    density: float
    rate: float
    steps: int
    terminates: bool

    def image(self, spec: CoreSpec) -> CoreImage:
        """What the core is programmed with."""
        rule = Rule.OFF if self.rule is None else self.rule
        found = random_image(spec, self.seed, rule, self.density)
        if self.rule is None:
            # What does not learn has no plastic synapses; in a sparse core they stay if not zero.
            found = replace(found, learning=None)
        return found if self.terminates else replace(found, termination=None)


class RandomDriver(Driver):
    """Sends the events of a step in any order, with numbers beyond the last line among them."""

    def lines(self, inputs: numpy.ndarray) -> list[int]:
        """Input events of a step; those beyond the last line are dropped by the core."""
        events = self.draw.permutation(super().lines(inputs)).tolist()
        beyond = range(self.spec.inputs, 1 << len(self.dut.events_in__payload))
        if beyond:
            for _ in range(int(self.draw.integers(0, 3))):
                place = int(self.draw.integers(0, len(events) + 1))
                events.insert(place, int(self.draw.choice(beyond)))
        return [int(event) for event in events]


@cocotb.test()
async def networks_equal_twin(dut: Any) -> None:
    """All networks, one after the other, on the same core."""
    options = settings()
    spec = CoreSpec(**options["spec"])
    networks = [Network(**values) for values in options["networks"]]
    driver = RandomDriver(dut, spec, options["seed"])
    await driver.reset()
    coverage = Coverage()
    for network in networks:
        rule = None if network.rule is None else Rule(network.rule)
        image = replace(network, rule=rule).image(spec)
        inputs = driver.draw.random((network.steps, spec.inputs)) < network.rate
        await compare(driver, image, inputs, coverage)
    steps = sum(network.steps for network in networks)
    assert coverage["states compared"] == steps * spec.neurons
    coverage.finish("networks", ["states compared"])


def settings_for(
    spec: CoreSpec, networks: list[Network], implementation: dict[str, str], seed: int
) -> dict[str, Any]:
    """What the bench reads."""
    return {
        "spec": asdict(spec),
        "networks": [asdict(network) for network in networks],
        "implementation": implementation,
        "seed": seed,
    }
