"""State that calls change: buffers, attributes, and tensors updated in place."""

from __future__ import annotations

from typing import Any

import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

import dyncc


def test_a_buffer_updated_in_place() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x.mean() > 0:
            self.seen.add_(x)
        return self.seen * 1

    check(network(forward, seen=torch.zeros(1, 4)))


def test_a_buffer_assigned() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.average = self.average * 0.9 + x * 0.1
        if self.average.max() > 0.2:
            return x - self.average
        return x

    check(network(forward, average=torch.zeros(1, 4)))


def test_a_row_of_a_buffer() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.cache[1:] = self.cache[:-1].clone()
        self.cache[0] = x[0]
        return self.cache.sum(0)

    check(network(forward, cache=torch.zeros(5, 4)))


def test_a_counter() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 3:
            return x * 2
        return x + self.calls

    check(network(forward, calls=0))


def test_a_step_counter_that_indexes_a_buffer() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.cache[self.length] = x[0]
        self.length = self.length + 1
        return self.cache.sum(0)

    check(network(forward, cache=torch.zeros(24, 4), length=0))


def test_training_batch_norm_updates_its_statistics() -> None:
    module = nn.BatchNorm1d(4)
    inputs = [(torch.randn(6, 4),) for _ in range(3)]
    program = dyncc.compile(module.train(), inputs[0], backend="eager")
    reference = nn.BatchNorm1d(4)
    for (x,) in inputs:
        torch.testing.assert_close(program(x), reference(x))


def test_compiling_changes_nothing_and_programs_do_not_share_state() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.seen.add_(x)
        return self.seen * 1

    module = network(forward, seen=torch.zeros(4))
    programs = [dyncc.compile(module, (torch.ones(4),), backend="eager") for _ in range(2)]
    assert module.seen.sum() == 0
    programs[0](torch.ones(4))
    assert programs[1](torch.ones(4)).tolist() == [1.0] * 4
    assert programs[0](torch.ones(4)).tolist() == [2.0] * 4
    programs[0].reset_state()
    assert programs[0](torch.ones(4)).tolist() == [1.0] * 4


def test_a_leaky_integrate_and_fire_layer() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.membrane = self.membrane * 0.9 + self.layer(x)
        spikes = (self.membrane > 0.5).float()
        if spikes.any():
            self.membrane = self.membrane * (1 - spikes)
        return spikes

    check(network(forward, membrane=torch.zeros(1, 4), layer=linear()), rows(40))


def test_a_failed_call_leaves_the_state_as_it_was() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.seen.add_(x)
        if self.seen.max() > 2:
            raise OverflowError("full")
        return self.seen * 1

    program = dyncc.compile(
        network(forward, seen=torch.zeros(4)), (torch.ones(4),), backend="eager"
    )
    results = []
    for value in (1.0, 5.0, 1.0):
        try:
            results.append(program(torch.full((4,), value)).tolist()[0])
        except OverflowError:
            results.append(None)
    # Unlike eager PyTorch, which has added before it raises: a call happens or does not.
    assert results == [1.0, None, 2.0]
