"""The way that one call takes through a program, as one region without control flow.

This is the strongest form that a static compiler could be given: all blocks of the path in one
graph, and no decision left. What is decided on is computed all the same, or a compiler would leave
out the gates and exits of the network. It is right for calls that take the same path only. A number
that is read from a tensor and put into one again stays a tensor; one that is computed with in
between becomes a constant, and the path is then right for this one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dyncc.backends.aten import run_region
from dyncc.core.errors import InternalError
from dyncc.ir.hcfg import (
    Branch,
    Hcfg,
    HostOp,
    Operand,
    Raise,
    Region,
    RegionCall,
    Return,
    Symbolic,
    TensorOp,
    Value,
    tree_leaves,
)
from dyncc.ir.hostops import SCALAR_FUNCTIONS
from dyncc.ir.types import DTYPES, SHORT_DTYPES, TensorType
from dyncc.passes.renaming import renamed_operand
from dyncc.runtime.hostlist import LIST_FUNCTIONS, HostList

#: List operations that only move elements about, and so may be given `_Known` ones.
_MOVES = {
    "list.of", "list.append", "list.push", "list.get", "list.set", "list.len", "list.concat",
    "list.slice", "list.pop", "list.insert", "list.reverse",
}  # fmt: skip
#: Which of their arguments are places in the list.
_PLACES = {
    "list.get": (1,), "list.set": (1,), "list.pop": (1,), "list.insert": (1,),
    "list.slice": (1, 2, 3),
}  # fmt: skip
_JOINS = {"list.stack": "aten.stack.default", "list.cat": "aten.cat.default"}


@dataclass(frozen=True, eq=False)
class _Known:
    """What a value is in this call, and the region's value that it is read from."""

    real: Any
    value: Value


@dataclass(frozen=True)
class Straight:
    """A path as a region.

    Attributes
    ----------
    region
        Its parameters are the tensors among the program's arguments, its results those of the
        program's, and behind them what the host reads on the path.
    results
        How many of them are the program's.
    weights
        Names of the program's weights, one for each of the region's.
    blocks
        How many blocks the path goes through.
    """

    region: Region
    results: int
    weights: tuple[str, ...]
    blocks: int


def straighten(
    program: Hcfg, weights: Mapping[str, torch.Tensor], arguments: Sequence[Any]
) -> Straight:
    """The path that a call takes.

    Parameters
    ----------
    program
        The program.
    weights
        Its weights.
    arguments
        A torch tensor or scalar for each parameter of its first block.

    Raises
    ------
    InternalError
        If the path ends in an exception.
    """
    return _Walk(program, weights).run(arguments)


