"""Weights of a region: which of them the compiled function takes, and in which layout.

The schedules want weights as a few vectors side by side. They stay run-time arguments, so the
runtime lays them out once, when a region is bound, by the recipes made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, te, topi
from tvm.relax.expr_functor import PyExprMutator, mutator

from dyncc.backends.tvm.schedules.shapes import (
    CONV_CHANNELS,
    CONV_ROWS,
    MATMUL,
    PAD,
    ConvShape,
    MatmulShape,
    round_up,
)
from dyncc.backends.tvm.target import Cpu

#: Kernels of this kind may swallow the elementwise operations after them.
_OUT_ELEMENTWISE_FUSABLE = 4


@dataclass(frozen=True)
class Recipe:
    """How the runtime makes an array from weights.

    Attributes
    ----------
    inputs
        Positions of the weights it reads.
    steps
        (operation, argument) pairs that `dyncc.runtime.tvm_library` carries out.
    shape
        Shape of the result.
    dtype
        Its NumPy dtype.
    """

    inputs: tuple[int, ...]
    steps: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return the form kept in the report."""
        return {"inputs": list(self.inputs), "steps": [list(step) for step in self.steps]}

    def then(self, step: str, argument: Any, shape: tuple[int, ...]) -> Recipe:
        """Return the recipe with one more step."""
        return Recipe(self.inputs, (*self.steps, (step, argument)), shape, self.dtype)

    def reshape(self, *shape: int) -> Recipe:
        """Return the recipe followed by a reshape."""
        return self.then("reshape", list(shape), shape)

    def transpose(self, *axes: int) -> Recipe:
        """Return the recipe followed by a transposition."""
        return self.then("transpose", list(axes), tuple(self.shape[axis] for axis in axes))

    def pad(self, axis: int, extent: int) -> Recipe:
        """Return the recipe followed by zeros along `axis`, up to `extent`."""
        if self.shape[axis] == extent:
            return self
        widths = [[0, extent - old if i == axis else 0] for i, old in enumerate(self.shape)]
        shape = tuple(extent if i == axis else old for i, old in enumerate(self.shape))
        return self.then("pad", widths, shape)


@dataclass(frozen=True)
class Packed:
    """A Relax function whose weight arguments have the layouts that its schedules want.

    Attributes
    ----------
    function
        Takes the region's parameters, then one array for each recipe.
    recipes
        How the runtime makes each array from the region's weights.
    """

    function: relax.Function
    recipes: list[dict[str, Any]]


def static_shape(expression: relax.Expr) -> tuple[int, ...] | None:
    """Return the shape of a tensor expression, or None if an extent is not known."""
    kind = expression.ty
    if not isinstance(kind, relax.TensorType) or not isinstance(kind.shape, relax.ShapeExpr):
        return None
    extents = tuple(kind.shape)
    if not all(isinstance(extent, (int, tvm.tirx.IntImm)) for extent in extents):
        return None
    return tuple(int(extent) for extent in extents)


def _dtype(expression: relax.Expr) -> str:
    return str(expression.ty.dtype)


