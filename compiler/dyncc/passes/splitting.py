"""What passes that take regions apart, or put them together, share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dyncc.ir.hcfg import (
    Operand,
    Region,
    RegionCall,
    TensorOp,
    Value,
    draws,
    operand_values,
)
from dyncc.ir.text import region_body
from dyncc.ir.types import FLOAT, TensorType, scalar_type_of

_TOTAL = frozenset(
    {
        # products
        "mm", "bmm", "addmm", "baddbmm", "matmul", "linear", "dot", "mv", "convolution",
        # of each element
        "add", "sub", "rsub", "mul", "neg", "abs", "relu", "gelu", "silu", "sigmoid", "tanh",
        "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "sin",
        "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "erf", "square", "sign",
        "floor", "ceil", "round", "trunc", "maximum", "minimum", "clamp", "clamp_min",
        "clamp_max", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "mish",
        "softplus", "eq", "ne", "lt", "le", "gt", "ge", "where", "masked_fill", "logical_and",
        "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor",
        "bitwise_not", "isnan", "isinf", "addcmul", "lerp", "_to_copy", "clone",
        # of rows, planes or all
        "sum", "mean", "amax", "amin", "var", "std", "max", "min", "argmax", "argmin", "any",
        "all", "cumsum", "logsumexp", "_softmax", "_log_softmax", "native_layer_norm",
        "native_group_norm", "_native_batch_norm_legit_no_training", "max_pool2d_with_indices",
        "avg_pool2d", "_adaptive_avg_pool2d",
        # of places
        "view", "reshape", "t", "transpose", "permute", "expand", "squeeze", "unsqueeze",
        "select", "slice", "unbind", "split", "split_with_sizes", "unsafe_split",
        "_unsafe_view", "alias", "detach", "diagonal", "cat", "stack", "repeat", "flip", "roll",
        "tril", "triu", "constant_pad_nd", "select_scatter", "slice_scatter",
        # of nothing
        "zeros", "ones", "full", "arange", "zeros_like", "ones_like", "full_like",
        "scalar_tensor",
    }
)  # fmt: skip

#: Total where the result is a float: integers are not divided by 0, nor raised to powers below it.
_TOTAL_OF_FLOATS = frozenset({"div", "pow", "remainder", "fmod"})


def is_total(op: TensorOp) -> bool:
    """Whether an operation may be run where the program would not: it neither fails nor acts.

    Its sizes are known and fit, since they did when it was captured; what is left are operations
    that look at values, such as a gather, which refuses an index out of range. What is not known
    to be total counts as if it were not.
    """
    made = [value.type for value in op.results if value is not None]
    static = [kind for kind in made if isinstance(kind, TensorType) and kind.is_static]
    if not made or len(static) < len(made) or draws(op):
        return False
    name = op.target.split(".")[1]
    floats = all(scalar_type_of(kind.dtype) == FLOAT for kind in static)
    return name in _TOTAL or (name in _TOTAL_OF_FLOATS and floats)


def used_by(op: TensorOp) -> Iterator[Value]:
    """All values that a tensor operation uses."""
    yield from operand_values(op.args)
    for _, arg in op.kwargs:
        yield from operand_values(arg)


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
    """A region of some operations, as the front end numbers its values: equal ones are equal text.

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
    needed, kept = set(results), []
    for op in reversed(ops):
        if not op.results or not needed.isdisjoint(op.results):
            kept.append(op)
            needed.update(used_by(op))
    names: dict[Value, Value] = {}
    given: dict[Value, None] = {}

    def define(value: Value) -> Value:
        return names.setdefault(value, Value(str(len(names)), value.type))

    def use(value: Value) -> Value:
        if value not in names:
            given[value] = None
        return define(value)

    numbered = []
    for op in reversed(kept):
        args = tuple(_mapped(arg, use) for arg in op.args)
        kwargs = tuple((name, _mapped(arg, use)) for name, arg in op.kwargs)
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


def _mapped(operand: Operand, change: Callable[[Value], Value]) -> Operand:
    if isinstance(operand, Value):
        return change(operand)
    if isinstance(operand, tuple):
        return tuple(_mapped(part, change) for part in operand)
    return operand
