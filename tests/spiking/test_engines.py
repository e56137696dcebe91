"""One core object, whatever is behind it: the twin, a device over a line, the RTL at its pins."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from link.devices import Rig
from link.workload import check_equal, work

from dyncc.arch.fields import pack, unpack
from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import WEIGHT_FRACTION_BITS, CoreImage, CoreSpec, Rule
from dyncc.arch.neurocorex.packets import MAX_STEPS, SNAPSHOT, STEP_END_BIT, STEPS_BIT, Opcode
from dyncc.core.errors import ConfigError, InputError, LinkError
from dyncc.link import FaultyTransport
from dyncc.spiking import Core, open_core
from dyncc.spiking.device_core import DeviceCore
from dyncc.spiking.stimulus import Log, stimulus_words
from dyncc_models.spiking.random_images import random_image

#: One core for all that is simulated, since a build takes its time.
SPEC = CoreSpec(9, 4, lanes=4, parameter_sets=12, learning=True, max_delay=3, classes=3)
RULES = [Rule.TRACES, Rule.WINDOWS, Rule.LAGS]
SHAPES: list[dict[str, Any]] = [
    {}, {"learning": True}, {"learning": True, "synapse_words": 60}, {"classes": 3},
]  # fmt: skip


def image_with(rule: Rule, decides: bool = False, spec: CoreSpec = SPEC) -> CoreImage:
    """An image that fires, and decides before long or not at all."""
    for seed in range(1000):
        image = random_image(spec, seed, rule)
        if not decides:
            image.termination = None
        with open_core("twin", image) as core:
            found = core.run(lines(0, 30, spec))
        if found.spikes.sum() > 20 and (not decides or 3 < len(found.spikes) < 30):
            return image
    raise AssertionError("no image")


def lines(seed: int, steps: int = 60, spec: CoreSpec = SPEC) -> numpy.ndarray:
    """Spikes, with a stretch without."""
    found = numpy.random.default_rng(seed).random((steps, spec.inputs)) < 0.4
    found[steps // 3 : steps // 2] = False
    return found


def history(core: Core, image: CoreImage) -> list[Any]:
    """All that a core says in the course of its life."""
    found: list[Any] = []

    def note(seed: int, record: list[int]) -> None:
        recording = core.run(lines(seed, spec=core.spec), record)
        counters = core.counters()
        counters.pop("cycles", None)
        found.extend((recording.spikes, recording.potentials, counters, core.weights()))
        found.extend((recording.decided, recording.winner))
        if recording.decided:
            with pytest.raises(ConfigError, match="ended the run"):
                core.run(lines(seed, spec=core.spec))
            core.rest()

    core.program(image)
    note(1, [])
    note(2, [3, 0, 1, 8])
    learnt = core.weights()
    core.rest()
    assert (core.weights() == learnt).all()
    assert not any(value for name, value in core.counters().items() if name != "cycles")
    note(3, [5, 5])
    core.program(image)
    fraction = WEIGHT_FRACTION_BITS if image.spec.learning else 0
    assert (core.weights() >> fraction == image.weights).all()
    note(4, [])
    return found


def check_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, numpy.ndarray):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            assert (one == other).all()
        else:
            assert one == other


def compare(engine: str, image: CoreImage) -> None:
    with open_core("twin", image.spec) as twin, open_core(engine, image.spec) as core:
        assert core.spec == image.spec
        expected = history(twin, image)
        check_same(history(core, image), expected)
        assert sum(item.sum() for item in expected[::6]) > 20
        assert isinstance(core, DeviceCore)
        assert core.counters()["cycles"] == 0 or engine == "rtl"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", SHAPES, ids=["plain", "learns", "sparse", "classes"])
def test_a_device_over_a_line_is_the_twin(size: dict[str, Any], rule: Rule) -> None:
    spec = CoreSpec(12, 5, lanes=4, parameter_sets=12, max_delay=4, **size)
    compare("link", image_with(rule, spec=spec))


@pytest.mark.parametrize("rule", RULES)
def test_a_run_that_decides(rule: Rule) -> None:
    compare("link", image_with(rule, decides=True))


def test_the_hardware_at_its_pins_is_the_twin() -> None:
    """With the rule whose drift must be folded into the weights at rest."""
    compare("rtl", image_with(Rule.LAGS))


@pytest.mark.slow
@pytest.mark.parametrize("decides", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_the_hardware_with_every_rule(rule: Rule, decides: bool) -> None:
    compare("rtl", image_with(rule, decides))


@pytest.mark.slow
def test_the_hardware_over_a_bad_line() -> None:
    """The link's figure with the RTL in place of the device's twin, and fewer frames."""
    from dyncc_sim.neurocorex import SimulatedDevice

    image = image_with(Rule.LAGS)
    line = FaultyTransport(SimulatedDevice(SPEC), 0.05, seed=2)
    found = work(line, image, 8, steps=40)
    expected = work(SimulatedDevice(SPEC), image, 8, steps=40)
    count = found.statistics
    show(f"RTL, 5 % faulty: {count.frames_sent} requests, {line.frames} frames, "
         f"{line.faults.total()} faults, {count.retransmissions} retransmissions")  # fmt: skip
    assert line.faults.total() > 50
    check_equal(found, expected)


@pytest.mark.slow
def test_the_watchdog_of_the_hardware() -> None:
    """A step that takes longer than it may ends the run with a message, and nothing hangs."""
    from dyncc_sim.neurocorex import SimulatedDevice

    with DeviceCore(SimulatedDevice(SPEC, limit=20)) as core:
        for _ in range(2):
            core.program(image_with(Rule.TRACES))
            with pytest.raises(LinkError, match=r"the watchdog broke off a step .* after 0 steps"):
                core.run(lines(0))


@pytest.mark.slow
def test_throughput_of_the_hardware_at_a_million_baud() -> None:
    """On the device's own clock: waveforms, processing and all."""
    from dyncc_sim.neurocorex import SimulatedDevice

    link = LinkSpec(clk_hz=12_000_000, baud=1_000_000)
    image, spikes = image_with(Rule.TRACES), lines(0, 400)
    with DeviceCore(SimulatedDevice(SPEC, link)) as core:
        line = core.session.transport
        times = [line.now()]
        core.program(image)
        times.append(line.now())
        fired = core.run(spikes).spikes
        times.append(line.now())
    programming, running = numpy.diff(times)
    show(f"RTL at 1 Mbaud: programmed in {1000 * programming:.1f} ms; {len(fired) / running:.0f} "
         f"steps in a second, {spikes.sum(1).mean():.1f} spikes in and {fired.sum(1).mean():.1f} "
         "out each")  # fmt: skip
    assert len(fired) / running > 2000


