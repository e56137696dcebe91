"""Loops: static ones unroll, those whose number of turns depends on data stay rolled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc_models import halting
from dyncc_models.dycl import captioning


def test_while_on_data() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        while x.abs().max() > 0.5:
            x = x * 0.7
        return x

    assert len(check(network(forward)).hcfg.regions) <= 3


def test_while_with_counter_and_limit() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        n = 0
        while x.norm() < 10 and n < self.limit:
            x = self.step(x) * 2
            n += 1
        return x, n

    sizes = {
        limit: len(check(network(forward, limit=limit, step=linear())).hcfg.blocks)
        for limit in (3, 50)
    }
    assert sizes[3] == sizes[50]


def test_while_true_with_break_and_continue() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        turns = 0
        while True:
            turns += 1
            if turns > 40:
                break
            if x.sum() > 0:
                x = x - 1
                continue
            if x.min() > -3:
                break
            x = x / 2
        return x + turns

    check(network(forward), [*rows(60), (torch.full((1, 4), 100.0),)])


def test_while_else() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = 0
        while n < 5:
            if x.mean() > 2:
                break
            x = x + 1
            n += 1
        else:
            x = -x
        return x

    check(network(forward))


def test_for_over_a_constant_range_unrolls() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for i in range(3):
            x = x * (i + 1)
        return x

    assert len(check(network(forward)).hcfg.blocks) == 1


def test_for_over_a_range_of_data() -> None:
    def forward(self: Any, x: Tensor, n: Tensor) -> Tensor:
        total = torch.zeros(1, 4)
        for i in range(int(n)):
            total = total + x * i
        return total

    inputs = [(x, torch.tensor(i % 5)) for i, (x,) in enumerate(rows(12))]
    check(network(forward), inputs)


def test_for_over_a_range_with_start_and_step() -> None:
    def forward(self: Any, x: Tensor, a: int, b: int) -> Tensor:
        for i in range(a, b, 2):
            x = x + i
        return x

    check(network(forward), [(torch.ones(2), a, b) for a in (0, 3) for b in (0, 4, 9)])


def test_for_with_early_return() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if x.max() < 0.6:
                return x, i
        return x, -1

    layers = nn.ModuleList([linear(seed=s) for s in range(4)])
    check(network(forward, layers=layers), rows(80))


def test_for_with_break_and_else() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for i in range(4):
            if x[0, i] > 0.4:
                y = x * i
                break
        else:
            y = -x
        return y

    check(network(forward), rows(60))


def test_skipping_layers() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for layer, gate in zip(self.layers, self.gates, strict=True):
            if gate(x).mean() > 0:
                x = x + layer(x)
        return x

    module = network(
        forward,
        layers=nn.ModuleList([linear(seed=s) for s in range(4)]),
        gates=nn.ModuleList([linear(seed=s + 10) for s in range(4)]),
    )
    program = check(module, rows(80))
    assert len(program.hcfg.regions) <= 4


def test_loop_in_loop() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        turns = 0
        while x.max() > 1:
            while x.sum() > 2:
                x = x - 0.5
                turns += 1
            x = x * 0.8
            turns += 100
        return x, turns

    check(network(forward), rows(60))


def test_a_static_loop_in_a_dynamic_one() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        while x.abs().sum() < 20:
            for layer in self.layers:
                x = layer(x).tanh() * 8
            x = x + 1
        return x

    check(network(forward, layers=nn.ModuleList([linear(seed=1), linear(seed=2)])))


def test_state_of_an_lstm_through_a_loop() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        h, c = torch.zeros(1, 4), torch.zeros(1, 4)
        n = 0
        while n < 12:
            h, c = self.cell(x, (h, c))
            if h.abs().max() > 0.4:
                break
            n += 1
        return h + n

    torch.manual_seed(0)
    check(network(forward, cell=nn.LSTMCell(4, 4)), rows(40))


def test_rows_of_a_tensor() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        total = torch.zeros(4)
        for row in x:
            if row.sum() > 0:
                total = total + row
        return total

    generator = torch.Generator().manual_seed(0)
    check(network(forward), [(torch.randn(3, 4, generator=generator),) for _ in range(20)])


@pytest.mark.parametrize("limit", [2, 10, 1000])
def test_the_halting_loop_stays_rolled(limit: int) -> None:
    model = halting.build()
    model.max_steps = limit
    program = dyncc.compile(model, halting.example_inputs(), backend="eager").hcfg
    assert (len(program.blocks), len(program.regions)) == (5, 3)


@pytest.mark.parametrize("limit", [2, 20, 1000])
def test_the_caption_decoder_stays_rolled(limit: int) -> None:
    model = captioning.build(small=True)
    model.max_length = limit
    program = dyncc.compile(model, captioning.example_inputs(small=True), backend="eager").hcfg
    assert (len(program.blocks), len(program.regions)) == (4, 2)


def test_a_list_that_grows_while_it_is_gone_through() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        queue = [x]
        total = torch.zeros(1, 4)
        for n, item in enumerate(queue):
            total = total + item * n
            if len(queue) < 4:
                queue.append(item * 0.5)
        return total, len(queue)

    check(network(forward))


def test_zip_sees_what_a_loop_adds_to_its_lists() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        queue, weights = [x], [1.0]
        total = torch.zeros(1, 4)
        for item, weight in zip(queue, weights, strict=False):
            total = total + item * weight
            if len(queue) < 4:
                queue.append(item * 0.5)
                weights.append(weight + 1)
        return total, len(queue)

    check(network(forward))


def test_a_queue_that_data_fills() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        queue = [x]
        total = torch.zeros(1, 4)
        for item in queue:
            total = total + item
            if item.abs().max() > 0.5:
                queue.append(item * 0.5)
                queue.append(item * 0.25)
        return total, len(queue)

    # There is a first item, and none behind it if it is small.
    check(network(forward), rows(12))


def test_a_dynamic_break_out_of_two_loops() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int, str]:
        found = ""
        for i, (name, value) in enumerate(reversed(list(self.steps.items()))):  # noqa: B007
            for scale in {"low": 0.5, "high": 2.0}.values():
                x = x + value * scale
                if x.sum() > 10:
                    found = name
                    break
            else:
                continue
            break
        else:
            i = -1
        return x, i, found

    inputs = [(torch.full((1, 4), value / 2),) for value in range(-14, 6)]
    check(network(forward, steps={"first": 1.0, "second": 2.0}), inputs)
