"""Carries out a program: a trampoline over blocks whose operations were bound at load time."""

from __future__ import annotations

import builtins
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy

from dyncc.ir.hcfg import (
    Block,
    Branch,
    Each,
    Hcfg,
    HostOp,
    Jump,
    Leaf,
    Literal,
    Operand,
    Raise,
    Record,
    RegionCall,
    Return,
    Series,
    Struct,
    Symbolic,
    Tree,
    Value,
)
from dyncc.ir.hostops import SCALAR_FUNCTIONS, formatted
from dyncc.ir.types import DTYPES, TensorType
from dyncc.runtime.hostlist import JOINERS, LIST_FUNCTIONS, HostList
from dyncc.runtime.structs import struct_maker

#: The values of one block, by slot.
Slots = list[Any]
Step = Callable[[Slots], None]


class Regions(Protocol):
    """What a back end gives the runtime."""

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., Sequence[Any]]:
        """A region with the weights of one call site; takes and gives back-end tensors."""
        ...

    def from_external(self, array: Any) -> Any:
        """A back-end tensor for a torch tensor or NumPy array, without a copy where possible."""
        ...

    def to_numpy(self, tensor: Any) -> numpy.ndarray:
        """A NumPy view of a back-end tensor."""
        ...


class Observer(Protocol):
    """Sees a run, and may lead it elsewhere."""

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        """A block begins, with these back-end values as its parameters."""
        ...

    def decide(self, block: str, truth: bool) -> bool:
        """What the branch at the end of a block is to do, given the truth of its condition."""
        ...


class _Code:
    """A block ready to run."""

    __slots__ = ("condition", "exit", "jumps", "name", "size", "steps")

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.size = 0
        self.condition = -1
        self.jumps: list[tuple[_Code, list[int]]] = []
        self.exit: Callable[[Slots], Any] | None = None


