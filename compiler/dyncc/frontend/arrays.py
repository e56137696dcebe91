"""NumPy arrays made of tensors: what is done with them becomes tensor operations.

An array shares the memory of its tensor, as in eager execution. Where NumPy's rules for types
differ from torch's, operands are converted by NumPy's first; what is not in the tables here is
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import torch

from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.values import ArrayObj, DictObj, ListObj, Ref, Sym

#: Stand-ins for functions of NumPy, torch's for arrays included.
ARRAY_FUNCTIONS: dict[Any, Callable[..., Any]] = {}
_KEYWORDS = {"axis": "dim", "keepdims": "keepdim", "ddof": "correction", "decimals": "decimals"}


def array(run: Interpreter, value: Any) -> ArrayObj | None:
    """The array of a value, if it is one."""
    found = run.state.heap[value] if isinstance(value, Ref) else None
    return found if isinstance(found, ArrayObj) else None


def as_array(run: Interpreter, tensor: Ref) -> Ref:
    """The array that shares a tensor's memory."""
    if run.state.heap[tensor].fake.dtype == torch.bfloat16:
        raise Unsupported(
            "DY701", "`.numpy()` of bfloat16", "NumPy has no such type", "Use .float()."
        )
    return run.state.new(ArrayObj(tensor))


def tensor_of(run: Interpreter, value: Any) -> Any:
    """The tensor of an array; other values as they are."""
    found = array(run, value)
    return value if found is None else found.tensor


def _numpy_dtype(run: Interpreter, tensor: Ref) -> numpy.dtype[Any]:
    return numpy.dtype(str(run.state.heap[tensor].fake.dtype).removeprefix("torch."))


def _cast(run: Interpreter, tensor: Ref, dtype: Any) -> Ref:
    wanted: torch.dtype = getattr(torch, numpy.dtype(dtype).name)
    found: Ref = run.native(lambda x: x.to(wanted), (tensor,))
    return found