class _Walk:
    """Runs a program, and writes down the tensor operations that come along."""

    def __init__(self, program: Hcfg, weights: Mapping[str, torch.Tensor]) -> None:
        self._program = program
        self._weights = weights
        self._ops: list[TensorOp] = []
        self._used: dict[str, Value] = {}
        self._read: dict[Value, None] = {}
        self._count = 0

    def run(self, arguments: Sequence[Any]) -> Straight:
        block, blocks = self._program.entry, 1
        params: list[Value] = []
        values: list[Any] = []
        for argument in arguments:
            if isinstance(argument, torch.Tensor):
                params.append(self._new(argument))
                values.append(_Known(argument, params[-1]))
            else:
                values.append(argument)
        while True:
            here: dict[Value, Any] = dict(zip(block.params, values, strict=True))
            for op in block.ops:
                if isinstance(op, RegionCall):
                    self._call(op, here)
                else:
                    self._host(op, here)
            terminator = block.terminator
            match terminator:
                case Return(result):
                    leaves = [here[value] for value in tree_leaves(result)]
                    results = [item.value for item in self._tensors(leaves)]
                    read = [value for value in self._read if value not in {*results, *params}]
                    region = Region(
                        "path", tuple(params), tuple(self._used.values()), tuple(self._ops),
                        (*results, *read),
                    )  # fmt: skip
                    return Straight(region, len(results), tuple(self._used), blocks)
                case Raise(exception):
                    raise InternalError(f"the path raises {exception}")
                case Branch(condition, then, orelse):
                    jump = then if _real(here[condition]) else orelse
                case _:
                    jump = terminator
            block, blocks = self._program.blocks[jump.target], blocks + 1
            values = [here[value] for value in jump.args]

    def _tensors(self, leaves: Sequence[Any]) -> list[_Known]:
        """The tensors among results, and in lists among them."""
        found: list[_Known] = []
        for leaf in leaves:
            if isinstance(leaf, HostList):
                found += self._tensors(list(leaf))
            elif isinstance(leaf, _Known) and isinstance(leaf.real, torch.Tensor):
                found.append(leaf)
        return found

    def _new(self, tensor: torch.Tensor) -> Value:
        self._count += 1
        dtype = SHORT_DTYPES[str(tensor.dtype).removeprefix("torch.")]
        return Value(f"p{self._count}", TensorType(dtype, tuple(tensor.shape)))

    def _emit(self, target: str, args: tuple[Operand, ...], real: torch.Tensor) -> _Known:
        """One more operation, with one result."""
        value = self._new(real)
        self._ops.append(TensorOp(target, args, (), (value,)))
        return _Known(real, value)

    # -- calls of regions ----------------------------------------------------------------------

    def _call(self, op: RegionCall, here: dict[Value, Any]) -> None:
        region = self._program.regions[op.region]
        reals = [here[value].real for value in op.args]
        found = run_region(region, reals, [self._weights[name] for name in op.weights])
        names: dict[Value, Value] = {
            inner: here[outer].value for inner, outer in zip(region.params, op.args, strict=True)
        }
        for inner, name in zip(region.weights, op.weights, strict=True):
            names[inner] = self._used.setdefault(name, Value(f"w{len(self._used)}", inner.type))
        for inside in region.ops:
            for value in inside.results:
                if value is not None:
                    self._count += 1
                    names[value] = replace(value, name=f"p{self._count}")
            self._ops.append(
                TensorOp(
                    inside.target,
                    tuple(renamed_operand(arg, names) for arg in inside.args),
                    tuple((key, renamed_operand(arg, names)) for key, arg in inside.kwargs),
                    tuple(None if value is None else names[value] for value in inside.results),
                )
            )
        for outer, inner, real in zip(op.results, region.results, found, strict=True):
            here[outer] = _Known(real, names[inner])

    # -- the host ------------------------------------------------------------------------------

    def _host(self, op: HostOp, here: dict[Value, Any]) -> None:
        args = [here[arg] if isinstance(arg, Value) else arg for arg in op.args]
        found = self._result(op.op, args)
        results = found if len(op.results) != 1 else (found,)
        here.update(zip(op.results, results, strict=True))

    def _result(self, name: str, args: list[Any]) -> Any:
        match name:
            case "item":
                # A number that is read from a tensor, and may become one again.
                self._read[args[0].value] = None
                return _Known(args[0].real.item(), args[0].value)
            case "tensor.list":
                self._read[args[0].value] = None
                return HostList(args[0].real.tolist())
            case "tensor":
                return self._tensor(args[0], args[1])
            case "list.tensor":
                parts = [self._tensor(item, args[1]) for item in args[0]]
                return self._joined("list.stack", parts, 0)
            case "dim":
                return args[0].real.shape[args[1]]
            case "print" | "log":
                return ()
            case _ if name in _JOINS:
                return self._joined(name, list(args[0]), args[1])
            case _ if name in _MOVES:
                return LIST_FUNCTIONS[name](*_with_places(name, args))
            case _ if name in LIST_FUNCTIONS:
                return LIST_FUNCTIONS[name](HostList(map(_real, args[0])), *map(_real, args[1:]))
            case _ if name in SCALAR_FUNCTIONS:
                return SCALAR_FUNCTIONS[name](*map(_real, args))
            case _:
                raise InternalError(f"a path cannot hold the operation {name!r}")

    def _tensor(self, scalar: Any, symbol: Symbolic) -> _Known:
        """A number as a tensor without dimensions."""
        dtype = getattr(torch, DTYPES[symbol.name])
        real = torch.tensor(_real(scalar), dtype=dtype)
        if isinstance(scalar, _Known):
            flat = self._emit("aten.reshape.default", (scalar.value, ()), real)
            args = (flat.value, Symbolic("dtype", symbol.name))
            return self._emit("aten.to.dtype", args, real)
        literal = _real(scalar)
        value = self._new(real)
        kwargs = (("dtype", Symbolic("dtype", symbol.name)),)
        self._ops.append(TensorOp("aten.full.default", ((), literal), kwargs, (value,)))
        return _Known(real, value)

    def _joined(self, name: str, parts: list[Any], dim: int) -> _Known:
        join = torch.stack if name == "list.stack" else torch.cat
        real = join([part.real for part in parts], dim)
        return self._emit(_JOINS[name], (tuple(part.value for part in parts), dim), real)


def _real(value: Any) -> Any:
    """What a value is in this call."""
    return value.real if isinstance(value, _Known) else value


def _with_places(name: str, args: list[Any]) -> list[Any]:
    """Arguments of a list operation, places in the list as plain numbers."""
    places = _PLACES.get(name, ())
    return [_real(arg) if index in places else arg for index, arg in enumerate(args)]
