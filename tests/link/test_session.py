"""The host's session: what it makes of a line that is silent, babbles, breaks, leads elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack as pack_words

import pytest
from link.devices import SPEC, Rig, drain_payload, read_payload, snapshot, write_payload

from dyncc.arch.fields import pack, width
from dyncc.arch.link import (
    PING,
    REQUEST,
    RESPONSE,
    WINDOW,
    Deframer,
    LinkSpec,
    Status,
    frame,
    parse,
)
from dyncc.arch.neurocorex import Space
from dyncc.arch.neurocorex.packets import INFO, STEPS_BIT, Opcode, device_info, queue_words
from dyncc.core.errors import InternalError, LinkError
from dyncc.link import DirectTransport, Session
from dyncc.spiking.device_core import PROTOCOL
from dyncc_models.spiking.device import DeviceTwin

RUN_ONE = b"\x01\x00"


def greeting(**told: int) -> Callable[[bytes], bytes]:
    """A device that says something else of itself than it should."""
    size = told.pop("size", width(INFO) // 8)
    info = pack(INFO, device_info(SPEC, LinkSpec()) | told).to_bytes(width(INFO) // 8, "little")
    deframer = Deframer()

    def receive(content: bytes) -> bytes:
        answers = b""
        for stuffed in deframer.feed(content):
            _, nonce = parse(REQUEST, stuffed)
            header = {"opcode": PING, "status": 0, "sequence": 0, "expected": 0, "credits": 0}
            answers += frame(RESPONSE, header, nonce + info[:size])
        return answers

    return receive


@pytest.mark.parametrize(
    ("receive", "message"),
    [
        (lambda _: b"", r"no answer in 2\.0 s\n  Is it the right port.* 1000000 baud"),
        (lambda _: bytes(range(1, 200)), r"\d{6} bytes came in 2\.0 s, and no answer to a PING; 0"),
        (lambda _: b"\x02\x05\x03\x07\x00" * 9, r"no answer to a PING; \d{5} frames were damaged"),
        (lambda content: content, "what is sent comes back"),
        (greeting(magic=0x31504F53), r"calls itself b'SOP1', not b'NCX1'\n  It is no NeuroCoreX"),
        (greeting(version=9), "speaks version 9 of the protocol, with 64 bytes"),
        (greeting(size=60), "speaks version 1 of the protocol, with 60 bytes about itself"),
        (greeting(size=3), "calls itself b'NCX', not b'NCX1'"),
    ],
    ids=["silent", "babble", "garbage", "echo", "other device", "newer", "short", "shorter"],
)
def test_nobody_there(receive: Callable[[bytes], bytes], message: str) -> None:
    line = DirectTransport(receive, "line")
    with pytest.raises(LinkError, match=message) as caught:
        Session(line, PROTOCOL)
    assert caught.value.where == "line"
    assert caught.value.exit_code == 4
    assert line.now() < 2.5


def test_old_answers_are_not_taken_for_new_ones() -> None:
    """First comes what a session left on the line: another PING's answer, and half a frame."""
    left = DeviceTwin(SPEC).receive(frame(REQUEST, {"opcode": PING, "sequence": 7}, b"1234"))
    rig = Rig()
    answers = [left + b"\x03\x04"]

    def receive(content: bytes) -> bytes:
        return answers.pop() if answers else rig.device.receive(content)

    with Session(DirectTransport(receive), PROTOCOL) as session:
        assert session.info == device_info(SPEC, LinkSpec())
        assert session.statistics.damaged_answers == 1
        assert snapshot(session)["steps"] == 0


def test_numbers_go_on_from_session_to_session() -> None:
    rig = Rig()
    position = 0
    for _ in range(3):
        with Session(rig.line(), PROTOCOL) as session:
            for _ in range(150):
                session.ask(Opcode.RUN, RUN_ONE, events=1)
                position += len(session.ask(Opcode.DRAIN, drain_payload(position))) // 2
            steps = snapshot(session)["steps"]
    assert steps == 450
    assert rig.device.expected == (3 * 301) % 256


def write_much(session: Session) -> None:
    """More than a window of long requests."""
    for _ in range(2 * WINDOW):
        session.send(Opcode.WRITE, write_payload(Space.PARAMETERS, 1, [1] * 30))


def test_a_line_that_is_cut_says_what_was_acknowledged_and_another_goes_on() -> None:
    rig = Rig()
    session = Session(rig.line(), PROTOCOL)
    rig.bytes_left = 1000
    with pytest.raises(
        LinkError,
        match=r"line: no answer in 2\.\d s; last acknowledged: WRITE #\d+ "
        r"\(address 0x18000020: PARAMETERS\[1\]\)",
    ):
        write_much(session)
    assert session.transport.now() < 2.5
    # The device has half a frame; what comes next is another frame all the same.
    rig.bytes_left = 1 << 60
    with Session(rig.line(), PROTOCOL) as again:
        again.ask(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [3]))
        assert again.ask(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1)) == pack_words("<I", 3)
        assert again.statistics.naks_corrupt == 0


