"""Batches whose samples go different ways give what single calls give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from models.small import Small
from torch import Tensor, nn

import dyncc
from dyncc.backends import paying
from dyncc.backends.paying import sizes_that_pay
from dyncc.backends.variants import sizes
from dyncc.cli import main
from dyncc.core.errors import ConfigError, InputError, MismatchError, UnsupportedError
from dyncc.proof import compare_batches
from dyncc.runtime.batches import _Site
from dyncc.runtime.program import Program
from dyncc.verification import ATOL, RTOL, difference


def equal(expected: Any, found: Any) -> None:
    difference(expected, found, "result", RTOL, ATOL)


class Exits(nn.Module):
    """Three layers; a sample leaves before the one that its first number says."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        left = x[0, 0]
        for depth, layer in enumerate(self.layers):
            if left <= depth:
                return x, depth
            x = torch.tanh(layer(x))
        return x, 3


def sample(depth: float, seed: int = 0) -> tuple[Tensor]:
    x = torch.rand(1, 4, generator=torch.Generator().manual_seed(seed))
    x[0, 0] = depth
    return (x,)


@pytest.fixture(scope="module")
def exits() -> tuple[Exits, Program]:
    torch.manual_seed(0)
    network = Exits().eval()
    return network, dyncc.compile(network, sample(3), backend="eager", batch=4)


@pytest.fixture
def sizes_run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The place and the number of samples of each region that is called."""
    found: list[tuple[int, int]] = []
    several, one = _Site._several, _Site._one

    def note_several(self: _Site, part: Any) -> Any:
        found.append((self.place, len(part)))
        return several(self, part)

    def note_one(self: _Site, arguments: Any) -> Any:
        found.append((self.place, 1))
        return one(self, arguments)

    monkeypatch.setattr(_Site, "_several", note_several)
    monkeypatch.setattr(_Site, "_one", note_one)
    return found


def test_mixed_exits_come_back_in_order(exits: tuple[Exits, Program]) -> None:
    network, program = exits
    samples = [sample(depth, seed) for seed, depth in enumerate((3, 0, 2, 1, 3, 3, 0, 2, 1, 2, 3))]
    found = program.batch(samples)
    assert [depth for _, depth in found] == [3, 0, 2, 1, 3, 3, 0, 2, 1, 2, 3]
    with torch.no_grad():
        for arguments, result in zip(samples, found, strict=True):
            equal(program(*arguments), result)
            equal(network(*arguments), result)


def test_samples_share_regions(
    exits: tuple[Exits, Program], sizes_run: list[tuple[int, int]]
) -> None:
    _, program = exits
    program.batch([sample(depth, seed) for seed, depth in enumerate((3, 3, 3, 3))])
    together = list(sizes_run)
    assert together
    assert {size for _, size in together} == {4}
    sizes_run.clear()
    program.batch([sample(depth, seed) for seed, depth in enumerate((3, 0, 3, 3))])
    assert sizes_run[0] == together[0]
    assert [size for place, size in sizes_run if place == together[-1][0]] == [2, 1]


def test_all_leave_at_once(exits: tuple[Exits, Program]) -> None:
    _, program = exits
    samples = [sample(0, seed) for seed in range(5)]
    for arguments, (x, depth) in zip(samples, program.batch(samples), strict=True):
        assert depth == 0
        assert torch.equal(x, arguments[0])
    assert program.batch([]) == []


def test_stacks_are_not_copied_while_samples_stay_together(
    exits: tuple[Exits, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, program = exits
    made: list[int] = []
    copied = dyncc.runtime.stacks.aligned_empty
    monkeypatch.setattr(
        dyncc.runtime.stacks,
        "aligned_empty",
        lambda shape, dtype: made.append(shape[0]) or copied(shape, dtype),  # type: ignore[func-returns-value]
    )
    program.batch([sample(3, seed) for seed in range(4)])
    once = len(made)
    assert once == 1  # the arguments
    # One leaves: what the others have is copied once, also if several regions use it.
    program.batch([sample(depth, seed) for seed, depth in enumerate((3, 2, 3, 3))])
    assert made[once:] == [4, 2]


def test_numpy_gives_numpy(exits: tuple[Exits, Program]) -> None:
    _, program = exits
    samples = [(sample(depth)[0].numpy(),) for depth in (3, 1)]
    for (array,), (x, _) in zip(samples, program.batch(samples), strict=True):
        assert isinstance(x, numpy.ndarray)
        assert x.shape == (1, 4)
        equal(program(array)[0].tolist(), x.tolist())


def test_arguments_are_checked(exits: tuple[Exits, Program]) -> None:
    _, program = exits
    good = sample(1)
    with pytest.raises(InputError, match=r"sample 1, x: expected float32\[1,4\], got float32\[1,5"):
        program.batch([good, (torch.ones(1, 5),)])
    with pytest.raises(InputError, match="sample 0, x: expected float32"):
        program.batch([{"x": torch.ones(1, 4, dtype=torch.float64)}])
    with pytest.raises(InputError, match="sample 0: expected a tuple"):
        program.batch([good[0]])  # type: ignore[list-item]
    alone = dyncc.compile(Exits().eval(), good, backend="eager")
    with pytest.raises(ConfigError, match="was not compiled for batches"):
        alone.batch([good])


class Halting(nn.Module):
    """Turns until a sum is reached; raises for negative numbers; keeps a list."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(3, 3)

    def forward(self, x: Tensor, start: Tensor) -> tuple[Tensor, int, list[Tensor]]:
        if start < 0:
            raise ValueError("negative")
        total, turns, states = start, 0, []
        while total < 3.0:
            x = torch.sigmoid(self.cell(x))
            states.append(x)
            total = total + x.mean()
            turns += 1
        return x, turns, states


