"""The host's side of the link: requests in order, sent again until each was answered.

The rules are those of `dyncc.arch.link`. The host keeps a window of requests. What it sent is *in
flight* until an answer comes to it, or to something that was sent later. When the device expects
another request than the one that it got, or nothing comes in time, the host goes back to the oldest
request without an answer, and sends those without one again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Self

from dyncc.arch.link import (
    DELIMITER,
    RESPONSE,
    WINDOW,
    Deframer,
    FrameError,
    Status,
    parse,
)
from dyncc.core.errors import InternalError, LinkError
from dyncc.link.greeting import greet
from dyncc.link.protocol import (
    ANSWER_BYTES,
    NUMBERS,
    PATIENCE,
    SILENCE,
    Protocol,
    Request,
    Statistics,
)
from dyncc.link.transport import Transport

#: Seconds after which a request is sent again that was too early; doubled each time, to the second.
PAUSES = (0.001, 0.1)
#: A request that was sent so often will not get through.
ATTEMPTS = 64
#: Refusals in succession that no device gives which carried out what was sent before.
_STRANGE = 8


@dataclass(frozen=True)
class _Flight:
    """A frame that was sent: its place in the order of all, its request, its bytes."""

    order: int
    number: int
    size: int


class Session:
    """A connection to a device; use it in a ``with`` statement, or `close` it.

    Parameters
    ----------
    transport
        The line; closed with the session.
    protocol
        What the device should be.

    Attributes
    ----------
    info
        What the device says of itself, by the fields of ``protocol.info``.
    statistics
        What passed over the line.
    slowness
        Seconds that the device may take before it answers a request that is slow; 0 at first.

    Raises
    ------
    LinkError
        If nothing answers, or something else than such a device.
    """

    def __init__(self, transport: Transport, protocol: Protocol) -> None:
        self.transport, self.protocol = transport, protocol
        self.statistics = Statistics()
        self.slowness = 0.0
        self._deframer = Deframer()
        self._window: deque[Request] = deque()
        self._flight: deque[_Flight] = deque()
        self._next = self._cursor = 0  # numbers: of the next request, and of the next to send
        self._order = 0  # of all frames that were sent
        self._patience, self._pause = PATIENCE[0], PAUSES[0]
        self._sent_at = self._heard_at = self._not_before = 0.0
        self._credits, self._credits_of = 0, -1
        self._strange = 0
        self._acknowledged = "nothing since the connection"
        try:
            greeting = greet(transport, protocol, self._deframer, self.statistics)
        except BaseException:
            transport.close()
            raise
        self.info = greeting.info
        self._credits = greeting.credits
        self._next = self._cursor = greeting.expected

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the line; calling it again does nothing."""
        self.transport.close()

    # --- requests ---------------------------------------------------------------------------

    @property
    def credits(self) -> int:
        """Events that the device has room for, at least."""
        # The answer to a repetition knows of later events already: they count twice until the next.
        later = sum(item.events for item in self._window if item.number > self._credits_of)
        return max(0, self._credits - later)

    def send(self, opcode: int, payload: bytes = b"", events: int = 0) -> Request:
        """Send a request, as soon as there is room for it; its answer is to be waited for later.

        Parameters
        ----------
        events
            Events in it, at most `credits`.

        Raises
        ------
        LinkError
            If the device does not answer what was sent before.
        """
        queries = self.protocol.queries
        while len(self._window) == WINDOW or (
            opcode not in queries and any(item.opcode in queries for item in self._window)
        ):
            self._pump()
        if events > self.credits:
            raise InternalError(f"{events} events were to be sent, with room for {self.credits}")
        if not self._window:
            self._sent_at = self._heard_at = self.transport.now()
        request = Request(self._next, opcode, payload, events)
        self._next += 1
        self._window.append(request)
        self._push()
        return request

    def wait(self, request: Request) -> bytes:
        """Payload of a request's answer.

        Raises
        ------
        LinkError
            If it is refused, or nothing answers.
        """
        while not request.answered:
            self._pump()
        if request.answer is None:
            assert request.refusal is not None
            raise LinkError(
                f"the device refuses {self._name(request)}: {request.refusal.meaning}",
                where=self.transport.name,
            )
        return request.answer

    def ask(self, opcode: int, payload: bytes = b"", events: int = 0) -> bytes:
        """Send a request and wait for the payload of its answer."""
        return self.wait(self.send(opcode, payload, events))

    def pause(self, seconds: float) -> None:
        """Let time pass, and take what comes."""
        end = self.transport.now() + seconds
        while (left := end - self.transport.now()) > 0:
            self._receive(left)

    # --- sending ----------------------------------------------------------------------------

    def _push(self) -> None:
        """Send what is to be sent, as far as the device has room for the bytes."""
        first = self._next - len(self._window)
        self._cursor = max(self._cursor, first)
        while self._cursor < self._next and self.transport.now() >= self._not_before:
            request = self._window[self._cursor - first]
            if not request.answered:
                held = sum(item.size for item in self._flight)
                if held + request.body_bytes > self.info["receive_bytes"]:
                    return
                self._transmit(request)
            self._cursor += 1

    def _transmit(self, request: Request) -> None:
        request.attempts += 1
        if request.attempts > ATTEMPTS:
            raise self._failure(f"{self._name(request)} was sent {ATTEMPTS} times in vain")
        self.statistics.retransmissions += request.attempts > 1
        self._order += 1
        request.last_sent = self._order
        self._flight.append(_Flight(self._order, request.number, request.body_bytes))
        self._write(request.content)
        self._sent_at = self.transport.now()

    def _write(self, content: bytes) -> None:
        self.statistics.frames_sent += 1
        self.statistics.bytes_sent += len(content)
        self.transport.write(content)

    # --- receiving --------------------------------------------------------------------------

    def _pump(self) -> None:
        """Wait for something to come, or for the time to be over in which it should have."""
        now, heard_at = self.transport.now(), self._heard_at
        if now < self._not_before:
            self._receive(self._not_before - now)
        else:
            held = sum(item.size for item in self._flight) + len(self._window) * ANSWER_BYTES
            allowed = self.transport.seconds(held)
            if any(item.opcode in self.protocol.slow for item in self._window):
                allowed += self.slowness
            over = heard_at + SILENCE + allowed
            due = min(over, max(self._sent_at, heard_at) + self._patience + allowed)
            self._receive(max(0.0, due - now))
            if self._heard_at == heard_at and self.transport.now() >= due:
                self._late(over)
        self._push()

    def _late(self, over: float) -> None:
        """Nothing came in time: go back to the oldest request, or give up."""
        now = self.transport.now()
        if now >= over:
            raise self._failure(f"no answer in {now - self._heard_at:.1f} s")
        self.statistics.timeouts += 1
        self._patience = min(2 * self._patience, PATIENCE[1])
        self._flight.clear()
        self._cursor = 0
        # What was sent last may have lost its end.
        self.transport.write(bytes([DELIMITER]))

    def _receive(self, timeout: float) -> None:
        content = self.transport.read(timeout)
        self.statistics.bytes_received += len(content)
        for stuffed in self._deframer.feed(content):
            try:
                header, payload = parse(RESPONSE, stuffed)
            except FrameError:
                self.statistics.damaged_answers += 1
                continue
            self.statistics.answers += 1
            self._heard_at = self.transport.now()
            self._take(header, payload)

    def _take(self, header: dict[str, int], payload: bytes) -> None:
        """Use an answer."""
        if header["status"] == Status.CORRUPT:
            self.statistics.naks_corrupt += 1
            # If it is the oldest frame on its way, that is the one which was damaged.
            if self._flight and self._flight[0].number % NUMBERS == header["expected"]:
                self._go_back(header["expected"], self._flight.popleft().order)
            return
        request = self._find(header["sequence"])
        if request is None or request.opcode != header["opcode"] or request.answered:
            self.statistics.stray_answers += 1
            return
        order = self._landed(request)
        if header["status"] == Status.SEQUENCE:
            self.statistics.naks_sequence += 1
            self._refused(request, header["expected"], order)
        elif header["status"] == Status.BUSY:
            self.statistics.busy += 1
            self._cursor = min(self._cursor, request.number)
            self._not_before = self._heard_at + self._pause
            self._pause = min(2 * self._pause, PAUSES[1])
        elif header["status"] == Status.CREDIT:
            raise self._failure(f"the device has no room for {self._name(request)}")
        else:
            self._finish(request, header, payload)

    def _find(self, sequence: int) -> Request | None:
        """The open request of a sequence number."""
        first = self._next - len(self._window)
        place = (sequence - first) % NUMBERS
        return self._window[place] if place < len(self._window) else None

    def _landed(self, request: Request) -> int:
        """Take from what is in flight all that came before an answer; its place in the order."""
        if not any(item.number == request.number for item in self._flight):
            return request.last_sent
        while True:
            item = self._flight.popleft()
            if item.number == request.number:
                return item.order

    def _refused(self, request: Request, expected: int, order: int) -> None:
        wanted = self._find(expected)
        if wanted is None or wanted.number > request.number:
            # An answer of before that was overtaken, or the device forgot what it carried out.
            self._strange += 1
            if self._strange == _STRANGE:
                raise self._restarted(expected, request)
            return
        self._go_back(expected, order)

    def _go_back(self, expected: int, order: int) -> None:
        """Go on from the request that the device expects, unless it was sent since the refusal."""
        request = self._find(expected)
        if request is not None and request.last_sent <= order:
            self._cursor = min(self._cursor, request.number)

    def _finish(self, request: Request, header: dict[str, int], payload: bytes) -> None:
        ahead = (header["expected"] - request.number) % NUMBERS
        if not 1 <= ahead <= self._next - request.number:
            raise self._restarted(header["expected"], request)
        if header["status"] == Status.OK:
            request.answer = payload
        else:
            request.refusal = Status(header["status"])
        self._patience, self._pause, self._strange = PATIENCE[0], PAUSES[0], 0
        if request.number > self._credits_of:
            self._credits_of, self._credits = request.number, header["credits"]
        self._acknowledged = self._name(request)
        while self._window and self._window[0].answered:
            self._window.popleft()

    # --- messages ---------------------------------------------------------------------------

    def _name(self, request: Request) -> str:
        name = self.protocol.opcodes(request.opcode).name
        more = self.protocol.describe(request.opcode, request.payload)
        return f"{name} #{request.number % NUMBERS}" + (f" ({more})" if more else "")

    def _failure(self, what: str) -> LinkError:
        damaged = self.statistics.damaged_answers
        return LinkError(
            f"{what}; last acknowledged: {self._acknowledged}",
            where=self.transport.name,
            hint=f"{damaged} answers were damaged." if damaged else None,
        )

    def _restarted(self, expected: int, request: Request) -> LinkError:
        return LinkError(
            f"the device expects request #{expected}, and was sent {self._name(request)}; "
            f"last acknowledged: {self._acknowledged}",
            where=self.transport.name,
            hint="It was restarted, or another program speaks to it. Program it again.",
        )
