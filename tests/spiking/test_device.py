"""The twin of a device: requests in order, stimulus, log, memories."""

from __future__ import annotations

from itertools import pairwise
from struct import pack as pack_words
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link.devices import drain_payload, read_payload, write_payload

from dyncc.arch.fields import unpack
from dyncc.arch.link import (
    MAX_BODY,
    PING,
    REQUEST,
    RESPONSE,
    UNREADABLE,
    WINDOW,
    Deframer,
    LinkSpec,
    Status,
    frame,
    parse,
)
from dyncc.arch.neurocorex import (
    BUS_BITS,
    CoreImage,
    CoreSpec,
    Rule,
    Space,
    address,
    bus_words,
    memory_depth,
    memory_words,
    spaces,
    weight_words,
)
from dyncc.arch.neurocorex.packets import (
    INFO,
    MAX_READ,
    MAX_WRITE,
    SNAPSHOT,
    STEP_END_BIT,
    STEPS_BIT,
    Opcode,
    device_info,
    log_words,
    queue_words,
    spec_of,
)
from dyncc.core.errors import ConfigError
from dyncc_models.spiking.device import DeviceTwin
from dyncc_models.spiking.random_images import random_image
from dyncc_models.spiking.twin import CoreTwin

SPEC = CoreSpec(8, 5, lanes=4, parameter_sets=4)
ONE_STEP = 1 << STEPS_BIT | 1
Answer = tuple[dict[str, int], bytes]


def answers(content: bytes) -> list[Answer]:
    return [parse(RESPONSE, stuffed) for stuffed in Deframer().feed(content)]


class Host:
    """Asks one request after the other.

    Attributes
    ----------
    device
        What is asked.
    """

    def __init__(self, spec: CoreSpec = SPEC) -> None:
        self.device = DeviceTwin(spec)

    def ask(self, opcode: int, payload: bytes = b"", back: int = 0) -> Answer:
        """The answer to a request with the expected number, or one that is so far back."""
        header = {"opcode": opcode, "sequence": (self.device.expected - back) % 256}
        (found,) = answers(self.device.receive(frame(REQUEST, header, payload)))
        assert found[0]["opcode"] == opcode
        assert found[0]["sequence"] == header["sequence"]
        assert found[0]["expected"] == self.device.expected
        return found

    def done(self, opcode: int, payload: bytes = b"") -> bytes:
        """The payload of an answer that is OK."""
        header, content = self.ask(opcode, payload)
        assert header["status"] == Status.OK, Status(header["status"]).name
        return content

    def events(self, *words: int) -> None:
        self.done(Opcode.EVENTS, pack_words(f"<{len(words)}H", *words))

    def state(self) -> dict[str, int]:
        return unpack(SNAPSHOT, int.from_bytes(self.done(Opcode.SNAPSHOT), "little"))

    def log(self, position: int, count: int = 122) -> list[int]:
        content = self.done(Opcode.DRAIN, drain_payload(position, count))
        return numpy.frombuffer(content, "<u2").tolist()

    def program(self, image: CoreImage) -> None:
        for space, words in memory_words(image).items():
            self.fill(space, 0, words)

    def fill(self, space: Space, index: int, words: list[int]) -> None:
        """Write memory words."""
        parts = bus_words(self.device.spec, space)
        for place, word in enumerate(words, index):
            content = word.to_bytes(4 * parts, "little")
            found = numpy.frombuffer(content, "<u4").tolist()
            self.done(Opcode.WRITE, write_payload(space, place, found))

    def read(self, space: Space) -> list[int]:
        """A whole memory, from one word to the next."""
        spec = self.device.spec
        parts, depth = bus_words(spec, space), memory_depth(spec, space)
        chunk = max(1, MAX_READ // parts)
        found = b""
        for first in range(0, depth, chunk):
            count = parts * min(chunk, depth - first)
            found += self.done(Opcode.READ, read_payload(space, first, count))
        size = 4 * parts
        return [int.from_bytes(found[i : i + size], "little") for i in range(0, len(found), size)]


def test_ping_says_what_the_device_is() -> None:
    spec = CoreSpec(9, 4, learning=True, synapse_words=50, classes=2)
    host = Host(spec)
    header, content = host.ask(PING, b"abcd")
    assert header["credits"] == queue_words(spec)
    info = unpack(INFO, int.from_bytes(content[4:], "little"))
    assert content[:4] == b"abcd"
    assert info == device_info(spec, LinkSpec())
    assert spec_of(info) == spec
    assert host.device.expected == 0


def test_order_of_requests() -> None:
    host = Host()
    device = host.device

    def status(sequence: int, opcode: int = Opcode.RUN, payload: bytes = b"\x01\x00") -> Status:
        header = {"opcode": opcode, "sequence": sequence % 256}
        (found,) = answers(device.receive(frame(REQUEST, header, payload)))
        return Status(found[0]["status"])

    # Nothing was carried out yet: there is nothing to repeat.
    assert status(-1) == Status.SEQUENCE
    assert status(1) == Status.SEQUENCE
    for number in range(20):
        assert status(number) == Status.OK
    assert device.expected == 20
    # The last WINDOW are repetitions, and change nothing.
    for back in range(1, WINDOW + 1):
        assert status(20 - back) == Status.OK
    assert status(20 - WINDOW - 1) == Status.SEQUENCE
    assert status(21) == Status.SEQUENCE
    assert device.expected == 20
    assert device.advance() == 20
    # A PING is outside of the order, with any number.
    assert status(99, PING, b"1234") == Status.OK
    assert status(99, PING, b"123") == Status.LENGTH
    assert device.expected == 20


def test_a_repetition_changes_nothing_and_a_query_is_answered_anew() -> None:
    host = Host()
    host.done(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [1]))
    host.done(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1))
    host.done(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [2]))
    header, _ = host.ask(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [1]), back=3)
    assert header["status"] == Status.OK
    header, content = host.ask(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1), back=2)
    assert (header["status"], content) == (Status.OK, pack_words("<I", 2))
    # What was refused is refused again.
    host.ask(Opcode.RUN, b"\x00\x00")
    assert host.ask(Opcode.RUN, b"\x00\x00", back=1)[0]["status"] == Status.ADDRESS
    # While it runs, memories cannot be read, but a write that was done is still done.
    host.done(Opcode.RUN, b"\x01\x00")
    assert host.ask(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, 1), 4)[0]["status"] == (
        Status.BUSY
    )
    assert host.ask(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 0, [2]), 3)[0]["status"] == (
        Status.OK
    )


