"""Regions made of tensor operations that stood elsewhere: in a block, or in other regions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dyncc.ir.hcfg import Region, RegionCall, TensorOp, Value, map_operand, used_by
from dyncc.ir.text import region_body
from dyncc.ir.types import TensorType, Type


@dataclass(frozen=True)
class Part:
    """A region made of operations of others, and what it is to be given, as they name it.

    Attributes
    ----------
    region
        The region, still without a name.
    params, weights, results
        What its own stand for.
    """

    region: Region
    params: tuple[Value, ...]
    weights: tuple[Value, ...]
    results: tuple[Value, ...]

    def call(
        self,
        regions: dict[str, Region],
        values: Mapping[Value, Value],
        weights: Mapping[Value, str],
        results: Sequence[Value],
    ) -> RegionCall:
        """A call of it, once it is among `regions`, where an equal one may be already.

        Parameters
        ----------
        regions
            Those of the program; a new one is added.
        values, weights
            What `params` and `weights` are where it is called.
        results
            What becomes of `results`.
        """
        body = region_body(self.region)
        name = next((name for name, one in regions.items() if region_body(one) == body), None)
        if name is None:
            numbers = (number for number in range(len(regions) + 1) if f"r{number}" not in regions)
            name = f"r{next(numbers)}"
            regions[name] = replace(self.region, name=name)
        return RegionCall(
            name,
            tuple(values[value] for value in self.params),
            tuple(weights[value] for value in self.weights),
            tuple(results),
        )


def part_of(ops: Sequence[TensorOp], weights: Collection[Value], results: Iterable[Value]) -> Part:
    """A region of some operations, whose values and sizes are numbered: equal ones are equal text.

    Parameters
    ----------
    ops
        What is to be run, in order, if `results` need it.
    weights
        Values that are weights; what else is not made by `ops` is a parameter.
    results
        What is to be given.
    """
    results = tuple(results)
    extents: dict[str, str] = {}
    needed, kept = set(results), []
    for op in reversed(ops):
        if not op.results or not needed.isdisjoint(op.results):
            kept.append(op)
            needed.update(used_by(op))
    names: dict[Value, Value] = {}
    given: dict[Value, None] = {}

    def inner(kind: Type) -> Type:
        if not isinstance(kind, TensorType) or kind.is_static:
            return kind
        for extent in kind.shape:
            if isinstance(extent, str):
                extents.setdefault(extent, f"s{len(extents)}")
        return replace(kind, shape=tuple(extents.get(str(e), e) for e in kind.shape))

    def define(value: Value) -> Value:
        if value not in names:
            names[value] = Value(str(len(names)), inner(value.type))
        return names[value]

    def use(value: Value) -> Value:
        if value not in names:
            given[value] = None
        return define(value)

    numbered = []
    for op in reversed(kept):
        args = tuple(map_operand(arg, use) for arg in op.args)
        kwargs = tuple((name, map_operand(arg, use)) for name, arg in op.kwargs)
        made = tuple(define(v) if v is not None and v in needed else None for v in op.results)
        numbered.append(TensorOp(op.target, args, kwargs, made))
    params = tuple(value for value in given if value not in weights)
    bound = tuple(value for value in given if value in weights)
    region = Region(
        "",
        tuple(names[value] for value in params),
        tuple(names[value] for value in bound),
        tuple(numbered),
        tuple(names[value] for value in results),
    )
    return Part(region, params, bound, results)
