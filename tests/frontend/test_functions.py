"""Functions inside of functions, what they share, recursion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

from dyncc.core.errors import UnsupportedError


def test_a_nested_function_that_branches() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def halve(y: Tensor, limit: float = 1.0, *, shift: float = 0.5) -> Tensor:
            if y.abs().max() > limit:
                return y / 2 + shift
            return y - shift

        return halve(halve(x, shift=0.25), 0.5)

    check(network(forward), rows(60))


def test_what_a_nested_function_sees_is_what_is_there_when_it_runs() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        scale = 1.0

        def scaled(y: Tensor) -> Tensor:
            return y * scale

        first = scaled(x)
        if x.sum() > 0:
            scale = 3.0
        return first, scaled(x)

    check(network(forward))


def test_nonlocal() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        steps = 0
        best = x

        def step(y: Tensor) -> Tensor:
            nonlocal steps, best
            steps += 1
            if y.sum() > best.sum():
                best = y
            return y * 0.5 + 0.25

        while x.abs().max() > 1:
            x = step(x)
        return best, steps

    # In the first turn x is the best: two edges lead through what keeps a better one.
    check(network(forward), rows(60), untaken=2)


def test_functions_that_make_functions() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def adder(amount: Tensor) -> Callable[[Tensor], Tensor]:
            def add(y: Tensor) -> Tensor:
                return y + amount

            return add

        one, two = adder(x.mean()), adder(x.max())
        chosen = one if x.sum() > 0 else two
        return chosen(x)

    check(network(forward))


def test_lambdas() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        limit = x.mean()
        steps = [lambda y: y + limit, lambda y, by=2.0: y * by]
        if x.sum() > 0:
            steps.append(lambda y: y - 1)
        for step in steps:
            x = step(x)
        return x

    check(network(forward))


def test_lambdas_that_stand_on_one_line() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for function in self.functions:
            x = function(x)
        return x if x.sum() > 0 else self.pick(x)(x)

    functions = [lambda x: x + 1, lambda x: x * 2, lambda x: (lambda y: y - x.mean())(x)]
    check(network(forward, functions=functions, pick=lambda x: lambda y: -y))


def test_a_function_as_an_argument() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        count = 0

        def activate(y: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return y.relu() if y.sum() > 0 else y.tanh()

        return apply(self.layer, activate, x) + count

    check(network(forward, layer=linear()), rows(40))


def apply(layer: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(layer(function(x)))


def test_recursion_over_a_structure() -> None:
    class Tree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.join = linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            def encode(node: Any) -> Tensor:
                if isinstance(node, int):
                    return x[:, node : node + 1].expand(1, 4)
                left, right = (encode(child) for child in node)
                joined = torch.cat([left, right], 1)
                return self.join(joined).tanh() if joined.sum() > 0 else self.join(joined)

            return encode((0, ((1, 2), 3)))

    check(Tree(), rows(200))


def test_recursion_with_a_limit() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def deeper(y: Tensor, depth: int) -> Tensor:
            if depth == 0 or y.abs().max() < 0.5:
                return y
            return deeper(y * 0.5, depth - 1) + 1

        return deeper(x, 3)

    check(network(forward), rows(60))


def test_a_decorated_nested_function() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def twice(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda y: function(function(y))

        @twice
        @torch.no_grad()
        def step(y: Tensor) -> Tensor:
            return y + 1 if y.sum() > 0 else y - 1

        return step(x)

    check(network(forward))


def test_an_exception_from_a_nested_function() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def checked(y: Tensor) -> Tensor:
            if y.sum() > 1:
                raise ValueError("large")
            return y + 1

        try:
            return checked(checked(x))
        except ValueError:
            return -x

    check(network(forward))


def test_a_function_that_is_returned_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return lambda: x

    with pytest.raises(UnsupportedError, match="a result of type function"):
        check(network(forward))


def test_recursion_of_the_entry() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x.abs().max() < 0.5:
            return x
        return forward(self, x * 0.5) + 1

    check(network(forward))


def test_recursion_whose_depth_is_an_argument() -> None:
    def deeper(x: Tensor, depth: int) -> Tensor:
        return x if depth == 0 else deeper(x * 2, depth - 1) + 1

    def forward(self: Any, x: Tensor, depth: int) -> Tensor:
        return deeper(x, depth)

    check(network(forward), [(x, depth) for depth, (x,) in enumerate(rows(4))])


def test_imports_inside_of_a_function() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        import math as mathematics
        from math import pi

        import torch.nn.functional

        try:
            from no_such_package import fast_gelu
        except ImportError:
            fast_gelu = torch.nn.functional.gelu
        if x.sum() > 0:
            x = fast_gelu(x) * mathematics.sqrt(2)
        return x * pi

    check(network(forward))


def test_a_name_that_was_deleted() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x + 1
        del y
        return y  # noqa: F821

    with pytest.raises(UnsupportedError, match="nothing gives it a value before"):
        check(network(forward))
