"""Bench of a cluster: it equals its twin, whatever its channels and its host hold up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cocotb
import numpy
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.fields import pack, unpack
from dyncc.arch.neurocorex import (
    BUS_BITS,
    COUNTERS,
    CoreImage,
    CoreSpec,
    Rule,
    Space,
    state_fields,
    weight_words,
)
from dyncc.arch.neurocorex.cluster import (
    ADDRESS_EVENT,
    TRAFFIC,
    ClusterImage,
    ClusterSpace,
    ClusterSpec,
    cluster_address,
    cluster_bus_words,
    cluster_memory_words,
)
from dyncc.spiking.partition import partition
from dyncc_hw.neurocorex.cluster import Cluster
from dyncc_hw.neurocorex.core import Core
from dyncc_models.spiking.cluster import ClusterTwin
from dyncc_models.spiking.random_images import quiet_image, random_image
from dyncc_sim.neurocorex_driver import WORD, Driver
from dyncc_sim.runner import settings

CYCLES, STEPS, INPUT_SPIKES = (
    [item.name for item in COUNTERS].index(name) for name in ("cycles", "steps", "input_spikes")
)


class ClusterDriver(Driver):
    """Drives a cluster.

    Attributes
    ----------
    coverage
        What happened.
    held
        Whether all channels are held up.
    """

    def __init__(self, dut: Any, cluster: ClusterSpec, seed: int | None) -> None:
        super().__init__(dut, cluster.cores[0], seed)
        self.cluster = cluster
        self.coverage: Counter[str] = Counter()
        self.held = False

    async def reset(self) -> None:
        """Start the clock, hold reset, begin to take events; hold channels up, or have none."""
        self.dut.hold.value = 0
        self.dut.direct.value = int(not self.stalls)
        self.dut.events_in__valid.value = 0
        await super().reset()
        if self.stalls:
            cocotb.start_soon(self._hold_channels())

    async def _hold_channels(self) -> None:
        """Now and then hold a channel up, sometimes for longer than a small core takes a step."""
        left = numpy.zeros(len(self.dut.hold), numpy.int64)
        while True:
            left = numpy.maximum(left - 1, 0)
            begins = (left == 0) & (self.draw.random(len(left)) < 0.05)
            left[begins] = self.draw.integers(1, self.draw.choice([3, 100]), begins.sum())
            holds = numpy.flatnonzero((left > 0) | self.held).tolist()
            self.dut.hold.value = sum(1 << bit for bit in holds)
            await ReadOnly()
            self.coverage["early events"] += int(self.dut.early.value)
            await RisingEdge(self.dut.clk)

    async def let_go(self, cycles: int) -> None:
        """Hold no channel up after some cycles."""
        await ClockCycles(self.dut.clk, cycles)
        self.held = False

    async def request(self, address: int, value: int | None = None) -> int:
        """Write a bus word, or read one."""
        self.dut.bus__address.value = address
        self.dut.bus__write_data.value = value or 0
        self.dut.bus__write.value = int(value is not None)
        self.dut.bus__read.value = int(value is None)
        await self._request()
        return int(self.dut.bus__read_data.value)

    async def write_on(
        self, core: int, space: Space | ClusterSpace, index: int, value: int
    ) -> None:
        """Store a memory word."""
        for chunk in range(cluster_bus_words(self.cluster, core, space)):
            part = value >> (BUS_BITS * chunk) & WORD
            await self.request(cluster_address(core, space, index, chunk), part)

    async def read_on(self, core: int, space: Space | ClusterSpace, index: int) -> int:
        """Read a memory word."""
        found = 0
        for chunk in range(cluster_bus_words(self.cluster, core, space)):
            part = await self.request(cluster_address(core, space, index, chunk))
            found |= part << (BUS_BITS * chunk)
        return found

    async def traffic(self, core: int) -> dict[str, int]:
        """What a router counted."""
        return {
            item.name: await self.read_on(core, ClusterSpace.TRAFFIC, index)
            for index, item in enumerate(TRAFFIC)
        }

    async def program_all(self, image: ClusterImage) -> None:
        """Write every memory; the cluster forgets what it was doing."""
        for core in range(len(self.cluster.cores)):
            for space, words in cluster_memory_words(image, core).items():
                for index, value in enumerate(words):
                    await self.write_on(core, space, index, value)
                    await self.pause()

    async def spike(self, core: int, line: int) -> None:
        """An event for the next step."""
        dut = self.dut
        await self.pause()
        dut.events_in__payload.value = pack(ADDRESS_EVENT, {"core": core, "index": line})
        dut.events_in__valid.value = 1
        while True:
            await ReadOnly()
            ready = bool(dut.events_in__ready.value)
            await RisingEdge(dut.clk)
            if ready:
                break
        dut.events_in__valid.value = 0

    async def step_all(self) -> int:
        """One step; returns the cycles for which the cluster was busy."""
        dut = self.dut
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        limit = 100 * sum(core.sources * (core.neurons + 2) + 1000 for core in self.cluster.cores)
        cycles = 0
        for _ in range(limit):
            await ReadOnly()
            cycles += int(dut.busy.value)
            if dut.step_done.value:
                break
            await RisingEdge(dut.clk)
        else:
            raise AssertionError(f"a step does not end in {limit} cycles")
        await RisingEdge(dut.clk)
        return cycles

    def fired(self) -> list[list[int]]:
        """Neurons of each core that fired, in the order in which the host was told."""
        events = [unpack(ADDRESS_EVENT, event) for event in self._fired]
        self._fired = []
        return [
            [event["index"] for event in events if event["core"] == core]
            for core in range(len(self.cluster.cores))
        ]


def cluster_spec() -> ClusterSpec:
    """The cluster under test."""
    return ClusterSpec(tuple(CoreSpec(**size) for size in settings()["cores"]))


def random_split(network: CoreImage, spec: ClusterSpec, draw: numpy.random.Generator) -> Any:
    """The network at random places; the host is told of most neurons."""
    places = numpy.repeat(numpy.arange(len(spec.cores)), [core.neurons for core in spec.cores])
    draw.shuffle(places)
    assignment = places[: network.spec.neurons]
    if network.termination is not None:
        rule = network.termination
        watched = slice(rule.first_class, rule.first_class + rule.class_count)
        assert rule.class_count == 1, "others may not fit on a core"
        assignment[watched] = assignment[rule.first_class]
    image = partition(network, spec.cores, assignment)
    image.reports = draw.random(image.neurons) < 0.7
    return image


@cocotb.test()
async def equals_twin(dut: Any) -> None:
    """Random networks at random places, programmed one after the other."""
    options = settings()
    spec, network = cluster_spec(), CoreSpec(**options["network"])
    driver = ClusterDriver(dut, spec, options["seed"])
    coverage = driver.coverage
    await driver.reset()
    steps = 0
    for again, rule in enumerate(options.get("rules", [Rule.TRACES])):
        whole = random_image(network, options["seed"] + again, Rule(rule))
        image = random_split(whole, spec, driver.draw)
        inputs = driver.draw.random((options["steps"], network.inputs)) < 0.3
        await driver.program_all(image)
        await compare(driver, image, inputs)
        steps += options["steps"] // 2
        # What comes for a step that never is is forgotten, also if it is still on its way to the
        # core that is programmed first.
        for event in image.events(numpy.ones(network.inputs, bool)):
            await driver.spike(*event)
        driver.held = True
        cocotb.start_soon(driver.let_go(20))
        await driver.spike(0, 0)
    compared = steps * sum(core.neurons for core in spec.cores)
    assert coverage["states compared"] == compared
    for name in options["cover"]:
        assert coverage[name] > 0, f"nothing covers: {name}"
    cocotb.log.info("coverage: %s", dict(sorted(coverage.items())))


async def compare(driver: ClusterDriver, image: ClusterImage, inputs: numpy.ndarray) -> None:
    """Run an image on both, and compare all that can be read.

    Spikes after each step; the rest after every second one, so that others follow at once.
    """
    spec, coverage = image.spec, driver.coverage
    twin = ClusterTwin(image)
    before = twin.weights
    for step, row in enumerate(inputs):
        if step == len(inputs) // 2:
            twin.clear()
            for core in range(len(spec.cores)):
                await driver.write_on(core, Space.CONTROL, 0, 1)
        events = image.events(row)
        driver.draw.shuffle(events)
        for event in events:
            await driver.spike(*event)
        request = None
        if driver.draw.random() < 0.3:
            # It is done before the step begins.
            wanted = twin.cores[0].counters.steps
            request = cocotb.start_soon(driver.read_on(0, Space.COUNTERS, STEPS))
        spikes = twin.step(row)
        await driver.step_all()
        if request is not None:
            assert await request == wanted
            coverage["requests at the start of a step"] += 1
        for core, fired in enumerate(driver.fired()):
            own = image.neurons_of(core)
            assert fired == image.index[own[(spikes & image.reports)[own]]].tolist(), core
        coverage["spikes"] += int(spikes.sum())
        coverage["silent neurons"] += int((spikes & ~image.reports).sum())
        coverage["travelling"] += sum(int((core.travelling > 0).sum()) for core in twin.cores)
        assert bool(driver.dut.decided.value) == twin.decided
        if twin.decided:
            assert int(driver.dut.winner.value) == twin.winner
        coverage["decided"] += twin.decided
        if step % 2:
            for core in range(len(spec.cores)):
                await compare_core(driver, twin, core)
    coverage["events between cores"] += sum(traffic["sent"] for traffic in twin.traffic)
    coverage["changed weights"] += int((twin.weights != before).sum())
    for number, on_core in enumerate(twin.cores):
        learns = on_core.spec.learning
        weights = on_core.synapses.weights if learns else on_core.image.weights
        words, _ = weight_words(on_core.image, weights)
        found = [await driver.read_on(number, Space.WEIGHTS, place) for place in range(len(words))]
        assert found == words, number
        coverage["weights compared"] += len(words)
        routes = cluster_memory_words(image, number)[ClusterSpace.ROUTES]
        found = [await driver.read_on(number, ClusterSpace.ROUTES, n) for n in range(len(routes))]
        assert found == routes, number


def state(twin: ClusterTwin, core: int, neuron: int) -> dict[str, int]:
    """A neuron's word of STATE, by field."""
    on_core = twin.cores[core]
    return {
        item.name: int(getattr(on_core, item.name)[neuron]) for item in state_fields(on_core.spec)
    }


