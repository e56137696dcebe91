"""What passes that take regions apart, or put them together, ask of blocks and regions."""

from __future__ import annotations

from dyncc.ir.hcfg import Block, Region, RegionCall, TensorOp, draws, only_torch
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


def region_call(block: Block) -> RegionCall | None:
    """The call of a region in a block, which has at most one."""
    return next((op for op in block.ops if isinstance(op, RegionCall)), None)


def is_plain(region: Region) -> bool:
    """Whether a region computes each of its results, once, and any back end may run it."""
    made = {value for op in region.ops for value in op.results}
    distinct = len(set(region.results)) == len(region.results)
    return only_torch(region) is None and distinct and made.issuperset(region.results)