@pytest.mark.parametrize("before", [0, 3, 20, 250, 255])
def test_a_device_that_restarts_is_noticed(before: int) -> None:
    rig = Rig()
    session = Session(rig.line(), PROTOCOL)
    for _ in range(before):
        session.ask(Opcode.STOP)
    for _ in range(5):
        session.ask(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [1]))
    rig.device = DeviceTwin(SPEC)
    with pytest.raises(LinkError, match=r"the device expects request #0, and was sent WRITE #"):
        session.ask(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 1, [1]))


def test_refusals_name_the_request() -> None:
    session = Session(Rig().line(), PROTOCOL)
    for opcode, payload, message in [
        (Opcode.WRITE, write_payload(Space.COUNTERS, 2, [0]),
         r"refuses WRITE #0 \(address 0x48000040: COUNTERS\[2\]\): outside of what the device has"),
        (Opcode.RUN, b"\x00", "refuses RUN #1: the payload has a wrong length"),
        (Opcode.RUN, b"\x00\x00", "refuses RUN #2: outside"),
        (Opcode.DRAIN, drain_payload(1), "refuses DRAIN #3: outside"),
    ]:  # fmt: skip
        with pytest.raises(LinkError, match=message):
            session.ask(opcode, payload)
    session.ask(Opcode.STOP)  # it goes on


def test_what_is_busy_is_asked_again() -> None:
    rig = Rig()
    rig.steps = 1
    session = Session(rig.line(), PROTOCOL)
    session.send(Opcode.RUN, b"\x05\x00", events=1)
    # The requests behind it come too early as well, and are sent again in their order.
    sent = [
        session.send(Opcode.READ, read_payload(Space.COUNTERS, 1, 1)),
        session.send(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1)),
    ]
    assert [session.wait(request) for request in sent] == [pack_words("<I", n) for n in (5, 0)]
    assert session.statistics.busy >= 2
    rig.steps = 0
    session.ask(Opcode.RUN, b"\x05\x00", events=1)
    with pytest.raises(
        LinkError, match=r"READ #\d+ .* was sent 64 times in vain; last ack.*RUN #3"
    ):
        session.ask(Opcode.READ, read_payload(Space.COUNTERS, 1, 1))


def test_room_for_events_is_known() -> None:
    rig = Rig()
    rig.steps = 0
    session = Session(rig.line(), PROTOCOL)
    room = queue_words(SPEC)
    assert session.credits == room
    word = pack_words("<H", 1 << STEPS_BIT | 1)
    request = session.send(Opcode.EVENTS, word * 100, events=100)
    assert session.credits == room - 100
    session.wait(request)
    # The first word is being carried out.
    assert session.credits == room - 100
    session.ask(Opcode.EVENTS, word * 100, events=100)
    assert session.credits == room - 199
    with pytest.raises(InternalError, match="200 events were to be sent, with room for"):
        session.send(Opcode.EVENTS, word * 100, events=200)
    # Against the rules: more than it said.
    with pytest.raises(LinkError, match="the device has no room for EVENTS"):
        session.ask(Opcode.EVENTS, word * 100, events=1)


def test_nothing_is_sent_while_a_query_is_open_that_it_could_change() -> None:
    rig = Rig()
    line = rig.line()
    session = Session(line, PROTOCOL)
    first = session.send(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1))
    second = session.send(Opcode.READ, read_payload(Space.ASSIGNMENT, 1, 1))
    assert not first.answered
    session.send(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [2]))
    assert first.answer == second.answer == bytes(4)


def test_a_session_keeps_to_the_bytes_that_the_device_holds() -> None:
    """Without answers, no more than that is sent, not even again, before time is over."""
    device = DeviceTwin(SPEC, LinkSpec(receive_bytes=512))
    held: list[int] = []
    mute = [False]

    def receive(content: bytes) -> bytes:
        answers = device.receive(content)
        if not mute[0]:
            return answers
        held.append(sum(len(part) - 1 for part in Deframer().feed(content)))
        return b""

    line = DirectTransport(receive)
    session = Session(line, PROTOCOL)
    mute[0] = True
    start = line.now()
    with pytest.raises(LinkError, match="no answer in 2"):
        write_much(session)
    size = 4 + 4 + 4 * 30
    in_a_wait = 512 // size
    assert held.count(size) == in_a_wait * (1 + session.statistics.timeouts)
    assert session.statistics.timeouts >= 7
    assert line.now() - start < 2.5


def test_an_answer_to_something_else_is_no_answer() -> None:
    rig = Rig()
    strays = [
        frame(RESPONSE, {"opcode": opcode, "status": status, "sequence": sequence,
                         "expected": 1, "credits": 9}, b"stray")
        for opcode, status, sequence in [
            (Opcode.READ, Status.OK, 9), (Opcode.WRITE, Status.OK, 0), (PING, Status.OK, 0)
        ]
    ]  # fmt: skip
    session = Session(rig.line(), PROTOCOL)
    line = session.transport
    assert isinstance(line, DirectTransport)
    line._waiting += b"".join(strays)
    assert session.ask(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1)) == bytes(4)
    assert session.statistics.stray_answers == 3
