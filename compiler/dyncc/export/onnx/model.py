"""From an artifact to an ONNX model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import onnx
from onnx import helper

import dyncc
from dyncc.backends.onnxruntime import OPSET, region_model
from dyncc.backends.refusals import reason, translated
from dyncc.core.errors import Diagnostic, UnsupportedError
from dyncc.export.literals import Unexportable
from dyncc.export.onnx.flow import Flow
from dyncc.export.onnx.graphs import Graph, Kind, Names, Val, kind_of
from dyncc.export.onnx.interface import input_kind, inputs, output_kinds, outputs, structure
from dyncc.export.onnx.regions import RegionNodes
from dyncc.export.onnx.structure import IrreducibleError, structure_of
from dyncc.export.refusals import FLOW, INTERFACE, REGION, diagnostic
from dyncc.ir.hcfg import ARGUMENT, Block, Hcfg, RegionCall, Return, draws

#: Version of ONNX's file format: the first that has the operator set of the models.
IR_VERSION = 9

_RUN_IT = "Run the artifact with dyncc.load, or export a library with --format so."


def whole_model(
    program: Hcfg, weight: Callable[[str, str], onnx.TensorProto], progress: Callable[..., None]
) -> onnx.ModelProto:
    """The model of a program.

    Parameters
    ----------
    program
        The program.
    weight
        Gives an initialiser with the content of a weight, by the name of the weight and the name
        that it gets.
    progress
        Called with the name of what is done next, its index, and the number of steps.

    Raises
    ------
    UnsupportedError
        With everything that a model cannot have.
    """
    return _Export(program, weight, progress).run()


class _Export:
    def __init__(
        self, program: Hcfg, weight: Callable[[str, str], onnx.TensorProto],
        progress: Callable[..., None],
    ) -> None:  # fmt: skip
        self._program = program
        self._weight = weight
        self._progress = progress
        self._names = Names()
        self._graph = Graph(self._names)
        self._weights: dict[str, Val] = {}
        self._regions: dict[str, RegionNodes] = {}

    def run(self) -> onnx.ModelProto:
        program, graph = self._program, self._graph
        problems = list(_interface(program))
        comparable = not problems
        problems += self._translate()
        ends = [end.result for _, end in _returns(program)]
        for place, _ in (*inputs(program), *(leaf for end in ends for leaf in outputs(end))):
            self._names.exactly(place)
        given = [graph.value(kind, name) for name, kind in _inputs(program, problems)]
        # State is a problem, and what is made of it may be another.
        state = [slot.value for slot in program.state if slot.value is not None]
        given += [graph.value(kind_of(value.type)) for value in state]
        try:
            shape = structure_of(program)
        except IrreducibleError as error:
            problems.append(
                diagnostic(
                    program.blocks[error.block], None, FLOW, "a loop that is entered at two places",
                    "If and Loop have one way in", _RUN_IT,
                )
            )  # fmt: skip
            raise UnsupportedError(problems) from error
        flow = Flow(
            program, shape, self._call,
            lambda tree: [item for _, item in outputs(tree)] if comparable else [],
        )  # fmt: skip
        found = flow.write(graph, given)
        problems += flow.problems
        if problems:
            raise UnsupportedError(list(dict.fromkeys(problems)))
        results = []
        for (name, kind), value in zip(_outputs(program), found, strict=True):
            results.append(graph.value(kind, name))
            graph.node("Identity", [value], results[-1:])
        graph.initializers += [self._weight(name, val.name) for name, val in self._weights.items()]
        return helper.make_model(
            graph.build(program.name, given, results),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="dyncc",
            producer_version=dyncc.__version__,
        )

    def _call(self, graph: Graph, op: RegionCall, args: Sequence[Val]) -> list[Val]:
        if op.region not in self._regions:  # a problem
            return [graph.value(kind_of(value.type)) for value in op.results]
        weights = [self._bound(name) for name in op.weights]
        return self._regions[op.region].call(graph, op, args, weights)

    def _bound(self, weight: str) -> Val:
        if weight not in self._weights:
            kind = self._program.weights[weight]
            name = weight if self._names.exactly(weight) else self._names.new(weight)
            self._weights[weight] = self._graph.value(Kind(kind.dtype, kind.shape), name)
        return self._weights[weight]

    def _translate(self) -> list[Diagnostic]:
        """Translate the regions; gives the problems of those that have no ONNX graph."""
        program = self._program
        reasons = {
            name: "it draws random numbers"
            for name, region in program.regions.items()
            if any(map(draws, region.ops))
        }
        self._regions, failures = translated(
            program, reasons, self._progress, len(program.regions) + 1,
            lambda _, region: RegionNodes(region_model(region)),
        )  # fmt: skip
        reasons |= {name: reason(error, "ONNX") for name, error in failures.items()}
        return [
            diagnostic(
                block, None, REGION, f"the region @{op.region} has no ONNX graph",
                reasons[op.region], _RUN_IT,
            )
            for block in program.blocks.values()
            for op in block.ops
            if isinstance(op, RegionCall) and op.region in reasons
        ]  # fmt: skip


def _returns(program: Hcfg) -> list[tuple[Block, Return]]:
    return [
        (block, block.terminator)
        for block in program.blocks.values()
        if isinstance(block.terminator, Return)
    ]


def _outputs(program: Hcfg) -> list[tuple[str, Kind]]:
    """Name and kind of each output; the kind holds for all exits."""
    ends = [end for _, end in _returns(program)]
    names = [name for name, _ in outputs(ends[0].result)]
    kinds = [
        functools.reduce(Kind.joined, group) for group in zip(*map(output_kinds, ends), strict=True)
    ]
    return list(zip(names, kinds, strict=True))


def _inputs(program: Hcfg, problems: list[Diagnostic]) -> Iterator[tuple[str, Kind]]:
    """Name and kind of each input; adds a problem for those that have none."""
    for name, value in inputs(program):
        try:
            yield name, input_kind(value)
        except Unexportable as refusal:
            problems.append(
                Diagnostic(
                    name, INTERFACE, f"an argument of type {value.type}", refusal.why,
                    "Take a tensor, a bool, an int or a float.",
                )
            )  # fmt: skip
            yield name, Kind("f32")


def _interface(program: Hcfg) -> Iterator[Diagnostic]:
    """What of state and results a model cannot have."""
    for slot in program.state:
        yield Diagnostic(
            slot.name, INTERFACE, "state that calls change", "a model keeps nothing between calls",
            "Take the state as an argument and return it, or export a library with --format so.",
        )  # fmt: skip
    first: list[tuple[str, object]] | None = None
    for block, end in _returns(program):
        for name, _ in end.state:
            if name.startswith(ARGUMENT):
                yield diagnostic(
                    block, end.loc, INTERFACE, f"the argument {name.removeprefix(ARGUMENT)}, "
                    "which is changed in place", "a model gives results only",
                    "Return the changed tensor instead.",
                )  # fmt: skip
        try:
            found = structure(end)
        except Unexportable as refusal:
            yield diagnostic(block, end.loc, INTERFACE, "a result", refusal.why, _RUN_IT)
            continue
        if first is None:
            first = found
            if not outputs(end.result):
                yield diagnostic(
                    block, end.loc, INTERFACE, "a result without a tensor or number",
                    "a model has at least one output", _RUN_IT,
                )  # fmt: skip
        elif found != first:
            here = next((a for a, b in zip(found, first, strict=False) if a != b), None)
            place = "" if here is None else f", at {here[0]}"
            yield diagnostic(
                block, end.loc, INTERFACE, "results that differ between exits",
                f"the outputs of a model are the same in each call{place}",
                "Return values of one structure and of the same types everywhere.",
            )  # fmt: skip
