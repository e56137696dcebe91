"""What cannot be compiled is refused with place, reason and remedy; nothing is traced wrongly."""

from __future__ import annotations

import datetime
import os
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor

import dyncc
from dyncc.core.errors import ModelError, UnsupportedError

X = (torch.ones(1, 4),)


def refused(forward: Any, **members: Any) -> str:
    """The message with which a network is refused; every place in it is in this file."""
    with pytest.raises(UnsupportedError) as caught:
        dyncc.compile(network(forward, **members), X, backend="eager")
    for diagnostic in caught.value.diagnostics:
        file, line, column = diagnostic.where.rsplit(":", 2)
        text = Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert diagnostic.source.strip() == text.strip()
        assert int(column) <= len(text)
        assert diagnostic.hint
    return str(caught.value)


def test_every_construct_on_every_path_is_reported_at_once() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = x + time.time()
        else:
            x = x[torch.nonzero(x).squeeze()]
        return x

    message = refused(forward)
    assert message.startswith("2 constructs cannot be compiled")
    assert "a call of `time`" in message
    assert "the number of its dimensions would depend on data" in message


def test_what_stands_behind_a_problem_is_reported_with_it() -> None:
    def helper(y: Any) -> Any:
        if y > 3:
            random.random()
        return y

    def forward(self: Any, x: Tensor) -> Tensor:
        found = x.to_sparse()
        found = helper(found) + found.values()
        while found.sum() < 3:
            found = found + x * os.getpid()
        for part in found:
            x = x + part.item()
            os.times()
        names = [input(name) for name in ("a", "b")]
        with names[0] as file:
            x = x + len(file.read())
        assert isinstance(found, Tensor), f"{id(x)}"
        return x if found.shape[0] > 2 else x + time.time()

    message = refused(forward)
    assert message.startswith("7 constructs cannot be compiled")
    for name in ("sparse_coo", "random", "`getpid`", "`times`", "`input`", "`id`", "`time`"):
        assert name in message


def test_what_follows_from_a_problem_is_none() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        sizes = random.choices([1, 2])
        if len(sizes) > 2:
            raise ValueError(sizes)
        left, right = x.split(sizes, dim=1)
        numbers = [*sizes, x]
        torch.cat(numbers)
        x.resize_(sizes[0])
        left = left[sizes[1] : x.shape[7]]
        weights = {size: getattr(self, f"layer{size}") for size in sizes}
        return weights[left](right) + sorted(numbers)[0]

    message = refused(forward)
    assert message.startswith("1 construct cannot be compiled")
    assert "choices" in message


def test_an_unreached_construct_does_no_harm() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if self.training:
            yield_from_nowhere = (i for i in [await_me])  # noqa: F821
            del yield_from_nowhere
        return x

    check(network(forward))


def test_lists_whose_elements_differ() -> None:
    def forward(self: Any, x: Tensor) -> list[Tensor]:
        items: list[Tensor] = []
        while x.sum() < 100:
            items.append(x if len(items) % 2 else x[0])
            x = x + 1
        return items

    assert "its elements differ" in refused(forward)


def test_a_change_of_a_foreign_object() -> None:
    class Box:
        value = 1

    def forward(self: Any, x: Tensor) -> Tensor:
        self.box.value = 2
        return x

    assert "not a module of this network" in refused(forward, box=Box())


def test_a_tensor_kept_by_a_list_and_changed_later() -> None:
    def forward(self: Any, x: Tensor) -> list[Tensor]:
        seen = []
        x = x * 1
        while x.sum() < 10:
            seen.append(x)
            x.add_(1)
        return seen

    assert "in-place change" in refused(forward)


def test_a_name_without_a_value() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = y + x  # noqa: F821
        return y

    assert "nothing gives it a value before" in refused(forward)


def test_shape_errors_on_a_path_are_reported_and_not_traced() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x @ x
        return x

    assert "it raises RuntimeError" in refused(forward)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (random.random, ()),
        (random.Random(0).uniform, (0, 1)),
        (numpy.random.rand, ()),
        (numpy.random.default_rng(0).normal, ()),
        (time.time, ()),
        (datetime.datetime.now, ()),
        (os.getenv, ("HOME",)),
        (Path.cwd, ()),
        (open, ("/dev/null",)),
        (warnings.warn, ("x",)),
    ],
)
def test_what_the_world_says_is_not_frozen(function: Any, arguments: Any) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.function(*arguments)
        return x

    message = refused(forward, function=function)
    assert "at compile time" in message


def test_a_result_of_a_foreign_type() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return {"x": x, "set": self.items}

    assert "a result of type frozenset" in refused(forward, items=frozenset({1, 2}))


def test_source_that_cannot_be_read() -> None:
    scope: dict[str, Any] = {}
    exec("def forward(self, x):\n    return x", scope)  # noqa: S102
    with pytest.raises(ModelError, match=r"source of Network\.forward cannot be read"):
        dyncc.compile(network(scope["forward"]), X, backend="eager")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing a required argument: 'x'"),
        ((torch.ones(1), torch.ones(1)), "too many positional arguments"),
        ((object(),), "the example argument x is a object"),
        ({"y": torch.ones(1)}, "missing a required argument: 'x'"),
    ],
)
def test_example_arguments_that_do_not_fit(arguments: Any, message: str) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return x

    with pytest.raises(ModelError, match=message):
        dyncc.compile(network(forward), arguments, backend="eager")


def test_what_is_no_module_or_no_back_end() -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        dyncc.compile(lambda x: x, X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"backend must be one of tvm, .*eager"):
        dyncc.compile(linear(), X, backend="cuda")


def test_refusing_leaves_the_module_as_it_was() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.seen.add_(1)
        return x + time.time()

    module = network(forward, seen=torch.zeros(1))
    with pytest.raises(UnsupportedError):
        dyncc.compile(module, rows()[0], backend="eager")
    assert module.seen.item() == 0