def show(text: str) -> None:
    print(text)  # noqa: T201  (pytest shows it with -s)


@pytest.mark.parametrize("engine", ["twin", "link"])
def test_what_does_not_fit_is_refused(engine: str) -> None:
    image = image_with(Rule.TRACES)
    with open_core(engine, SPEC) as core:
        for act in (core.rest, core.weights, core.counters, lambda: core.run(lines(0))):
            with pytest.raises(ConfigError, match=r"was not programmed\n  Call program\(\)"):
                act()
        larger = CoreSpec(10, 4, lanes=2)
        with pytest.raises(
            ConfigError, match=r"for a core with neurons=10, lanes=2.* this one has neurons=9, lan"
        ):
            core.program(random_image(larger, 0))
        core.program(image)
        with pytest.raises(InputError, match=r"must have shape \(steps, 4\), not \(60, 5\)"):
            core.run(numpy.zeros((60, 5), bool))
        with pytest.raises(InputError, match=r"must be in 0\.\.8, and span 0\.\.9"):
            core.run(lines(0), record=[0, 9])
        with pytest.raises(InputError, match=r"must be in 0\.\.8, and span -1\.\.0"):
            core.run(lines(0), record=[0, -1])
        assert core.run(numpy.zeros((0, 4), bool)).spikes.shape == (0, 9)
        core.close()
        core.close()


@pytest.mark.parametrize("engine", ["twin", "link"])
def test_progress(engine: str) -> None:
    seen: list[tuple[str, int, int]] = []
    with open_core(engine, SPEC, progress=lambda *what: seen.append(what)) as core:
        core.program(image_with(Rule.TRACES))
        core.run(lines(0, 1500))
    named = {what for what, _, _ in seen}
    assert named == ({"programming", "running"} if engine == "link" else {"running"})
    assert all(0 <= done <= steps for _, done, steps in seen)
    assert seen[-1][2] == 1500


@settings(max_examples=80)
@given(arrays(bool, st.tuples(st.integers(0, 30), st.integers(0, 5))))
def test_stimulus_words(found: numpy.ndarray) -> None:
    """They say what the lines say, in as few words as that takes."""
    words = stimulus_words(found).tolist()
    rows: list[list[int]] = []
    spikes: list[int] = []
    for word in words:
        if word >> STEPS_BIT:
            rows += [spikes] + [[]] * ((word & MAX_STEPS) - 1)
            spikes = []
        else:
            spikes.append(word)
    assert rows == [numpy.flatnonzero(row).tolist() for row in found]
    busy = int(found.any(axis=1).sum())
    first_is_silent = len(found) > 0 and not found[0].any()
    assert len(words) == found.sum() + busy + first_is_silent


