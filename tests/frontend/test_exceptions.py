"""Exceptions: raised on data, matched by class, caught across calls; ``else``, ``finally``."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import torch
from frontend.differential import branches, check, linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.verification import compare


class Stop(Exception):
    """Carries nothing but its arguments."""


class Settled(Stop):
    """A subclass."""


class HighwayException(Exception):
    """As in DeeBERT: an exit that carries its result."""

    def __init__(self, message: Any, exit_layer: int) -> None:
        self.message = message
        self.exit_layer = exit_layer


class Level(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([linear(seed=s) for s in range(count)])
        self.exits = nn.ModuleList([linear(outer=3, seed=s + 9) for s in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        for i, (layer, way) in enumerate(zip(self.layers, self.exits, strict=True)):
            x = layer(x) + x
            logits = way(x)
            if logits.softmax(-1).max() > 0.7:
                raise HighwayException((logits, x), i + 1)
        return x


class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Level(3)
        self.head = linear(outer=3, seed=40)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        layer = 4
        try:
            x = self.encoder(x)
            logits = self.head(x)
        except HighwayException as e:
            outputs = e.message
            layer = e.exit_layer
            logits = outputs[0]
        return logits, layer


def test_exits_by_exception() -> None:
    program = check(Highway(), rows(200))
    assert len(program.hcfg.blocks) <= 10


def test_caught_where_raised() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        try:
            if x.sum() > 0:
                raise Stop(x * 2)
            y = x - 1
        except Stop as stop:
            y = stop.args[0]
        return y + 1

    check(network(forward))


def test_what_follows_is_compiled_once() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for limit in (0.5, 0.6, 0.7, 0.8, 0.9):
            try:
                x = above(x, limit)
            except Stop:
                x = x / 2
            x = x * 0.9 - 0.7
        return x

    program = check(network(forward), rows(300))
    assert len(program.hcfg.blocks) <= 20


def above(x: Tensor, limit: float) -> Tensor:
    if x.abs().max() > limit:
        raise Settled(limit)
    return x + 1


def through(x: Tensor, limit: float) -> Tensor:
    return above(x, limit) * 2


def test_caught_across_calls_and_by_a_base_class() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, float]:
        try:
            y, limit = through(x, 1.0), 0.0
        except KeyError:
            y, limit = x, -1.0
        except (ValueError, Stop) as found:
            y, limit = -x, found.args[0]
        return y, limit

    check(network(forward))


def test_the_first_clause_that_fits() -> None:
    def forward(self: Any, x: Tensor) -> int:
        try:
            if x.sum() > 1:
                raise Settled
            if x.sum() > 0:
                raise Stop
            if x.sum() > -1:
                raise ValueError("negative")
        except Settled:
            return 1
        except Stop:
            return 2
        except:  # noqa: E722
            return 3
        else:
            return 4

    check(network(forward), rows(60))


def test_raised_again_by_name_and_without_one() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, str]:
        try:
            try:
                y = above(x, 1.0)
            except Stop as stop:
                if x.sum() > 0:
                    raise
                if x.min() < -4:
                    raise stop
                if x.min() < -2:
                    raise ValueError("low") from stop
                return x, "inner"
        except Settled:
            y = x * 3
        except ValueError as error:
            return x, str(error)
        return y, "end"

    check(network(forward), rows(80))


def test_else_is_not_protected() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        try:
            try:
                y = above(x, 2.0)
            except Stop:
                y = x
            else:
                y = above(y, 1.5)
        except Settled:
            y = -x
        return y

    check(network(forward), rows(80))


def test_finally_on_every_way_out() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        count = 0
        for i in range(4):
            try:
                x = x + 0.25
                if x.sum() > 8:
                    return x, count
                if x.sum() > 6:
                    break
                if x.sum() > 4:
                    continue
                if x.sum() > 1:
                    raise Stop(i)
                count += 10
            except Stop:
                count += 100
            finally:
                count += 1
                x = x + 0.25
        return x, count

    starts = [(torch.full((1, 4), float(s) / 8),) for s in range(-20, 20)]
    check(network(forward), starts, untaken=3)


def test_finally_that_returns_swallows_the_exception() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        try:
            x = above(x, 1.0)
        finally:
            return x * 2  # noqa: B012

    check(network(forward))


def test_the_value_of_return_is_made_before_finally() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        y = x.clone()
        n = 1
        try:
            if x.sum() > 0:
                return y, n
            n = 2
        finally:
            y.add_(1)
            n += 5
        return y, n

    check(network(forward))


def test_exception_from_a_loop_in_a_loop() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        turns = 0
        try:
            while True:
                while x.sum() < 8:
                    x = x + 1
                    turns += 1
                    if turns > 20:
                        raise Stop
                x = x / 2 - 1
                turns += 3
        except Stop:
            x = -x
        return x, turns

    check(network(forward), rows(30))


def test_retry_until_it_works() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        tries = 0
        while True:
            try:
                y = above(x, 1.0)
                break
            except Stop:
                x = x * 0.5
                tries += 1
        return y, tries

    check(network(forward), rows(30))


def test_errors_of_python_on_known_values() -> None:
    def forward(self: Any, x: Tensor) -> list[Any]:
        found = []
        try:
            found.append(self.table["missing"])
        except KeyError as error:
            found.append(error.args[0])
        try:
            found.append([1, 2][3])
        except IndexError as error:
            found.append(str(error))
        try:
            found.append(self.nothing)
        except AttributeError:
            found.append("no attribute")
        try:
            found.append(int("seven"))
        except (TypeError, ValueError):
            found.append("no number")
        try:
            _a, _b = (1, 2, 3)
        except ValueError:
            found.append("unpack")
        try:
            found.append(x.nothing)
        except AttributeError:
            found.append("tensors have none")
        try:
            helper(x)  # type: ignore[call-arg]
        except TypeError:
            found.append("call")
        iterator = iter([x])
        try:
            while True:
                found.append(next(iterator))
        except StopIteration:
            found.append("end")
        return found

    check(network(forward, table={"here": 1}))


def helper(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def test_division_by_a_number_from_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[float, str]:
        n = int(x[0, 0])
        found = ""
        try:
            quotient = float(7 // n)
        except ZeroDivisionError as error:
            quotient, found = 0.0, str(error)
        try:
            quotient += 1 / float(n)
        except ArithmeticError as error:
            found += str(error)
        return quotient, found

    # The second test comes out as the first did.
    check(network(forward), rows(60), untaken=2)


def test_an_index_from_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[float, Tensor]:
        n = int(x[0, 0] * 2)
        try:
            number = [0.5, 0.25, 0.125][n]
        except IndexError:
            number = -1.0
        try:
            part = x[0, n]
        except LookupError:
            part = x.sum()
        return number, part

    check(network(forward), rows(80), untaken=1)


def test_an_index_of_a_list_of_run_time_length() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, str]:
        items = []
        while x.sum() < 3 and len(items) < 6:
            items.append(x)
            x = x + 0.5
        text = ""
        try:
            x = items[2]
        except IndexError as error:
            text = str(error)
        return x, text

    check(network(forward), rows(60))


def test_what_may_not_fail_needs_no_test() -> None:
    def forward(self: Any, x: Tensor) -> float:
        try:
            n = float(x[0, 0])
            if n > 1:
                raise Stop
            return 1 / (n - 2.5) + n**0.5
        except Stop:
            return 0.0

    assert branches(check(network(forward), [(x.abs(),) for (x,) in rows(30)])) == 1


def test_conversions_that_may_fail() -> None:
    def forward(self: Any, x: Tensor) -> int:
        try:
            return int(x[0, 0])
        except ValueError:
            return -1
        except OverflowError as error:
            return len(str(error))

    values = [1.5, float("nan"), float("inf"), -float("inf")]
    check(network(forward), [(torch.full((1, 4), value),) for value in values])


def test_shapes_that_do_not_fit() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        try:
            return x @ self.weight
        except RuntimeError:
            return x @ self.weight.t()

    check(network(forward, weight=torch.randn(3, 4)))


def test_contexts_without_effect() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.no_grad(), contextlib.nullcontext(x * 2) as y:
            if x.sum() > 0:
                return y
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            y = x + 1
        with torch.profiler.record_function("name"), torch.set_grad_enabled(False):
            return y

    check(network(forward))


def test_autocast_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.t()

    with pytest.raises(UnsupportedError, match="autocast"):
        check(network(forward))


def test_what_nobody_catches_leaves_the_network() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        total = x.sum().item()
        if total > 8:
            raise ValueError("large", total, 7)
        if total > 4:
            raise KeyError(f"{total:.3f}")
        try:
            if total > 2:
                raise Stop(1, total)
            if total > 0:
                raise IndexError
        except KeyError:
            return x
        finally:
            x = x + 1
        if not total > -4:
            raise AssertionError(f"no less than {total:.2f}")
        return x

    outcomes(network(forward), rows(120))


def outcomes(module: nn.Module, inputs: list[Any]) -> None:
    """Compile, and compare results or exceptions; custom ones leave as their builtin base."""
    program = dyncc.compile(module, inputs[0], backend="eager")
    with program.trace() as counts:
        for args in inputs:
            expected, found = outcome(module, args), outcome(program, args)
            if isinstance(expected, Tensor):
                assert torch.allclose(expected, found)
            elif type(expected) in (Stop, Settled):
                assert type(found) is Exception
                assert str(found) == f"{type(expected).__name__}: {expected}"
            else:
                assert type(expected) is type(found)
                assert expected.args == found.args
    assert {(block, way) for block, way, _ in program.hcfg.edges()} == set(counts)


def outcome(function: Any, args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001
        return error


def test_contexts_of_the_users() -> None:
    class Scaled:
        def __init__(self, x: Tensor) -> None:
            self.x = x
            self.left = 0

        def __enter__(self) -> Tensor:
            return self.x * 2

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            self.left += 1 if kind is None else 10
            return kind is not None and issubclass(kind, Stop)

    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        scaled = Scaled(x)
        with scaled as y:
            y = above(y, 2.0)
        with scaled:
            if y.sum() > 1:
                return y, scaled.left
        return x, scaled.left

    check(network(forward), rows(80))


def test_what_may_fail_for_some_data_is_not_put_into_a_try() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        try:
            return self.embedding(x.long().abs())
        except IndexError:
            return x

    with pytest.raises(UnsupportedError, match="may raise IndexError for some data"):
        check(network(forward, embedding=nn.Embedding(4, 4)))

    def overflow(self: Any, x: Tensor) -> float:
        try:
            return math.exp(float(x.sum()))
        except OverflowError:
            return math.inf

    with pytest.raises(UnsupportedError, match=r"`math\.exp` inside of `try`"):
        check(network(overflow))


def test_a_bare_raise_outside_of_except() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise
        return x

    with pytest.raises(UnsupportedError, match="outside of `except`"):
        check(network(forward))


def test_tvm_takes_every_edge_of_the_highway() -> None:
    module = Highway().eval()
    program = dyncc.compile(module, rows()[0])
    found = compare(module, program, rows(200))
    assert not found.untaken(program.hcfg)


def test_a_name_without_a_value_for_some_data() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for turn in range(int(x[0, 0])):
            if turn == 0:
                y = x
            y = y + turn
        if x.sum() > 8:
            del y
        return y

    module, once, twice = network(forward), torch.ones(1, 4), torch.full((1, 4), 2.0)
    program = dyncc.compile(module, (once,), backend="eager")
    for x in (once, twice):
        assert torch.equal(program(x), module(x))
    for x in (torch.zeros(1, 4), torch.full((1, 4), 3.0)):
        for run in (module, program):
            with pytest.raises(UnboundLocalError, match="cannot access local variable 'y'"):
                run(x)


def test_assertions_on_what_tensors_hold() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        torch._assert_async((x > 0).all(), "must be positive")
        if x.sum() > 8:
            torch._assert_async(x.min() - 1)
        return x * 2

    module, good = network(forward), torch.full((1, 4), 0.5)
    program = check(module, [(good,), (torch.full((1, 4), 3.0),)])
    low = torch.tensor([[1.0, 9.0, 9.0, 9.0]])
    for x, text in ((-good, "must be positive"), (low, "nonzero value")):
        for run in (module, program):
            with pytest.raises(RuntimeError, match=text):
                run(x)
