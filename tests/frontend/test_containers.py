"""Lists, tuples, dicts and indexing, in loops of known and of unknown length."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy
import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

from dyncc.core.errors import InputError

F32: dict[Any, Any] = {torch.tensor: torch.float32, numpy.array: numpy.float32}


def test_a_list_built_in_a_static_loop() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        parts = []
        for layer in self.layers:
            x = layer(x)
            parts.append(x)
        return torch.cat(parts, dim=1)

    layers = nn.ModuleList([linear(seed=s) for s in range(3)])
    assert len(check(network(forward, layers=layers)).hcfg.blocks) == 1


def test_a_list_of_tensors_built_in_a_dynamic_loop() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        states = []
        while x.norm() < 30:
            x = self.layer(x) + x * 1.5 + 1
            states.append(x)
        return torch.stack(states) if len(states) > 0 else x, len(states)

    program = check(network(forward, layer=linear()), rows(40))
    assert len(program.hcfg.blocks) < 10


def test_a_list_of_numbers_built_in_a_dynamic_loop() -> None:
    def forward(self: Any, x: Tensor) -> list[int]:
        tokens = [0]
        while tokens[-1] != 3 and len(tokens) < 9:
            x = self.layer(x) * 3
            tokens.append(int(x.argmax()))
        return tokens

    check(network(forward, layer=linear()), rows(80))


def test_a_list_returned_from_a_dynamic_loop() -> None:
    def forward(self: Any, x: Tensor) -> list[Tensor]:
        seen = []
        while x.sum() > 0:
            seen.append(x)
            x = x - 1
        return seen

    check(network(forward))


def test_reading_a_list_of_unknown_length() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        history = [x]
        while history[-1].abs().max() < 4:
            history.append(history[-1] * 1.5 + 0.5)
        total = torch.zeros_like(x)
        for item in history:
            total = total + item
        return total + history[0] + history[len(history) - 1]

    check(network(forward))


def test_an_iterator_whose_list_nobody_else_has_any_more() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        items = [x]
        found = iter(items)
        while x.sum() < 10:
            items.append(x)
            x = x + 1
        for item in found:
            x = x * 0.5 + item
        return x

    check(network(forward))


def test_pop_insert_and_extend_of_static_lists() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        items = [x, x + 1]
        items.insert(0, x * 2)
        items.extend([x * 3, x * 4])
        items += [x * 5]
        last = items.pop()
        first = items.pop(0)
        del items[0]
        items.reverse()
        return last - first + items[0] * len(items) + sum(items)

    assert len(check(network(forward)).hcfg.blocks) == 1


def test_a_stack_machine_on_data() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        stack = [x]
        while x.sum() < 12:
            x = x + 1
            stack.append(x)
        while len(stack) > 1:
            top = stack.pop()
            if top.max() > 3:
                stack[-1] = stack[-1] + top
        return stack[0]

    check(network(forward), rows(40))


def test_tuples_swap_and_unpack() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        a, b = x, x + 1
        if x.mean() > 0:
            a, b = b, a
        first, *rest = (a, b, a * b)
        return first, *rest

    check(network(forward))


def test_dicts() -> None:
    def forward(self: Any, x: Tensor) -> dict[str, Any]:
        out = {"x": x, "n": 1}
        out["y"] = x * 2
        if x.sum() > 0:
            out["n"] += 1
        out.update(z=x + 3)
        for key, value in out.items():
            if key == "y":
                out[key] = value + 1
        keys = list(out.keys())
        out["count"] = len(keys)
        if "missing" in out or out.get("missing") is not None:
            out["never"] = x
        return out

    check(network(forward))


def test_dicts_in_and_out() -> None:
    def forward(self: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
        x = batch["x"]
        if x.mean() > batch["threshold"]:
            x = x * batch["pair"][0] + batch["pair"][1]
        return OrderedDict(x=x, length=torch.tensor(len(batch)))

    inputs = [({"x": x, "threshold": 0.1, "pair": (torch.ones(4) * 2, 3.5)},) for (x,) in rows(12)]
    check(network(forward), inputs)


def test_comprehensions() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        scores = [layer(x) for layer in self.layers]
        best = [s for i, s in enumerate(scores) if i % 2 == 0]
        table = sum(s.sum() for s in best)
        return torch.stack(scores).sum(0) + table

    layers = nn.ModuleList([linear(seed=s) for s in range(3)])
    check(network(forward, layers=layers))


def test_slices_by_data_of_a_list_of_known_length() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        steps = [x * i for i in range(4)]
        count = int((x > 0).sum())
        total, names = torch.zeros_like(x), []
        for step in reversed(steps[:count]):
            total = total + step * 2
            names.append(count)
        return total, names, len(steps[1:count]), [1, 2, 3, 4][count:]

    check(network(forward))


def test_a_loop_that_gathers_lists_of_several_lengths_is_unrolled() -> None:
    def forward(self: Any, x: Tensor) -> list[list[int]]:
        found = []
        for row in range(2):
            tags = [int(x[0, row].item())]
            while tags[-1] > 0:
                tags.append(tags[-1] - 1)
            tags.reverse()
            found.append(tags)
        return found

    check(network(forward))


def test_slices_and_ellipsis() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x[..., 1:3] + x[:, ::2] * x[:, -1:]
        return torch.cat([y, x[:, None].squeeze(1)], -1)

    assert len(check(network(forward)).hcfg.blocks) == 1


@pytest.mark.parametrize("start", [0, 1])
def test_indexing_a_tensor_by_a_number_from_data(start: int) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        k = int(x.argmax())
        row = self.table[k]
        if k > self.start:
            row = row + self.table[k - 1]
        return row * x[0, k]

    table = torch.arange(20.0).view(5, 4)
    check(network(forward, table=table, start=start), rows(40))


def test_embedding_of_a_token() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        token = torch.tensor([int(x.argmax())])
        return self.embed(token) + x

    torch.manual_seed(0)
    check(network(forward, embed=nn.Embedding(4, 4)))


def test_indexed_assignment() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = torch.zeros(3, 4)
        y[0] = x[0]
        y[1, 2:] = 7
        y[:, 0] += 1
        if x.mean() > 0:
            y[2] = y[0] * 2
        return y

    check(network(forward))


def test_indexed_assignment_in_a_loop() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        y = torch.zeros(8, 4)
        n = 0
        while n < 8 and x.norm() < 20:
            x = x * 1.7
            y[n] = x[0]
            n += 1
        return y, n

    check(network(forward))


def test_in_place_operations_and_views() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x.clone()
        view = y.view(2, 2)
        view[0].mul_(2)
        if y.sum() > 0:
            view.add_(1)
        y.clamp_(-2, 2)
        return y + view.sum()

    check(network(forward))


def test_arguments_change_in_place_as_in_eager() -> None:
    def forward(self: Any, batch: dict[str, Tensor], other: Tensor) -> Tensor:
        x = batch["x"]
        x.relu_()
        while x.sum() < 10:
            x[0] += 1
        if other.mean() > 0:
            other = other + 1
        return x * other

    module = network(forward)
    program = check(module, [({"x": x}, x - 1) for (x,) in rows(12)])
    for kind in (torch.tensor, numpy.array):
        given, other = (
            kind([[-1.0, 2.0, 0.5, 1.0]], dtype=F32[kind]),
            kind([[1.0, 2.0, 3.0, 4.0]], dtype=F32[kind]),
        )
        expected = torch.tensor(given.tolist())
        result = module({"x": expected}, torch.tensor(other.tolist()))
        assert program({"x": given}, other).tolist() == result.tolist()
        assert given.tolist() == expected.tolist()
        assert other.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_a_read_only_argument_that_would_change_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return x.add_(1) * 2

    program = check(network(forward))
    given = numpy.zeros((1, 4), "float32")
    given.flags.writeable = False
    with pytest.raises(InputError, match="x: the network changes this argument in place"):
        program(given)


@pytest.mark.parametrize("name", ["unsqueeze_", "squeeze_", "transpose_", "t_"])
def test_views_in_place(name: str) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x * 2
        arguments = {"unsqueeze_": (0,), "transpose_": (0, 1)}.get(self.name, ())
        getattr(y, self.name)(*arguments)
        y += 1
        return y

    assert len(check(network(forward, name=name)).hcfg.blocks) == 1
