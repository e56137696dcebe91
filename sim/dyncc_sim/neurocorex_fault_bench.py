"""Bench of a device that is treated badly: it stays answerable, and says what happened."""

from __future__ import annotations

from dataclasses import replace
from struct import pack as pack_words
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.link import REQUEST, Status, frame
from dyncc.arch.neurocorex import Space, address, bus_words, memory_depth, row_fields
from dyncc.arch.neurocorex.packets import (
    MAX_DRAIN,
    NONCE,
    SNAPSHOT,
    STEP_END_BIT,
    STEPS_BIT,
    Opcode,
)
from dyncc_models.spiking.device import DeviceTwin
from dyncc_models.spiking.random_images import random_image
from dyncc_sim.neurocorex_device_driver import (
    SILENCE,
    DeviceDriver,
    drain_payload,
    read_payload,
    run_payload,
    write_payload,
)
from dyncc_sim.runner import settings

CLEAR = write_payload(address(Space.CONTROL, 0), [1])


class Alone:
    """Speaks to the device only: there is no twin for what happens to it, or for when."""

    def __init__(self, driver: DeviceDriver) -> None:
        self.driver = driver
        self._expected = 0

    async def answers(self, *requests: tuple[int, bytes]) -> list[tuple[Status, bytes]]:
        """Statuses and payloads of the answers to requests, which are sent in a row."""
        content = b"".join(
            frame(REQUEST, {"opcode": opcode, "sequence": self._expected + number}, payload)
            for number, (opcode, payload) in enumerate(requests)
        )
        await self.driver.line.send(content)
        found = await self.driver.hear()
        assert [header["opcode"] for header, _ in found] == [opcode for opcode, _ in requests]
        self._expected = found[-1][0]["expected"]
        for header, _ in found:
            name = f"{Opcode(header['opcode']).name} {Status(header['status']).name}"
            self.driver.coverage[name] += 1
        return [(Status(header["status"]), payload) for header, payload in found]

    async def ask(self, opcode: int, payload: bytes = b"") -> bytes:
        """Payload of the answer to one request, which is carried out."""
        ((status, found),) = await self.answers((opcode, payload))
        assert status == Status.OK, status
        return found

    async def snapshot(self) -> dict[str, int]:
        """The device's state."""
        return unpack(SNAPSHOT, int.from_bytes(await self.ask(Opcode.SNAPSHOT), "little"))

    def follow(self) -> None:
        """Go on from where the device and its twin are."""
        self._expected = self.driver.twin.expected

    def join(self) -> None:
        """A new twin, which expects what the device does; both have an empty log, at 0."""
        self.driver.twin = DeviceTwin(self.driver.spec, self.driver.link)
        while self.driver.twin.expected != self._expected:
            self.driver.twin.receive(self.driver.request(Opcode.STOP))


@cocotb.test()
async def breaks_off_a_step_without_end(dut: Any) -> None:
    """A table of rows that leads everywhere makes a step longer than any step of an image."""
    driver = DeviceDriver(dut)
    await driver.start()
    spec, alone = driver.spec, Alone(driver)
    await driver.program(random_image(spec, settings()["seed"]))
    alone.follow()
    assert not dut.fault.value
    count = row_fields(spec)[1]
    row = pack(row_fields(spec), {"first": 0, "count": (1 << count.bits) - 1})
    flat = [row >> (32 * part) & 0xFFFFFFFF for part in range(bus_words(spec, Space.ROWS))]
    await alone.ask(Opcode.WRITE, write_payload(address(Space.ROWS, 0), flat * spec.sources))
    words = [*range(spec.inputs), 1 << STEPS_BIT | 1, 1 << STEPS_BIT | 10]
    await alone.ask(Opcode.EVENTS, pack_words(f"<{len(words)}H", *words))
    await driver.settle()
    state = await alone.snapshot()
    assert state["watchdog"]
    assert not state["running"]
    assert state["log_start"] == state["log_end"] == 0
    assert state["steps"] == state["input_spikes"] == 0
    assert dut.fault.value
    assert not dut.busy.value
    # What comes is dropped, until the host saw what happened.
    await alone.ask(Opcode.RUN, run_payload(5))
    assert (await alone.snapshot())["log_end"] == 0
    await alone.ask(Opcode.READ, read_payload(address(Space.STATE, 0), 1))
    await alone.ask(Opcode.WRITE, CLEAR)
    state = await alone.snapshot()
    assert not state["watchdog"]
    assert not dut.fault.value
    # Programmed again, it is as good as new.
    alone.join()
    await driver.program(random_image(spec, settings()["seed"] + 1))
    words[-1] = 1 << STEPS_BIT | 20
    await driver.ask(Opcode.EVENTS, pack_words(f"<{len(words)}H", *words))
    await driver.ask(Opcode.DRAIN, drain_payload(0, MAX_DRAIN))
    await driver.compare_memories()
    driver.coverage.finish("watchdog", ["words compared"])


