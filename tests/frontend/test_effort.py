"""What a capture does grows with the program no faster than the program, counted and not timed."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import pytest
import torch
from frontend.differential import check, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.frontend import machine, variants
from dyncc.verification import compare

capture = importlib.import_module("dyncc.frontend.capture")


def linears(count: int) -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(4, 4) for _ in range(count))


def skipping(self: Any, x: Tensor) -> tuple[Tensor, int]:
    used = 0
    for layer in self.layers:
        if x.sum() > 0:
            x = x - layer(x)
            used += 1
    return x, used


def highways(self: Any, x: Tensor) -> tuple[Tensor, int]:
    left = 0
    for turn in range(2):
        try:
            for position, layer in enumerate(self.layers):
                try:
                    x = layer(x)
                    if x.sum() > 2:
                        raise ValueError
                    if x.sum() < -2:
                        raise KeyError
                    left += position
                except KeyError:
                    left += 10
                    if x.max() > 1:
                        break
                else:
                    if x.mean() > 1:
                        continue
                x = x + 0.1
        except ValueError:
            left += 100 + turn
            if x.min() < -1:
                break
    else:
        left = -left
    return x, left


def repeated(self: Any, x: Tensor) -> tuple[Tensor, int, int]:
    turns = 0
    found = []
    while turns < 6:
        for layer in self.layers:
            y = layer(x)
            if y.sum() > 1:
                found.append(y.sum().item())
                break
            if y.sum() < -1:
                turns += 1
                continue
            x = y
        turns += 1
    return x, turns, len(found)


def pairs(self: Any, x: Tensor) -> tuple[Tensor, int]:
    count = 0
    for i, first in enumerate(self.layers):
        for j, second in enumerate(self.layers):
            if i == j:
                continue
            y = first(second(x))
            if y.sum() > 1:
                count += 1
                break
            x = y
    return x, count


def growing(self: Any, x: Tensor) -> tuple[Tensor, Tensor, int]:
    kept: list[Tensor] = []
    y = x * 0.5
    for _, layer in enumerate(self.layers):
        y = layer(y)
        for _ in range(3):
            kept.extend([x, x + 1.0])
            turn, grown = 0, x
            while turn < 5 and x.sum() > 0.1:
                turn += 1
                grown = torch.cat([grown, x * 0.5])
                if grown.sum() > 3:
                    break
            y = y + grown.mean()
            if len(kept) > 2:
                kept = kept[-2:]
            x = y * 0.5
    return x, kept[0], len(kept)


def tuples(self: Any, x: Tensor) -> tuple[Tensor, int]:
    found: tuple[Tensor, ...] = ()
    while x.sum() > 0:
        while x.max() > 1:
            found = (*found, x)
            x = x * 0.5
        x = x - 1.0
    return x, len(found)


def turning(self: Any, x: Tensor) -> Tensor:
    for turn in range(int((x > 0.2).sum())):
        for _ in range(2):
            x = self.layers[turn % 2](x) + x[: turn % 3].sum()
    return x


def trimmed(self: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    for _ in range(int((x > 0.2).sum())):
        turn, grown = 0, x
        while turn < 5 and not x.sum() > 0.1:
            turn += 1
            grown = torch.cat([grown, y * 0.5])
        x = grown[-3:]
        z = y.view(3)
        y = y + 1.0
        z[0] = 2.0
    return x, y


class Effort:
    """What a capture did."""

    def __init__(self) -> None:
        self.attempts = 0
        self.blocks = 0
        self.compared = 0


@pytest.fixture
def effort(monkeypatch: pytest.MonkeyPatch) -> Effort:
    done = Effort()
    run, differences = capture._Attempt.run, machine.differences

    def counted(attempt: Any) -> None:
        done.attempts += 1
        try:
            run(attempt)
        finally:
            done.blocks += attempt.machine._block_count

    def compared(*keys: Any) -> Any:
        done.compared += 1
        return differences(*keys)

    monkeypatch.setattr(capture._Attempt, "run", counted)
    monkeypatch.setattr(machine, "differences", compared)
    return done


@pytest.mark.parametrize("forward", [skipping, highways, repeated])
def test_each_layer_is_as_much_work_as_the_one_before(forward: Any, effort: Effort) -> None:
    totals = [[0, 0, 0]]
    for count in (3, 6, 9):
        module = network(forward, layers=linears(count)).eval()
        capture.capture(module, rows()[0], {}, "network")
        totals.append([effort.attempts, effort.blocks, effort.compared])
    small, middle, large = (
        [late - early for late, early in zip(after, before, strict=True)]
        for before, after in itertools.pairwise(totals)
    )
    assert small[0] == middle[0] == large[0] <= 3
    for first, second, third in zip(small[1:], middle[1:], large[1:], strict=True):
        assert third - second <= 1.05 * (second - first)


def test_loops_over_modules_in_each_other_are_unrolled(
    effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What bounds loops that never close is no bound to them.
    monkeypatch.setattr(variants, "MAX_VARIANTS", 40)
    module = network(pairs, layers=linears(8)).eval()
    made = capture.capture(module, rows()[0], {}, "network")
    assert 8 * 7 < len(made.program.blocks) < 8 * 10
    assert effort.attempts <= 2


def test_a_tensor_that_starts_as_another_grows_alone(effort: Effort) -> None:
    module = network(growing, layers=linears(3)).eval()
    capture.capture(module, rows()[0], {}, "network")
    assert effort.blocks < 200


def kinds(self: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    kept, turns = [], 0
    while turns < 3:
        turns += 1
        wide, inner = x, 0
        while inner < 2 and x.sum() < 5:
            inner += 1
            wide = torch.cat([wide, x])
            x = x + 1
        if x.max() > 2:
            kept.append(wide)
        elif x.max() > 1:
            x = x * 2
    return x, kept


def test_a_loop_that_cannot_pack_its_list_is_unrolled(effort: Effort) -> None:
    module = network(kinds).eval()
    program = dyncc.compile(module, rows()[0], backend="eager")
    compare(module, program, rows(60))
    assert effort.attempts <= 10
    assert effort.blocks < 1000


def test_what_grows_without_end_is_refused_before_it_is_large(
    effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "MAX_GROWN", 200)
    with pytest.raises(UnsupportedError) as refusal:
        capture.capture(network(tuples), rows()[0], {}, "network")
    assert [found.code for found in refusal.value.diagnostics] == ["DY302"]
    assert effort.blocks < 400


def test_a_loop_that_only_data_end_is_unrolled_a_few_turns(effort: Effort) -> None:
    module = network(turning, layers=linears(2)).eval()
    capture.capture(module, rows()[0], {}, "network")
    assert effort.blocks < 400


def test_a_part_that_is_the_whole_is_no_new_view_each_turn(effort: Effort) -> None:
    capture.capture(network(trimmed), (torch.ones(3), torch.ones(3)), {}, "network")
    assert effort.blocks < 200


@pytest.mark.parametrize(
    "part", [lambda x: x[-4:], lambda x: x[:, :9], lambda x: x[0:1], lambda x: x[:, ::2]]
)
def test_a_write_to_a_part_that_may_be_the_whole(part: Any) -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x * 1.0
        y = part(x)
        y += x.sum()
        return x, y

    check(network(forward), rows())


@pytest.mark.parametrize("forward", [pairs, growing, turning])
def test_what_is_spared_is_not_missing(forward: Any) -> None:
    module = network(forward, layers=linears(3)).eval()
    compare(module, dyncc.compile(module, rows()[0], backend="eager"), rows(6))