def _apply(run: Interpreter, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    made = run.native(function, args, kwargs)
    if isinstance(made, tuple):
        return tuple(as_array(run, part) for part in made)
    return as_array(run, made)


# --- operators --------------------------------------------------------------------------------

_ARITHMETIC = {"add", "sub", "mul", "truediv", "floordiv", "mod", "pow"}


def array_operator(run: Interpreter, function: Any, op: str, left: Any, right: Any) -> Any:
    """An operator with an array on one side."""
    operands = [tensor_of(run, value) for value in (left, right)]
    if any(run.is_tensor(v) and array(run, v) is None for v in (left, right)):
        raise Unsupported(
            "DY702",
            "an operator between a tensor and an array",
            "which of the two decides is not worked out here",
            "Convert the array with torch.from_numpy first.",
        )
    if any(isinstance(value, Sym) for value in operands):
        raise Unsupported(
            "DY702",
            "an operator between an array and a number from tensor data",
            "NumPy's rules for its type are not worked out here",
            "Compute with tensors.",
        )
    types = [_numpy_dtype(run, value) for value in operands if run.is_tensor(value)]
    if op in _ARITHMETIC:
        if any(kind == numpy.bool_ for kind in types) or op in ("floordiv", "mod", "pow"):
            raise Unsupported(
                "DY702",
                f"the operator `{op}` of arrays",
                "NumPy and torch differ in its result for some operands",
                "Compute with tensors.",
            )
        common = numpy.result_type(*types, *(v for v in operands if not run.is_tensor(v)))
        if op == "truediv" and common.kind in "iu":
            common = numpy.dtype("float64")
        operands = [_cast(run, v, common) if run.is_tensor(v) else v for v in operands]
    return _apply(run, function, tuple(operands), {})


# --- functions --------------------------------------------------------------------------------


def _stands_for(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(stand_in: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            ARRAY_FUNCTIONS[function] = stand_in
        return stand_in

    return register


def _function(name: str, torch_function: Any, exact: bool = True) -> Callable[..., Any]:
    """A stand-in; `exact` says that integers give integers in NumPy too."""

    def stand_in(run: Interpreter, value: Any, *args: Any, **kwargs: Any) -> Any:
        found = array(run, value)
        if found is None:
            return NotImplemented
        if set(kwargs) - set(_KEYWORDS):
            raise Unsupported(
                "DY703",
                f"`numpy.{name}` with {', '.join(sorted(set(kwargs) - set(_KEYWORDS)))}",
                "this argument is not compiled",
                "Leave it out, or use the torch function.",
            )
        named = {_KEYWORDS[key]: item for key, item in kwargs.items() if item is not None}
        tensor = found.tensor
        if not exact and _numpy_dtype(run, tensor).kind not in "fc":
            tensor = _cast(run, tensor, numpy.float64)
        arguments = (tensor, *(tensor_of(run, arg) for arg in args))
        return _apply(run, torch_function, arguments, named)

    return stand_in


def _deviation(reduce: Any) -> Any:
    def function(
        x: torch.Tensor, dim: Any = None, correction: Any = 0, keepdim: bool = False
    ) -> Any:
        return reduce(x, dim=dim, correction=correction, keepdim=keepdim)

    return function


def _over_all(reduce: Any) -> Any:
    """A reduction over all dimensions where no axis is given."""

    def function(x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        return reduce(x, dim=tuple(range(x.dim())) if dim is None else dim, keepdim=keepdim)

    return function


#: By the name in NumPy: the torch function, and whether integers stay integers.
_REDUCTIONS: dict[str, tuple[Any, bool]] = {
    "argmax": (torch.argmax, True), "argmin": (torch.argmin, True),
    "max": (_over_all(torch.amax), True), "min": (_over_all(torch.amin), True),
    "sum": (_over_all(torch.sum), True), "mean": (_over_all(torch.mean), False),
    "std": (_deviation(torch.std), False), "var": (_deviation(torch.var), False),
    "any": (torch.any, True), "all": (torch.all, True), "squeeze": (torch.squeeze, True),
}  # fmt: skip
_ELEMENTWISE: dict[str, tuple[Any, bool]] = {
    "abs": (torch.abs, True), "exp": (torch.exp, False), "log": (torch.log, False),
    "sqrt": (torch.sqrt, False), "tanh": (torch.tanh, False), "sign": (torch.sign, True),
    "floor": (torch.floor, True), "ceil": (torch.ceil, True), "round": (torch.round, True),
    "isnan": (torch.isnan, True), "isfinite": (torch.isfinite, True),
    "copy": (torch.clone, True), "ravel": (torch.flatten, True),
    "expand_dims": (torch.unsqueeze, True),
}  # fmt: skip
for _name, (_torch, _exact) in (_REDUCTIONS | _ELEMENTWISE).items():
    ARRAY_FUNCTIONS[getattr(numpy, _name)] = _function(_name, _torch, _exact)
_METHODS = set(_REDUCTIONS) | {"copy", "round", "ravel"}


@_stands_for(numpy.asarray, numpy.array, numpy.ascontiguousarray)
def _make(run: Interpreter, value: Any, *args: Any, **kwargs: Any) -> Any:
    found = array(run, value)
    if not run.is_tensor(value) and found is None:
        return NotImplemented
    if args or kwargs:
        raise Unsupported("DY703", "an array with a dtype", "it is not compiled", "Use .astype().")
    return as_array(run, run.native(torch.clone, (tensor_of(run, value),)))


@_stands_for(torch.from_numpy)
def _from_numpy(run: Interpreter, value: Any) -> Any:
    found = array(run, value)
    return NotImplemented if found is None else found.tensor


def array_attribute(run: Interpreter, found: ArrayObj, name: str) -> Any:
    """An attribute of an array, or NotImplemented for a method."""
    fake = run.state.heap[found.tensor].fake
    if name == "shape":
        return tuple(map(run.size, fake.shape))
    if name == "ndim":
        return fake.dim()
    if name == "size":
        return run.size(fake.numel())
    if name == "dtype":
        return _numpy_dtype(run, found.tensor)
    if name == "T":
        return as_array(
            run, run.native(lambda x: x.permute(*range(x.dim())[::-1]), (found.tensor,))
        )
    return NotImplemented


def array_method(
    run: Interpreter, owner: Ref, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A method of an array."""
    from dyncc.frontend.methods import tensor_method

    found: ArrayObj = run.state.heap[owner]
    if name in _METHODS:
        return ARRAY_FUNCTIONS[getattr(numpy, name)](run, owner, *args, **kwargs)
    if name in ("item", "tolist") and not args:
        return tensor_method(run, found.tensor, name, args, kwargs)
    if name == "astype" and len(args) == 1 and not kwargs:
        copied = run.native(torch.clone, (found.tensor,))
        return as_array(run, _cast(run, copied, args[0]))
    if name == "reshape":
        return as_array(run, run.native(torch.Tensor.reshape, (found.tensor, *args)))
    raise Unsupported(
        "DY703",
        f"`.{name}()` of a NumPy array",
        "it is not compiled",
        "Use the method of the tensor before .numpy().",
    )


def is_data(run: Interpreter, value: Any) -> bool:
    """Whether there is an array in a value that NumPy is called with."""
    if array(run, value) is not None:
        return True
    if type(value) is tuple:
        return any(is_data(run, part) for part in value)
    found = run.state.heap[value] if isinstance(value, Ref) else None
    if isinstance(found, ListObj):
        return is_data(run, found.items)
    return isinstance(found, DictObj) and is_data(run, tuple(part for _, part in found.items))