@cocotb.test()
async def looks_between_steps_and_stops(dut: Any) -> None:
    """Snapshots of a run are those between two steps; STOP ends it with the step under way."""
    driver = DeviceDriver(dut)
    await driver.start()
    alone, coverage = Alone(driver), driver.coverage
    image = random_image(driver.spec, settings()["seed"])
    image.parameters["fires"][:] = 0
    await driver.program(replace(image, termination=None))
    alone.follow()
    steps = 240
    run = (Opcode.RUN, run_payload(steps))
    read = (Opcode.READ, read_payload(address(Space.STATE, 0), 1))
    looks = [(Opcode.SNAPSHOT, b"")] * 6
    before = -1
    for _, found in (await alone.answers(run, *looks))[1:]:
        state = unpack(SNAPSHOT, int.from_bytes(found, "little"))
        # No neuron fires: the log holds the marks of steps.
        assert before <= state["log_end"] == state["steps"]
        assert state["running"] == (state["steps"] < steps)
        before = state["steps"]
        coverage["looks"] += state["running"]
    await driver.settle()
    state = await alone.snapshot()
    assert state["steps"] == state["log_end"] == driver.steps == steps
    await alone.ask(Opcode.DRAIN, drain_payload(steps, 0))
    (_, _, (status, _)) = await alone.answers(run, run, read)
    assert status == Status.BUSY
    await alone.ask(Opcode.STOP)
    done = driver.steps
    assert steps < done < 2 * steps
    state = await alone.snapshot()
    assert state["steps"] == state["log_end"] == done
    assert not state["running"]
    found = await alone.ask(Opcode.DRAIN, drain_payload(steps, MAX_DRAIN))
    marks = min(done - steps, MAX_DRAIN)
    assert found == pack_words("<H", 1 << STEP_END_BIT) * marks
    await ClockCycles(dut.clk, SILENCE)
    assert driver.steps == done
    coverage["steps before STOP"] = done - steps
    coverage.finish("looks and stops", ["looks", "READ BUSY", "steps before STOP"])


@cocotb.test()
async def bears_a_babbling_line(dut: Any) -> None:
    """Noise, short frames in a row, a line that is held low: then it goes on as before."""
    driver = DeviceDriver(dut)
    await driver.start()
    line, draw = driver.line, driver.draw
    await driver.program(random_image(driver.spec, settings()["seed"]))
    await driver.ask(Opcode.RUN, run_payload(10))
    for _ in range(4):
        await driver.exchange(bytes(draw.integers(0, 256, 1000).tolist()) + bytes(1))
    # Answers are longer than these frames: what there is no room for gets none.
    count = 3 * driver.link.receive_bytes // 2
    await line.send(bytes([1, 0]) * count)
    found = await driver.hear()
    assert driver.link.receive_bytes <= len(found) < count
    assert all(header["status"] == Status.CORRUPT for header, _ in found)
    # The same with requests, which are answered in order.
    nonces = range(count // 4)
    for nonce in nonces:
        payload = pack(NONCE, {"nonce": nonce}).to_bytes(width(NONCE) // 8, "little")
        await line.send(frame(REQUEST, {"opcode": Opcode.PING, "sequence": 0}, payload))
    answered = [int.from_bytes(payload[:4], "little") for _, payload in await driver.hear()]
    assert sorted(set(answered)) == answered
    assert driver.link.receive_bytes // 8 < len(answered) < len(nonces)
    await line.send_bits([0] * 50 + [1])
    await line.send(bytes(draw.integers(1, 256, 5).tolist()))
    await line.send_bits([0] * 50 + [1])
    await line.send(bytes(1))
    ((header, _),) = await driver.hear()
    assert header["status"] == Status.CORRUPT
    driver.coverage["frames without room"] = count - len(found)
    await driver.snapshot()
    await driver.compare_memories()
    driver.coverage.finish("babbling", ["CORRUPT", "frames without room", "words compared"])


@cocotb.test()
async def starts_again_after_reset(dut: Any) -> None:
    """Reset within a frame, within an answer, and in a run."""
    driver = DeviceDriver(dut)
    await driver.start()
    image = replace(random_image(driver.spec, settings()["seed"]), termination=None)
    depth = memory_depth(driver.spec, Space.STATE)
    for when in ("frame", "answer", "run"):
        await driver.program(image)
        ask = driver.request(Opcode.READ, read_payload(address(Space.STATE, 0), depth))
        if when == "frame":
            await driver.line.send(ask[:5])
        elif when == "answer":
            await driver.line.send(ask)
            for _ in range(3):
                await FallingEdge(dut.tx)
        else:
            await driver.line.send(driver.request(Opcode.RUN, run_payload(200)))
            await ClockCycles(dut.clk, SILENCE)
            assert dut.busy.value
        await driver.reset()
        assert dut.tx.value
        assert not dut.busy.value
        await driver.line.idle(20)
        driver.line.received.clear()
        driver.twin = DeviceTwin(driver.spec, driver.link)
        await driver.ask(Opcode.PING, bytes(4))
        assert await driver.snapshot() == unpack(SNAPSHOT, 0)
        driver.coverage[f"reset in {when}"] += 1
    await driver.program(image)
    await driver.ask(Opcode.RUN, run_payload(20))
    await driver.compare_memories()
    cover = [f"reset in {when}" for when in ("frame", "answer", "run")]
    driver.coverage.finish("resets", [*cover, "words compared"])
