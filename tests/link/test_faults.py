"""A frame that is damaged, lost, repeated or overtaken never changes the outcome."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link.devices import SPEC, Rig, drain_payload, read_payload, snapshot, write_payload
from link.workload import Outcome, check_equal, work

from dyncc.arch.link import DELIMITER
from dyncc.arch.neurocorex import CoreSpec, Rule, Space, bus_words, memory_words
from dyncc.arch.neurocorex.packets import STEPS_BIT, Opcode
from dyncc.link import DirectTransport, FaultyTransport, Request, Session
from dyncc.link.faults import FAULTS
from dyncc.spiking.device_core import PROTOCOL, DeviceCore
from dyncc_models.spiking.random_images import random_image

LEARNS = CoreSpec(12, 6, lanes=4, parameter_sets=12, learning=True, max_delay=4)


def report(line: FaultyTransport, found: Outcome, title: str) -> None:
    """The figure, as `pytest -s` shows it."""
    count = found.statistics
    show(f"{title}: {count.frames_sent} requests, {line.frames} frames in both directions")
    show("faults: " + ", ".join(f"{name} {line.faults[name]}" for name in FAULTS))
    show(
        f"retransmissions {count.retransmissions}, timeouts {count.timeouts}, refused as corrupt "
        f"{count.naks_corrupt}, as out of sequence {count.naks_sequence}, damaged answers "
        f"{count.damaged_answers}, surplus answers {count.stray_answers}"
    )


def show(text: str) -> None:
    print(text)  # noqa: T201  (pytest shows it with -s)


def test_ten_thousand_frames_with_five_percent_faults() -> None:
    """The figure of the link: memories, logs and counters are those of a clean line."""
    image = random_image(LEARNS, 5, Rule.TRACES)
    clean, bad = Rig(LEARNS), Rig(LEARNS)
    rounds = 92
    expected = work(clean.line(), image, rounds)
    line = FaultyTransport(bad.line(), 0.05, seed=1)
    found = work(line, image, rounds)
    report(line, found, "link, 5 % faulty")
    assert found.statistics.frames_sent >= 10_000
    assert line.faults.total() >= 0.045 * line.frames
    assert set(line.faults) == set(FAULTS)
    assert min(found.statistics.retransmissions, found.statistics.naks_sequence) > 100
    check_equal(found, expected)
    assert sum(int(item.sum()) for item in found.results[::7]) > 1000


@pytest.mark.parametrize("rule", [Rule.WINDOWS, Rule.LAGS])
@pytest.mark.parametrize("sparse", [0, 100])
def test_a_very_bad_line(rule: Rule, sparse: int) -> None:
    spec = CoreSpec(9, 4, lanes=2, learning=True, classes=3, synapse_words=sparse)
    image = random_image(spec, 3, rule)
    line = FaultyTransport(Rig(spec).line(), 0.25, seed=int(rule))
    found = work(line, image, 4)
    check_equal(found, work(Rig(spec).line(), image, 4))
    assert line.faults.total() > 50


requests = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 7), st.integers(0, 3)),
    st.tuples(st.just("read"), st.integers(0, 7), st.integers(1, 1)),
    st.tuples(st.just("spikes"), st.integers(0, 4), st.integers(1, 4)),
    st.tuples(st.just("run"), st.just(0), st.integers(1, 5)),
    st.tuples(st.just("drain"), st.just(0), st.integers(0, 122)),
    st.tuples(st.just("stop"), st.just(0), st.just(0)),
    st.tuples(st.just("snapshot"), st.just(0), st.just(0)),
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, max_size=40), st.floats(0, 0.3), st.integers(0, 1000))
def test_any_requests_over_any_line(
    asked: list[tuple[str, int, int]], rate: float, seed: int
) -> None:
    """Each request is carried out once, in order, and its answer is that of a clean line."""
    assert carry_out(asked, rate, seed) == carry_out(asked, 0.0, 0)


def carry_out(
    asked: list[tuple[str, int, int]], rate: float, seed: int
) -> tuple[list[object], list[object]]:
    """Answers, and what is in the device at the end."""
    session = Session(FaultyTransport(Rig().line(), rate, seed), PROTOCOL)
    answers: list[object] = []
    position = 0
    open_requests: list[Request] = []

    def settled() -> Session:
        """The session when all was answered, so that the device has nothing more to do."""
        answers.extend(session.wait(request) for request in open_requests)
        open_requests.clear()
        return session

    for kind, place, count in asked:
        if kind == "drain":
            content = settled().ask(Opcode.DRAIN, drain_payload(position, count))
            position += len(content) // 2
            answers.append(content)
        elif kind == "snapshot":
            answers.append(snapshot(settled()))
        elif kind == "stop":
            settled().ask(Opcode.STOP)
        else:
            words = numpy.array([*range(place), 1 << STEPS_BIT | count], "<u2")
            opcode, payload, events = {
                "write": (Opcode.WRITE, write_payload(Space.ASSIGNMENT, place, [count]), 0),
                "clear": (Opcode.WRITE, write_payload(Space.CONTROL, 0, [1]), 0),
                "read": (Opcode.READ, read_payload(Space.ASSIGNMENT, place, count), 0),
                "spikes": (Opcode.EVENTS, words.tobytes(), len(words)),
                "run": (Opcode.RUN, count.to_bytes(2, "little"), 1),
            }[kind]
            open_requests.append(session.send(opcode, payload, events))
    content = settled().ask(Opcode.DRAIN, drain_payload(position))
    memory = session.ask(Opcode.READ, read_payload(Space.ASSIGNMENT, 0, SPEC.neurons))
    return answers, [content, memory, snapshot(session)]


def test_faults_by_kind() -> None:
    """Each kind does to a frame what its name says; the same seed does the same."""
    seen: dict[str, list[bytes]] = {}
    frames = [b"abcde\x00", b"fghij\x00"]
    for seed in range(400):
        once, again = (
            FaultyTransport(DirectTransport(lambda content: content), 0.5, seed) for _ in range(2)
        )
        for line in (once, again):
            line.write(frames[0] + frames[1])
        passed = once._transport.read(1)  # type: ignore[attr-defined]
        assert passed == again._transport.read(1)  # type: ignore[attr-defined]
        if once.faults.total() == 1:
            seen.setdefault(next(iter(once.faults)), []).append(passed)
        assert once.frames == 2
    assert set(seen) == set(FAULTS)
    whole = b"".join(frames)
    assert set(seen["frame lost"]) == set(frames)
    assert set(seen["frame repeated"]) == {frames[0] + whole, whole + frames[1]}
    assert set(seen["frame overtaken"]) == {frames[1] + frames[0], frames[0]}
    sizes = {"byte changed": 0, "byte lost": -1, "byte repeated": 1, "byte added": 1,
             "bytes swapped": 0}  # fmt: skip
    for name, more in sizes.items():
        assert {len(found) for found in seen[name]} == {len(whole) + more}
    assert all(sorted(found) == sorted(whole) for found in seen["bytes swapped"])


def test_an_empty_frame_passes() -> None:
    line = FaultyTransport(DirectTransport(lambda content: content), 1.0)
    line.write(bytes([DELIMITER, DELIMITER]))
    assert line.read(1) == b"\x00\x00"
    assert line.frames == 0


def test_throughput_at_a_million_baud() -> None:
    """By the bytes that pass, each direction for itself: what the line allows."""
    line = Rig(LEARNS).line()
    image = random_image(LEARNS, 5)
    with DeviceCore(line) as core:
        count = core.session.statistics
        before = count.bytes_sent
        core.program(image)
        memory = 4 * sum(
            len(words) * bus_words(LEARNS, space) for space, words in memory_words(image).items()
        )
        programmed = memory / line.seconds(count.bytes_sent - before)
        before, back = count.bytes_sent, count.bytes_received
        spikes = numpy.random.default_rng(0).random((2000, LEARNS.inputs)) < 0.2
        fired = core.run(spikes).spikes
        longest = max(count.bytes_sent - before, count.bytes_received - back)
        steps = len(fired) / line.seconds(longest)
    show(
        f"link at 1 Mbaud: {programmed:.0f} bytes of memories in a second; {steps:.0f} steps in a "
        f"second, with {spikes.sum(1).mean():.1f} spikes in and {fired.sum(1).mean():.1f} out each"
    )
    assert programmed > 90_000
    assert steps > 10_000
