"""Carries out a program: its host program, one Python function, calls regions and functions."""

from __future__ import annotations

import builtins
import itertools
import linecache
import logging
import sys
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

import numpy

from dyncc.ir.hcfg import Hcfg, HostOp, RegionCall, Symbolic, Value
from dyncc.ir.hostops import SCALAR_FUNCTIONS, formatted
from dyncc.ir.types import DTYPES, TensorType
from dyncc.runtime.hostcode import Bindings, HostCode, write_host
from dyncc.runtime.hostlist import JOINERS, LIST_FUNCTIONS, HostList

#: Numbers host programs, so that tracebacks find the text of each.
_NUMBERS = itertools.count(1)


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


def sharing(regions: Regions, example: Any) -> Callable[[Any], Any]:
    """What makes back-end tensors of tensors of the class and dtype of this one.

    It is ``regions.from_external``, or what the back end's own ``sharing`` gives for the example:
    a function that does the same to those tensors in less time.
    """
    special: Callable[[Any], Callable[[Any], Any]] | None = getattr(regions, "sharing", None)
    return regions.from_external if special is None else special(example)


class Observer(Protocol):
    """Sees a run, and may lead it elsewhere."""

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        """A block begins, with these back-end values as its parameters."""
        ...

    def decide(self, block: str, truth: bool) -> bool:
        """What the branch at the end of a block is to do, given the truth of its condition."""
        ...


class _Watch:
    """What a watched host program tells of its run."""

    def __init__(
        self, counts: dict[tuple[str, int], int] | None, observer: Observer | None
    ) -> None:
        self._counts = counts
        self._observer = observer

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        if self._observer is not None:
            self._observer.enter(block, arguments)

    def decide(self, block: str, truth: bool) -> bool:
        return truth if self._observer is None else self._observer.decide(block, truth)

    def took(self, block: str, way: int) -> None:
        if self._counts is not None:
            self._counts[block, way] = self._counts.get((block, way), 0) + 1


class Executor:
    """A program bound to regions and weights.

    The host program is one Python function (`dyncc.runtime.hostcode`). There are others for runs
    that are counted or observed, and for those that stop at region calls, written by the same code
    and bound to the same functions.

    Parameters
    ----------
    program
        The program.
    regions
        The back end's compiled regions.
    weights
        Every weight of the program; none is kept here.

    Attributes
    ----------
    function
        The host program's function: what `run` is for runs that are not counted or observed.
    """

    def __init__(
        self, program: Hcfg, regions: Regions, weights: Mapping[str, numpy.ndarray]
    ) -> None:
        self._program = program
        self._bindings = _bindings(program, regions, weights)
        self.code = write_host(program, self._bindings)
        self.function = self._compiled(self.code)
        self._functions: dict[tuple[bool, bool], Callable[..., Any]] = {
            (False, False): self.function
        }

    def run(
        self,
        arguments: Sequence[Any],
        out: Callable[[Any], Any],
        counts: dict[tuple[str, int], int] | None = None,
        observer: Observer | None = None,
    ) -> tuple[Any, dict[str, Any], tuple[Any, ...]]:
        """Run from the entry.

        Parameters
        ----------
        arguments
            Back-end tensors and scalars, one for each parameter of the entry block.
        out
            Makes what the caller gets of a back-end tensor in the result.
        counts
            If given, the number of times each edge was taken is added here.
        observer
            If given, it is told of each block, and decides each branch.

        Returns
        -------
        result, state, tensors
            The result; new values of module state by name, as back-end values; and, if the program
            keeps state, the back-end tensors that became parts of the result.
        """
        if counts is None and observer is None:
            found: tuple[Any, dict[str, Any], tuple[Any, ...]] = self.function(*arguments, out)
            return found
        found = self._function(watched=True)(*arguments, out, _Watch(counts, observer))
        return found

    def steps(
        self,
        arguments: Sequence[Any],
        out: Callable[[Any], Any],
        counts: dict[tuple[str, int], int] | None = None,
        observer: Observer | None = None,
    ) -> Generator[Any, Any, Any]:
        """A run that stops at each region call; parameters and what it returns are those of `run`.

        It gives a pair of what `region` gives and a tuple of arguments, and is sent the results. A
        program that calls no region has no such run.
        """
        watched = counts is not None or observer is not None
        begin = self._function(watched, stepped=True)
        watch = (_Watch(counts, observer),) if watched else ()
        found: Generator[Any, Any, Any] = begin(*arguments, out, *watch)
        return found

    def region(self, call: RegionCall) -> Any:
        """What the back end bound to a region call of the program."""
        return self._bindings.region(call)

    def _function(self, watched: bool = False, stepped: bool = False) -> Callable[..., Any]:
        """The host program in one of its forms, written when it is first asked for."""
        form = watched, stepped
        if form not in self._functions:
            code = write_host(self._program, self._bindings, watched=watched, stepped=stepped)
            self._functions[form] = self._compiled(code)
        return self._functions[form]

    def _compiled(self, code: HostCode) -> Callable[..., Any]:
        """The function of a host program; tracebacks show its text while this object lives."""
        file = f"<dyncc {next(_NUMBERS)}: {code.name}>"
        linecache.cache[file] = (len(code.text), None, code.text.splitlines(True), file)
        weakref.finalize(self, linecache.cache.pop, file, None)
        exec(compile(code.text, file, "exec"), code.namespace)  # noqa: S102
        # Not left in its own globals: without a cycle its tensors are freed with the program.
        function: Callable[..., Any] = code.namespace.pop(code.name)
        return function


