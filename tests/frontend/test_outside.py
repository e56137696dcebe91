"""What existed before the call: decorators and their wrappers, registries, context variables."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import itertools
import logging
from collections.abc import Callable, Iterator, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import torch
from frontend.differential import branches, check, network, rows
from frontend.test_diagnostics import refused
from torch import Tensor, nn

import dyncc
from dyncc.cli import main

MODE: ContextVar[str | None] = ContextVar("mode", default=None)
REQUIRED: ContextVar[int] = ContextVar("required")


def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator whose wrapper has other parameters than what it wraps."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("scale", 2.0)
        return function(*args, **kwargs)

    return wrapper


@doubled
def scaled(x: Tensor, scale: float) -> Tensor:
    return x * scale if x.sum() > 0 else x - scale


class Wrapped(nn.Module):
    @doubled
    def forward(self, x: Tensor, scale: float) -> Tensor:
        return x * scale if x.sum() > 0 else x - scale


class Registry(MutableMapping[str, Any]):
    """A registry as libraries have them, with methods of the standard library's."""

    def __init__(self) -> None:
        self._items = {"double": lambda x: 2 * x}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[key] = value

    def __delitem__(self, key: str) -> None:
        del self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def pick(self, key: str, default: Any) -> Any:
        return super().get(key, default)


class Settings:
    """Settings of a model, as an object of a class of its own."""

    def __init__(self) -> None:
        self.scale = 2.0
        self.sizes = [1, 2]


def test_a_decorator_that_keeps_the_name_of_what_it_wraps() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return scaled(x) + scaled(x, scale=3.0)

    check(network(forward))
    check(Wrapped())


def test_a_registry_of_functions() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        first = self.registry.pick("double", None)
        other = self.registry.pick("none", torch.neg)
        return first(x) if x.sum() > 0 else other(x)

    check(network(forward, registry=Registry()))


def test_functions_are_callable() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def halve(y: Tensor) -> Tensor:
            return y / 2

        steps = (halve, torch.neg, functools.partial(torch.add, other=1), 3)
        return x + sum(callable(step) for step in steps)

    check(network(forward), rows(2))


def with_checks(kind: Any) -> Any:
    """Wraps the ``__init__`` that a data class has got."""
    init = kind.__init__

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("bias", 1.0)
        init(self, *args, **kwargs)

    kind.__init__ = checked
    return kind


@with_checks
@dataclasses.dataclass
class Line:
    slope: Tensor
    bias: float
    places: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.bias = -self.bias if self.slope.sum() > 0 else self.bias


def test_a_wrapper_around_the_init_of_a_data_class() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        line = Line(x, bias=2.0) if x.max() > 1 else Line(slope=x)
        return line.slope * 2 + line.bias + len(line.places)

    check(network(forward), rows(60))


def test_context_variables() -> None:
    def inner(x: Tensor) -> Tensor:
        return x * 2 if MODE.get() == "twice" else x + len(MODE.get() or "")

    def forward(self: Any, x: Tensor) -> Tensor:
        first = inner(x)
        outer = MODE.set("much longer")
        token = MODE.set("twice" if x.sum() > 0 else "once")
        try:
            second = inner(x)
        finally:
            MODE.reset(token)
        third = inner(x)
        MODE.reset(outer)
        try:
            REQUIRED.get()
        except LookupError:
            third = third + REQUIRED.get(5)
        return first + second * third

    check(network(forward), rows())
    assert MODE.get() is None


def test_a_context_variable_that_stays_set_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        MODE.set("on")
        return x

    assert "a context variable that is set when the network returns" in refused(forward)
    assert MODE.get() is None


def test_a_change_of_a_container_is_refused() -> None:
    def appended(self: Any, x: Tensor) -> Tensor:
        self.log.append(1)
        return x + len(self.log)

    def updated(self: Any, x: Tensor) -> Tensor:
        dict.update(self.table, a=1)
        return x + len(self.table)

    def counted(self: Any, x: Tensor) -> Tensor:
        return x + next(self.counter)

    log: list[int] = []
    table: dict[str, int] = {}
    counter = itertools.count()
    assert "`append` of a list that existed before the call" in refused(appended, log=log)
    assert "`update` of a dict that existed before the call" in refused(updated, table=table)
    assert "`next` of a count that existed before the call" in refused(counted, counter=counter)
    assert not log
    assert not table
    assert next(counter) == 0


def test_attention_draws_nothing_without_dropout() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        heads = x.reshape(1, 1, 2, 2)
        found: Tensor = nn.functional.scaled_dot_product_attention(
            heads, heads, heads, dropout_p=0.0
        )
        return found

    check(network(forward))


@contextlib.contextmanager
def shifted(state: dict[str, float], by: float) -> Iterator[float]:
    """Changes a number for a time."""
    before = state["shift"]
    state["shift"] = before + by
    try:
        yield state["shift"]
    finally:
        state["shift"] = before