class Executor:
    """A program bound to regions and weights.

    Parameters
    ----------
    program
        The program.
    regions
        The back end's compiled regions.
    weights
        Every weight of the program.
    """

    def __init__(
        self, program: Hcfg, regions: Regions, weights: Mapping[str, numpy.ndarray]
    ) -> None:
        self._regions = regions
        self._weights = weights
        self._codes = {name: _Code(name) for name in program.blocks}
        for block in program.blocks.values():
            self._bind(block)
        self._entry = self._codes[program.entry.name]

    def run(
        self,
        arguments: list[Any],
        counts: dict[tuple[str, int], int] | None = None,
        observer: Observer | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Run from the entry.

        Parameters
        ----------
        arguments
            Back-end tensors and scalars, one for each parameter of the entry block.
        counts
            If given, the number of times each edge was taken is added here.
        observer
            If given, it is told of each block, and decides each branch.

        Returns
        -------
        result, state
            The result with back-end tensors in it, and new values of module state by name.
        """
        code, values = self._entry, arguments
        while True:
            if observer is not None:
                observer.enter(code.name, values)
            values = values + [None] * (code.size - len(values))
            for step in code.steps:
                step(values)
            if code.exit is not None:
                found: tuple[Any, dict[str, Any]] = code.exit(values)
                return found
            way = 0 if code.condition < 0 or values[code.condition] else 1
            if observer is not None and code.condition >= 0:
                way = 0 if observer.decide(code.name, way == 0) else 1
            if counts is not None:
                edge = (code.name, way)
                counts[edge] = counts.get(edge, 0) + 1
            code, sources = code.jumps[way]
            values = [values[slot] for slot in sources]

    # -- binding -------------------------------------------------------------------------------

    def _bind(self, block: Block) -> None:
        code = self._codes[block.name]
        slots = {value: slot for slot, value in enumerate(block.params)}

        def define(values: Sequence[Value]) -> list[int]:
            for value in values:
                slots[value] = len(slots)
            return [slots[value] for value in values]

        for op in block.ops:
            if isinstance(op, RegionCall):
                sources = [slots[value] for value in op.args]
                weights = [self._weights[name] for name in op.weights]
                function = self._regions.bind(op.region, weights, op.weights)
                code.steps.append(_call(function, sources, define(op.results)))
            else:
                code.steps.append(self._host(op, slots, define))
        terminator = block.terminator
        match terminator:
            case Jump():
                code.jumps = [self._jump(terminator, slots)]
            case Branch(condition, then, orelse):
                code.condition = slots[condition]
                code.jumps = [self._jump(then, slots), self._jump(orelse, slots)]
            case Return(result, state):
                build = _builder(result, slots)
                updates = [(name, _builder(tree, slots)) for name, tree in state]
                code.exit = lambda values: (
                    build(values),
                    {name: update(values) for name, update in updates},
                )
            case Raise(exception, args):
                code.exit = _raiser(exception, [self._argument(arg, slots) for arg in args])
        code.size = len(slots)

    def _argument(self, operand: Operand, slots: Mapping[Value, int]) -> Callable[[Slots], Any]:
        """Reads an argument of an exception; tensors are NumPy arrays there."""
        read = _reader(operand, slots)
        if isinstance(operand, Value) and isinstance(operand.type, TensorType):
            return lambda values: self._regions.to_numpy(read(values))
        return read

    def _jump(self, jump: Jump, slots: Mapping[Value, int]) -> tuple[_Code, list[int]]:
        return self._codes[jump.target], [slots[value] for value in jump.args]

    def _host(
        self, op: HostOp, slots: Mapping[Value, int], define: Callable[[Sequence[Value]], list[int]]
    ) -> Step:
        readers = [_reader(arg, slots) for arg in op.args if not isinstance(arg, Symbolic)]
        function = self._function(op)
        targets = define(op.results)
        if len(targets) == 1:
            (target,) = targets

            def step(values: Slots) -> None:
                values[target] = function(*[read(values) for read in readers])

            return step

        def steps(values: Slots) -> None:
            results = function(*[read(values) for read in readers])
            for slot, result in zip(targets, results, strict=True):
                values[slot] = result

        return steps

    def _function(self, op: HostOp) -> Callable[..., Any]:
        if op.op in SCALAR_FUNCTIONS:
            return SCALAR_FUNCTIONS[op.op]
        if op.op in LIST_FUNCTIONS:
            found: Callable[..., Any] = LIST_FUNCTIONS[op.op]
            return found
        regions = self._regions
        if op.op == "print":
            return _print
        if op.op == "log":
            return _log
        if op.op == "format":
            if isinstance(op.args[0], Value) and isinstance(op.args[0].type, TensorType):
                return lambda tensor, *how: formatted(_shown(regions.to_numpy(tensor)), *how)
            return formatted
        if op.op == "item":
            return lambda tensor: regions.to_numpy(tensor).item()
        if op.op == "tensor.list":
            return lambda tensor: HostList(regions.to_numpy(tensor).tolist())
        if op.op == "dim":
            return lambda tensor, dim: regions.to_numpy(tensor).shape[dim]
        if op.op in JOINERS:
            join: Callable[..., numpy.ndarray] = JOINERS[op.op]
            return lambda items, dim: regions.from_external(
                join([regions.to_numpy(item) for item in items], axis=dim)
            )
        symbol = next(arg for arg in op.args if isinstance(arg, Symbolic))
        dtype = numpy.dtype(DTYPES[symbol.name])
        if op.op == "tensor":
            return lambda scalar: regions.from_external(numpy.array(scalar, dtype))
        assert op.op == "list.tensor"
        return lambda items: regions.from_external(numpy.array(list(items), dtype))


def _print(text: str) -> tuple[()]:
    sys.stdout.write(text)
    return ()


def _log(name: str, level: int, text: str) -> tuple[()]:
    logging.getLogger(name).log(level, "%s", text)
    return ()


def _shown(array: numpy.ndarray) -> Any:
    """What shows an array as PyTorch shows a tensor; without PyTorch, as NumPy does."""
    try:
        import torch
    except ImportError:
        return array
    return torch.from_numpy(numpy.array(array))


def _call(function: Callable[..., Sequence[Any]], sources: list[int], targets: list[int]) -> Step:
    def step(values: Slots) -> None:
        results = function(*[values[slot] for slot in sources])
        for slot, result in zip(targets, results, strict=True):
            values[slot] = result

    return step


def _reader(operand: Operand, slots: Mapping[Value, int]) -> Callable[[Slots], Any]:
    if isinstance(operand, Value):
        slot = slots[operand]
        return lambda values: values[slot]
    return lambda values: operand


def _raiser(exception: str, args: list[Callable[[Slots], Any]]) -> Callable[[Slots], Any]:
    kind: type[BaseException] = getattr(builtins, exception)

    def leave(values: Slots) -> Any:
        raise kind(*[read(values) for read in args])

    return leave


def _builder(tree: Tree, slots: Mapping[Value, int]) -> Callable[[Slots], Any]:
    """A function that builds the Python object of a tree."""
    match tree:
        case Leaf(value):
            slot = slots[value]
            return lambda values: values[slot]
        case Literal(literal):
            return lambda values: literal
        case Series(kind, items):
            parts = [_builder(item, slots) for item in items]
            make = tuple if kind == "tuple" else list
            return lambda values: make([part(values) for part in parts])
        case Record(pairs):
            fields = [(key, _builder(item, slots)) for key, item in pairs]
            return lambda values: {key: part(values) for key, part in fields}
        case Struct(kind, name, pairs):
            make_struct = struct_maker(kind, name, tuple(key for key, _ in pairs))
            parts = [_builder(item, slots) for _, item in pairs]
            return lambda values: make_struct([part(values) for part in parts])
        case Each(element):
            return lambda values: _rows(element, values, slots)


def _rows(element: Tree, values: Slots, slots: Mapping[Value, int]) -> list[Any]:
    """The items of a list of run-time length, whose leaves are kept as one list each."""
    match element:
        case Leaf(value):
            return list(values[slots[value]])
        case Series(kind, items):
            columns = [_rows(item, values, slots) for item in items]
            make = tuple if kind == "tuple" else list
            return [make(row) for row in zip(*columns, strict=True)]
        case _:
            raise TypeError("the elements of a list of run-time length are made of leaves")
