"""Carries out the requests of a host, as `dyncc.arch.link` and `packets` define them."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import pack, width
from dyncc.arch.link import RESPONSE, LinkSpec, Status
from dyncc.arch.neurocorex import BUS_BITS, COUNTERS, CoreSpec, Space, address
from dyncc.arch.neurocorex.packets import (
    ADDRESS,
    DRAIN,
    INFO,
    MAX_DRAIN,
    MAX_READ,
    NONCE,
    QUERIES,
    READ,
    RUN,
    SNAPSHOT,
    STEPS_BIT,
    Opcode,
    device_info,
)
from dyncc_hw.link.framer import CONTENT
from dyncc_hw.link.requests import RequestHeader
from dyncc_hw.neurocorex.bus import BUS
from dyncc_hw.neurocorex.buslist import BusList
from dyncc_hw.neurocorex.spikelog import LOG_PORT, POSITION_BITS
from dyncc_hw.neurocorex.stimulus import RUN_PORT, WORD_BITS

_HEADER_BYTES = width(RESPONSE) // 8
_INFO_WORDS, _SNAPSHOT_WORDS = width(INFO) // BUS_BITS, width(SNAPSHOT) // BUS_BITS
#: Words of a snapshot before the counters: flags, then positions in the log.
_SNAPSHOT_HEAD = _SNAPSHOT_WORDS - len(COUNTERS)
#: Payloads of a fixed length.
_PAYLOADS = {
    Opcode.PING: NONCE,
    Opcode.READ: READ,
    Opcode.RUN: RUN,
    Opcode.STOP: (),
    Opcode.SNAPSHOT: (),
    Opcode.DRAIN: DRAIN,
}


class CommandProcessor(wiring.Component):
    """Takes one request at a time, and answers it.

    A request takes some 10 cycles for each word of its list. No wait is without a bound: its bytes
    are in the deframer's memory; the bus answers while the core is idle, or clears itself, which
    takes as many cycles as it has sources; `held` comes when the step under way ends, or is broken
    off; the log is busy for one step; and `responses` waits until the answer before is on the line.

    After reset it expects request 0, and knows of none before.

    Members
    -------
    requests
        From `dyncc_hw.link.deframer.Deframer`.
    responses
        To `dyncc_hw.link.framer.Framer`.
    bus
        The core's.
    run, log
        The runner's.
    """

    def __init__(self, spec: CoreSpec, link: LinkSpec) -> None:
        self.spec, self.link = spec, link
        super().__init__(
            {
                "requests": In(stream.Signature(8)),
                "responses": Out(stream.Signature(CONTENT)),
                "bus": Out(BUS),
                "run": Out(RUN_PORT),
                "log": Out(LOG_PORT),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Read the header, check, carry out, answer."""
        m = Module()
        header = RequestHeader(m, self.requests, Opcode)
        opcode, sequence, status = header.opcode, header.sequence, header.status
        fresh, left, take, refuse = header.fresh, header.left, header.take, header.refuse
        # A number of its payload, which comes in from the top.
        word = Signal(BUS_BITS)
        # Words of a list, those that are through, and bytes of the next one.
        count, turn, part = Signal(8), Signal(8), Signal(3)
        all_through = turn == count
        m.submodules.place = place = BusList(self.spec)
        clears = word[0] & (place.address == address(Space.CONTROL, 0))
        bus, requests, responses = self.bus, self.requests, self.responses
        run, log = self.run, self.log
        room, found = Signal(16), Signal(8)
        answer = Cat(opcode, status, Const(0, 8 - len(status)), sequence, header.expected, room)

        def take_part() -> None:
            take(word, Cat(word[8:], requests.payload))
            with m.If(requests.valid):
                m.d.sync += part.eq(part + 1)

        def asks(*opcodes: Opcode) -> Any:
            return Cat(kind == item for item in opcodes).any()

        # Of a request that is not refused.
        kind = opcode[: (len(Opcode) - 1).bit_length()]
        length_fits = self._length_fits(m, kind, left)

        flags = Cat(getattr(run, item.name) for item in SNAPSHOT if item.bits == 1)
        m.d.comb += [
            place.first.eq(word),
            bus.address.eq(place.address),
            bus.write_data.eq(word),
            run.word.eq(word[-WORD_BITS:]),
            log.position.eq(word[-POSITION_BITS:]),
            log.index.eq(turn),
        ]
        with m.FSM():
            header.states([part.eq(0)], ~length_fits)
            with m.State("TAKE"):
                # What comes before a list of words; a count comes last.
                with m.If((left == 0) | asks(Opcode.EVENTS) | (asks(Opcode.WRITE) & part[2])):
                    m.d.sync += [part.eq(0), turn.eq(0)]
                    with m.Switch(kind):
                        for item in (Opcode.EVENTS, Opcode.RUN, Opcode.STOP, Opcode.DRAIN):
                            with m.Case(item):
                                m.next = item.name
                        with m.Case(Opcode.READ, Opcode.WRITE):
                            m.next = "LIST"
                        with m.Default():
                            m.next = "FINISH"
                with m.Elif((left == 1) & asks(Opcode.READ, Opcode.DRAIN)):
                    take(count, requests.payload)
                with m.Else():
                    take_part()

            # --- requests for bus words: all of them are checked before the first is touched ------
            with m.State("LIST"):
                m.d.comb += place.load.eq(1)
                m.next = "CHECK"
                with m.If(asks(Opcode.WRITE)):
                    m.d.sync += count.eq(left >> 2)
                    with m.If(fresh & run.running):
                        refuse(Status.BUSY)
                with m.Elif(count > MAX_READ):
                    refuse(Status.LENGTH)
                with m.Elif(run.running):
                    refuse(Status.BUSY)
            with m.State("CHECK"):
                with m.If(all_through):
                    m.d.comb += place.load.eq(1)
                    m.d.sync += turn.eq(0)
                    m.next = "SKIP"
                    with m.If(asks(Opcode.WRITE) & fresh):
                        m.next = "STORE"
                with m.Else():
                    m.d.comb += place.advance.eq(1)
                    m.d.sync += turn.eq(turn + 1)
                    with m.If(~place.exists | (asks(Opcode.WRITE) & ~place.writable)):
                        refuse(Status.ADDRESS)
            with m.State("STORE"):
                with m.If(part[2]):
                    m.d.comb += bus.write.eq(1)
                    with m.If(bus.done):
                        m.d.comb += [place.advance.eq(1), run.clear.eq(clears)]
                        m.d.sync += part.eq(0)
                with m.Elif(left == 0):
                    m.next = "FINISH"
                with m.Else():
                    take_part()

            # --- requests to run ------------------------------------------------------------------
            with m.State("EVENTS"):
                m.next = "EVENT"
                with m.If(~fresh):
                    m.next = "SKIP"
                with m.Elif((left >> 1) > run.room):
                    refuse(Status.CREDIT)
            with m.State("EVENT"):
                with m.If(part[1]):
                    m.d.comb += run.push.eq(1)
                    m.d.sync += part.eq(0)
                with m.Elif(left == 0):
                    m.next = "FINISH"
                with m.Else():
                    take_part()
            with m.State("RUN"):
                steps = word[-WORD_BITS:]
                with m.If((steps == 0) | steps[STEPS_BIT]):
                    refuse(Status.ADDRESS)
                with m.Elif(fresh & (run.room == 0)):
                    refuse(Status.CREDIT)
                with m.Else():
                    m.d.comb += [run.push.eq(fresh), run.word[STEPS_BIT].eq(1)]
                    m.next = "FINISH"
            with m.State("STOP"):
                m.d.comb += [run.hold.eq(fresh), run.stop.eq(run.held)]
                with m.If(~fresh | run.held):
                    m.next = "FINISH"
            with m.State("DRAIN"):
                with m.If(count > MAX_DRAIN):
                    refuse(Status.LENGTH)
                with m.Elif(~log.inside):
                    refuse(Status.ADDRESS)
                with m.Else():
                    m.d.comb += log.free.eq(1)
                    with m.If(log.available < count):
                        m.d.sync += count.eq(log.available)
                    m.next = "FINISH"

            # --- answer ---------------------------------------------------------------------------
            with m.State("SKIP"):
                with m.If(left == 0):
                    m.next = "FINISH"
                with m.Else():
                    take_part()
            with m.State("FINISH"):
                m.d.sync += [part.eq(0), turn.eq(0), room.eq(run.room)]
                with m.If(fresh & (status != Status.BUSY) & (status != Status.CREDIT)):
                    header.accept()
                with m.If((status != Status.OK) | ~asks(*QUERIES)):
                    m.d.sync += count.eq(0)
                with m.Elif(asks(Opcode.PING)):
                    m.d.sync += count.eq(1 + _INFO_WORDS)
                with m.Elif(asks(Opcode.SNAPSHOT)):
                    m.d.sync += count.eq(_SNAPSHOT_WORDS)
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    responses.valid.eq(1),
                    responses.payload.data.eq(answer.word_select(part, 8)),
                    responses.payload.last.eq((part == _HEADER_BYTES - 1) & (count == 0)),
                ]
                with m.If(responses.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == _HEADER_BYTES - 1):
                        m.d.sync += part.eq(0)
                        m.next = "HOLD"
                        with m.If(count == 0):
                            m.next = "IDLE"
            with m.State("HOLD"):
                m.d.comb += [run.hold.eq(asks(Opcode.SNAPSHOT)), place.counters.eq(run.hold)]
                with m.If(run.held | ~run.hold):
                    m.next = "FETCH"
            with m.State("FETCH"):
                from_bus = asks(Opcode.READ) | (asks(Opcode.SNAPSHOT) & (turn >= _SNAPSHOT_HEAD))
                m.d.comb += [
                    run.hold.eq(asks(Opcode.SNAPSHOT)),
                    bus.read.eq(from_bus),
                    log.read.eq(1),
                ]
                with m.If(Mux(from_bus, bus.done, ~log.busy)):
                    m.d.comb += place.advance.eq(from_bus)
                    m.d.sync += turn.eq(turn + 1)
                    m.next = "SEND"
            with m.State("SEND"):
                last = part == Mux(asks(Opcode.DRAIN), 1, 3)
                m.d.comb += [
                    run.hold.eq(asks(Opcode.SNAPSHOT)),
                    responses.valid.eq(1),
                    responses.payload.data.eq(found),
                    responses.payload.last.eq(last & all_through),
                ]
                with m.If(responses.ready):
                    m.d.sync += [part.eq(part + 1), word.eq(Cat(word[8:], requests.payload))]
                    with m.If(last):
                        m.d.sync += part.eq(0)
                        m.next = "FETCH"
                        with m.If(all_through):
                            m.next = "IDLE"

        with m.Switch(kind):
            with m.Case(Opcode.PING):
                # The nonce is where it came in, and goes out from the bottom.
                m.d.comb += found.eq(Mux(turn == 1, word[:8], self._info(m, turn, part)))
            with m.Case(Opcode.READ):
                m.d.comb += found.eq(bus.read_data.word_select(part, 8))
            with m.Case(Opcode.SNAPSHOT):
                head = Cat(flags, Const(0, BUS_BITS - len(flags)), log.start, log.end)
                with m.If(turn > _SNAPSHOT_HEAD):
                    m.d.comb += found.eq(bus.read_data.word_select(part, 8))
                with m.Else():
                    m.d.comb += found.eq(head.word_select(Cat(part[:2], turn[1]), 8))
            with m.Case(Opcode.DRAIN):
                m.d.comb += found.eq(log.word.word_select(part, 8))
        return m

    def _info(self, m: Module, turn: Any, part: Any) -> Any:
        """A byte of what the device says of itself; its first word comes second."""
        content = pack(INFO, device_info(self.spec, self.link)).to_bytes(width(INFO) // 8, "little")
        byte = Signal(8)
        with m.Switch(Cat(part[:2], turn)):
            for place, value in enumerate(content, 2 * BUS_BITS // 8):
                with m.Case(place):
                    m.d.comb += byte.eq(value)
        return byte

    def _length_fits(self, m: Module, kind: Any, left: Any) -> Any:
        """Whether a payload of `left` bytes may belong to an opcode."""
        fits = Signal()
        with m.Switch(kind):
            for item, layout in _PAYLOADS.items():
                with m.Case(item):
                    m.d.comb += fits.eq(left == width(layout) // 8)
            with m.Case(Opcode.WRITE):
                m.d.comb += fits.eq((left >= width(ADDRESS) // 8) & (left[:2] == 0))
            with m.Case(Opcode.EVENTS):
                m.d.comb += fits.eq(~left[0])
        return fits