PARTS = bus_words(SPEC, Space.STATE)


@pytest.mark.parametrize(
    ("opcode", "payload", "status"),
    [
        (9, b"", Status.OPCODE),
        (0xFF, b"abc", Status.OPCODE),
        (Opcode.READ, b"", Status.LENGTH),
        (Opcode.READ, read_payload(Space.STATE, 0, 1) + b"\x00", Status.LENGTH),
        (Opcode.READ, read_payload(Space.STATE, 0, 62), Status.LENGTH),
        (Opcode.READ, read_payload(Space.STATE, 0, 8 * PARTS), Status.OK),
        (Opcode.READ, read_payload(Space.STATE, 0, 8 * PARTS + 1), Status.ADDRESS),
        (Opcode.READ, read_payload(Space.STATE, 8, 1), Status.ADDRESS),
        (Opcode.READ, read_payload(Space.STATE, 8, 0), Status.OK),
        (Opcode.READ, read_payload(Space.PRE, 0, 1), Status.ADDRESS),
        (Opcode.READ, (31 << 27).to_bytes(4, "little") + b"\x01", Status.ADDRESS),
        (Opcode.READ, address(Space.STATE, 0, PARTS).to_bytes(4, "little") + b"\x01",
         Status.ADDRESS),
        (Opcode.WRITE, b"abc", Status.LENGTH),
        (Opcode.WRITE, write_payload(Space.STATE, 0, [1]) + b"\x00\x00", Status.LENGTH),
        (Opcode.WRITE, write_payload(Space.STATE, 0, []), Status.OK),
        (Opcode.WRITE, write_payload(Space.STATE, 7, [1] * (PARTS + 1)), Status.ADDRESS),
        (Opcode.WRITE, write_payload(Space.COUNTERS, 0, [1]), Status.ADDRESS),
        (Opcode.WRITE, write_payload(Space.PARAMETERS, 0, [1] * MAX_WRITE), Status.ADDRESS),
        (Opcode.EVENTS, b"abc", Status.LENGTH),
        (Opcode.EVENTS, b"", Status.OK),
        (Opcode.RUN, b"", Status.LENGTH),
        (Opcode.RUN, b"\x00\x00", Status.ADDRESS),
        (Opcode.RUN, b"\x00\x80", Status.ADDRESS),
        (Opcode.RUN, b"\xff\x7f", Status.OK),
        (Opcode.STOP, b"\x00", Status.LENGTH),
        (Opcode.SNAPSHOT, b"\x00", Status.LENGTH),
        (Opcode.DRAIN, b"", Status.LENGTH),
        (Opcode.DRAIN, drain_payload(0, 123), Status.LENGTH),
        (Opcode.DRAIN, drain_payload(0, 0), Status.OK),
        (Opcode.DRAIN, drain_payload(1, 0), Status.ADDRESS),
        (Opcode.DRAIN, drain_payload(-1, 0), Status.ADDRESS),
    ],
)  # fmt: skip
def test_statuses(opcode: int, payload: bytes, status: Status) -> None:
    host = Host()
    header, content = host.ask(opcode, payload)
    assert Status(header["status"]) == status
    assert header["expected"] == 1
    if status != Status.OK:
        assert content == b""


