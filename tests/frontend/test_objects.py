"""Objects of the user's classes: named tuples, data classes, enums, dicts with attributes."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from frontend.differential import check, linear, network, rows
from torch import Tensor

import dyncc
from dyncc.core.errors import InputError, UnsupportedError


class Exit(NamedTuple):
    logits: Tensor
    layer: int = 0


Pair = namedtuple("Pair", "first second")


@dataclass
class Beam:
    tokens: list[int]
    state: Tensor
    score: float = 0.0
    notes: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.tokens)

    def step(self, x: Tensor) -> Beam:
        if x.sum() > 0:
            return Beam([*self.tokens, 1], self.state + x, self.score + 1.0)
        return dataclasses.replace(self, state=self.state * 2)


@dataclass(frozen=True)
class Config:
    depth: int = 3
    mode: str = "up"


class Output(OrderedDict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]


@dataclass
class Declared(OrderedDict[str, Any]):
    logits: Tensor | None = None
    loss: Tensor | None = None
    hidden: tuple[Tensor, ...] | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self.values())

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None:
                self[item.name] = value


class Mode(enum.Enum):
    UP = "up"
    DOWN = "down"


class Average:
    """A plain object that is changed."""

    unit = 1.0

    def __init__(self, start: float = 0.0) -> None:
        self.total: Any = start
        self.count = 0

    def add(self, x: Tensor) -> None:
        self.total = self.total + x
        self.count += 1

    @property
    def value(self) -> Tensor:
        return self.total / max(self.count, 1)

    @value.setter
    def value(self, x: Tensor) -> None:
        self.total, self.count = x, 1

    @classmethod
    def of(cls, x: Tensor) -> Average:
        found = cls()
        found.add(x)
        return found

    def __call__(self, x: Tensor) -> Tensor:
        return self.value + x if x.sum() > 0 else x

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.total[0, index]


class Weighted(Average):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def add(self, x: Tensor) -> None:
        super().add(x * self.weight)


def test_named_tuples_as_values_and_results() -> None:
    def forward(self: Any, x: Tensor) -> Exit:
        found = Exit(x * 2, layer=3)
        if found.logits.sum() > 0:
            found = found._replace(logits=found.logits + 1)
        first, second = Pair(found.logits, 2)
        assert found[0] is found.logits
        assert len(found) == 2
        return Exit(first * second, found.layer + int(x[0, 0]))

    program = check(network(forward))
    found = program(torch.ones(1, 4))
    assert found.layer == 4
    assert found._fields == ("logits", "layer")
    assert type(found).__name__ == "Exit"


def test_results_of_torch_with_names() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        best = x.max(dim=1)
        if best.values.sum() > 0:
            return best.indices
        values, indices = x.topk(2)
        return torch.linalg.svd(x).S.sum() + values.sum() + indices.sum()

    check(network(forward))


def test_a_data_class_that_is_changed() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        beam = Beam([0], x)
        other = beam
        beam = beam.step(x)
        other.score -= 1.0
        other.notes.append(x)
        return beam.length, beam.state, beam.score, other.score, other.notes

    check(network(forward))


def test_a_data_class_as_result_and_argument() -> None:
    def forward(self: Any, beam: Beam) -> Beam:
        return beam.step(beam.state - 1)

    inputs = [(Beam([1, 2], x),) for (x,) in rows()]
    program = check(network(forward), inputs)
    found = program(inputs[0][0])
    names = [item.name for item in dataclasses.fields(found)]
    assert names == ["tokens", "state", "score", "notes"]
    with pytest.raises(InputError, match="expected a dataclass like Beam"):
        program(torch.ones(1))


def test_a_data_class_through_a_loop_on_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        found = Exit(x, 0)
        kept = Average()
        while found.logits.abs().max() > 1:
            found = Exit(found.logits / 2, found.layer + 1)
            kept.add(found.logits)
        return found.logits, found.layer, kept.total + x

    program = check(network(forward))
    assert len(program.hcfg.blocks) < 8


def test_configuration_objects() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for _ in range(self.config.depth):
            x = x + 1
        match self.config:
            case Config(mode="down"):
                return -x
            case Config(depth=depth):
                return x * depth

    check(network(forward, config=Config()))


def test_enums() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, str]:
        mode = Mode.UP if x.sum() > 0 else Mode.DOWN
        if mode is Mode.UP and mode in (Mode.UP,) and self.mode == Mode("down"):
            x = x * 2
        return x, mode.value

    check(network(forward, mode=Mode.DOWN))


def test_plain_objects() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        average = Average()
        alias = average
        if x[0, 0] > 0:
            alias.add(x * 2)
        average.add(x)
        weighted = Weighted(0.5)
        weighted.add(x)
        weighted.value = weighted.value + 1
        seen = len(average), average[1], Average.of(x).value, average.unit
        return average(x), weighted.value, seen, hasattr(average, "nothing"), callable(average)

    check(network(forward))


def test_dicts_with_attributes() -> None:
    def forward(self: Any, x: Tensor) -> Output:
        found = Output(logits=x, loss=x.sum())
        if found.loss > 0:
            found["logits"] = found.logits * 2
        return found

    program = check(network(forward))
    assert program(torch.ones(1, 4)).loss == 4


def test_outputs_with_declared_fields() -> None:
    def forward(self: Any, x: Tensor) -> Declared:
        found = Declared(logits=x * 2)
        if x.sum() > 0:
            found.loss = x.mean()
        elif "loss" in found:
            raise AssertionError
        assert found["logits"] is found.logits is found.to_tuple()[0]
        for name, value in found.items():
            x = x + value * len(name)
        return Declared(logits=x, hidden=(x, x + 1))

    program = check(network(forward))
    assert list(program(torch.ones(1, 4))) == ["logits", "hidden"]


def test_partial_functions() -> None:
    def scale(x: Tensor, by: float = 2.0, *, shift: float = 0.0) -> Tensor:
        return x * by + shift if x.sum() > 0 else x

    def forward(self: Any, x: Tensor) -> Tensor:
        shifted = functools.partial(self.scale, shift=x.mean().item())
        return self.act(shifted(x, by=3.0)) + functools.partial(self.layer)(x)

    act = functools.partial(F.leaky_relu, negative_slope=0.2)
    check(network(forward, scale=scale, act=act, layer=linear()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: Average(), "a result of type Average"),
        (lambda x: setattr(Exit(x), "layer", 1), "Exit objects cannot be changed"),
        (lambda x: setattr(Config(), "depth", 1), "Config objects cannot be changed"),
        (lambda x: 1 if Average() else 2, "the truth of a Average"),
        (lambda x: Average().missing, "it has no such attribute"),  # type: ignore[attr-defined]
        (lambda x: Average(1, 2, 3), "too many positional arguments"),  # type: ignore[call-arg]
        (lambda x: torch.stack(Beam([], x)), "a Beam passed to library code"),  # type: ignore[arg-type]
    ],
)
def test_what_objects_cannot_do(make: Any, message: str) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return self.make(x)

    with pytest.raises(UnsupportedError, match=message):
        dyncc.compile(network(forward, make=make), rows()[0], backend="eager")


def test_copies() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        beam = Beam([1], x.clone())
        parts = [x, beam, beam, {"x": x}]
        flat, deep = copy.copy(parts), copy.deepcopy(parts)
        if x.sum() > 0:
            beam.state.add_(1)
            parts[0] = x * 2
        beam.score = 3.0
        seen = deep[1].score, deep[1] is deep[2], deep[1] is beam, flat[1].score
        return parts[0], flat[0], deep[1].state, flat[1].state, deep[3], seen

    check(network(forward))


def test_equality() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n = int(x[0, 0])
        pair = Pair(n, 2)
        same = (
            pair == Pair(0, 2),
            pair == (1, 2),
            Config(n) == Config(1),
            Config() != Config(3, "up"),
        )
        table = {1: "a"}
        table[1.0] = "b"
        return same, table, x in [x, x + 1], f"{n}" == "0"

    check(network(forward))