def _bindings(program: Hcfg, regions: Regions, weights: Mapping[str, numpy.ndarray]) -> Bindings:
    """What the operations of a program are."""
    functions = _functions(regions)
    calls = {
        id(op): regions.bind(op.region, [weights[name] for name in op.weights], op.weights)
        for block in program.blocks.values()
        for op in block.ops
        if isinstance(op, RegionCall)
    }

    def host(op: HostOp) -> Callable[..., Any] | None:
        if op.op == "const":
            return None
        if op.op == "format":
            tensor = isinstance(op.args[0], Value) and isinstance(op.args[0].type, TensorType)
            return functions["format tensor" if tensor else "format"]
        if op.op in functions:
            return functions[op.op]
        symbol = next(arg for arg in op.args if isinstance(arg, Symbolic))
        dtype = numpy.dtype(DTYPES[symbol.name])
        if op.op == "tensor":
            return lambda scalar: regions.from_external(numpy.array(scalar, dtype))
        assert op.op == "list.tensor"
        return lambda items: regions.from_external(numpy.array(list(items), dtype))

    return Bindings(host, lambda call: calls[id(call)], regions.to_numpy, _exception)


def _functions(regions: Regions) -> dict[str, Callable[..., Any]]:
    """The functions of the host operations that depend on no constant, by name."""
    to_numpy, from_external = regions.to_numpy, regions.from_external

    def item(tensor: Any) -> Any:
        return to_numpy(tensor).item()

    def joiner(join: Callable[..., numpy.ndarray]) -> Callable[..., Any]:
        return lambda items, dim: from_external(join([to_numpy(part) for part in items], axis=dim))

    return {
        **SCALAR_FUNCTIONS,
        **LIST_FUNCTIONS,
        "print": _print,
        "log": _log,
        "format": formatted,
        "format tensor": lambda tensor, *how: formatted(_shown(to_numpy(tensor)), *how),
        "item": item,
        "tensor.list": lambda tensor: HostList(to_numpy(tensor).tolist()),
        "dim": lambda tensor, dim: to_numpy(tensor).shape[dim],
        **{name: joiner(join) for name, join in JOINERS.items()},
    }


def _exception(name: str) -> type[BaseException]:
    kind: type[BaseException] = getattr(builtins, name)
    return kind


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