def test_a_write_that_reaches_too_far_writes_nothing() -> None:
    host = Host()
    host.ask(Opcode.WRITE, write_payload(Space.ASSIGNMENT, 7, [1, 1]))
    assert host.read(Space.ASSIGNMENT) == [0] * 8


def test_busy_and_full_do_not_count_as_carried_out() -> None:
    host = Host()
    device = host.device
    host.done(Opcode.RUN, b"\x03\x00")
    for opcode, payload in [
        (Opcode.READ, read_payload(Space.STATE, 0, 1)),
        (Opcode.WRITE, write_payload(Space.STATE, 0, [1])),
    ]:
        assert host.ask(opcode, payload)[0]["status"] == Status.BUSY
        assert device.expected == 1
    words = [ONE_STEP] * 100
    host.events(*words)
    host.events(*words)
    room = queue_words(SPEC) - 201
    header, _ = host.ask(Opcode.EVENTS, pack_words(f"<{room + 1}H", *words[: room + 1]))
    assert (header["status"], header["credits"], device.expected) == (Status.CREDIT, room, 3)
    host.events(*words[:room])
    assert host.ask(Opcode.RUN, b"\x01\x00")[0]["status"] == Status.CREDIT
    # The first of them are carried out; their word has left the queue.
    assert device.advance(2) == 2
    assert host.ask(PING, b"1234")[0]["credits"] == 1


def test_spikes_out_of_order_are_dropped_and_told() -> None:
    host = Host()
    host.events(1, 3)
    host.device.advance()
    assert not host.state()["disordered"]
    assert host.state()["input_spikes"] == 2
    for word in (3, 2, 5, 4095):
        host.events(word)
        host.device.advance()
    state = host.state()
    assert (state["disordered"], state["input_spikes"]) == (1, 2)
    host.events(4, ONE_STEP, 0, ONE_STEP)
    host.device.advance()
    assert host.state()["input_spikes"] == 4
    host.done(Opcode.WRITE, write_payload(Space.CONTROL, 0, [0]))
    assert host.state()["disordered"]
    host.done(Opcode.WRITE, write_payload(Space.CONTROL, 0, [1]))
    state = host.state()
    assert (state["disordered"], state["input_spikes"], state["steps"]) == (0, 0, 0)
    host.events(0)
    host.device.advance()
    assert not host.state()["disordered"]


def firing(spec: CoreSpec) -> CoreImage:
    """All neurons fire in every step."""
    image = random_image(spec, 0)
    for name, values in {
        "threshold": -1,
        "fires": 1,
        "refractory": 0,
        "dynamics": 1,
        "gain": 0,
        "bias": 0,
        "leak": 0,
        "reset_to": 0,
        "reset": 0,
        "delay": 0,
    }.items():
        image.parameters[name][:] = values  # fmt: skip
    image.initial_v[:] = 0
    return image


def test_a_step_waits_for_room_in_the_log() -> None:
    host = Host()
    host.program(firing(SPEC))
    host.done(Opcode.RUN, b"\xe8\x03")
    each = SPEC.neurons + 1
    fit = log_words(SPEC) // each
    assert host.device.advance() == fit
    state = host.state()
    assert (state["running"], state["log_full"]) == (1, 1)
    assert (state["log_start"], state["log_end"]) == (0, fit * each)
    assert host.log(0) == [*range(8), 1 << STEP_END_BIT] * 13 + list(range(5))
    assert host.device.advance() == 0
    # What was read is given back by the next position only.
    assert len(host.log(122)) == 122
    assert host.state()["log_start"] == 122
    assert host.device.advance() == (log_words(SPEC) - fit * each + 122) // each
    assert host.state()["log_full"]
    host.done(Opcode.STOP)
    state = host.state()
    assert (state["running"], state["log_full"]) == (0, 0)
    assert host.device.advance() == 0


