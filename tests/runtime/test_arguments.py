"""Arguments that are exactly as expected are taken as those that are looked at closely."""

from __future__ import annotations

import gc
import re
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import dyncc
from dyncc.core.errors import InputError
from dyncc.ir.parser import parse
from dyncc.ir.sizes import Size
from dyncc.runtime import onnx_library, tvm_library
from dyncc.runtime.arguments import Arguments

LIBRARIES = [onnx_library, tvm_library]

SIGNATURE = """\
input x = %x: f32[2,3]
input take = %h: f32[N,3]
input rest = tuple(%a: f32[N], %b: i64[], "text", -1)
input table = {"x": %c: f32[2], 7: list(%n: int, %f: float)}
input pair = namedtuple "Pair" {"left": %l: f32[N,N], "right": %r: bool}
input args = none optional
input out = %o: str
"""
SIZES = {"N": Size(1, 4)}
Pair = namedtuple("Pair", "left right")


class Sub(torch.Tensor):
    pass


def arguments(text: str = SIGNATURE, library: Any = onnx_library) -> Arguments:
    """What takes arguments of a signature, once it has been written."""
    leaves = ", ".join(re.findall(r"%\w+: \w+(?:\[[\w,]*\])?", text))
    program = parse(f'hcfg 1 "net"\n{text}block ^a({leaves}) {{\n  return 0\n}}\n')
    return Arguments(program, SIZES, library)


