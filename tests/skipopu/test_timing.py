"""The model of time: against the simulator, against limits, and the figure of the U280."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyncc.arch.skipopu.formats import KvType, WeightType, kv_slot_bytes
from dyncc.arch.skipopu.isa import ENGINES, R_NEXT_SLOT, Engine, Op, decode
from dyncc.arch.skipopu.matrices import HEADER_BYTES, matrix_bytes
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc.core.errors import ConfigError, InputError
from dyncc.core.figures import save
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.figures import idle_cycles, measure, page, write_pictures
from dyncc_sim.skipopu.flow import Events, Source
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.outcomes import Assumed, Computed, Routes
from dyncc_sim.skipopu.performance import LLAMA2_7B, Workload, generate, limit_bytes
from dyncc_sim.skipopu.pictures import layer_window, roofline, timeline
from dyncc_sim.skipopu.port import Port
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.small import CONFIG, Small
from dyncc_sim.skipopu.timing import Timing, simulate
from dyncc_sim.skipopu.trace import Trace

FAST = ARCHS["u280"]
#: A small decoder for many instances.
TINY = LlamaConfig(
    width=32, hidden=96, layers=3, heads=2, kv_heads=1, head_size=32, vocabulary=600, context=64
)


class RouteTrace(Trace):
    """A trace that keeps what routers decide, by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: list[Any] = []

    def add(self, work: Work, written: Any) -> None:
        super().add(work, written)
        if work.instruction.op == Op.ROUTE:
            self.routes.append(written[1:].astype(bool).T)


@pytest.mark.parametrize("policy", KvPolicy)
@pytest.mark.parametrize("arch", ["u280", "ecp5_85f"])
def test_time_and_function_are_one_run(arch: str, policy: KvPolicy) -> None:
    """The same as the simulator does, in the same order, with the same bytes from memory.

    With the routes known, time is the same without any numbers.
    """
    small = Small(ARCHS[arch], policy)
    alone, beside = small.memory(), small.memory()
    expected, trace = Trace(), RouteTrace()
    machine, executor = Machine(small.arch, alone, expected), Executor(small.arch, beside)
    slots = 0
    timings = []
    for position, tokens in small.batches():
        for space in (alone, beside):
            small.put(space, tokens)
        start = small.registers(position, len(tokens), slots)
        registers = machine.run(small.program, start)
        timing = simulate(small.arch, small.program, start, Computed(executor, trace))
        assert timing.registers == registers
        slots = registers[R_NEXT_SLOT]
        timings.append(timing)
    assert trace.text() == expected.text()
    assert numpy.array_equal(beside.content, alone.content)
    assert sum(timing.bytes_read for timing in timings) == alone.bytes_read == beside.bytes_read
    assert sum(timing.bytes_written for timing in timings) == alone.bytes_written
    assert sum(timing.fetched for timing in timings) == machine.executor.kv.fetched
    for engine in Engine:
        places = [place for timing in timings for place in timing.order[engine]]
        assert places == [int(line.split()[2][3:]) for line in expected.lines[engine]]

    layers = CONFIG.layers
    runs = [numpy.stack(trace.routes[n : n + layers]) for n in range(0, len(trace.routes), layers)]
    assumed = Assumed(small.arch, Routes(numpy.concatenate(runs, axis=1)))
    for (position, tokens), timing in zip(small.batches(), timings, strict=True):
        start = small.registers(position, len(tokens), 0)
        again = simulate(small.arch, small.program, start, assumed)
        assert again.cycles == timing.cycles
        assert again.engines == timing.engines
        assert again.moved == timing.moved


@pytest.mark.parametrize("policy", KvPolicy)
def test_what_is_remembered_is_what_programs_leave(policy: KvPolicy) -> None:
    workload = Workload.of_sizes(TINY, replace(FAST, kv_tokens=8), WeightType.Q4_1, policy)
    routes = Routes.random(TINY.layers, 12, 0.4, seed=3)
    ran, remembered = (Assumed(workload.arch, routes) for _ in range(2))
    for position in range(11):
        workload.time(ran, position)
    remembered.remember(11, policy.value)
    assert numpy.array_equal(ran.table[:, :11], remembered.table[:, :11])
    assert workload.time(ran, 11).cycles == workload.time(remembered, 11).cycles