def test_long_silence_takes_few_words() -> None:
    found = numpy.zeros((100_000, 2), bool)
    found[10, 1] = True
    assert stimulus_words(found).tolist() == [
        1 << STEPS_BIT | 10, 1, *[1 << STEPS_BIT | MAX_STEPS] * 3,
        1 << STEPS_BIT | (100_000 - 10 - 3 * MAX_STEPS),
    ]  # fmt: skip


def test_a_log_with_neurons_that_the_core_lacks() -> None:
    log = Log(SPEC)
    assert log.add((9).to_bytes(2, "little") + (1 << STEP_END_BIT).to_bytes(2, "little")) == 2
    with pytest.raises(LinkError, match="says that neuron 9 fired, the core has 9"):
        log.spikes()


# --- devices that fail -------------------------------------------------------------------------


@pytest.fixture
def rig() -> Rig:
    return Rig(SPEC)


def test_a_line_that_is_cut_in_a_run(rig: Rig) -> None:
    """The core has to be programmed again, and then all is as if nothing had been."""
    image = image_with(Rule.TRACES)
    with open_core("twin", image) as twin:
        expected = twin.run(lines(0, 500))
    with DeviceCore(rig.line()) as core:
        core.program(image)
        rig.bytes_left = 700
        with pytest.raises(LinkError, match=r"no answer in 2\.\d s; last acknowledged: (DR|EV)"):
            core.run(lines(0, 500))
        rig.bytes_left = 1 << 60
        with pytest.raises(ConfigError, match="was not programmed"):
            core.run(lines(0))
    with DeviceCore(rig.line()) as core:
        core.program(image)
        assert (core.run(lines(0, 500)).spikes == expected.spikes).all()


@pytest.mark.parametrize("left", [10, 500, 1000])
def test_a_line_that_is_cut_while_programming(rig: Rig, left: int) -> None:
    image = image_with(Rule.LAGS)
    rig.bytes_left = left + 100
    with DeviceCore(rig.line()) as core, pytest.raises(LinkError, match="last acknowledged"):
        core.program(image)
    rig.bytes_left = 1 << 60
    with open_core("twin", image.spec) as twin, DeviceCore(rig.line()) as core:
        check_same(history(core, image), history(twin, image))


def test_what_a_device_does_is_stopped_to_program_it(rig: Rig) -> None:
    image = image_with(Rule.TRACES)
    rig.steps = 0
    with DeviceCore(rig.line()) as core:
        core.session.ask(Opcode.RUN, b"\xff\x7f", events=1)
        assert rig.device.running
        core.program(image)
        rig.steps = 3
        with open_core("twin", image) as twin:
            assert (core.run(lines(0)).spikes == twin.run(lines(0)).spikes).all()


def test_a_device_that_stands_still(rig: Rig) -> None:
    with DeviceCore(rig.line()) as core:
        core.program(image_with(Rule.TRACES))
        rig.steps = 0
        with pytest.raises(
            LinkError,
            match=r"no step ended in 2\.\d s, after 0 steps\n.*running 1, decided 0",
        ):
            core.run(lines(0))
        assert core.session.transport.now() < 5


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("watchdog", r"the watchdog broke off a step that did not end, after \d+ steps\n  Program"),
        ("disordered", "the device dropped spikes as out of the order of lines"),
        ("steps", "the device counts 0 steps, and was told to do 60"),
        ("running", "the device has nothing to do after 0 steps of 60"),
    ],
)
def test_faults_that_a_device_tells(
    rig: Rig, flag: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DeviceCore(rig.line()) as core:
        core.program(image_with(Rule.TRACES))
        carry_out = rig.device.carry_out

        def lie(opcode: int, payload: bytes, repeated: bool = False) -> bytes:
            content = carry_out(opcode, payload, repeated)
            if opcode != Opcode.SNAPSHOT:
                return content
            values = unpack(SNAPSHOT, int.from_bytes(content, "little"))
            values[flag] = int(flag in ("watchdog", "disordered"))
            return pack(SNAPSHOT, values).to_bytes(len(content), "little")

        monkeypatch.setattr(rig.device, "carry_out", lie)
        rig.steps = 0 if flag == "running" else None
        with pytest.raises(LinkError, match=message):
            core.run(lines(0))
        monkeypatch.undo()
        rig.steps = None
        with pytest.raises(ConfigError, match="was not programmed"):
            core.run(lines(0))
        core.program(image_with(Rule.TRACES))
        core.run(lines(0))


def test_another_program_on_the_line(rig: Rig) -> None:
    """What this one sends is then taken for a repetition, and does not happen; it is noticed."""
    with DeviceCore(rig.line()) as core:
        core.program(image_with(Rule.TRACES))
        with DeviceCore(rig.line()) as other:
            for _ in range(4):
                other.session.ask(Opcode.STOP)
        with pytest.raises(LinkError, match=r"expects request #\d+, and was sent EVENTS #\d+"):
            core.run(lines(0))