def test_positions_in_the_log_wrap() -> None:
    host = Host()
    host.program(firing(SPEC))
    position = 0
    words = []
    for _ in range(400):
        host.done(Opcode.RUN, b"\x14\x00")
        host.device.advance()
        while found := host.log(position):
            words += found
            position += len(found)
    assert position == 400 * 20 * 9 > 1 << 16
    assert words == [*range(8), 1 << STEP_END_BIT] * 8000


def test_stop_drops_what_is_left_of_a_word() -> None:
    host = Host()
    host.done(Opcode.RUN, b"\x64\x00")
    host.events(1, ONE_STEP)
    assert host.device.advance(10) == 10
    assert host.state()["running"]
    host.done(Opcode.STOP)
    assert host.device.advance() == 0
    state = host.state()
    assert (state["running"], state["steps"], state["input_spikes"]) == (0, 10, 0)
    # A spike that was handed over is for the next step.
    host.events(2)
    host.device.advance()
    host.done(Opcode.STOP)
    host.events(ONE_STEP)
    host.device.advance()
    assert host.state()["input_spikes"] == 1
    # Steps of no number are none.
    host.events(1 << STEPS_BIT)
    assert host.device.advance() == 0
    assert not host.state()["running"]


def test_a_decision_ends_the_run_until_clear() -> None:
    spec = CoreSpec(8, 5, parameter_sets=4, classes=3)
    image = next(
        image
        for image in (random_image(spec, seed) for seed in range(100))
        if CoreTwin(image).run(numpy.ones((5, 5), bool)).spikes.shape[0] in (2, 3, 4)
    )
    expected = CoreTwin(image)
    steps = len(expected.run(numpy.ones((5, 5), bool)).spikes)
    host = Host(spec)
    host.program(image)
    host.events(*[0, 1, 2, 3, 4, ONE_STEP] * 5)
    assert host.device.advance() == steps
    state = host.state()
    assert (state["running"], state["decided"], state["steps"]) == (0, 1, steps)
    assert state["decision"] == 1 << 31 | expected.winner
    assert host.log(0)[-1] == (1 << STEP_END_BIT | 1)
    host.events(*[ONE_STEP] * 124)
    assert host.device.credits == queue_words(spec)
    assert host.device.advance() == 0
    host.done(Opcode.WRITE, write_payload(Space.CONTROL, 0, [1]))
    state = host.state()
    assert (state["decided"], state["decision"], state["steps"]) == (0, 0, 0)
    host.events(ONE_STEP)
    assert host.device.advance() == 1


@pytest.mark.parametrize("rule", [Rule.TRACES, Rule.WINDOWS, Rule.LAGS])
@pytest.mark.parametrize(
    "size",
    [{}, {"learning": True}, {"learning": True, "synapse_words": 90, "max_delay": 5},
     {"classes": 3, "max_delay": 3}, {"synapse_words": 90}],
    ids=["plain", "learns", "sparse and learns", "classes", "sparse"],
)  # fmt: skip
def test_it_does_what_the_core_does(size: dict[str, Any], rule: Rule) -> None:
    """Spikes, all memories and counters, step by step, though memories are written between."""
    spec = CoreSpec(9, 4, lanes=4, parameter_sets=12, **size)
    image = random_image(spec, 3, rule)
    twin, host = CoreTwin(image), Host(spec)
    host.program(image)
    draw = numpy.random.default_rng(1)
    position = 0
    for step in range(40):
        row = draw.random(4) < 0.3
        expected = numpy.flatnonzero(twin.step(row)).tolist()
        host.events(*numpy.flatnonzero(row).tolist(), ONE_STEP)
        assert host.device.advance() == 1
        found = host.log(position)
        assert found == [*expected, 1 << STEP_END_BIT | twin.decided]
        position += len(found)
        if twin.decided:
            break
        if step % 8 == 3:
            # What is written back as it was changes nothing, and a change is one.
            host.fill(Space.STATE, 0, host.read(Space.STATE))
            twin.v[5] = -7
            word = host.read(Space.STATE)[5]
            mask = (1 << spec.state_bits) - 1
            host.fill(Space.STATE, 5, [word & ~mask | -7 & mask])
    state = host.state()
    assert {name: state[name] for name in twin.report()} == twin.report()
    synapses = twin.synapses
    words = weight_words(image, synapses.weights if spec.learning else image.weights)[0]
    assert host.read(Space.WEIGHTS)[: len(words)] == words
    if spec.learning:
        assert host.read(Space.PRE) == synapses.pre.tolist()
        assert host.read(Space.POST) == synapses.post.tolist()
        assert state["drift"] == synapses.drift
    assert host.read(Space.COUNTERS)[1:7] == list(twin.report().values())


