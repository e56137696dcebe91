"""Numbers that come out of data as bounds of slices, as sizes and as contents of new tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from frontend.differential import check, linear, network
from frontend.test_sizes import grids
from torch import Tensor

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.proof import prove
from dyncc.verification import compare


def test_bounds_of_slices() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        n = int((x[0] > 0).sum())
        below = n - 3
        found = x[:n], x[n:], x[:, :n].sum(1), x[:, -n:], x[n : n + 2, :n], x[..., n:3]
        return *found, x[:below], x[below:], x[below:3], x[1:below], x[:n:2]

    check(network(forward), grids())


def test_bounds_that_are_tensors() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        n = (x[0] > 0).sum()
        best = x[0].argmax()
        return x[:n], x[:, n:], x[0, best : best + 2], x[best, :n]

    check(network(forward), grids())


def test_a_window_around_a_place() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        place = x[0].argmax().item()
        window = x[0][max(0, place - 1) : place + 2]
        if window.shape[0] > 2:
            return window.mean(), window
        return window.shape, window * 2

    check(network(forward), grids(24))


def test_new_tensors() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n, mean = int((x[0] > 0).sum()), x.mean().item()
        sized = torch.zeros(n), torch.ones(n, 2) * mean, x.new_full((2, n), 0.5), torch.eye(n)
        filled = torch.full((3,), mean), torch.full((n,), n), torch.full_like(x, mean)
        return sized, filled, torch.arange(n), torch.arange(1, n + 2), x.clone().fill_(mean)

    check(network(forward), grids())


def test_functions_of_tensors() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n = int((x[0] > 0).sum())
        head = x[:n] + torch.arange(n)[:, None]
        whole = torch.cat([head, x[n:]])
        views = x.narrow(0, 0, n), x.expand(n + 1, 4, 4), self.layer(head).softmax(-1)
        return whole + 1, whole.shape, views, x.roll(n, 1), x.tril(n), x.repeat(n + 1, 1)

    program = check(network(forward, layer=linear()), grids())
    prove(network(forward, layer=linear()).eval(), program, grids())


def test_loops_are_rolled_over_bounds() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = int((x[0] > 0).sum())
        total = x.sum()
        for i in range(n):
            total = total + x[:i].sum() + x[i : i + 2, 0].sum()
        return total

    program = check(network(forward), grids())
    assert len(program.hcfg.blocks) < 12


def test_an_operation_that_decides_by_sizes() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x[x[:, 0] > 0.5]
        mixed: Tensor = F.scaled_dot_product_attention(x[None], y[None], y[None])
        return mixed

    module = network(forward)
    program = check(module, grids())
    prove(module.eval(), program, grids())


def test_sizes_that_must_be_equal_are_compared() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return x[:, 0][x[:, 0] > 0] + x[:, 1][x[:, 1] > 0]

    module = network(forward)
    program = dyncc.compile(module, grids()[0], backend="eager")
    x = torch.tensor([[1.0, 1, 0, 0], [1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0]])
    compare(module, program, [(x,)])
    with pytest.raises(RuntimeError):
        program(torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0]]))


def test_differences_of_sizes_may_be_negative() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        n = x[x > 0].shape[0] - 5
        y = x.sum()
        if y > 0:
            y = y * 2
        if n < 0:
            y = y - 100
        return y, n

    check(network(forward), grids(24))


def test_sizes_of_tensors_that_are_gone() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = int((x[0] > 0).sum())
        found = x[1][x[1] > 0]
        return x + found[: abs(n) % 3].sum() + found.shape[0]

    check(network(forward), grids())


def test_modules_by_number_in_loops_by_data() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for i in range(int((x > 0).sum())):
            x = torch.tanh(self.layers[i % 3](x))
            if x.mean() > 0.4:
                break
        return x

    layers = torch.nn.ModuleList([linear(seed=seed) for seed in range(3)])
    module = network(forward, layers=layers).eval()
    program = dyncc.compile(module, grids()[0], backend="eager")
    compare(module, program, grids())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, n: torch.linspace(0, 1, n), "decides by the size|comes out of tensor data"),
        (lambda x, n: x[: x.sum() > n], "asks for the content of a tensor|comes out of"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return self.call(x, int((x[0] > 0).sum()))

    with pytest.raises(UnsupportedError, match=message):
        dyncc.compile(network(forward, call=call), grids()[0], backend="eager")
