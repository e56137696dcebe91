"""Random requests for a NeuroCoreX device."""

from __future__ import annotations

from collections import deque
from struct import pack as pack_words
from typing import TypeVar

import numpy

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.link import DELIMITER, MAX_REQUEST, WINDOW
from dyncc.arch.neurocorex import (
    BUS_BITS,
    CoreImage,
    Space,
    address,
    bus_words,
    memory_depth,
    spaces,
)
from dyncc.arch.neurocorex.packets import (
    DRAIN,
    MAX_DRAIN,
    MAX_EVENTS,
    MAX_READ,
    NONCE,
    SNAPSHOT,
    STEPS_BIT,
    Opcode,
)
from dyncc_sim.neurocorex_device_driver import (
    DeviceDriver,
    drain_payload,
    image_payloads,
    read_payload,
    run_payload,
    write_payload,
)

_Item = TypeVar("_Item")


class Requests:
    """Draws requests of every kind, most of them reasonable, some of them damaged.

    What they write is always part of an image, or a neuron's state: on what a core does with other
    words nobody agreed.

    Parameters
    ----------
    driver
        Where they go.
    image
        What was loaded.
    """

    def __init__(self, driver: DeviceDriver, image: CoreImage) -> None:
        self._driver, self._image = driver, image
        self._spec, self._draw = driver.spec, driver.draw
        self._sent: deque[bytes] = deque(maxlen=WINDOW + 4)

    def next(self) -> bytes:
        """Some frames, or what is left of them."""
        driver, draw = self._driver, self._draw
        kind = draw.random()
        if kind < 0.1 and self._sent:
            return self._one_of(*self._sent)
        opcode, payload = self._request()
        if kind < 0.15:
            return driver.request(opcode, payload, int(draw.integers(1, 256 - WINDOW)))
        if kind < 0.2:
            return self._bytes(self._one_of(1, 2, 7, 300)) + bytes([DELIMITER])
        content = driver.request(opcode, payload)
        if kind < 0.3:
            return self._damaged(content)
        self._sent.append(content)
        # Of two DRAINs the second could give what is carried out in between.
        twice = kind < 0.35 and opcode != Opcode.DRAIN
        return content + content if twice else content

    def _one_of(self, *items: _Item) -> _Item:
        return items[int(self._draw.integers(len(items)))]

    def _below(self, limit: int) -> int:
        return int(self._draw.integers(limit))

    def _bytes(self, size: int) -> bytes:
        return bytes(self._draw.integers(0, 256, size).tolist())

    def _word(self) -> int:
        return self._below(1 << BUS_BITS)

    def _damaged(self, content: bytes) -> bytes:
        """A frame with a byte changed, lost or one too many; then the line is in order again."""
        place = self._below(len(content))
        other = self._bytes(1)
        middle = self._one_of(b"", other, content[place : place + 1] + other)
        return content[:place] + middle + content[place + 1 :] + bytes([DELIMITER])

    def _request(self) -> tuple[int, bytes]:
        if self._draw.random() < 0.08:
            opcode = int(self._one_of(*Opcode, self._below(256)))
            size = self._one_of(0, 1, 2, 3, 5, self._below(MAX_REQUEST))
            # An odd one is no list of words.
            return opcode, self._bytes(size | (opcode in (Opcode.WRITE, Opcode.EVENTS)))
        opcode = self._one_of(*Opcode, Opcode.EVENTS, Opcode.EVENTS, Opcode.RUN, Opcode.DRAIN)
        payloads = {
            Opcode.PING: self._ping,
            Opcode.READ: self._read,
            Opcode.WRITE: self._write,
            Opcode.EVENTS: self._events,
            Opcode.RUN: self._run,
            Opcode.DRAIN: self._drain,
        }
        return int(opcode), payloads[opcode]() if opcode in payloads else b""

    def _ping(self) -> bytes:
        return pack(NONCE, {"nonce": self._word()}).to_bytes(width(NONCE) // 8, "little")

    def _place(self, space: Space, first: int = 0) -> int:
        depth = memory_depth(self._spec, space)
        index = int(self._draw.integers(first, depth))
        return address(space, index, self._below(bus_words(self._spec, space)))

    def _read(self) -> bytes:
        space = self._one_of(*spaces(self._spec))
        # The first counter, of cycles, is not the twin's.
        place = self._place(space, int(space == Space.COUNTERS))
        if self._draw.random() < 0.1:
            place = self._word()
        count = self._one_of(0, 1, 2, 3, self._below(MAX_READ + 2), 255)
        return read_payload(place, count)

    def _write(self) -> bytes:
        kind = self._draw.random()
        if kind < 0.2:
            return write_payload(address(Space.CONTROL, 0), [self._below(2)])
        if kind < 0.4:
            return self._one_of(*image_payloads(self._image, whole=True))
        if kind < 0.55:
            return write_payload(self._nowhere(), [self._word() for _ in range(3)])
        # Its end may be a part of a word, which is not stored.
        words = [self._word() for _ in range(self._below(9))]
        place = address(Space.STATE, self._below(self._spec.neurons))
        return write_payload(place, words)

    def _nowhere(self) -> int:
        """An address from which three words cannot be written."""
        spec = self._spec
        parts = bus_words(spec, Space.STATE)
        return self._one_of(
            address(Space.COUNTERS, 0),
            address(Space.STATE, spec.neurons - 1, parts - 1),
            address(Space.STATE, 0, parts),
            address(Space.STATE, spec.neurons),
            address(Space.CONTROL, memory_depth(spec, Space.CONTROL)),
            self._word() | 1 << (BUS_BITS - 1),
        )

    def _events(self) -> bytes:
        """Spikes in order, with steps between them; now and then one out of order."""
        words: list[int] = []
        size = self._one_of(0, 4, 20, MAX_EVENTS)
        while len(words) < size:
            rate = self._one_of(0.0, 0.3, 1.0)
            words += numpy.flatnonzero(self._draw.random(self._spec.inputs) < rate).tolist()
            if self._draw.random() < 0.05:
                words.append(self._below(1 << STEPS_BIT))
            words.append(1 << STEPS_BIT | self._one_of(0, 1, 1, 2, 5))
        return pack_words(f"<{size}H", *words[:size])

    def _run(self) -> bytes:
        steps = self._one_of(0, 1, 2, 10, 300, 1 << STEPS_BIT)
        return run_payload(steps)

    def _drain(self) -> bytes:
        state = unpack(SNAPSHOT, int.from_bytes(
            self._driver.twin.carry_out(Opcode.SNAPSHOT, b""), "little"
        ))  # fmt: skip
        start, end = state["log_start"], state["log_end"]
        held = (end - start) % (1 << DRAIN[0].bits)
        position = start + self._one_of(0, 0, held, self._below(held + 1), held + 1, -1)
        count = self._one_of(0, 1, MAX_DRAIN, MAX_DRAIN, MAX_DRAIN + 1)
        return drain_payload(position, count)
