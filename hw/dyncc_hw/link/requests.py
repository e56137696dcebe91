"""What is common to all who carry out requests of a host: the header, and their order."""

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Signal

from dyncc.arch.link import UNREADABLE, WINDOW, Status


class RequestHeader:
    """Reads the header of a request, by states of a state machine that is not its own.

    It begins with ``IDLE`` and goes on with ``TAKE``, or with ``FINISH`` where nothing could be
    read, or with ``SKIP`` where the request is refused. After reset request 0 is expected, and none
    before is known.

    Parameters
    ----------
    m
        The module with the state machine.
    requests
        Stream of bytes, from `deframer.Deframer`.
    opcodes
        Enumeration of all that there are, from 0 on; PING has no place in the order.

    Attributes
    ----------
    opcode, sequence, status
        Of the request; `Status.OK` until it is refused.
    expected, known, fresh
        The next request, the number of requests before it that are known, and whether this is it.
    left
        Bytes left of the request.
    """

    def __init__(self, m: Module, requests: Any, opcodes: Any) -> None:
        self._m, self._requests, self._opcodes = m, requests, opcodes
        self.opcode, self.sequence, self.status = Signal(8), Signal(8), Signal(range(len(Status)))
        self.expected, self.known, self.fresh = Signal(8), Signal(range(WINDOW + 1)), Signal()
        self.left = Signal(8)

    def take(self, target: Any, value: Any) -> None:
        """Take a byte: `target` becomes `value`."""
        m, requests = self._m, self._requests
        m.d.comb += requests.ready.eq(1)
        with m.If(requests.valid):
            m.d.sync += [target.eq(value), self.left.eq(self.left - 1)]

    def refuse(self, reason: Status) -> None:
        """Pass over the rest of the request."""
        self._m.d.sync += self.status.eq(reason)
        self._m.next = "SKIP"

    def accept(self) -> None:
        """The next request is expected."""
        self._m.d.sync += [
            self.expected.eq(self.expected + 1), self.known.eq(self.known + ~self.known[-1]),
        ]  # fmt: skip

    def states(self, begin: Sequence[Any], misfit: Any) -> None:
        """Add the states.

        Parameters
        ----------
        begin
            Statements for each cycle of ``IDLE``.
        misfit
            Whether no request of this opcode has so many bytes behind its header.
        """
        m, requests, opcode, sequence = self._m, self._requests, self.opcode, self.sequence
        with m.State("IDLE"):
            m.d.comb += requests.ready.eq(1)
            m.d.sync += [
                self.left.eq(requests.payload), self.status.eq(Status.OK), self.fresh.eq(0), *begin,
            ]  # fmt: skip
            with m.If(requests.valid):
                m.next = "OPCODE"
                with m.If(requests.payload == 0):
                    m.d.sync += [
                        opcode.eq(UNREADABLE), sequence.eq(0), self.status.eq(Status.CORRUPT),
                    ]  # fmt: skip
                    m.next = "FINISH"
        with m.State("OPCODE"):
            self.take(opcode, requests.payload)
            with m.If(requests.valid):
                m.next = "SEQUENCE"
        with m.State("SEQUENCE"):
            self.take(sequence, requests.payload)
            with m.If(requests.valid):
                m.next = "DECIDE"
        with m.State("DECIDE"):
            back = Signal(8)
            ping = opcode == int(self._opcodes.PING)
            m.d.comb += back.eq(self.expected - sequence)
            m.d.sync += self.fresh.eq((back == 0) & ~ping)
            m.next = "TAKE"
            with m.If(~ping & (back > self.known)):
                self.refuse(Status.SEQUENCE)
            with m.Elif(opcode >= len(self._opcodes)):
                self.refuse(Status.OPCODE)
            with m.Elif(misfit):
                self.refuse(Status.LENGTH)
