"""Takes out what only renames or reshapes tensors around products.

torch.export writes a product of matrices in batches as one of tensors with three axes, between
broadcasts that change nothing and reshapes. Each would be a kernel that copies; and a scale behind
the product would be one more, since a reshape stands between them.
"""

from __future__ import annotations

import tvm
from tvm import relax

from dyncc.backends.tvm.packing import static_shape


def without_views(module: tvm.IRModule) -> tvm.IRModule:
    """Simplify the function ``main`` of an imported region.

    Broadcasts and reshapes to the same shape disappear, of reshapes in a row one is left, and
    products of reshaped tensors are products of the tensors, if these agree in all axes but the
    last two.

    Parameters
    ----------
    module
        Of `dyncc.backends.tvm.importing.import_region`.
    """
    function = module["main"]
    views = _Views()
    blocks = [views.block(block) for block in function.body.blocks]
    result = tvm.IRModule(module.functions, attrs=module.attrs)
    result["main"] = relax.Function(
        function.params,
        relax.SeqExpr(blocks, function.body.body),
        function.ret_ty,
        attrs=function.attrs,
    )
    transform = relax.transform
    passes = [transform.Normalize(), transform.CanonicalizeBindings()]
    return tvm.transform.Sequential(passes)(result)


class _Views:
    def __init__(self) -> None:
        #: What a variable is another name of.
        self._same: dict[relax.Var, relax.Expr] = {}
        #: What a variable has the elements of, in another shape.
        self._origin: dict[relax.Var, relax.Expr] = {}

    def block(self, block: relax.BindingBlock) -> relax.BindingBlock:
        bindings: list[relax.Binding] = []
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding) and isinstance(binding.value, relax.Call):
                bindings += self._replaced(binding.var, binding.value)
            else:
                bindings.append(binding)
        kind = relax.DataflowBlock if isinstance(block, relax.DataflowBlock) else relax.BindingBlock
        return kind(bindings)

    def _resolved(self, expression: relax.Expr) -> relax.Expr:
        return self._same.get(expression, expression)

    def _replaced(self, var: relax.Var, call: relax.Call) -> list[relax.Binding]:
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        if name in ("relax.broadcast_to", "relax.reshape"):
            source = self._resolved(call.args[0])
            if name == "relax.reshape":
                source = self._origin.get(source, source)
            if (shape := static_shape(var)) is None:
                return [relax.VarBinding(var, call)]
            if shape == static_shape(source):
                self._same[var] = source
                return [relax.VarBinding(var, source)]
            if name == "relax.reshape":
                self._origin[var] = source
                return [relax.VarBinding(var, relax.op.reshape(source, shape))]
        if name == "relax.matmul":
            return self._product(var, call)
        return [relax.VarBinding(var, call)]

    def _product(self, var: relax.Var, call: relax.Call) -> list[relax.Binding]:
        given = [self._resolved(argument) for argument in call.args]
        sources = [self._origin.get(argument, argument) for argument in given]
        before = [static_shape(each) for each in given]
        after = [static_shape(each) for each in sources]
        shape = static_shape(var)
        left, right = after
        if (
            shape is None
            or left is None
            or right is None
            or min(len(left), len(right)) < 2
            or left[:-2] != right[:-2]
            or before == after
            or any(
                old is None or len(old) != len(shape) or old[-2:] != new[-2:]
                for old, new in zip(before, (left, right), strict=True)
            )
        ):
            return [relax.VarBinding(var, call)]
        kind = relax.TensorType((*left[:-1], right[-1]), var.ty.dtype)
        product = relax.DataflowVar("product", kind)
        self._origin[var] = product
        return [
            relax.VarBinding(product, relax.Call(call.op, sources, call.attrs, call.ty_args)),
            relax.VarBinding(var, relax.op.reshape(product, shape)),
        ]
