"""Twin of a NeuroCoreX device: what comes over the line in, what it answers out."""

from __future__ import annotations

from collections import deque
from itertools import islice
from struct import iter_unpack
from struct import pack as pack_words

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.link import LinkSpec, Status
from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.neurocorex.packets import (
    ADDRESS,
    DRAIN,
    INFO,
    MAX_DRAIN,
    MAX_READ,
    MAX_STEPS,
    NONCE,
    READ,
    SNAPSHOT,
    STEP_END_BIT,
    STEPS_BIT,
    Opcode,
    device_info,
    log_words,
    queue_words,
)
from dyncc_models.link import LinkTwin, Refusal
from dyncc_models.spiking.memories import BusAddressError, CoreMemories, Place

#: Positions in the log are counted modulo this.
_POSITIONS = 1 << DRAIN[0].bits


class DeviceTwin(LinkTwin):
    """A device with a core, a queue of stimulus words, and a log.

    `receive` takes bytes and gives the answers at once. Time passes only in `advance`: there the
    stimulus words are carried out, as far as asked for and as far as the log has room. So a test
    decides what the device has done when the next frame comes; in hardware that depends on the
    line's speed, and must not matter.

    Parameters
    ----------
    spec
        The core.
    link
        The link; only ``clk_hz`` and ``receive_bytes`` show, in what the device says of itself.
    """

    def __init__(self, spec: CoreSpec, link: LinkSpec | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.core = CoreMemories(spec)
        self._info = device_info(spec, link or LinkSpec())
        self._queue: deque[int] = deque()
        self._steps_left = 0
        self._log: deque[int] = deque()
        self._log_start = 0

    @property
    def credits(self) -> int:
        """Stimulus words for which there is room."""
        return queue_words(self.spec) - len(self._queue)

    @property
    def running(self) -> bool:
        """Whether stimulus words are left."""
        return bool(self._queue or self._steps_left)

    # --- time -------------------------------------------------------------------------------

    def advance(self, steps: int | None = None) -> int:
        """Carry out stimulus words until they end, the log is full, or `steps` were done.

        Spikes that come before the next step are handed to the core in any case.

        Returns
        -------
        int
            Steps that were carried out.

        Raises
        ------
        ConfigError
            If no image says what is in the memories: what hardware would do then is not defined.
        """
        done = 0
        while True:
            self._hand_over()
            if not self._steps_left or not self._log_has_room() or done == steps:
                return done
            self._step()
            done += 1

    def _hand_over(self) -> None:
        while self._queue and not self._steps_left:
            word = self._queue.popleft()
            if word >> STEPS_BIT:
                self._steps_left = word & MAX_STEPS
            else:
                self.core.spike(word)

    def _log_has_room(self) -> bool:
        return log_words(self.spec) - len(self._log) > self.spec.neurons

    def _step(self) -> None:
        self._log.extend(self.core.step())
        self._log.append(1 << STEP_END_BIT | self.core.decided)
        self._steps_left -= 1
        if self.core.decided:
            self._stop()

    def _stop(self) -> None:
        self._queue.clear()
        self._steps_left = 0

    # --- requests ---------------------------------------------------------------------------

    def carry_out(self, opcode: int, payload: bytes, repeated: bool = False) -> bytes:
        """Do what a request says, or only check it if it was done before."""
        requests = {
            Opcode.PING: self._ping,
            Opcode.READ: self._read,
            Opcode.WRITE: self._write,
            Opcode.EVENTS: self._events,
            Opcode.RUN: self._run,
            Opcode.STOP: self._stop_request,
            Opcode.SNAPSHOT: self._snapshot,
            Opcode.DRAIN: self._drain,
        }
        try:
            request = requests[Opcode(opcode)]
        except ValueError:
            raise Refusal(Status.OPCODE) from None
        return request(payload, repeated)

    def _ping(self, payload: bytes, _repeated: bool) -> bytes:
        self._need(len(payload) == width(NONCE) // 8, Status.LENGTH)
        return payload + pack(INFO, self._info).to_bytes(width(INFO) // 8, "little")

    def _read(self, payload: bytes, _repeated: bool) -> bytes:
        self._need(len(payload) == width(READ) // 8, Status.LENGTH)
        asked = unpack(READ, int.from_bytes(payload, "little"))
        self._need(asked["count"] <= MAX_READ, Status.LENGTH)
        self._need(not self.running, Status.BUSY)
        words = [self.core.read(place) for place in self._places(asked["address"], asked["count"])]
        return pack_words(f"<{len(words)}I", *words)

    def _write(self, payload: bytes, repeated: bool) -> bytes:
        size = width(ADDRESS) // 8
        self._need(len(payload) >= size and len(payload) % 4 == 0, Status.LENGTH)
        self._need(repeated or not self.running, Status.BUSY)
        words = [word for (word,) in iter_unpack("<I", payload[size:])]
        address = int.from_bytes(payload[:size], "little")
        places = self._places(address, len(words), write=True)
        if not repeated:
            for place, word in zip(places, words, strict=True):
                self.core.write(place, word)
        return b""

    def _places(self, address: int, count: int, write: bool = False) -> list[Place]:
        try:
            return self.core.places(address, count, write)
        except BusAddressError:
            raise Refusal(Status.ADDRESS) from None

    def _events(self, payload: bytes, repeated: bool) -> bytes:
        self._need(len(payload) % 2 == 0, Status.LENGTH)
        if not repeated:
            self._queue_words([word for (word,) in iter_unpack("<H", payload)])
        return b""

    def _run(self, payload: bytes, repeated: bool) -> bytes:
        self._need(len(payload) == 2, Status.LENGTH)
        steps = int.from_bytes(payload, "little")
        self._need(1 <= steps <= MAX_STEPS, Status.ADDRESS)
        if not repeated:
            self._queue_words([1 << STEPS_BIT | steps])
        return b""

    def _queue_words(self, words: list[int]) -> None:
        self._need(len(words) <= self.credits, Status.CREDIT)
        if not self.core.decided:
            self._queue.extend(words)

    def _stop_request(self, payload: bytes, repeated: bool) -> bytes:
        self._need(not payload, Status.LENGTH)
        if not repeated:
            self._stop()
        return b""

    def _snapshot(self, payload: bytes, _repeated: bool) -> bytes:
        self._need(not payload, Status.LENGTH)
        next_is_step = bool(self._queue) and bool(self._queue[0] >> STEPS_BIT)
        values = {
            "running": self.running,
            "decided": self.core.decided,
            "log_full": bool(self._steps_left or next_is_step) and not self._log_has_room(),
            "disordered": self.core.disordered,
            "watchdog": 0,
            "reserved": 0,
            "log_start": self._log_start,
            "log_end": self._log_start + len(self._log),
            **self.core.counters(),
        }
        return pack(SNAPSHOT, values).to_bytes(width(SNAPSHOT) // 8, "little")

    def _drain(self, payload: bytes, _repeated: bool) -> bytes:
        self._need(len(payload) == width(DRAIN) // 8, Status.LENGTH)
        asked = unpack(DRAIN, int.from_bytes(payload, "little"))
        self._need(asked["count"] <= MAX_DRAIN, Status.LENGTH)
        passed = (asked["position"] - self._log_start) % _POSITIONS
        self._need(passed <= len(self._log), Status.ADDRESS)
        for _ in range(passed):
            self._log.popleft()
        self._log_start = asked["position"]
        count = min(asked["count"], len(self._log))
        return pack_words(f"<{count}H", *islice(self._log, count))

    @staticmethod
    def _need(condition: bool, otherwise: Status) -> None:
        if not condition:
            raise Refusal(otherwise)
