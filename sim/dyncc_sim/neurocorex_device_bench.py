"""Bench of the whole device, through its serial line: it answers what its twin answers."""

from __future__ import annotations

from dataclasses import replace
from struct import iter_unpack
from struct import pack as pack_words
from typing import Any

import cocotb

from dyncc.arch.link import Status
from dyncc.arch.neurocorex import Rule, Space, address
from dyncc.arch.neurocorex.packets import (
    MAX_DRAIN,
    MAX_EVENTS,
    MAX_STEPS,
    STEP_END_BIT,
    STEPS_BIT,
    Opcode,
    log_words,
    queue_words,
)
from dyncc_models.spiking.random_images import random_image
from dyncc_sim.neurocorex_device_driver import (
    DeviceDriver,
    drain_payload,
    read_payload,
    run_payload,
    write_payload,
)
from dyncc_sim.neurocorex_requests import Requests
from dyncc_sim.runner import settings


@cocotb.test()
async def answers_as_its_twin(dut: Any) -> None:
    """Random requests: valid, refused, repeated, skipped, damaged; then all memories are read.

    There are as many as the options say, and up to ten times as many until all is covered.
    """
    options = settings()
    driver = DeviceDriver(dut)
    await driver.start()
    rule = Rule(options.get("rule", Rule.TRACES))
    cover = [*options["cover"], "answers compared", "words compared", "repeated"]
    for again in range(2):
        image = random_image(driver.spec, options["seed"] + again, rule)
        await driver.program(image)
        requests = Requests(driver, image)
        for count in range(10 * options["requests"]):
            if count >= options["requests"] and not (again and driver.coverage.missing(cover)):
                break
            await driver.exchange(requests.next())
        await driver.exchange(driver.request(Opcode.STOP))
        await driver.compare_memories()
    driver.coverage.finish("random requests", cover)


@cocotb.test()
async def waits_for_room(dut: Any) -> None:
    """More steps than the log has room for, more words than the queue has room for."""
    driver = DeviceDriver(dut)
    await driver.start()
    spec, coverage = driver.spec, driver.coverage
    await driver.program(replace(random_image(spec, settings()["seed"]), termination=None))
    await driver.ask(Opcode.RUN, run_payload(MAX_STEPS))
    state = await driver.snapshot()
    assert state["running"]
    assert state["log_full"]
    assert log_words(spec) - state["log_end"] <= spec.neurons
    await driver.exchange(driver.request(Opcode.READ, read_payload(address(Space.STATE, 0), 1)))
    await driver.exchange(driver.request(Opcode.WRITE, write_payload(address(Space.STATE, 0), [1])))
    # The queue holds what it says, to the word.
    taken = 0
    for size in (MAX_EVENTS, 1):
        payload = pack_words("<H", 1 << STEPS_BIT | 1) * size
        while await driver.status_of(Opcode.EVENTS, payload) == Status.OK:
            taken += size
    assert taken == queue_words(spec)
    assert await driver.status_of(Opcode.RUN, run_payload(1)) == Status.CREDIT
    # The log goes on as it is read.
    position, ended = 0, 0
    while ended < settings()["drained_steps"]:
        found = await driver.ask(Opcode.DRAIN, drain_payload(position, MAX_DRAIN))
        words = [word for (word,) in iter_unpack("<H", found)]
        position += len(words)
        ended += sum(word >> STEP_END_BIT for word in words)
        coverage["log words"] += len(words)
    state = await driver.snapshot()
    assert state["running"]
    await driver.ask(Opcode.STOP)
    state = await driver.snapshot()
    assert not state["running"]
    assert state["steps"] == driver.steps
    coverage["steps"] = driver.steps
    await driver.compare_memories()
    cover = ["READ BUSY", "WRITE BUSY", "EVENTS CREDIT", "RUN CREDIT", "log words", "steps"]
    coverage.finish("room", cover)