# --- limits -----------------------------------------------------------------------------------


@st.composite
def instances(draw: st.DrawFn) -> ArchSpec:
    kind = draw(st.sampled_from(KvType))
    period = draw(st.sampled_from([0, 50, 877]))
    arch = ArchSpec(
        "drawn", 10**8, draw(st.sampled_from([1, 2, 8, 64])), draw(st.sampled_from([2, 16, 64])),
        draw(st.integers(1, 3)), draw(st.sampled_from([8, 12])), 32, kind,
        draw(st.sampled_from([1, 4])), 8192, 64, draw(st.sampled_from([0, 5, 64])),
        draw(st.sampled_from([1, 4, 16])), draw(st.sampled_from([1e7, 3.3e8, 1e10, 1e12])),
        draw(st.integers(0, 200)), draw(st.sampled_from([32, 512, 4096])),
        draw(st.sampled_from([1, 3, 64])), period, period // 10, 1 << 20, 64, 4, 64, 1,
        draw(st.sampled_from([1, 16])),
    )  # fmt: skip
    tiles = [
        arch.tile_bytes(WeightType.Q4_1, max(TINY.hidden, TINY.width)),
        arch.tile_bytes(WeightType.Q8_0, TINY.width),
        matrix_bytes(WeightType.BFP16, 4, TINY.width, arch.block),
    ]
    room = draw(st.sampled_from([1.0, 1.4, 3, 50]))
    return replace(arch, stream_bytes=int(room * max(tiles)))


def timed(arch: ArchSpec, policy: KvPolicy, seed: int, record: bool = False) -> Timing:
    """A batch at the end of the context."""
    workload = Workload.of_sizes(TINY, arch, WeightType.Q4_1, policy, tied=bool(seed % 2))
    outcomes = Assumed(arch, Routes.random(TINY.layers, TINY.context, 0.3, seed))
    position = TINY.context - arch.tokens
    outcomes.remember(position, policy.value)
    return workload.time(outcomes, position, arch.tokens, record)


@settings(max_examples=60)
@given(instances(), st.sampled_from(KvPolicy), st.integers(0, 9))
def test_never_faster_than_it_can_be(arch: ArchSpec, policy: KvPolicy, seed: int) -> None:
    timing = timed(arch, policy, seed, record=True)
    moved = timing.bytes_read + timing.bytes_written
    share = arch.refresh_cycles / arch.refresh_period_cycles if arch.refresh_cycles else 0
    # The last refresh may lie behind the end.
    usable = timing.cycles * (1 - share) + arch.refresh_cycles
    assert moved / arch.memory_bytes_per_cycle <= usable
    assert timing.multiplications / arch.macs_per_cycle <= timing.engines[Engine.PE].busy
    for engine, time in timing.engines.items():
        assert time.busy >= 0
        assert time.stalled >= -1e-6
        assert time.busy + time.stalled <= timing.cycles + 1e-6
        # One instruction after the other.
        spans = [span for span in timing.spans if span.engine == engine]
        assert all(a.end <= b.begin for a, b in itertools.pairwise(spans))
        assert len(spans) == (0 if engine == Engine.SEQUENCER else len(timing.order[engine]))
    transfers = timing.transfers
    assert all(a[2] <= b[1] for a, b in itertools.pairwise(transfers))
    assert timing.port_busy <= timing.cycles
    assert 0 < timing.bandwidth_used <= 1
    assert timing.bytes_read <= timing.dense_bytes or policy == KvPolicy.DENSE
    # A transfer is not used before it could have arrived.
    first = min(span.end for span in timing.spans if span.op == Op.LD)
    assert first > arch.memory_latency_cycles


