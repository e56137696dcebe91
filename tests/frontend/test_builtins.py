"""Builtins, sets, dicts, strings, printing and match, on static values and on data."""

# ruff: noqa: B905, C408, F507, T201, UP030, UP031, UP032 (what people write)
from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Any

import pytest
import torch
from frontend.differential import check, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import UnsupportedError


def grown(x: Tensor) -> list[Tensor]:
    """A list whose length depends on data."""
    found = []
    while x.abs().sum() < 30:
        found.append(x)
        x = x + 1
    return found


def test_iterators_of_run_time_length() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        items = grown(x)
        numbers = [float(item.sum()) for item in items]
        total = x
        for i, item in enumerate(items, start=1):
            total = total + item * i
        for item, number in zip(items, numbers):
            total = total + item * number
        for i, (item, number) in enumerate(zip(items, numbers)):
            total = total - item * number * i
        for item in reversed(items):
            total = total * 0.5 + item
        return total + sum(items), [n for n in numbers if n > 0], list(enumerate(numbers))

    # Of two lists of one length, the second never ends first.
    check(network(forward), untaken=2)


def test_map_over_several_lists() -> None:
    def forward(self: Any, x: Tensor) -> list[Tensor]:
        items, scales = [x, x + 1], [2.0, float(x.sum())]
        made = list(map(lambda item, scale: item * scale, items, scales))
        if x.sum() > 0:
            made.append(x)
        return made

    check(network(forward))


def test_map_and_filter_see_what_a_loop_adds() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        queue, total = [x], x
        for item in map(lambda item: item * 2, queue):  # noqa: C417
            total = total + item
            if len(queue) < 3:
                queue.append(item)
        for item in filter(lambda item: item.sum() > 0, queue):
            total = total - item
            if len(queue) < 5:
                queue.append(item + 1)
        return total, len(queue)

    # All three items have the sign of x, which the program cannot know.
    check(network(forward), rows(60), untaken=2)


def test_iterators_over_ranges_of_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n = int(x.abs().sum()) % 5
        total = 0
        for i, j in enumerate(range(2, 2 + n)):
            total += i * j
        for k in reversed(range(n)):
            total = total * 2 + k
        return total, list(range(n)), n in range(1, 4)

    check(network(forward))


def test_a_list_that_its_own_loop_extends() -> None:
    def forward(self: Any, x: Tensor) -> int:
        items = [float(x.abs().sum())]
        count = 0
        while count < 6 and items[-1] > 1:
            items.append(items[-1] / 2)
            count += 1
        for item in items:
            if item > 2 and len(items) < 8:
                items.append(item / 3)
        return len(items)

    check(network(forward), rows(60))


def test_iterators_are_used_up() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        layers = iter([x, x + 1, x + 2, x + 3, x + 4])
        x = next(layers) * 2
        for left, right in zip(layers, layers):
            x = x + left * right
        return x + sum(layers) + next(layers, 7)

    check(network(forward))


def test_first_parameter() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        first = next(self.parameters())
        if x.sum() > 0:
            x = x.to(first.dtype).to(next(self.parameters()).device) * first.sum()
        return x

    check(network(forward, layer=nn.Linear(4, 4)))


def test_order_of_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        values = x[0, :3].tolist()
        ranked = sorted(((value, i) for i, value in enumerate(values)), reverse=True)
        best = max(x[0, 0], x[0, 1])
        return sorted(values), ranked[0][1], best, min(values), max(3, -1, key=abs)

    inputs = [(torch.tensor([[*row, 0.5]]),) for row in torch.rand(24, 3).tolist()]
    # A pair that was exchanged is not looked at again, but the numbers beside keep paths apart.
    check(network(forward), inputs, untaken=2)


def test_extremes_of_different_types() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n, f = int(x[0, 0]), float(x[0, 1])
        return max(0.0, min(f, 1)), max(n, 0.5), min(n, 3, 2), max([], default=0)

    check(network(forward), rows(40))


def test_tuples_are_compared_item_by_item() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        a, b = int(x[0, 0]), int(x[0, 1])
        return (a, 1) < (b, 0), (a, b) == (b, a), [a] != [b], (a, b) >= (0, 0)

    check(network(forward))


