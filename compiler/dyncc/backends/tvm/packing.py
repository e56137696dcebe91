"""Weights of a region: which of them the compiled function takes, and in which layout.

The schedules want weights as a few vectors side by side. They stay run-time arguments, so the
runtime lays them out once, when a region is bound, by the recipes made here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
from tvm import relax, te

from dyncc.backends.tvm.computations import (
    batched_product,
    convolution_by_channels,
    convolution_by_rows,
    depthwise,
    depthwise_by_rows,
    dot_products,
)
from dyncc.backends.tvm.computations import product as multiply
from dyncc.backends.tvm.knobs import Choices, choosing
from dyncc.backends.tvm.recipes import Recipe
from dyncc.backends.tvm.schedules.batched import LEAST_ROWS, panel_width
from dyncc.backends.tvm.schedules.depthwise import fills_rows
from dyncc.backends.tvm.schedules.shapes import (
    ConvShape,
    MatmulShape,
    accumulators,
    round_up,
    tile_rows,
)
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.winograd import convolution_by_winograd, layout_of_tiles, tile_size

#: By operator (`ConvShape.operator`), what to choose of its layout; see `dyncc.backends.tvm.knobs`.
Layouts = Mapping[str, Mapping[str, int]]

#: Kernels of this kind may swallow the elementwise operations after them.
OUT_ELEMENTWISE_FUSABLE = 4


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


class Packer:
    """Gathers the regions of one library, with their weights as the schedules want them.

    Parameters
    ----------
    cpu
        The machine to lay out for.
    layouts
        Choices of layouts that are not the rule's own, by operator.
    """

    def __init__(self, cpu: Cpu, layouts: Layouts | None = None) -> None:
        self._cpu = cpu
        self._layouts = layouts or {}
        #: What was chosen of the layouts, by operator.
        self.choices: dict[str, Choices] = {}
        # One builder for all regions: equal kernels are then one function.
        self._builder = relax.BlockBuilder()
        self._entries: dict[str, relax.Function] = {}

    def add(self, entry: str, source: tvm.IRModule, params: int) -> list[dict[str, Any]]:
        """Add a region.

        Parameters
        ----------
        entry
            Symbol of the compiled function.
        source
            Its function ``main`` takes the region's parameters, then its weights.
        params
            Number of parameters.

        Returns
        -------
        list of dict
            Recipes of the arrays that the compiled function takes after the parameters.
        """
        function = source["main"]
        rewrite = _Rewrite(
            self._builder,
            self._cpu,
            source,
            function.params[params:],
            self._layouts,
            self.choices,
        )
        blocks = [rewrite.block(block) for block in function.body.blocks]
        candidates = rewrite.arguments()
        body = relax.SeqExpr(blocks, function.body.body)
        whole = relax.Function([*function.params, *candidates], body, function.ret_ty)
        cleaned = _without_dead_code(whole)
        used = set(relax.analysis.free_vars(cleaned.body))
        activations, arguments = cleaned.params[:params], cleaned.params[params:]
        kept = [
            (var, old)
            for var, old in zip(arguments, [*function.params[params:], *candidates], strict=True)
            if var in used
        ]
        self._entries[entry] = relax.Function(
            [*activations, *(var for var, _ in kept)], cleaned.body, cleaned.ret_ty
        )
        return [rewrite.recipe(old).to_json() for _, old in kept]

    def module(self) -> tvm.IRModule:
        """Return all regions and the kernels made for them."""
        module = self._builder.get()
        for entry, function in self._entries.items():
            module[entry] = function.with_attr("global_symbol", entry)
        return relax.transform.Normalize()(module)


def _without_dead_code(function: relax.Function) -> relax.Function:
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return relax.transform.DeadCodeElimination()(module)["main"]


class _Rewrite:
    """Rewrites the bindings of one region, straight-line code without nested calls."""

    def __init__(
        self,
        builder: relax.BlockBuilder,
        cpu: Cpu,
        source: tvm.IRModule,
        weights: Sequence[relax.Var],
        layouts: Layouts,
        choices: dict[str, Choices],
    ) -> None:
        self._builder = builder
        self._source = source
        self._cpu = cpu
        self._layouts = layouts
        self._choices = choices
        self._known: dict[relax.Var, Recipe] = {}
        self._made: dict[Recipe, relax.Var] = {}
        self._norms: dict[relax.Var, relax.Call] = {}
        self._swapped: dict[relax.Var, relax.Expr] = {}
        self._raw: dict[relax.Var, Recipe] = {}
        for index, var in enumerate(weights):
            shape = static_shape(var) or ()
            self._raw[var] = Recipe((index,), (), shape, _dtype(var))
            if static_shape(var) is not None:
                self._known[var] = self._raw[var]

    def arguments(self) -> list[relax.Var]:
        """Return the arguments made so far."""
        return list(self._made.values())

    def recipe(self, argument: relax.Var) -> Recipe:
        """Return the recipe of a weight, or of an argument that was made."""
        if argument in self._raw:
            return self._raw[argument]
        return next(recipe for recipe, var in self._made.items() if var.same_as(argument))

    def block(self, block: relax.BindingBlock) -> relax.BindingBlock:
        """Rewrite one block of bindings."""
        bindings: list[relax.Binding] = []
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding):
                self._learn(binding.var, binding.value)
                for extra, value in self._replacement(binding.value):
                    bindings.append(
                        relax.VarBinding(binding.var if extra is None else extra, value)
                    )
            else:
                bindings.append(binding)
        kind = relax.DataflowBlock if isinstance(block, relax.DataflowBlock) else relax.BindingBlock
        return kind(bindings)

    def _learn(self, var: relax.Var, value: relax.Expr) -> None:
        """Note that `value` depends on weights only, if the runtime can compute it."""
        if isinstance(value, relax.Var):
            if value in self._known:
                self._known[var] = self._known[value]
            return
        if _is_call(value, "relax.nn.batch_norm"):
            if self._foldable(value):
                self._norms[var] = value
            return
        if not _is_call(value, "relax.permute_dims", "relax.reshape"):
            return
        source = self._known.get(value.args[0])
        if source is None:
            if _swaps_last(value):
                self._swapped[var] = value.args[0]
            return
        if value.op.name == "relax.permute_dims":
            rank = len(source.shape)
            axes = value.attrs.axes
            order = tuple(reversed(range(rank))) if axes is None else axes
            self._known[var] = source.transpose(*(int(axis) % rank for axis in order))
        else:
            shape = static_shape(var)
            if shape is not None:
                self._known[var] = source.reshape(*shape)

    def _replacement(self, value: relax.Expr) -> list[tuple[relax.Var | None, relax.Expr]]:
        """Return the bindings that stand for one; None stands for the variable it had."""
        if _is_call(value, "relax.nn.conv2d"):
            return self._convolution(value)
        if _is_call(value, "relax.matmul"):
            return self._matmul(value)
        if _is_call(value, "relax.call_tir"):
            # A kernel that the import made; the functions of all regions share one builder.
            name = value.args[0]
            kernel = self._builder.add_func(self._source[name], name.name_hint)
            rest = value.args[1:]
            return [(None, relax.Call(value.op, [kernel, *rest], value.attrs, value.ty_args))]
        if isinstance(value, relax.TupleGetItem) and value.index == 0:
            norm = self._norms.get(value.tuple_value)
            if norm is not None:
                return self._batch_norm(norm)
        return [(None, value)]

    def _argument(self, recipe: Recipe) -> relax.Var:
        if recipe not in self._made:
            name = f"packed{len(self._made)}"
            self._made[recipe] = relax.Var(name, relax.TensorType(recipe.shape, recipe.dtype))
        return self._made[recipe]

    def _kernel(
        self, compute: Callable[..., te.Tensor], name: str, *inputs: relax.Expr
    ) -> relax.Call:
        return self._builder.call_te(
            compute,
            *inputs,
            primfunc_name_hint=name,
            primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
        )

    def _convolution(self, call: relax.Call) -> list[tuple[relax.Var | None, relax.Expr]]:
        image, weight = call.args
        recipe, shape, result = self._known.get(weight), static_shape(image), static_shape(call)
        attrs = call.attrs
        groups = int(attrs.groups)
        plain = all(int(step) == 1 for step in attrs.dilation)
        plain = plain and (attrs.data_layout, attrs.kernel_layout) == ("NCHW", "OIHW")
        if recipe is not None and groups > 1:
            plain = plain and shape is not None and groups == shape[1] == recipe.shape[0]
        if recipe is None or shape is None or result is None or not plain or 0 in (*shape, *result):
            return [(None, call)]
        if {_dtype(image), recipe.dtype, _dtype(call)} != {"float32"}:
            return [(None, call)]
        top, left, bottom, right = (int(amount) for amount in attrs.padding)
        conv = ConvShape(
            batch=shape[0],
            inputs=shape[1],
            outputs=recipe.shape[0],
            height=result[2],
            width=result[3],
            kernel=(recipe.shape[2], recipe.shape[3]),
            stride=(int(attrs.strides[0]), int(attrs.strides[1])),
            padding=(top, left, bottom, right),
        )
        lanes = self._cpu.lanes
        if groups > 1:
            along = depthwise_by_rows if fills_rows(conv.width, self._cpu) else depthwise
            packed = self._argument(recipe)
            kernel = self._kernel(lambda x, w: along(x, w, conv, lanes), "depthwise", image, packed)
            return [(None, kernel)]
        with choosing(self._layouts.get(conv.operator, {})) as self._choices[conv.operator]:
            by_rows, block = conv.by_rows(self._cpu), conv.block(self._cpu)
            size = tile_size(conv, self._cpu)
        if size:
            weights = self._argument(layout_of_tiles(recipe, conv, size, self._cpu))
            kernel = self._kernel(
                lambda x, w: convolution_by_winograd(x, w, conv, size, lanes),
                "convolution",
                image,
                weights,
            )
            return [(None, kernel)]
        padded = round_up(conv.outputs, block)
        packed = recipe.pad(0, padded).reshape(padded // block, block, *recipe.shape[1:])
        weights = self._argument(packed.transpose(0, 2, 3, 4, 1))
        compute = convolution_by_rows if by_rows else convolution_by_channels
        return [
            (
                None,
                self._kernel(
                    lambda x, w: compute(x, w, conv, block), "convolution", image, weights
                ),
            )
        ]

    def _foldable(self, call: relax.Call) -> bool:
        """Whether a batch normalisation is a scale and a shift known before the first call."""
        weights = [self._known.get(argument) for argument in call.args[1:5]]
        attrs = call.attrs
        return (
            all(recipe is not None and not recipe.steps for recipe in weights)
            and not bool(attrs.training)
            and bool(attrs.center)
            and bool(attrs.scale)
            and int(attrs.axis) == 1
            and all(recipe is None or recipe.dtype == "float32" for recipe in weights)
            and _dtype(call.args[0]) == "float32"
        )

    def _batch_norm(self, call: relax.Call) -> list[tuple[relax.Var | None, relax.Expr]]:
        image = call.args[0]
        parts = [self._known[argument] for argument in call.args[1:5]]
        positions = tuple(part.inputs[0] for part in parts)
        ones = (1,) * (len(image.ty.shape) - 2)
        arguments = []
        for step in ("bn_scale", "bn_shift"):
            # The runtime computes in float64; the layout is the one that broadcasts.
            recipe = Recipe(
                positions, ((step, float(call.attrs.epsilon)),), parts[0].shape, "float32"
            )
            recipe = recipe.then("astype", "float32", recipe.shape)
            arguments.append(self._argument(recipe.reshape(*recipe.shape, *ones)))
        scaled = relax.DataflowVar("scaled", image.ty)
        return [
            (scaled, relax.op.multiply(image, arguments[0])),
            (None, relax.op.add(scaled, arguments[1])),
        ]

    def _matmul(self, call: relax.Call) -> list[tuple[relax.Var | None, relax.Expr]]:
        left, right = call.args
        recipe, shape = self._known.get(right), static_shape(left)
        if recipe is None and right not in self._raw:
            return [(None, self._product(call))]
        if recipe is None or shape is None or len(recipe.shape) != 2 or len(shape) < 2:
            return [(None, call)]
        if {_dtype(left), recipe.dtype, _dtype(call)} != {"float32"} or 0 in (
            *shape,
            *recipe.shape,
        ):
            return [(None, call)]
        rows = math.prod(shape[:-1])
        product = MatmulShape(rows, shape[-1], recipe.shape[1])
        with choosing(self._layouts.get(product.operator, {})) as self._choices[product.operator]:
            block = product.block(self._cpu)
        padded = round_up(product.columns, block)
        packed = recipe.pad(1, padded).reshape(product.inner, padded // block, block)
        weights = self._argument(packed.transpose(1, 0, 2))

        tile = product.tile(self._cpu, block)

        def compute(x: te.Tensor, w: te.Tensor) -> te.Tensor:
            return multiply(x, w, product, block, tile)

        if len(shape) == 2:
            return [(None, self._kernel(compute, "matmul", left, weights))]
        rows_of = relax.DataflowVar("rows", relax.TensorType((rows, product.inner), "float32"))
        flat = relax.DataflowVar("flat", relax.TensorType((rows, product.columns), "float32"))
        return [
            (rows_of, relax.op.reshape(left, (rows, product.inner))),
            (flat, self._kernel(compute, "matmul", rows_of, weights)),
            (None, relax.op.reshape(flat, (*shape[:-1], product.columns))),
        ]

    def _product(self, call: relax.Call) -> relax.Call:
        """Return a kernel for a product of two activations, or the call where none fits."""
        left, right = call.args
        shape, other = static_shape(left), static_shape(right)
        if shape is None or other is None or min(len(shape), len(other)) < 2:
            return call
        if shape[:-2] != other[:-2] or 0 in (*shape, *other):
            return call
        if {_dtype(left), _dtype(right), _dtype(call)} != {"float32"}:
            return call
        source = self._swapped.get(right)
        if shape[-2] < LEAST_ROWS:
            return call if source is None else self._kernel(dot_products, "dots", left, source)
        width = panel_width(other[-1], self._cpu)
        rows = tile_rows(shape[-2], accumulators(self._cpu) // (width // self._cpu.lanes))
        return self._kernel(
            lambda x, y: batched_product(x, y, width, rows, transposed=source is not None),
            "product",
            left,
            right if source is None else source,
        )


def _swaps_last(value: relax.Call) -> bool:
    """Whether a permutation exchanges the last two axes only."""
    if value.op.name != "relax.permute_dims" or value.attrs.axes is None:
        return False
    rank = len(value.attrs.axes)
    axes = [int(axis) % rank for axis in value.attrs.axes]
    return rank > 1 and axes == [*range(rank - 2), rank - 1, rank - 2]


def _is_call(value: relax.Expr, *names: str) -> bool:
    return (
        isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op) and value.op.name in names
    )