async def compare_core(driver: ClusterDriver, twin: ClusterTwin, core: int) -> None:
    """State, traces and counters of a core and its router."""
    spec, on_core = driver.cluster.cores[core], twin.cores[core]
    for neuron in range(spec.neurons):
        found = unpack(state_fields(spec), await driver.read_on(core, Space.STATE, neuron))
        assert found == state(twin, core, neuron), (core, neuron)
        driver.coverage["states compared"] += 1
        if spec.max_delay > 1:
            spikes = await driver.read_on(core, ClusterSpace.TRAVELLING, neuron)
            assert spikes == on_core.travelling[neuron], (core, neuron)
    if spec.learning:
        for space, traces in (
            (Space.PRE, on_core.synapses.pre),
            (Space.POST, on_core.synapses.post),
        ):
            values = [await driver.read_on(core, space, place) for place in range(len(traces))]
            assert values == traces.tolist(), (core, space)
    assert await driver.traffic(core) == twin.traffic[core], core


@cocotb.test()
async def surplus_is_dropped(dut: Any) -> None:
    """Events that the protocol does not allow are dropped and counted, and hold nothing up."""
    spec = cluster_spec()
    driver = ClusterDriver(dut, spec, settings()["seed"])
    await driver.reset()
    lines = spec.cores[0].inputs
    for _ in range(lines + 3):
        await driver.spike(0, 0)
    await driver.spike(0, lines)
    await driver.spike(len(spec.cores), 0)
    await driver.step_all()
    assert await driver.read_on(0, Space.COUNTERS, STEPS) == 1
    traffic = await driver.traffic(0)
    assert traffic["dropped"] == 4
    assert traffic["received"] >= lines
    # A core that does not exist is written, and reads as zero.
    absent = cluster_address(len(spec.cores), Space.STATE, 0)
    await driver.request(absent, WORD)
    assert await driver.request(absent) == 0