def test_all_memories_keep_what_is_written() -> None:
    """Every word of every memory, cut to its width; PRE, POST and COUNTERS are read only."""
    spec = CoreSpec(5, 3, lanes=2, learning=True, synapse_words=30, classes=2, max_delay=9)
    host = Host(spec)
    draw = numpy.random.default_rng(0)
    for space in spaces(spec):
        if space in (Space.PRE, Space.POST, Space.COUNTERS):
            continue
        parts, depth = bus_words(spec, space), memory_depth(spec, space)
        bits = max(word.bit_length() for word in full_words(spec, space))
        words = [int.from_bytes(draw.bytes(4 * parts), "little") for _ in range(depth)]
        host.fill(space, 0, words)
        found = host.read(space)
        if space == Space.CONTROL:
            assert found[0] == 0
            limits = full_words(spec, space)
            assert found[1:] == [w & m for w, m in zip(words[1:], limits[1:], strict=True)]
        else:
            assert found == [word & ((1 << bits) - 1) for word in words]


def full_words(spec: CoreSpec, space: Space) -> list[int]:
    """What a memory holds when all bits are written."""
    host = Host(spec)
    parts, depth = bus_words(spec, space), memory_depth(spec, space)
    host.fill(space, 0, [(1 << (BUS_BITS * parts)) - 1] * depth)
    return host.read(space)


def test_the_last_part_of_a_word_stores_it() -> None:
    host = Host()
    host.done(Opcode.WRITE, write_payload(Space.STATE, 3, [0x1234]))
    assert host.read(Space.STATE)[3] == 0
    last = address(Space.STATE, 3, PARTS - 1).to_bytes(4, "little") + pack_words("<I", 1)
    host.done(Opcode.WRITE, last)
    assert host.read(Space.STATE)[3] == 0x1234 | 1 << (BUS_BITS * (PARTS - 1))


def test_memories_that_no_image_says_do_not_run() -> None:
    host = Host(CoreSpec(8, 5, classes=2))
    host.fill(Space.CONTROL, 1, [1])
    host.events(ONE_STEP)
    with pytest.raises(ConfigError, match="watches up to 2 classes, not 0"):
        host.device.advance()


PING_FRAME = frame(REQUEST, {"opcode": PING, "sequence": 5}, b"abcd")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
def test_noise_changes_nothing_and_ends_with_the_next_zero(noise: bytes, cuts: list[int]) -> None:
    """Whatever comes, in whatever parts: a frame after a zero is answered."""
    host = Host()
    host.done(Opcode.STOP)
    whole = noise + b"\x00" + PING_FRAME
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    found = b""
    for start, end in pairwise(places):
        found += host.device.receive(whole[start:end])
    *before, (header, content) = answers(found)
    assert header["opcode"] == PING
    assert content.startswith(b"abcd")
    assert len(before) == sum(bool(part) for part in noise.split(b"\x00"))
    assert all(
        header["opcode"] == UNREADABLE and header["status"] == Status.CORRUPT
        for header, _ in before
    )
    assert host.device.expected == 1


@pytest.mark.parametrize("size", [0, 1, 3, MAX_BODY + 1, 300, 5000])
def test_frames_that_are_too_short_or_too_long(size: int) -> None:
    stuffed = b"\x01" if size == 0 else bytes([1]) * size
    (found,) = answers(DeviceTwin(SPEC).receive(stuffed + b"\x00"))
    assert found[0]["status"] == Status.CORRUPT


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.binary(max_size=12), st.integers(-20, 3), st.integers(0, 3)
        ),
        max_size=40,
    )
)
def test_random_requests(asked: list[tuple[int, bytes, int, int]]) -> None:
    """Each is answered, with its number; the expected number moves by one, or not at all."""
    device = DeviceTwin(SPEC)
    for opcode, payload, ahead, steps in asked:
        before = device.expected
        sequence = (before + ahead) % 256
        content = frame(REQUEST, {"opcode": opcode, "sequence": sequence}, payload)
        ((header, _),) = answers(device.receive(content))
        assert (header["opcode"], header["sequence"]) == (opcode, sequence)
        moved = (device.expected - before) % 256
        status = Status(header["status"])
        refused = status in (Status.SEQUENCE, Status.BUSY, Status.CREDIT)
        assert moved == (ahead == 0 and opcode != PING and not refused)
        assert (status == Status.SEQUENCE) <= (ahead != 0)
        assert 0 <= header["credits"] <= queue_words(SPEC)
        try:
            device.advance(steps)
        except ConfigError:
            return