#: What makes an instance better, in one way each.
BETTER: dict[str, Callable[[ArchSpec], ArchSpec]] = {
    "bandwidth": lambda arch: replace(arch, memory_bytes_s=2 * arch.memory_bytes_s),
    "latency": lambda arch: replace(arch, memory_latency_cycles=arch.memory_latency_cycles // 2),
    "requests": lambda arch: replace(arch, memory_requests=2 * arch.memory_requests),
    "refresh": lambda arch: replace(arch, refresh_cycles=arch.refresh_cycles // 2),
    "buffer": lambda arch: replace(arch, stream_bytes=2 * arch.stream_bytes),
    "lanes": lambda arch: replace(arch, vector_lanes=2 * arch.vector_lanes),
    "history": lambda arch: replace(arch, kv_tokens=2 * arch.kv_tokens),
}


@pytest.mark.parametrize("way", BETTER)
@settings(max_examples=15)
@given(instances(), st.sampled_from(KvPolicy), st.integers(0, 9))
def test_better_is_not_slower(way: str, arch: ArchSpec, policy: KvPolicy, seed: int) -> None:
    before = timed(arch, policy, seed).cycles
    after = timed(BETTER[way](arch), policy, seed).cycles
    # Transfers that come at other times may find the stream at work, and wait for its requests that
    # are ahead; and refreshes fall elsewhere.
    burst = arch.burst_bytes / arch.memory_bytes_per_cycle
    assert after <= before * 1.02 + 4 * burst + arch.refresh_cycles


def test_refresh_takes_its_share() -> None:
    arch = replace(FAST, refresh_period_cycles=10, refresh_cycles=3)
    events = Events()
    port = Port(arch, events)
    done: list[float] = []
    # 7 of 10 cycles can be used, and the transfer begins after 6: of its 20 cycles one is in the
    # first period, 14 in two more, and 5 in the last one.
    port.read(Source.KV, int(20 * arch.memory_bytes_per_cycle), done.append)
    while events.step():
        pass
    assert done == [pytest.approx(35 + arch.memory_latency_cycles)]
    assert port.busy == pytest.approx(29)


def test_one_request_at_a_time_pays_each_latency() -> None:
    arch = replace(ARCHS["ecp5_85f"], refresh_period_cycles=0, refresh_cycles=0)
    events = Events()
    done: list[float] = []
    bursts = 10
    Port(arch, events).read(Source.KV, bursts * arch.burst_bytes, done.append)
    while events.step():
        pass
    # Each burst: the latency, then 512 bytes at 2 bytes a cycle.
    assert done[0] == pytest.approx(bursts * (12 + 256), rel=0.01)


def test_what_is_taken_together_must_fit() -> None:
    arch = replace(FAST, stream_bytes=1000)
    with pytest.raises(ConfigError, match=r"64 rows of 32 in Q8_0 are 2192 bytes, .* has 1000"):
        Workload.of_sizes(TINY, arch, WeightType.Q4_1, KvPolicy.REUSE)
    # A program that was made for another instance.
    workload = Workload.of_sizes(TINY, FAST, WeightType.Q4_1, KvPolicy.REUSE)
    with pytest.raises(ConfigError, match=r"1296 bytes of matrices .* their buffer holds 1000"):
        replace(workload, arch=arch).time(Assumed(arch, Routes.all(3, 9)), 0)


def test_skipping_nothing_reads_what_is_called_dense() -> None:
    for policy in KvPolicy:
        workload = Workload.of_sizes(TINY, FAST, WeightType.Q4_1, policy)
        dense, skipping = (
            Assumed(FAST, routes)
            for routes in (Routes.all(3, 40), Routes.random(3, 40, 0.5, seed=1))
        )
        for outcomes in (dense, skipping):
            outcomes.remember(36, policy.value)
        plain, faster = workload.time(dense, 36, 4), workload.time(skipping, 36, 4)
        assert plain.bytes_read == plain.dense_bytes == faster.dense_bytes
        assert faster.bytes_read < faster.dense_bytes
        assert faster.effective_bytes_s > faster.bytes_read / faster.seconds
        assert faster.cycles < plain.cycles
        assert not any(time.suppressed for name, time in plain.engines.items() if name != Engine.KV)


def test_keys_of_tokens_that_skip_stay_on_chip() -> None:
    """Delta fetch: what no layer in between ran is not read again."""
    runs = numpy.ones((3, 20, 2), bool)
    runs[1, 3:9, 0] = False
    arch = replace(FAST, kv_tokens=16)
    workload = Workload.of_sizes(TINY, arch, WeightType.Q4_1, KvPolicy.REUSE)
    outcomes = Assumed(arch, Routes(runs))
    outcomes.remember(19, "reuse")
    timing = workload.time(outcomes, 19)
    # Of 20 positions: 3..8 at layer 1 are those of layer 0. The token's own, at 19, has no place.
    assert timing.fetched == 20 + 14 + 20
    assert timing.moved[Source.KV] == 54 * kv_slot_bytes(KvType.F16, 1, 32) + 3 * 4 * 20


def test_routes() -> None:
    routes = Routes.balanced(8, 100, 0.25, seed=1)
    assert (routes.runs.sum(axis=0) == 6).all()
    assert routes.runs[0, :, 0].all()
    assert not routes.runs[0, :, 1].all()
    assert numpy.array_equal(Routes.random(8, 9, 0.3, 4).runs, Routes.random(8, 9, 0.3, 4).runs)
    by_layer = Routes.random(4, 4000, [[0, 0.1]] * 2 + [[0.6, 0]] * 2, seed=2).runs
    assert 1 - by_layer.mean(axis=1) == pytest.approx(
        numpy.array([[0, 0.1], [0, 0.1], [0.6, 0], [0.6, 0]]), abs=0.03
    )
    with pytest.raises(ConfigError, match="not \\(3, 4\\)"):
        Routes(numpy.ones((3, 4), bool))
    with pytest.raises(ConfigError, match="cannot be skipped"):
        Routes.balanced(2, 9, 0.9, seed=1)
    with pytest.raises(ConfigError, match="no policy 'some'"):
        Assumed(FAST, routes).remember(3, "some")
    workload = Workload.of_sizes(TINY, FAST, WeightType.Q4_1, KvPolicy.REUSE)
    with pytest.raises(ConfigError, match=r"2 layers and 50 positions, .* at layer 2 and position"):
        workload.time(Assumed(FAST, Routes.all(2, 50)), 3)
    with pytest.raises(ConfigError, match="4 positions, and the program is at layer 0 and posi"):
        workload.time(Assumed(FAST, Routes.all(3, 4)), 4)
    with pytest.raises(ConfigError, match="60 tokens behind a prompt of 9 do not fit"):
        generate(workload, Routes.all(3, 69), 9, 60)


# --- the figure -------------------------------------------------------------------------------


def test_bytes_of_a_token_follow_the_closed_formula() -> None:
    """Weights exactly; and all but the keys that are on chip already."""
    arch = replace(ARCHS["u280_g128"], kv_tokens=0)
    kind, context = WeightType.Q4_0G, 640
    workload = Workload.of_sizes(LLAMA2_7B, arch, kind, KvPolicy.REUSE)
    routes = Routes.balanced(32, context, 0.25, seed=0)
    outcomes = Assumed(arch, routes)
    outcomes.remember(context - 1, "reuse")
    timing = workload.time(outcomes, context - 1)
    limit = limit_bytes(LLAMA2_7B, arch, kind, 0.25, context)
    # The design's check: 88.4 % of 460.8 GB/s.
    assert 0.884 * arch.memory_bytes_s / limit == pytest.approx(144.3, abs=0.05)
    slots = 0.75 * 32 * context * kv_slot_bytes(KvType.F16, 32, 128)
    headers = HEADER_BYTES * (0.75 * 7 * 32 + 1)
    routers = 32 * matrix_bytes(WeightType.BFP16, 4, 4096, 128)
    assert timing.moved[Source.MATRICES] == limit - slots + headers + routers
    assert timing.moved[Source.KV] == slots + 24 * 4 * context + 8 * 4
    assert timing.bytes_read == pytest.approx(limit, rel=1e-3)
    assert timing.dense_bytes == pytest.approx(
        limit_bytes(LLAMA2_7B, arch, kind, 0, context), rel=1e-3
    )


def test_u280_figure() -> None:
    """144 tokens/s within 2 %, and what the same machine does when nothing is skipped."""
    arch = ARCHS["u280_g128"]
    workload = Workload.of_sizes(LLAMA2_7B, arch, WeightType.Q4_0G, KvPolicy.REUSE)
    skipping = generate(workload, Routes.balanced(32, 1152, 0.25, seed=0), 128, 1024, samples=2)
    assert skipping.decode_tokens_s == pytest.approx(144, rel=0.02)
    assert 0.86 < skipping.bandwidth_used < 0.9
    assert skipping.tokens_s < skipping.decode_tokens_s
    # The mean of the text, as a token's time grows evenly with its position.
    outcomes = Assumed(arch, Routes.all(32, 1152))
    outcomes.remember(640, "reuse")
    assert workload.time(outcomes, 640).tokens_s == pytest.approx(110, rel=0.02)


# --- pictures ---------------------------------------------------------------------------------


def test_pictures(tmp_path: Path) -> None:
    timing = timed(FAST, KvPolicy.REUSE, seed=1, record=True)
    begin, end = layer_window(timing, 1)
    assert layer_window(timing, 0)[1] == begin
    assert layer_window(timing, 2) == (end, timing.cycles)
    figures = {
        "layer": lambda: timeline(timing, (begin, end), "a layer"),
        "roofline": lambda: roofline({"batch": timing}, FAST),
    }
    for name, draw in figures.items():
        files = [tmp_path / f"{name}{copy}.svg" for copy in range(2)]
        for file in files:
            save(draw(), file)
        first, second = (file.read_bytes() for file in files)
        assert first == second
    texts = [text.get_text() for text in figures["layer"]().axes[0].texts]
    assert {"KVAPP", "ATTN"} <= set(texts)
    labels = figures["roofline"]().axes[0].get_legend_handles_labels()[1]
    assert labels == ["memory less refresh, 429.8 GB/s", "batch"]


def test_page(tmp_path: Path) -> None:
    figures = measure(FAST, TINY, WeightType.Q4_1, prompt=40, new_tokens=20, samples=2)
    # All cycles of the port are accounted for.
    idle = idle_cycles(figures.token, figures.program)
    assert sum(idle.values()) == pytest.approx(figures.token.cycles - figures.token.port_busy)
    assert {"ATTN", "SWIGLU", "ROUTE"} <= set(idle)
    text = page(figures, "pictures")
    for number in (
        f"{figures.skipping.decode_tokens_s:.1f} | {figures.dense.decode_tokens_s:.1f} |",
        f"| no refresh | {figures.variations['no refresh']:.1f} |",
        f"The decoder has {TINY.layers} layers of width {TINY.width}",
    ):
        assert number in text
    for path in write_pictures(figures, tmp_path):
        assert path.stat().st_size > 1000
        assert f"(pictures/{path.name})" in text
    assert "pictures" not in page(figures)


def test_pictures_of_nothing() -> None:
    timing = timed(FAST, KvPolicy.REUSE, seed=1)
    with pytest.raises(InputError, match="nothing in cycles") as found:
        timeline(timing)
    assert "record=True" in str(found.value.hint)
    with pytest.raises(InputError, match="0 layers were recorded, and none has the number 2"):
        layer_window(timing, 2)
    with pytest.raises(InputError, match="runs with products"):
        roofline({}, FAST)


def test_engines_are_those_of_the_instructions() -> None:
    small = Small(FAST, KvPolicy.REUSE)
    timing = timed(FAST, KvPolicy.REUSE, seed=0, record=True)
    for span in timing.spans:
        assert ENGINES[span.op] == span.engine
    assert {ENGINES[decode(word).op] for word in small.program} == set(Engine)