def tensors(*shape: int, dtype: str = "float32") -> list[Any]:
    """Tensors that are right in their own ways, and others that look like them."""
    array = numpy.arange(numpy.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    tensor = torch.from_numpy(array.copy())
    fixed = array.copy()
    fixed.flags.writeable = False
    found: list[Any] = [
        tensor,
        array,
        fixed,
        torch.stack([tensor, tensor], -1)[..., 0],
        numpy.stack([array, array], -1)[..., 0],
        torch._neg_view(tensor),
        tensor.as_subclass(Sub),
        tensor.double(),
        array.astype(array.dtype.newbyteorder(">")),
        array[None],
        tensor[..., None],
        array.tolist(),
        numpy.ma.array(array),
        None,
        torch.Generator(),
    ]
    if dtype == "float32":
        found += [tensor.clone().requires_grad_(), nn.Parameter(tensor), tensor + 1j]
        complexes = torch.complex(-tensor, -tensor).conj()
        found += [complexes.imag, complexes]
    return found


CHOICES: list[list[Any]] = [
    tensors(2, 3),
    [*tensors(2, 3), *tensors(4, 3), *tensors(5, 3), *tensors(2, 4)],
    [
        kind([a, b, text, number])
        for kind in (tuple, list)
        for a in (*tensors(2), *tensors(4)[:3])
        for b in tensors(dtype="int64")
        for text, number in (("text", -1), ("text", -1.0), ("other", -1), ("text", True))
    ]
    + [(), (torch.zeros(2),) * 3, {"a": 1}, Pair(1, 2)],
    [
        kind({"x": x, 7: series([n, f])})
        for kind in (dict, OrderedDict)
        for series in (list, tuple)
        for x in tensors(2)
        for n, f in ((3, 0.5), (True, 0.5), (3, 1), (torch.tensor(3), numpy.float32(2)), ("3", 1j))
    ]
    + [{"x": torch.zeros(2)}, {"x": torch.zeros(2), 8: [1, 2.0]}, [1]],
    [
        Pair(left, right)
        for left in (*tensors(2, 2), *tensors(5, 5), *tensors(2, 3))
        for right in (True, 1, torch.tensor(False))
    ]
    + [numpy.zeros(2), (1, True)],
    [None, 0],
    ["", "text", 1],
]


def seen(take: Callable[..., Any], args: Any, kwargs: Any, library: Any) -> Any:
    """What can be told of taken arguments, or of the error."""
    try:
        given, taken, out = take(args, kwargs)
    except InputError as error:
        return str(error), error.message, error.where, error.hint
    except Exception as error:  # noqa: BLE001 - what libraries raise is compared
        return type(error), str(error)
    found = []
    for value in taken:
        if isinstance(value, (bool, int, float, str)):
            found.append((type(value), value))
            continue
        view = library.to_numpy(value)
        shared = [
            place
            for place, other in enumerate(given)
            if (isinstance(other, numpy.ndarray) and numpy.shares_memory(other, view))
            or (
                isinstance(other, torch.Tensor)
                and other.numel()
                and other.data_ptr() == view.ctypes.data
            )
        ]
        found.append((str(view.dtype), view.shape, view.tolist(), shared))
        made = type(out(value))
        found.append((made,))
    return [[id(value) for value in given], *found]


@pytest.mark.parametrize("library", LIBRARIES)
@settings(max_examples=150, deadline=None)
@given(
    calls=st.lists(
        st.tuples(
            st.tuples(*(st.integers(0, 2 * len(values)) for values in CHOICES)),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_calls(library: Any, calls: list[tuple[tuple[int, ...], int]]) -> None:
    """A program that has taken calls takes the next one as one that looks at each closely."""
    quick, close = arguments(library=library), arguments(library=library)
    close._exact.take = lambda args: None
    for numbers, form in calls:
        # The first of the choices, which fit together, in half of the cases.
        values = [
            choices[number] if number < len(choices) else choices[0]
            for choices, number in zip(CHOICES, numbers, strict=True)
        ]
        names = ["x", "take", "rest", "table", "pair", "args", "out"]
        count = max(form - 2, 0)
        args, kwargs = values[:count], dict(zip(names[count:], values[count:], strict=True))
        for _ in range(2):
            found = seen(quick.take, args, kwargs, library)
            assert found == seen(close.take, args, kwargs, library)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("line", range(len(CHOICES)))
def test_any_argument(library: Any, line: int) -> None:
    """The same for one argument: each choice after some of those that fit."""
    text = SIGNATURE.splitlines(True)[line]
    close = arguments(text, library)
    close._exact.take = lambda args: None
    answers = [seen(close.take, (value,), {}, library) for value in CHOICES[line]]
    fitting = [place for place, answer in enumerate(answers) if isinstance(answer, list)]
    for first in fitting[:: max(len(fitting) // 6, 1)]:
        quick = arguments(text, library)
        for value, answer in zip(CHOICES[line], answers, strict=True):
            seen(quick.take, (CHOICES[line][first],), {}, library)
            assert seen(quick.take, (value,), {}, library) == answer


@pytest.mark.parametrize("library", LIBRARIES)
def test_alike_calls_are_taken_at_once(library: Any) -> None:
    """The choices that fit are not looked at closely again, whatever their class."""
    taker = arguments(library=library)
    values = [choices[0] for choices in CHOICES]
    taker.take(values, {})
    taker._takers = []
    given, taken, _ = taker.take(values, {})
    assert len(given) == len(taken) == 10
    sizes = [*values]
    sizes[1], sizes[2] = torch.zeros(4, 3), (torch.ones(4), torch.tensor(3), "text", -1)
    sizes[4] = Pair(torch.zeros(4, 4), False)
    taker.take(sizes, {})
    with pytest.raises(ValueError, match="zip"):
        taker.take([numpy.zeros((2, 3), "float32"), *values[1:]], {})


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_argument(library: Any) -> None:
    given, taken, out = arguments("", library).take((), {})
    assert not given
    assert not taken
    assert out is library.to_numpy


@pytest.mark.parametrize("library", LIBRARIES)
def test_nothing_given_is_kept(library: Any) -> None:
    taker = arguments("input x = %x: f32[64]\n", library)
    tensor = torch.zeros(64)
    for _ in range(2):
        taker.take((tensor,), {})
    gone = weakref.ref(tensor)
    del tensor
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_sharing_is_from_external(library: Any) -> None:
    """For each class the special function gives what the general one gives."""
    for example in (*tensors(2, 3), *tensors(), *tensors(0, 3), *tensors(64, dtype="int64")):
        if not hasattr(example, "dtype"):
            continue
        found = []
        for share in (library.from_external, library.sharing(example)):
            try:
                view = library.to_numpy(share(example))
            except Exception as error:  # noqa: BLE001 - compared
                found.append((type(error), str(error)))
            else:
                is_shared = isinstance(example, torch.Tensor) and bool(
                    example.numel() and view.ctypes.data == example.data_ptr()
                )
                is_shared |= isinstance(example, numpy.ndarray) and numpy.shares_memory(
                    example, view
                )
                found.append((str(view.dtype), view.shape, view.tolist(), is_shared))
        assert found[0] == found[1]


@pytest.mark.parametrize("backend", ["tvm", "onnxruntime"])
def test_negated_views(backend: str) -> None:
    """A tensor whose sign is only noted has that sign, wherever its memory begins."""
    x = torch.randn(1, 64)
    program = dyncc.compile(nn.Identity(), (x,), backend=backend)
    assert torch.equal(program(x), x)
    assert torch.equal(program(torch._neg_view(x)), -x)


def test_who_gets_torch_tensors() -> None:
    """It is said anew by each call, also by a tensor that is given for a number."""

    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, n: float) -> torch.Tensor:
            return x * n

    tensor = torch.ones(2)
    array = tensor.numpy()
    program = dyncc.compile(Scaled(), (tensor, 2.0), backend="tvm")
    for value, number, kind in (
        (array, 2.0, numpy.ndarray),
        (array, torch.tensor(2.0), torch.Tensor),
        (array, 2.0, numpy.ndarray),
        (tensor, 2.0, torch.Tensor),
        (tensor, 2.0, torch.Tensor),
        (array, 2.0, numpy.ndarray),
    ):
        assert isinstance(program(value, number), kind)