@cocotb.test()
async def events_wait_for_a_core_that_clears(dut: Any) -> None:
    """Those that came before it was told to are forgotten, wherever they are."""
    spec, network = cluster_spec(), CoreSpec(**settings()["network"])
    driver = ClusterDriver(dut, spec, None)
    await driver.reset()
    await driver.program_all(random_split(quiet_image(network), spec, driver.draw))
    lines = spec.cores[0].inputs
    for times in (2, 1):
        for _ in range(times):
            await driver.write_on(0, Space.CONTROL, 0, 1)
            for line in range(lines):
                await driver.spike(0, line)
        # The last ones came while the core cleared its memories; so does the start of the step.
        await driver.step_all()
        assert await driver.read_on(0, Space.COUNTERS, INPUT_SPIKES) == lines
        assert await driver.traffic(0) == {"sent": 0, "received": lines, "dropped": 0}


@cocotb.test()
async def step_cost(dut: Any) -> None:
    """Cycles of a step if nothing is held up, against the documented bound.

    With the option ``input_spikes``, of a network that only gets so many in each step.
    """
    options = settings()
    spec, network = cluster_spec(), CoreSpec(**options["network"])
    numbers = range(len(spec.cores))
    driver = ClusterDriver(dut, spec, None)
    await driver.reset()
    rows = driver.draw.random((options["steps"], network.inputs)) < 0.3
    whole = random_image(network, options["seed"])
    if "input_spikes" in options:
        rows[:] = numpy.arange(network.inputs) < options["input_spikes"]
        whole = quiet_image(network)
    image = random_split(whole, spec, driver.draw)
    await driver.program_all(image)
    twin = ClusterTwin(image)
    measured = []
    for row in rows:
        lines = numpy.concatenate((image.input_lines[row], image.neuron_lines[twin.arriving])) >= 0
        arrivals = lines.sum(axis=0).tolist()
        for event in image.events(row):
            await driver.spike(*event)
        own = [int(core.arriving.sum()) for core in twin.cores]
        sent = sum(traffic["sent"] for traffic in twin.traffic)
        busy = [await driver.read_on(number, Space.COUNTERS, CYCLES) for number in numbers]
        spikes = twin.step(row)
        cycles = await driver.step_all()
        longest = max([await driver.read_on(n, Space.COUNTERS, CYCLES) - busy[n] for n in numbers])
        events = sum(traffic["sent"] for traffic in twin.traffic) - sent
        events += int((spikes & image.reports).sum())
        bounds = [
            Core.step_cycles(
                core, own[n] + arrivals[n], core.neurons, core.synapse_words, core.classes
            )
            for n, core in enumerate(spec.cores)
        ]
        assert longest < cycles <= Cluster.step_cycles(bounds, arrivals, events)
        measured.append((cycles, longest))
    cocotb.log.info("coverage: cycles of a step, and of its longest core: %s", measured)
    if "record" in options:
        Path(options["record"]).write_text(json.dumps(measured), encoding="utf-8")
