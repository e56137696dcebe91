"""Round trips through NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import UnsupportedError


def test_argmax_of_a_detached_tensor() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        best = np.argmax(x.detach().cpu().numpy())
        if best == 3:
            return x[0, best], int(best), 0
        return x[0, best] * 2, best.item(), 1

    check(network(forward))


def test_arithmetic_and_reductions() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        a = x.numpy()
        b = np.abs(a) * 2 + 1
        ints = torch.from_numpy((a * 10).astype(np.int64)).numpy()
        if np.mean(a) > 0.1 and b.max() < 8:
            b = b / b.sum(axis=1, keepdims=True)
        numbers = float(a.std()), a.min().item(), np.any(a > 1).item(), a.shape, len(a), a.ndim
        quotients = torch.from_numpy(ints / 4), torch.from_numpy(np.sqrt(np.abs(ints)))
        return torch.from_numpy(b), torch.tensor(b[0, 1:].T), numbers, quotients

    check(network(forward))


def test_an_array_shares_memory() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        y = x.clone()
        shared, copied = y.numpy(), np.array(y.numpy())
        y.mul_(2)
        return torch.as_tensor(shared), torch.from_numpy(copied)

    check(network(forward))


def test_an_array_chooses_a_layer() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        scores = self.gate(x).softmax(-1).detach().numpy()
        chosen = int(np.argmax(scores, axis=-1)[0])
        return self.layers[chosen](x) + x[:, scores[0].argmin()]

    layers = nn.ModuleList([linear(seed=i) for i in range(2)])
    # Positions that two scores do not have are never asked for.
    check(network(forward, gate=linear(outer=2, seed=7), layers=layers), rows(60), untaken=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a, "a result of type ndarray"),
        (lambda a: np.linalg.norm(a), "a call of `norm` with a NumPy array of data"),
        (lambda a: a.cumsum(), "`.cumsum\\(\\)` of a NumPy array"),
        (lambda a: np.sum(a, dtype=np.float64), "`numpy.sum` with dtype"),
        (lambda a: a // 2, "the operator `floordiv` of arrays"),
        (lambda a: a + torch.ones(4), "an operator between a tensor and an array"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return self.call(x.numpy())

    with pytest.raises(UnsupportedError, match=message):
        dyncc.compile(network(forward, call=call), rows()[0], backend="eager")