def test_loops_of_different_lengths(sizes_run: list[tuple[int, int]]) -> None:
    torch.manual_seed(1)
    network = Halting().eval()
    samples = [(torch.rand(3), torch.tensor(start)) for start in (0.0, 2.9, 5.0, 1.0, -9.0)]
    program = dyncc.compile(network, samples[0], backend="eager", batch=4)
    good = samples[:4]
    found = program.batch(good)
    calls = len(sizes_run)
    assert len({turns for _, turns, _ in found}) > 2
    with torch.no_grad():
        for arguments, result in zip(good, found, strict=True):
            equal(network(*arguments), result)
    assert calls < sum(turns for _, turns, _ in found) + 8
    with pytest.raises(ValueError, match="negative"):
        program.batch(samples)


@pytest.mark.parametrize(
    ("name", "backend"),
    [("dycl.sdn_vgg", "onnxruntime"), ("dycl.skipnet", "eager"), ("dycl.blockdrop", "eager")],
)
def test_networks(name: str, backend: str) -> None:
    small = Small(name)
    network, inputs = small.build(), small.coverage_inputs()
    program = dyncc.compile(network, small.example_inputs(), backend=backend, batch=4)
    assert not program.manifest["batch"]["alone"]
    with torch.no_grad():
        for arguments, result in zip(inputs, program.batch(inputs), strict=True):
            equal(network(*arguments), result)
    assert compare_batches(program, inputs, most=24).elements > 1000


def test_tvm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Exits().eval()
    dyncc.compile(network, sample(3), tmp_path / "a", backend="tvm", batch=3)
    program = dyncc.load(tmp_path / "a")
    assert program.manifest["batch"]["sizes"] == [2, 3]
    assert "batch_regions.so" in program.manifest["files"]
    samples = [sample(depth, seed) for seed, depth in enumerate((3, 1, 2, 3, 3))]
    with torch.no_grad():
        for arguments, result in zip(samples, program.batch(samples), strict=True):
            equal(network(*arguments), result)


def test_auto_follows_the_regions() -> None:
    torch.manual_seed(0)
    network = Exits().eval()
    program = dyncc.compile(
        network, sample(3), pins={"r0": "eager", "*[!0]": "onnxruntime"}, backend="eager", batch=2
    )
    batch = program.manifest["batch"]
    assert batch["torch"] == ["r0x2"]
    assert list(batch["parts"]) == ["onnxruntime"]
    samples = [sample(depth, seed) for seed, depth in enumerate((3, 1, 2))]
    with torch.no_grad():
        for arguments, result in zip(samples, program.batch(samples), strict=True):
            equal(network(*arguments), result)


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ({1: 1e-3, 2: 1.5e-3, 4: 2.5e-3}, [2, 4]),
        # Four take as long as two times two.
        ({1: 1e-3, 2: 1.5e-3, 4: 3e-3}, [2]),
        # Two gain nothing, but four do.
        ({1: 1e-3, 2: 2.2e-3, 4: 3e-3}, [4]),
        # Six are otherwise four and two.
        ({1: 1e-3, 2: 1.5e-3, 4: 2e-3, 6: 3.3e-3}, [2, 4, 6]),
        ({1: 1e-3, 2: 1.5e-3, 4: 2e-3, 6: 3.5e-3}, [2, 4]),
        # A call that is saved counts.
        ({1: 1e-6, 2: 3e-6}, [2]),
        ({1: 1e-3, 2: 2e-3}, []),
    ],
)
def test_variants_that_pay(times: dict[int, float], kept: list[int]) -> None:
    assert sizes_that_pay(times) == kept