@contextlib.contextmanager
def forgiving(log: list[int]) -> Iterator[None]:
    """Swallows some errors."""
    log.append(0)
    try:
        yield
    except ValueError:
        log.append(1)
    log.append(2)


def test_a_context_manager_made_of_a_generator() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        state = {"shift": 1.0}
        with shifted(state, 2.0) as total:
            y = x * state["shift"]
            with shifted(state, total):
                if x.sum() > 0:
                    return y + state["shift"]
                y = y - state["shift"]
        return y * state["shift"]

    check(network(forward))


def test_an_exception_in_a_context_manager_made_of_a_generator() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, list[int]]:
        log: list[int] = []
        state = {"shift": 1.0}
        try:
            with forgiving(log), shifted(state, 2.0):
                if x.sum() > 0:
                    raise ValueError
                if x.max() < -1:
                    raise KeyError("low")
                x = x + state["shift"]
        except KeyError:
            log.append(3)
        return x * state["shift"], log

    check(network(forward), rows(40))


def test_constants_decide_when_the_network_is_compiled() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        ends = torch.tensor([2, 5])
        mask = torch.ones(x.shape[1], dtype=torch.long)
        if torch.isin(ends, torch.tensor(2)).any() and not (ends < 0).any():
            x = x + ends[1].item()
        if bool((mask == 1).all()) and int(mask.sum()) == 4:
            x = x * 2
        return x if x.sum() > 0 else -x

    program = check(network(forward))
    assert branches(program) == 1


def test_constants_that_change_decide_when_the_network_runs() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.zeros((), dtype=torch.long)
        while steps < 5:
            if x.abs().sum() < 1:
                steps += 2
            else:
                steps = steps + 1
            x = x / 2
        return x, steps

    check(network(forward), rows(30))


def test_copies_of_what_existed_before() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        settings = copy.deepcopy(self.settings)
        settings.sizes.append(x.shape[0])
        settings.scale = settings.scale + len(settings.sizes)
        table = copy.copy(self.table)
        table["b"] = settings
        if x.sum() > 0:
            settings.sizes.clear()
        return x * table["b"].scale + len(settings.sizes) + len(self.settings.sizes) + len(table)

    settings = Settings()
    check(network(forward, settings=settings, table={"a": 1}))
    assert settings.sizes == [1, 2]


def test_what_may_raise_in_a_context_manager_made_of_a_generator() -> None:
    def finished(self: Any, x: Tensor) -> Tensor:
        state = {"shift": 1.0}
        with shifted(state, 2.0):
            x = x[:, x.argmax(1)] + state["shift"]
        return x if x.sum() > 0 else -x

    check(network(finished), rows(40))


LOGGER = logging.getLogger("tests.outside")


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        LOGGER.debug("not shown")
        if x.sum() > 0:
            LOGGER.warning("the sum is %.3f and %s", x.sum().item(), self.word)
        else:
            LOGGER.log(logging.ERROR, f"{self.word}: {x.shape[1]}")
        return x

    module = network(forward)
    module.word = "positive"
    inputs = rows(8)
    program = check(module, inputs)
    with caplog.at_level(logging.INFO, "tests.outside"):
        caplog.clear()
        for case in inputs:
            module(*case)
        expected = [record.getMessage() for record in caplog.records]
        levels = [record.levelno for record in caplog.records]
        caplog.clear()
        for case in inputs:
            program(*case)
    assert [record.getMessage() for record in caplog.records] == expected
    assert [record.levelno for record in caplog.records] == levels
    assert len({*levels}) == 2


def test_installed_packages_may_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "site-packages" / "with_settings.py"
    package.parent.mkdir()
    package.write_text(
        "import os\n\n\n"
        "def scaled(x):\n"
        "    if os.getenv('WITH_SETTINGS') and 'NO_SETTINGS' not in os.environ:\n"
        "        return x * 2\n"
        "    return x\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("WITH_SETTINGS", "1")
    scaled = importlib.import_module("with_settings").scaled

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = scaled(x)
            return found

    x = torch.ones(2)
    compiled = dyncc.compile(Net(), (x,), tmp_path / "net.dyncc", backend="eager")
    monkeypatch.delenv("WITH_SETTINGS")
    # As it was when the network was compiled, and said.
    assert torch.from_dlpack(compiled(x)).tolist() == [2.0, 2.0]
    read = [f"{name} at {package}:5" for name in ("os.getenv", "os.environ")]
    assert compiled.manifest["frozen"] == read
    assert main(["inspect", str(tmp_path / "net.dyncc")]) == 0
    printed = capsys.readouterr().out
    assert all(f"# as it was when compiled: {line}" in printed.replace("#  ", "#") for line in read)
