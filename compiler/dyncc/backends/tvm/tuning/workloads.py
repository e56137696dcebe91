"""The kernels of a program: where they are called, with what, and in which layouts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
import tvm
from tvm import relax, s_tir, tirx

from dyncc.backends.measuring import Sample
from dyncc.backends.tvm.knobs import Choices
from dyncc.backends.tvm.lowering import Care, fuse
from dyncc.backends.tvm.packing import Layouts, Packer, static_shape
from dyncc.backends.tvm.schedules.shapes import OPERATOR
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.reuse import kernel_calls, kernel_key
from dyncc.runtime.tvm_library import pack

if TYPE_CHECKING:
    from dyncc.backends.tvm.build import Imported


#: Layouts that are looked at, of each operator, beside the rule's own.
_LAYOUTS = 8


@dataclass
class Workload:
    """A kernel, with one layout of its weights.

    Attributes
    ----------
    name
        Of the kernel in the program.
    function
        It, not scheduled.
    arguments
        What it is called with: weights as they are, activations made up.
    results
        Shape and NumPy dtype of each result.
    """

    name: str
    function: tirx.PrimFunc
    arguments: list[numpy.ndarray]
    results: list[tuple[tuple[int, ...], str]]

    @property
    def text(self) -> str:
        """The kernel in words."""
        shapes = [f"{array.dtype}[{','.join(map(str, array.shape))}]" for array in self.arguments]
        return f"{self.name} {' '.join(shapes)}"


@dataclass
class Position:
    """A kernel and how often a run of the network calls it.

    Attributes
    ----------
    calls
        In a run, all places together.
    operator
        Whose layout can be chosen, or None.
    layouts
        Choices of the layout, and the kernel that they make; the first are the rule's own.
    """

    calls: int
    operator: str | None
    layouts: list[tuple[Mapping[str, int], Workload]] = field(default_factory=list)

    def add(self, made: Mapping[str, int], workload: Workload) -> None:
        """Add a layout, if the kernel that it makes is another one with the same results."""
        known = [kernel_key(other.function) for _, other in self.layouts]
        same = workload.results == self.layouts[0][1].results
        if same and kernel_key(workload.function) not in known:
            self.layouts.append((made, workload))


#: A call of a kernel: the region's entry and the place among its calls.
_Site = tuple[str, int]


def positions(
    regions: Sequence[Imported], cpu: Cpu, samples: Mapping[str, Sample], weights: Mapping[str, Any]
) -> list[Position]:
    """All kernels of some regions.

    Parameters
    ----------
    regions
        Those that TVM compiles.
    cpu
        The machine that they are compiled for.
    samples
        By region, how often it is called, and with which weights.
    weights
        Arrays by name.
    """
    own, choices = _sites(regions, cpu, {}, samples, weights)
    found: dict[str, Position] = {}
    first: dict[str, _Site] = {}
    for site, (calls, workload) in own.items():
        position = found.get(workload.name)
        if position is None:
            operator = _operator(workload.function)
            layout = choices[operator].made if operator in choices else {}
            position = Position(0, operator, [(layout, workload)])
            found[workload.name], first[workload.name] = position, site
        position.calls += calls
    waiting = {name: deque(made.neighbours()) for name, made in choices.items()}
    tried = {name: [made.made] for name, made in choices.items()}
    for _ in range(_LAYOUTS):
        # One other layout of each operator at a time: each turn goes through the whole program.
        layouts = {name: queue.popleft() for name, queue in waiting.items() if queue}
        if not layouts:
            break
        other, choices = _sites(regions, cpu, layouts, samples, weights)
        for name in layouts:
            if choices[name].made not in tried[name]:
                tried[name].append(choices[name].made)
                waiting[name] += choices[name].neighbours()
        for name, position in found.items():
            if position.operator in layouts and first[name] in other:
                position.add(choices[position.operator].made, other[first[name]][1])
    return list(found.values())


def _operator(function: tirx.PrimFunc) -> str | None:
    schedule = s_tir.Schedule(function.with_attr("global_symbol", "main"))
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        annotations = schedule.get(block).annotations
        if OPERATOR in annotations:
            return str(annotations[OPERATOR])
    return None


def _sites(
    regions: Sequence[Imported],
    cpu: Cpu,
    layouts: Layouts,
    samples: Mapping[str, Sample],
    weights: Mapping[str, Any],
) -> tuple[dict[_Site, tuple[int, Workload]], dict[str, Choices]]:
    """Calls of kernels with how often they happen in a run, and the layouts of operators."""
    packer = Packer(cpu, layouts)
    with cpu.target(), tvm.transform.PassContext(opt_level=3):
        recipes = [packer.add(item.entry, item.module, item.params) for item in regions]
        module = fuse(packer.module(), Care.TRUST)
    found: dict[_Site, tuple[int, Workload]] = {}
    known: dict[str, Workload] = {}
    for item, packed in zip(regions, recipes, strict=True):
        sample = samples.get(item.name)
        if sample is None:
            continue
        function = module[item.entry]
        arrays = [weights[name] for name in sample.weights]
        made = {
            param: pack(recipe, [arrays[index] for index in recipe["inputs"]])
            for param, recipe in zip(function.params[item.params :], packed, strict=True)
        }
        for index, call in enumerate(kernel_calls(function)):
            name = call.args[0].name_hint
            if name not in known:
                workload = _workload(name, module[name], call, made)
                if workload is None:
                    continue
                known[name] = workload
            found[item.entry, index] = max(sample.calls, 1), known[name]
    return found, packer.choices


def _workload(
    name: str, function: tirx.PrimFunc, call: relax.Call, made: Mapping[Any, numpy.ndarray]
) -> Workload | None:
    """A kernel with arguments, or None for one that only gives memory another shape."""
    if relax.analysis.has_reshape_pattern(function):
        return None
    random = numpy.random.default_rng(0)
    arguments = []
    for value in call.args[1].fields:
        shape = static_shape(value)
        if shape is None:
            return None
        dtype = str(value.ty.dtype)
        if value in made:
            array = made[value]
        elif not isinstance(value, relax.Var):
            array = value.value.numpy()  # a constant that the compiler made
        elif dtype.startswith("float"):
            array = random.normal(size=shape)
        else:
            array = numpy.zeros(shape)  # an index of anything
        arguments.append(numpy.array(array, dtype, order="C"))
    kinds = call.ty.fields if isinstance(call.ty, relax.TupleType) else [call.ty]
    results = [(tuple(int(extent) for extent in kind.shape), str(kind.dtype)) for kind in kinds]
    return Workload(name, function.with_attr("global_symbol", "main"), arguments, results)
