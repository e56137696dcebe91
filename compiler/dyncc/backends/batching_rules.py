"""What operations are for several samples at once, without vmap.

A rule is given the arguments of an operation, of which at least one tensor is stacked (see
`dyncc.backends.batching`), and says how to call it so that it gives stacked results; None if it
cannot, as when samples are mixed. A tensor whose first size is 1 in the program has the samples in
that dimension, and is called *joined* here; any other has them in a new dimension in front.
Results may come with the samples in either place, since the two are the same but for their shape.

A rule is not needed for an operation to be right, only for it to stay recognisable and fast:
what functorch makes of convolutions, normalisation and reshapes hides them from back ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._ops import OpOverload

from dyncc.runtime.stacks import stacked_extents

aten = torch.ops.aten


@dataclass(frozen=True)
class Item:
    """A tensor in a region: itself, its shape for one sample, and whether it is stacked."""

    tensor: Tensor
    shape: tuple[int, ...]
    stacked: bool

    @property
    def joined(self) -> bool:
        """Whether it has samples in its first dimension, whose size is 1 in the program."""
        return self.stacked and self.shape[:1] == (1,)


@dataclass(frozen=True)
class Call:
    """How to call an operation; `function` if it is to be another."""

    args: Sequence[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None


#: Arguments, keyword arguments, shapes of the results for one sample, number of samples.
Rule: TypeAlias = Callable[
    [Sequence[Any], dict[str, Any], Sequence["tuple[int, ...] | None"], int], Call | None
]


def is_pointwise(function: OpOverload) -> bool:
    """Whether each element of the result comes of the elements in its place alone."""
    return torch.Tag.pointwise in function.tags


def pointwise(args: Sequence[Any], kwargs: dict[str, Any], shapes: Any, size: int) -> Call | None:
    """Operations that broadcast: those with samples in one place, and nothing that hides it."""
    items = [item for item in (*args, *kwargs.values()) if isinstance(item, Item)]
    ours = [item for item in items if item.stacked]
    rank, joined = len(ours[0].shape), ours[0].joined
    if any(len(item.shape) != rank or item.joined != joined for item in ours):
        return None
    for item in items:
        # A number with a type of its own would be promoted by other rules beside a row of numbers.
        if not item.stacked and (
            (rank == 0 and item.tensor.dtype != ours[0].tensor.dtype)
            or len(item.shape) > rank
            or (joined and len(item.shape) == rank and item.shape[0] != 1)
        ):
            return None
    return Call(args, kwargs)


def _first_only(
    rank: int | None = None, also: Callable[[Sequence[Any]], bool] | None = None
) -> Rule:
    """Operations on images or rows, which lie in the first dimension of the first argument."""

    def rule(args: Sequence[Any], kwargs: dict[str, Any], shapes: Any, size: int) -> Call | None:
        first, *rest = args
        if not first.joined or any(_stacked(item) for item in (*rest, *kwargs.values())):
            return None
        if (rank is not None and len(first.shape) != rank) or (also and not also(args)):
            return None
        if any(shape is not None and shape[:1] != (1,) for shape in shapes):
            return None
        return Call(args, kwargs)

    return rule


def _stacked(item: Any) -> bool:
    return isinstance(item, Item) and item.stacked


def _reshape(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    """Operations that leave elements in their order."""
    if not args[0].stacked:
        return None
    return Call((args[0], stacked_extents(shapes[0], size)), {}, aten.reshape.default)


def _addmm(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    bias, rows, matrix = args
    if not rows.joined or matrix.stacked:
        return None
    usable = bias.joined if bias.stacked else len(bias.shape) < 2 or bias.shape[0] == 1
    return Call(args, kwargs) if usable and (not bias.stacked or len(bias.shape) == 2) else None


def _all_joined(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    """Operations on two or three batches of matrices."""
    tensors = [arg for arg in args if isinstance(arg, Item)]
    if not all(item.joined for item in tensors) or any(
        isinstance(v, Item) for v in kwargs.values()
    ):
        return None
    return Call(args, kwargs)


def _along(place: int = 1, default: int | None = None) -> Rule:
    """Operations along dimensions that are an argument; `place` says which.

    The first argument is the only stacked one, or a list of tensors that all are.
    """

    def rule(args: Sequence[Any], kwargs: dict[str, Any], shapes: Any, size: int) -> Call | None:
        first = args[0] if isinstance(args[0], list) else [args[0]]
        if any(_stacked(item) for item in (*args[1:], *kwargs.values())):
            return None
        rank, joined = len(first[0].shape), first[0].joined
        if any(not i.stacked or i.joined != joined or len(i.shape) != rank for i in first):
            return None
        given = args[place] if len(args) > place else default
        dims = [given] if isinstance(given, int) else given
        if not dims or rank == 0:
            return None
        dims = [dim % rank for dim in dims]
        if joined and 0 in dims:
            return None
        dims = dims if joined else [dim + 1 for dim in dims]
        changed = list(args) + [None] * (place + 1 - len(args))
        changed[place] = dims if isinstance(given, list) else dims[0]
        return Call(changed, kwargs)

    return rule


def _select(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    item, dim = args[0], args[1]
    if not item.stacked:
        return None
    if item.shape[dim] == 1:
        return _reshape(args, kwargs, shapes, size)
    return _along()(args, kwargs, shapes, size)


def _transpose(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    rank = len(args[0].shape)
    if not args[0].stacked or rank == 0:
        return None
    dims = [dim % rank for dim in args[1:3]]
    if args[0].joined:
        return None if 0 in dims else Call((args[0], *dims))
    return Call((args[0], *(dim + 1 for dim in dims)))


def _permute(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    item = args[0]
    dims = [dim % len(item.shape) for dim in args[1]]
    if item.joined:
        return Call((item, dims)) if dims[:1] == [0] else None
    return Call((item, [0, *(dim + 1 for dim in dims)]))


def _expand(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    item, shape = args[0], shapes[0]
    if not item.joined or len(shape) != len(item.shape) or shape[0] != 1:
        return None
    return Call((item, (size, *shape[1:])))


def _embedding(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    table, places = args[:2]
    return None if table.stacked or not places.stacked else Call(args, kwargs)


def _layer_norm(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    item, normalised = args[0], args[1]
    if not item.stacked or any(_stacked(other) for other in args[1:]):
        return None
    if item.joined and len(normalised) == len(item.shape):
        return None
    return Call(args, kwargs)


def _group_norm(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    if not args[0].joined or any(_stacked(other) for other in args[1:]) or args[3] != 1:
        return None
    if any(shape is not None for shape in shapes[1:]):
        return None
    return Call((*args[:3], size, *args[4:]), kwargs)


def _attention(args: Sequence[Any], kwargs: dict[str, Any], shapes: Any, size: int) -> Call | None:
    mask = kwargs.get("attn_mask")
    if isinstance(mask, Item):
        if mask.stacked or (len(mask.shape) == 4 and mask.shape[0] != 1):
            return None
        kept = {name: value for name, value in kwargs.items() if name != "attn_mask"}
    else:
        kept = kwargs
    usable = all(len(item.shape) == 4 for item in args if isinstance(item, Item))
    if not usable or any(shape is not None for shape in shapes[1:]):
        return None
    found = _all_joined(args, kept, shapes, size)
    return found and replace(found, kwargs=kwargs)


def _pad(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    item, widths = args[0], args[1]
    return Call(args, kwargs) if len(widths) // 2 < len(item.shape) + (not item.joined) else None


def _same_rank(args: Sequence[Any]) -> bool:
    return len(args[0].shape) == len(args[1].shape)


def _not_training(args: Sequence[Any]) -> bool:
    return args[5] is False and math.prod(args[0].shape) > 0


def _batch_norm(args: Sequence[Any], kwargs: Any, shapes: Any, size: int) -> Call | None:
    if any(shape is not None for shape in shapes[1:]):
        return None
    return _first_only(also=_not_training)(args, kwargs, shapes, size)


#: Rules by the name of an operation without its overload.
RULES: dict[str, Rule] = {
    **dict.fromkeys(("clone", "_to_copy", "zeros_like", "ones_like", "full_like"), pointwise),
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "flatten", "alias", "detach"),
        _reshape,
    ),
    "convolution": _first_only(also=_same_rank),
    "native_batch_norm": _batch_norm,
    **dict.fromkeys(
        ("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d",
         "upsample_bilinear2d"),
        _first_only(rank=4),
    ),
    "mm": _first_only(rank=2),
    "addmm": _addmm,
    "bmm": _all_joined,
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "argmax", "argmin", "logsumexp"), _along()
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "cumsum", "index_select", "flip"), _along()),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split"), _along(2, default=0)),
    **dict.fromkeys(("cat", "slice"), _along(default=0)),
    "topk": _along(2, default=-1),
    "select": _select,
    "transpose": _transpose,
    "permute": _permute,
    "expand": _expand,
    "embedding": _embedding,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "constant_pad_nd": _pad,
}  # fmt: skip