def test_any_and_all() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if any(value > 1 for value in x[0]):
            return x
        if all(value < 0 for value in x[0].tolist()):
            return x - 1
        return x + any(item.sum() > 0 for item in grown(x))

    more = [(torch.tensor([[-40.0, 0.5, 0.5, 0.5]]),), (torch.tensor([[-9.0, -9.0, -9.0, 0.5]]),)]
    check(network(forward), rows(80) + more)


def test_functions_of_math() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        v = abs(x[0, 0].item()) + 0.5
        n = int(v)
        return (
            math.atan2(v, 1.0), math.log(v, 2), math.log1p(v), math.pow(v, 2), math.hypot(v, 1),
            math.prod([1, 2, v]), math.isclose(v, 1.0), math.copysign(v, -1), math.erf(v),
            math.fmod(v, 2), round(v, 2), round(v), pow(v, 2), divmod(n, 3), n.bit_length(),
            v.is_integer(), n << 1, ~n, n & 3, n | 1, n ^ 2,
        )  # fmt: skip

    check(network(forward))


def test_sets() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        kept = {1, 2}
        kept.add(3)
        kept |= {4}
        kept -= {1}
        n = int(x[0, 0].abs()) % 6
        squares = {i * i for i in range(3)} & {0, 4}
        if n in kept or n in {0}:
            x = x + 1
        return x * len(kept | squares) + sum(sorted(kept)), 3 in kept, kept.issubset({2, 3, 4})

    check(network(forward))


def test_methods_and_operators_of_dicts() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        table = {"a": x}
        table.setdefault("b", x * 2)
        table |= {"c": x + 1}
        more = {**table, "z": x} | dict(y=x)
        more.update(a=x - 1)
        name, last = more.popitem()
        total = sum(value for _, value in sorted(more.items()))
        del more["z"]
        squares = {i: x * i for i in range(3) if i != 1}
        missing = more.get("q"), more.pop("q", None), "q" in more
        return total, name, last, list(more), squares, missing, dict.fromkeys("ab", 0)

    def key_of_data(self: Any, x: Tensor) -> Tensor:
        table = {0: 2.0, 1: 5.0}
        return x * table[int(x[0, 0].abs()) % 2]

    check(network(forward))
    check(network(key_of_data), untaken=1)  # a key beside 0 and 1


def test_strings_made_of_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[str, ...]:
        n, f = int(x[0, 0]), float(x[0, 1])
        width = 8
        return (
            f"{n:03d} of {f:{width}.2f} {f!r:>20} {x.mean():.3f} {n=}", "{} {b:.1e}".format(n, b=f),
            "%d %5.2f %s %%" % (n, f, [n, f]), ", ".join([str(n), repr(f), str((n,))]) + "!",
            str({"a": n}), f"{x.shape} {x.dtype}",
        )  # fmt: skip

    check(network(forward))


def test_a_string_decides() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if f"{x.sum().item():.0f}" == "-0":
            return x
        return x * 2

    check(network(forward), [(torch.full((1, 4), v),) for v in (-0.1, 0.1, 3.0)])


def test_printing_keeps_its_order(capsys: pytest.CaptureFixture[str]) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        print("sum", x.sum().item(), f"{x.mean():.3f}", x.shape, sep="|")
        while x.sum() > 1:
            x = x / 2
            print("half", x)
        print({"x": x[0, 0]}, end="!\n", flush=True)
        if x.sum() < 0:
            raise ValueError(f"negative: {x.sum().item():.2f}")
        print()
        return x

    module = network(forward)
    program = dyncc.compile(module, rows()[0], backend="eager")
    capsys.readouterr()
    for (x,) in rows():
        seen = []
        for call in (module, program):
            try:
                call(x)
                error = ""
            except ValueError as caught:
                error = str(caught)
            seen.append((capsys.readouterr().out, error))
        assert seen[0] == seen[1]
        assert seen[0][0]


def test_match_on_numbers_and_guards() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        match int(x.abs().sum()) % 5:
            case 0:
                return x
            case 1 | 2 if x[0, 0] > 0:
                return x + 1
            case 3 as n:
                return x * n
            case other:
                return x - other

    check(network(forward), rows(80))