@mutator
class _Packer(PyExprMutator):  # type: ignore[misc]
    """Rewrites calls whose weights get another layout."""

    def __init__(self, function: relax.Function, params: int, cpu: Cpu) -> None:
        super().__init__()
        self.cpu = cpu
        self.known: dict[relax.Var, Recipe] = {}
        for index, var in enumerate(function.params[params:]):
            shape = static_shape(var)
            if shape is not None:
                self.known[var] = Recipe((index,), (), shape, _dtype(var))
        self.made: dict[str, tuple[relax.Var, Recipe]] = {}

    def argument(self, recipe: Recipe) -> relax.Var:
        """Return the function argument that holds what a recipe makes."""
        key = repr(recipe)
        if key not in self.made:
            var = relax.Var(f"packed{len(self.made)}", relax.TensorType(recipe.shape, recipe.dtype))
            self.made[key] = var, recipe
        return self.made[key][0]

    def recipe_of(self, expression: relax.Expr) -> Recipe | None:
        """Return how the runtime can make an expression's value, if it depends on weights only."""
        if isinstance(expression, relax.Var) and expression in self.known:
            return self.known[expression]
        bound = self.lookup_binding(expression) if isinstance(expression, relax.Var) else None
        if not isinstance(bound, relax.Call) or not isinstance(bound.op, tvm.ir.Op):
            return None
        source = self.recipe_of(bound.args[0]) if bound.args else None
        if source is None:
            return None
        if bound.op.name == "relax.permute_dims":
            axes = bound.attrs.axes
            order = tuple(reversed(range(len(source.shape)))) if axes is None else axes
            return source.transpose(*(int(axis) % len(source.shape) for axis in order))
        shape = static_shape(expression)
        if bound.op.name == "relax.reshape" and shape is not None:
            return source.reshape(*shape)
        return None

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, or leave it as it is."""
        call = self.visit_expr_post_order(call)
        if not isinstance(call.op, tvm.ir.Op):
            return call
        made: relax.Expr | None = None
        if call.op.name == "relax.nn.conv2d":
            made = self.convolution(call)
        elif call.op.name == "relax.matmul":
            made = self.matmul(call)
        return call if made is None else made

    def convolution(self, call: relax.Call) -> relax.Expr | None:
        """A convolution with its weights packed for the tiles of its schedule."""
        image, weight = call.args
        recipe, shape = self.recipe_of(weight), static_shape(image)
        attrs = call.attrs
        plain = int(attrs.groups) == 1 and all(int(step) == 1 for step in attrs.dilation)
        layouts = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout)
        if recipe is None or shape is None or not plain or layouts != ("NCHW", "OIHW", "NCHW"):
            return None
        if {_dtype(image), recipe.dtype, _dtype(call)} != {"float32"}:
            return None
        result = static_shape(call)
        if result is None or 0 in (*shape, *result):
            return None
        conv = ConvShape(
            batch=shape[0],
            inputs=shape[1],
            outputs=recipe.shape[0],
            height=result[2],
            width=result[3],
            kernel=(recipe.shape[2], recipe.shape[3]),
            stride=(int(attrs.strides[0]), int(attrs.strides[1])),
            padding=tuple(int(amount) for amount in attrs.padding),
        )
        block = conv.block(self.cpu)
        padded = round_up(conv.outputs, block)
        packed = recipe.pad(0, padded).reshape(padded // block, block, *recipe.shape[1:])
        weights = self.argument(packed.transpose(0, 2, 3, 4, 1))
        compute = _by_rows if conv.by_rows(self.cpu) else _by_channels
        return self.builder_.call_te(
            lambda x, w: compute(x, w, conv, block),
            image,
            weights,
            primfunc_name_hint="convolution",
            primfunc_attrs={"op_pattern": _OUT_ELEMENTWISE_FUSABLE},
        )

    def matmul(self, call: relax.Call) -> relax.Expr | None:
        """A product with a packed weight; leading axes of the left side are rows."""
        left, right = call.args
        recipe, shape = self.recipe_of(right), static_shape(left)
        if recipe is None or shape is None or len(recipe.shape) != 2 or len(shape) < 2:
            return None
        if {_dtype(left), recipe.dtype, _dtype(call)} != {"float32"} or 0 in (*shape, *recipe.shape):
            return None
        rows = 1
        for extent in shape[:-1]:
            rows *= extent
        product = MatmulShape(rows, shape[-1], recipe.shape[1])
        block = product.block(self.cpu)
        padded = round_up(product.columns, block)
        packed = recipe.pad(1, padded).reshape(product.inner, padded // block, block)
        weights = self.argument(packed.transpose(1, 0, 2))
        if len(shape) > 2:
            left = self.builder_.emit(relax.op.reshape(left, (rows, product.inner)))
        flat = self.builder_.call_te(
            lambda x, w: _product(x, w, product, block),
            left,
            weights,
            primfunc_name_hint="matmul",
            primfunc_attrs={"op_pattern": _OUT_ELEMENTWISE_FUSABLE},
        )
        if len(shape) == 2:
            return flat
        return relax.op.reshape(self.builder_.emit(flat), (*shape[:-1], product.columns))


def _padded_image(image: te.Tensor, conv: ConvShape) -> te.Tensor:
    top, left, bottom, right = conv.padding
    if not any(conv.padding):
        return image
    return topi.nn.pad(image, [0, 0, top, left], [0, 0, bottom, right], name=PAD)


def _axes(conv: ConvShape) -> tuple[te.IterVar, te.IterVar, te.IterVar]:
    return (
        te.reduce_axis((0, conv.inputs), "ic"),
        te.reduce_axis((0, conv.kernel[0]), "kh"),
        te.reduce_axis((0, conv.kernel[1]), "kw"),
    )


def _by_rows(image: te.Tensor, weights: te.Tensor, conv: ConvShape, block: int) -> te.Tensor:
    padded = _padded_image(image, conv)
    ic, kh, kw = _axes(conv)
    down, right = conv.stride
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: te.sum(
            padded[n, ic, h * down + kh, w * right + kw]
            * weights[o // block, ic, kh, kw, o % block],
            axis=[ic, kh, kw],
        ),
        name=CONV_ROWS,
    )


def _by_channels(image: te.Tensor, weights: te.Tensor, conv: ConvShape, block: int) -> te.Tensor:
    padded = _padded_image(image, conv)
    ic, kh, kw = _axes(conv)
    down, right = conv.stride
    blocks = round_up(conv.outputs, block) // block
    tiles = te.compute(
        (conv.batch, blocks, conv.height, conv.width, block),
        lambda n, oo, h, w, oi: te.sum(
            padded[n, ic, h * down + kh, w * right + kw] * weights[oo, ic, kh, kw, oi],
            axis=[ic, kh, kw],
        ),
        name=CONV_CHANNELS,
    )
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: tiles[n, o // block, h, w, o % block],
        name="unpack",
    )


def _product(left: te.Tensor, weights: te.Tensor, product: MatmulShape, block: int) -> te.Tensor:
    k = te.reduce_axis((0, product.inner), "k")
    blocks = round_up(product.columns, block) // block
    tiles = te.compute(
        (product.rows, blocks, block),
        lambda i, jo, ji: te.sum(left[i, k] * weights[jo, k, ji], axis=k),
        name=MATMUL,
    )
    return te.compute(
        (product.rows, product.columns),
        lambda i, j: tiles[i, j // block, j % block],
        name="unpack",
    )


def pack_weights(function: relax.Function, params: int, cpu: Cpu) -> Packed:
    """Choose a layout for every weight of a region, and rewrite the region to use it.

    Parameters
    ----------
    function
        Takes the region's parameters, then its weights.
    params
        Number of parameters.
    cpu
        The machine to lay out for.

    Returns
    -------
    Packed
        The rewritten function and the recipes of its weight arguments.
    """
    packer = _Packer(function, params, cpu)
    body = packer.visit_expr(function.body)
    rewritten = relax.Function(
        [*function.params, *(var for var, _ in packer.made.values())],
        body,
        function.ret_ty,
    )
    module = tvm.IRModule({**dict(packer.builder_.get().functions), tvm.ir.GlobalVar("region"): rewritten.with_attr("global_symbol", "region")})
    raise NotImplementedError(module)
