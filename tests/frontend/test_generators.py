"""Generators and generator expressions, over sequences of known and run-time length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

from dyncc.core.errors import UnsupportedError


def stages(layers: nn.ModuleList, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    for i, layer in enumerate(layers):
        x = layer(x)
        if x.sum() > 0:
            x = x * 0.5
        yield i, x


def halved(x: Tensor) -> Iterator[Tensor]:
    while x.abs().max() > 0.5:
        yield x
        x = x * 0.5


def test_a_generator_over_layers() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        i = -1
        for i, y in stages(self.layers, x):  # noqa: B007
            if y.max() > 0.4:
                break
        else:
            i = -1
        return y, i

    layers = nn.ModuleList([linear(seed=s) for s in range(3)])
    check(network(forward, layers=layers), rows(200))


def test_a_generator_whose_end_depends_on_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        total = torch.zeros(1, 4)
        count = 0
        for y in halved(x):
            total = total + y
            count += 1
            if total.sum() > 20:
                break
        return total, count

    check(network(forward), rows(60))


def test_sums_and_lists_of_generators() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        parts = list(stages(self.layers, x))
        total = sum(y for _, y in stages(self.layers, x))
        return parts[-1][1], total, len(parts)

    layers = nn.ModuleList([linear(seed=s) for s in range(2)])
    check(network(forward, layers=layers), rows(60))


def test_a_list_of_run_time_length_from_a_generator() -> None:
    def forward(self: Any, x: Tensor) -> tuple[list[Tensor], int]:
        items = list(halved(x))
        return items, len(items)

    check(network(forward), rows(40))


def test_any_and_all_of_a_generator() -> None:
    def forward(self: Any, x: Tensor) -> tuple[bool, bool, bool]:
        some = any(y.sum() > 1 for y in halved(x))
        every = all(y.sum() > 0.1 for y in halved(x))
        return some, every, any(value > 2 for value in x[0].tolist())

    check(network(forward), rows(60))


def test_yield_from_and_return() -> None:
    def inner(x: Tensor) -> Any:
        yield x + 1
        if x.sum() > 0:
            yield x + 2
            return 5
        return 7

    def outer(x: Tensor) -> Any:
        found = yield from inner(x)
        yield x * found
        yield from (x, -x)

    def forward(self: Any, x: Tensor) -> Tensor:
        total = torch.zeros(1, 4)
        for i, y in enumerate(outer(x)):
            total = total + y * (i + 1)
        return total

    check(network(forward))


def test_next_by_hand() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        items = halved(x)
        first = next(items, x)
        second = next(items, first * 0)
        return first, second

    check(network(forward), rows(80))


def test_next_until_the_end() -> None:
    def forward(self: Any, x: Tensor) -> int:
        items = halved(x)
        count = 0
        try:
            while True:
                next(items)
                count += 1
        except StopIteration:
            pass
        return count

    check(network(forward), rows(40))


def test_the_first_that_fits() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return next((y for y in (x, x + 1, x + 2) if y.sum() > 0), x * 7)

    check(network(forward), [(torch.full((1, 4), value / 4),) for value in range(-12, 5)])


def test_an_endless_generator() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def endless() -> Iterator[Tensor]:
            n = 1
            while True:
                yield x * n
                n += 1

        for y, limit in zip(endless(), (4.0, 2.0, 1.0)):  # noqa: B905
            if y.sum() > limit:
                return y
        return x

    check(network(forward), [(torch.full((1, 4), value / 8),) for value in range(-2, 12)])


def test_a_generator_goes_no_further_than_its_consumer() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        calls = []

        def note(i: int) -> Tensor:
            calls.append(i)
            return x + i

        found = next(y for y in (note(i) for i in range(3)) if y.sum() > 0)
        return found, len(calls)

    inputs = [(torch.full((1, 4), value / 4),) for value in range(-7, 4)]
    check(network(forward), inputs, untaken=1)


def test_generator_state_across_a_branch() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def numbers() -> Iterator[float]:
            total = 0.0
            for i in range(6):
                total += i
                yield total

        source = numbers()
        if x.sum() > 0:
            x = x + next(source)
            x = x * next(source)
        return x + next(source)

    check(network(forward))


def test_finally_in_a_generator() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, list[int]]:
        seen = []

        def noted() -> Iterator[Tensor]:
            try:
                yield x
                if x.sum() > 0:
                    raise ValueError
                yield x + 1
            finally:
                seen.append(1)

        try:
            for y in noted():
                z = y
        except ValueError:
            z = -x
        return z, seen

    check(network(forward))


def test_a_generator_dropped_inside_of_try_is_refused() -> None:
    def noted(x: Tensor, seen: list[int]) -> Iterator[Tensor]:
        try:
            yield x
            yield x + 1
        finally:
            seen.append(1)

    def forward(self: Any, x: Tensor) -> tuple[Tensor, list[int]]:
        seen: list[int] = []
        for y in noted(x, seen):
            if y.sum() > 0:
                break
        return y, seen

    with pytest.raises(UnsupportedError, match="when the consumer drops the generator"):
        check(network(forward))


def test_objects_with_iter_and_next() -> None:
    class Countdown:
        def __init__(self, x: Tensor) -> None:
            self.x = x
            self.left = 3

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Tensor:
            if self.left == 0:
                raise StopIteration
            self.left -= 1
            return self.x * self.left

    class Pages:
        def __init__(self, x: Tensor) -> None:
            self.x = x

        def __iter__(self) -> Iterator[Tensor]:
            for part in self.x.split(2, 1):
                yield part * 2

    def forward(self: Any, x: Tensor) -> Tensor:
        total = torch.zeros(1, 4)
        for y in Countdown(x):
            total = total + y if y.sum() > 0 else total - 1
        for page in Pages(x):
            total = total * page.sum()
        return total

    check(network(forward))


def test_generators_that_leave_the_network_are_refused() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        yield x

    with pytest.raises(UnsupportedError, match="`yield` in forward"):
        check(network(forward))

    def returning(self: Any, x: Tensor) -> Any:
        return (y for y in (x, x + 1))

    with pytest.raises(UnsupportedError, match="a result of type generator"):
        check(network(returning))


def test_what_is_only_needed_behind_a_loop_over_a_generator() -> None:
    def halves(x: Tensor) -> Any:
        while x.abs().sum() > 1:
            x = x / 2
            yield x

    def inner(x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1

    def forward(self: Any, x: Tensor) -> Tensor:
        last = x
        for item in halves(x):
            last = x + 1
            last = inner(last + item)
        return last

    check(network(forward))


def test_a_register_of_a_caller_with_the_name_of_a_result() -> None:
    def inner(x: Tensor) -> Tensor:
        with torch.no_grad():
            steps = [x, x + 1]
            y = helper(steps[0])
            return y + helper(steps[1])

    def helper(x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1

    def forward(self: Any, x: Tensor) -> Tensor:
        return inner(inner(x) + helper(x))

    check(network(forward))