def test_match_on_structures() -> None:
    def describe(value: Any) -> Any:
        match value:
            case []:
                return 0
            case [first, *rest, Tensor() as last]:
                return first + len(rest) + last.sum()
            case {"x": x, "n": int(n), **others}:
                return x * n + len(others)
            case None | True:
                return 1
            case str() | (int() | float()):
                return 2
            case _:
                return 3

    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n = int(x[0, 0])
        cases = [], [x, 2, x], {"x": x, "n": n, "m": 1}, None, True, "text", n, object, {"x": 1}
        return tuple([self.describe(case) for case in cases])

    check(network(forward, describe=describe))


def test_imports_inside() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        import itertools
        import os.path
        from math import pi as ratio

        for a, b in itertools.product(range(2), repeat=2):
            x = x + a * b
        return x * ratio + len(os.path.sep)

    check(network(forward))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: print(x, file=x), "`print` to a file"),  # type: ignore[call-overload]
        (lambda x: sorted(grown(x)), "`sorted` of a list whose length depends on data"),
        (lambda x: tuple(grown(x)), "`tuple` of a list whose length depends on data"),
        (lambda x: max(grown(x)), "`max` of a list whose length depends on data"),
        (lambda x: list(zip(grown(x), [1, "a"])), "a list of known length beside one"),
        (lambda x: {x: 1}, "a dict key or element of a set"),
        (lambda x: {int(x.sum())}, "a dict key"),
        (lambda x: {}["a"], "it raises KeyError"),
        (lambda x: f"{object():>10}", "it raises TypeError"),
        (lambda x: next(iter([])), "the iterator has no more items"),
        (lambda x: "%d" % (1, int(x.sum())), "its format takes 1 values and there are 2"),
        (lambda x: "{0.real}".format(x.sum().item()), "is no plain name or number"),
        (lambda x: int(x.sum()) < None, "it raises TypeError"),  # type: ignore[operator]
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return self.call(x)

    with pytest.raises(UnsupportedError, match=message):
        dyncc.compile(network(forward, call=call), rows()[0], backend="eager")


def test_deques_and_default_dicts() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        window = deque(maxlen=2)
        for i in range(3):
            window.append(x + i)
        queue, seen = deque([x]), x * 0
        while queue:
            item = queue.popleft()
            seen = seen + item
            if item.abs().max() > 1:
                queue.append(item / 2)
        groups = defaultdict(list)
        counts = defaultdict(int)
        for name in ("a", "b", "a"):
            groups[name].append(x + len(name))
            counts[name] += 1
        sizes = {name: len(items) for name, items in groups.items()}
        return window.popleft() + window[-1], seen, torch.stack(groups["a"]), counts["a"], sizes

    check(network(forward))


def test_zip_strict_sees_what_a_loop_adds() -> None:
    def forward(self: Any, x: Tensor) -> int:
        items, turns = [x, x + 1], 0
        for (item,) in zip(items, strict=True):
            turns += 1
            if len(items) < 4 and item.sum() > 0:
                items.append(item)
        return turns

    # The list is never empty.
    check(network(forward), untaken=1)


def test_zip_strict_of_lengths_that_depend_on_data() -> None:
    def forward(self: Any, x: Tensor, y: Tensor) -> Tensor:
        total = x.sum()
        for left, right in zip(x[x > 0], y[y > 0], strict=True):
            total = total + left * right
        return total

    def texts(x: Tensor, y: Tensor) -> list[str]:
        found = []
        for run in (module, program):
            with pytest.raises(ValueError, match="zip") as caught:
                run(x, y)
            found.append(str(caught.value))
        return found

    module, up, down = network(forward), torch.tensor([1.0, 2.0]), torch.tensor([1.0, -2.0])
    program = dyncc.compile(module, (up, up), backend="eager")
    for both in (up, down, -up):
        assert torch.equal(program(both, both), module(both, both))
    for pair in ((up, down), (down, up), (-up, up)):
        left, right = texts(*pair)
        assert left == right


def test_a_range_of_data_is_no_iterator() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        numbers = range(int(x.abs().sum()) % 4)
        total = 0
        for i in numbers:
            for j in numbers:
                total = total * 2 + i + j
        first, second = iter(numbers), iter(numbers)
        total += next(first, 7) + next(first, 7) + next(second, 7)
        if numbers:
            total += 100
        return total, sum(numbers), list(first), list(reversed(numbers))

    check(network(forward), rows(60))


def test_an_iterator_is_true_also_at_its_end() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        items = iter([x])
        x = next(items) + 1
        return x if items and iter(()) else x * 2

    check(network(forward))