def test_variants_that_do_not_pay_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(calls: Any, seconds: float) -> dict[str, float]:
        for call in calls.values():
            call()
        # Only what has samples in one of the first layers gains, and only two of them.
        slow.turn += 1
        gain = 0.5 if slow.turn == 1 else 1.0
        return {size: int(size) * (gain if size == "2" else 1.0) for size in calls}

    slow.turn = 0
    monkeypatch.setattr(paying, "call_times", slow)
    torch.manual_seed(0)
    network = Exits().eval()
    program = dyncc.compile(
        network, sample(3), backend="onnxruntime", batch=4, output=tmp_path / "a"
    )
    found = program.manifest["batch"]
    assert [sorted(table) for table in found["regions"].values()] == [["2"]]
    assert len(found["alone"]) == len(program.hcfg.regions) - 1 > 0
    assert all(set(times) == {"1", "2", "4"} for times in found["seconds"].values())
    calls = [sample(depth, seed) for seed, depth in enumerate((3, 0, 2, 3, 1, 3, 3))]
    equal([network(*call) for call in calls], program.batch(calls))


def test_damage_is_found(exits: tuple[Exits, Program]) -> None:
    """A comparison that is wrong on purpose fails."""
    network, _ = exits
    program = dyncc.compile(network, sample(3), backend="eager", batch=2)
    inputs = [sample(depth, seed) for seed, depth in enumerate((3, 1, 2, 0))]
    assert compare_batches(program, inputs, most=16).forced == 8
    several = _Site._several

    def swapped(self: _Site, part: Any) -> Any:
        return several(self, part)[::-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Site, "_several", swapped)
        with pytest.raises(MismatchError, match=r"sample \d+"):
            compare_batches(program, inputs, most=16)


class Refused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        if x.sum() > 0:
            print("positive")  # noqa: T201 what is to be refused
            x += 1
        return F.dropout(x, training=True)


def test_refusals() -> None:
    with pytest.raises(UnsupportedError) as caught:
        dyncc.compile(Refused(), (torch.ones(2),), backend="eager", batch=2)
    assert {item.code for item in caught.value.diagnostics} == {"DY921"}
    text = str(caught.value)
    for part in (
        "seen: DY921 state",
        "`print` in a batch",
        "random numbers",
        "argument x in place",
    ):
        assert part in text, part
    assert sizes(8) == [2, 4, 8]
    assert sizes(6) == [2, 4, 6]
    with pytest.raises(ConfigError, match="batch must be from 2"):
        dyncc.compile(Exits(), sample(1), backend="eager", batch=1)


class Random(nn.Module):
    """Layers, exits, skipped layers and loops as a list says."""

    def __init__(self, steps: list[tuple[str, float]]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in steps)
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        turns = 0
        for number, (layer, (kind, at)) in enumerate(zip(self.layers, self.steps, strict=True)):
            if kind == "exit":
                if x.max() > at:
                    return x.sum(0), number
            elif kind == "skip":
                if x[0, 1] < at:
                    x = x + layer(x)
            elif kind == "loop":
                while x.abs().mean() > at and turns < 4:
                    x = layer(x) * 0.7
                    turns += 1
            elif kind == "image":
                x = self.convolution(x.reshape(1, 1, 1, 3)).mean(1).flatten(1)
            else:
                x = F.softmax(layer(x), dim=-1)
        return x[0], turns + 100


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["exit", "skip", "loop", "image", "layer"]),
        st.sampled_from([-0.2, 0.1, 0.3, 0.6]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(STEPS, st.integers(0, 99))
def test_random_programs(steps: list[tuple[str, float]], seed: int) -> None:
    torch.manual_seed(seed)
    network = Random(steps).eval()
    samples = [(torch.randn(1, 3),) for _ in range(9)]
    program = dyncc.compile(network, samples[0], backend="eager", batch=4)
    with torch.no_grad():
        for arguments, result in zip(samples, program.batch(samples), strict=True):
            equal(network(*arguments), result)
    compare_batches(program, samples, seed, most=20)


def test_batches_need_no_compiler(tmp_path: Path) -> None:
    dyncc.compile(Exits().eval(), sample(3), tmp_path / "a", backend="onnxruntime", batch=2)
    program = f"""
import sys
import numpy, dyncc
program = dyncc.load({str(tmp_path / "a")!r})
found = program.batch([(numpy.full((1, 4), depth, "float32"),) for depth in (3, 0, 2)])
assert [depth for _, depth in found] == [3, 0, 2], found
assert not {{"torch", "dyncc.frontend", "dyncc.backends", "onnx"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


class Chosen(nn.Module):
    """A region whose size depends on data has no variant."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x[x > 0] * 2
        return x - 1


def test_sizes_from_data_are_run_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [(torch.randn(6, generator=torch.Generator().manual_seed(i)),) for i in range(8)]
    program = dyncc.compile(Chosen(), samples[0], tmp_path / "a", backend="onnxruntime", batch=8)
    assert program.manifest["batch"]["alone"]
    for (x,), found in zip(samples, program.batch(samples), strict=True):
        equal(Chosen()(x), found)
    assert main(["inspect", str(tmp_path / "a")]) == 0
    assert "no batches: some of its sizes are known at run time only" in capsys.readouterr().out
