"""Regions as plain calls of compiled kernels, without the machine that carries them out in Python.

What `dyncc.export` makes host code from: an object file of kernels, and for each region the buffers
it needs and the kernels it calls, in order.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import tvm
from tvm import relax, tirx

from dyncc.backends.tvm.build import Imported, import_for_tvm, lowered, with_care
from dyncc.backends.tvm.lowering import Care
from dyncc.backends.tvm.packing import static_shape
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.reuse import Found, databases
from dyncc.core.errors import InternalError
from dyncc.ir.hcfg import Region
from dyncc.ir.types import ITEMSIZE, SHORT_DTYPES
from dyncc.runtime.alignment import ALIGNMENT

#: Prefix of a kernel's symbol in the object file, and its calling convention: TVM's packed one.
SYMBOL = "__tvm_ffi_"


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel reads or writes.

    Attributes
    ----------
    place
        ``param``, ``weight`` (a packed argument), ``constant``, ``work`` (scratch memory) or
        ``fresh`` (allocated by the call).
    index
        Which one; for ``work`` the offset in bytes.
    dtype
        Short name, as in `dyncc.ir.types`.
    shape
        Extents.
    """

    place: str
    index: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size."""
        return ITEMSIZE[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class RegionPlan:
    """How a region is carried out.

    Attributes
    ----------
    params
        How many tensors the region takes.
    calls
        Symbol of a kernel, and the buffers that it takes.
    results
        Where the results are after the last call.
    fresh
        The buffers that a call allocates, by their index.
    work
        Bytes of scratch memory.
    recipes
        How each packed weight is made, see `dyncc.runtime.tvm_library`.
    """

    params: int
    calls: tuple[tuple[str, tuple[Buffer, ...]], ...]
    results: tuple[Buffer, ...]
    fresh: tuple[Buffer, ...]
    work: int
    recipes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Kernels:
    """All regions of a program.

    Attributes
    ----------
    code
        An object file with the kernels, or nothing if no region calls any.
    regions
        By name.
    constants
        Arrays that are part of the code.
    """

    code: bytes
    regions: Mapping[str, RegionPlan]
    constants: tuple[numpy.ndarray, ...]


def compile_kernels(regions: Mapping[str, Region], cpu: Cpu) -> Kernels:
    """Compile regions of static sizes for a CPU.

    Raises
    ------
    RuntimeError and others
        What TVM raises if it cannot compile one.
    """
    imported = [
        import_for_tvm(region, f"region_{index}") for index, region in enumerate(regions.values())
    ]
    if not imported:
        return Kernels(b"", {}, ())
    return with_care(lambda care: _compile(imported, cpu, care))


def _compile(imported: list[Imported], cpu: Cpu, care: Care) -> Kernels:
    transform = relax.transform
    passes = [
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        transform.LegalizeOps(),
        transform.RewriteDataflowReshape(),
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        transform.StaticPlanBlockMemory(),
        transform.AttachGlobalSymbol(),
    ]
    target = cpu.target()
    with target, tvm.transform.PassContext(opt_level=3):
        module, recipes = lowered(imported, cpu, care, Found(cpu, databases()))
        module = tvm.transform.Sequential(passes)(module)
        constants: list[numpy.ndarray] = []
        plans = {
            item.name: _Walk(module[item.entry], item.params, constants).plan(needed)
            for item, needed in zip(imported, recipes, strict=True)
        }
        kernels = {
            name: function
            for name, function in module.functions_items()
            if isinstance(function, tirx.PrimFunc)
        }
        code = b""
        if kernels:
            library = tvm.tirx.build(tvm.IRModule(kernels, attrs=module.attrs), target=target)
            code = _object_code(library)
    return Kernels(code, plans, tuple(constants))


def _object_code(library: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
        path = Path(folder) / "kernels.o"
        library.write_to_file(os.fspath(path), "o")
        return path.read_bytes()


@dataclass
class _Walk:
    """Reads one lowered region: allocations, calls of kernels, names for parts of tuples."""

    function: relax.Function
    params: int
    constants: list[numpy.ndarray]
    calls: list[tuple[str, tuple[Buffer, ...]]] = field(default_factory=list)
    fresh: list[Buffer] = field(default_factory=list)
    work: int = 0
    #: What each variable is: a buffer, the offset of a storage, or a tuple of these.
    known: dict[relax.Var, Any] = field(default_factory=dict)

    def plan(self, recipes: list[dict[str, Any]]) -> RegionPlan:
        for index, var in enumerate(self.function.params):
            place, position = (
                ("param", index) if index < self.params else ("weight", index - self.params)
            )
            self.known[var] = self._buffer(place, position, var)
        for block in self.function.body.blocks:
            for binding in block.bindings:
                self.known[binding.var] = self._value(binding.value)
        results = self._value(self.function.body.body)
        if not isinstance(results, tuple):
            results = (results,)
        return RegionPlan(
            self.params, tuple(self.calls), results, tuple(self.fresh), self.work, tuple(recipes)
        )

    def _value(self, value: relax.Expr) -> Any:
        if isinstance(value, relax.Var):
            return self.known[value]
        if isinstance(value, relax.Tuple):
            return tuple(self._value(item) for item in value.fields)
        if isinstance(value, relax.TupleGetItem):
            return self._value(value.tuple_value)[value.index]
        if isinstance(value, relax.Call):
            return self._call(value)
        # What is left is a constant: an array that the compiler made.
        array = numpy.array(value.value.numpy())
        self.constants.append(array)
        return Buffer(
            "constant", len(self.constants) - 1, SHORT_DTYPES[str(array.dtype)], array.shape
        )

    def _call(self, call: relax.Call) -> Any:
        if isinstance(call.op, tvm.ir.GlobalVar):
            buffers = tuple(self._value(argument) for argument in call.args)
            self.calls.append((SYMBOL + call.op.name_hint, buffers))
            return ()
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else str(call.op)
        if name == "relax.builtin.alloc_tensor":
            self.fresh.append(self._buffer("fresh", len(self.fresh), call))
            return self.fresh[-1]
        if name == "relax.memory.alloc_storage":
            (size,) = (int(extent) for extent in call.args[0].values)
            offset, self.work = self.work, self.work + -(-size // ALIGNMENT) * ALIGNMENT
            return offset
        if name == "relax.memory.alloc_tensor":
            offset = self._value(call.args[0]) + _integer(call.args[1])
            return self._buffer("work", offset, call)
        if name == "relax.reshape":
            source = self._value(call.args[0])
            return Buffer(source.place, source.index, source.dtype, self._shape(call))
        raise InternalError(f"no kernel call can be made of TVM's {name}")

    def _buffer(self, place: str, index: int, of: relax.Expr) -> Buffer:
        return Buffer(place, index, SHORT_DTYPES[str(of.ty.dtype)], self._shape(of))

    def _shape(self, expression: relax.Expr) -> tuple[int, ...]:
        shape = static_shape(expression)
        if shape is None:
            raise InternalError(f"a size of {expression} is not known")
        return shape


def _integer(expression: Any) -> int:
    """A number that is written in a program."""
    return int(getattr(expression, "value", expression))
