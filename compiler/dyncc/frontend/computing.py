"""What handlers compute with: scalars and tensors, recorded into the block under construction."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)

from dyncc.frontend.builder import BlockBuilder
from dyncc.frontend.code import Instr
from dyncc.frontend.contents import content
from dyncc.frontend.decisions import Decisions, Restart, Unsupported
from dyncc.frontend.extents import (
    SizeDecides,
    assert_in_region,
    extent_name,
    fresh_extent,
    fresh_number,
    has_symbols,
    host_size,
    on_host,
    sizes_of,
)
from dyncc.frontend.guards import Guarded, guard, guard_tensors, python_error
from dyncc.frontend.machine import Machine
from dyncc.frontend.recorder import Recorder
from dyncc.frontend.unwinding import may_catch
from dyncc.frontend.values import (
    RANGE,
    TORCH_DTYPES,
    ArrayObj,
    DynIterObj,
    DynListObj,
    InstanceObj,
    IterObj,
    Ref,
    State,
    Sym,
    TensorObj,
    tensor_type,
)
from dyncc.frontend.views import NeedsNumber
from dyncc.frontend.widening import mark_listed
from dyncc.ir import hostops
from dyncc.ir.hcfg import Loc, Operand, Symbolic, Value
from dyncc.ir.types import BOOL, FLOAT, INT, ScalarType, TensorType, Type, scalar_type_of


class NeedStatic(Exception):
    """A scalar that is only known at run time is needed now."""

    def __init__(self, sym: Sym, what: str) -> None:
        super().__init__(what)
        self.sym = sym
        self.what = what


class Computing:
    """The part of the interpreter that computes values."""

    machine: Machine
    state: State
    builder: BlockBuilder
    decisions: Decisions

    @property
    def loc(self) -> Loc:
        """Place in the source of the instruction about to run."""
        raise NotImplementedError

    @property
    def instr(self) -> Instr:
        """The instruction about to run."""
        raise NotImplementedError

    def passed_guard(self) -> bool | None:
        """Count a test that has to precede this instruction; return its outcome if it has."""
        raise NotImplementedError

    # -- scalars -------------------------------------------------------------------------------

    def host(self, op: str, *args: Any, types: Sequence[Type] | None = None) -> Sym:
        """A host operation with one scalar result."""
        operands = tuple(arg.value if isinstance(arg, Sym) else arg for arg in args)
        guard(self, op, operands)
        try:
            kinds = types or hostops.result_types(op, operands)
        except ValueError as error:
            raise Unsupported(
                "DY211",
                f"`{op}` on numbers that come out of tensor data",
                str(error),
                "Compute it with tensor operations.",
            ) from error
        assert kinds is not None
        (value,) = self.builder.host(op, operands, kinds, self.loc)
        origins = frozenset().union(*(arg.origins for arg in args if isinstance(arg, Sym)))
        return Sym(value, origins, extent=_extent(op, args))

    def compare(self, op: str, left: Any, right: Any) -> Any:
        """A comparison of numbers; its truth if it is the same for all sizes that there can be."""
        sizes = [arg.extent if isinstance(arg, Sym) else arg for arg in (left, right)]
        if all(isinstance(size, int | torch.SymInt) for size in sizes) and has_symbols(sizes):
            relation = getattr(operator, op)(*sizes)
            known = sizes_of(self.machine.fakes).truth(relation.node.expr)
            if known is not None:
                return known
        return self.host(op, left, right)

    def item(self, ref: Ref) -> Any:
        """The only element of a tensor as a scalar, which is static where its content is known."""
        fake = self.state.heap[ref].fake
        if has_symbols(fake):
            raise Unsupported(
                "DY204",
                "the truth or the number of a tensor whose size depends on data",
                "whether it has one element is known at run time only",
                "Ask for its size with .numel(), or reduce it with .any() or .sum().",
            )
        if fake.numel() != 1:
            raise Unsupported(
                "DY203",
                "the truth or the number of a tensor with several elements",
                f"its shape is {tuple(fake.shape)}",
                "Reduce it first, for example with .any(), .all(), .max() or an index.",
            )
        known = content(self.state, self.state.heap[ref])
        if known is not None:
            return known.item()
        value = self.builder.materialised(self.read(ref))
        kind = tensor_type(fake)
        (result,) = self.builder.host("item", (value,), (scalar_type_of(kind.dtype),), self.loc)
        return Sym(result)

    def scalar(self, value: Any) -> Any:
        """A number: a tensor's element, a dynamic scalar or a static value."""
        found = self.state.heap[value] if isinstance(value, Ref) else None
        if isinstance(found, ArrayObj):
            return self.item(found.tensor)
        return self.item(value) if self.is_tensor(value) else value

    def truth(self, value: Any) -> Any:
        """Truth of a value: a static bool or a dynamic one."""
        if isinstance(value, Ref):
            found = self.state.heap[value]
            if isinstance(found, TensorObj | ArrayObj):
                return self.truth(self.scalar(value))
            if isinstance(found, DynListObj):
                return self.truth(self.host("list.len", found.values[0]))
            if isinstance(found, DynIterObj) and found.source == RANGE:
                bounds = (found.position, found.stop, found.step)
                return self.truth(self.host("range.len", *bounds, types=(INT,)))
            if isinstance(found, InstanceObj):
                from dyncc.frontend.instances import truth_of

                return truth_of(self, value)  # type: ignore[arg-type]  # an Interpreter
            # An iterator is true also where it has no more items.
            return isinstance(found, IterObj) or bool(getattr(found, "items", True))
        if isinstance(value, Sym):
            return value if value.value.type == BOOL else self.host("bool", value)
        return bool(value)

    def static(self, value: Any, what: str) -> Any:
        """`value`, which must be known now."""
        if isinstance(value, Sym):
            raise NeedStatic(value, what)
        return value

    def holds(self, value: Any, *kinds: type) -> bool:
        """Whether a value stands for a heap object of one of these classes."""
        return isinstance(value, Ref) and isinstance(self.state.heap[value], kinds)

    # -- tensors -------------------------------------------------------------------------------

    def is_tensor(self, value: Any) -> bool:
        """Whether a value is a heap tensor."""
        return self.holds(value, TensorObj)

    def _recorder(self, state: State) -> Recorder:
        machine = self.machine
        return Recorder(
            state, self.builder, machine.fakes, machine.name_of, machine.fake_weight,
            machine.generators,
        )  # fmt: skip

    def read(self, ref: Ref) -> Value:
        """SSA value of a heap tensor."""
        return self._recorder(self.state).read(ref)

    def adopt(self, value: Value, listed: bool = False) -> Ref:
        """A heap tensor for an SSA value of static shape."""
        kind = value.type
        assert isinstance(kind, TensorType)
        with self.machine.fakes:
            fake = torch.empty(kind.shape, dtype=TORCH_DTYPES[kind.dtype])  # type: ignore[arg-type]
        return self._adopted(value, fake, listed)

    def adopt_sized(
        self, op: str, args: tuple[Operand, ...], dtype: str, shape: Sequence[int | None]
    ) -> Ref:
        """The result of a host operation, whose sizes that are None are known at run time only."""
        fakes = self.machine.fakes
        sizes = [fresh_extent(fakes) if extent is None else extent for extent in shape]
        with fakes:
            fake = torch.empty(sizes, dtype=TORCH_DTYPES[dtype])
        (value,) = self.builder.host(op, args, (tensor_type(fake),), self.loc)
        return self._adopted(value, fake, False)

    def _adopted(self, value: Value, fake: torch.Tensor, listed: bool) -> Ref:
        # What a list of run-time length holds was stored contiguously when it went there.
        ref = self._recorder(self.state).adopt(value, fake, relaid=listed and fake.dim() > 1)
        if listed:
            mark_listed(self.state, ref)
        return ref

    def size(self, extent: Any) -> Any:
        """A size of a tensor: a number that is known now, or a `Sym`."""
        known = extent_name(extent)
        if isinstance(known, int):
            return known
        return Sym(host_size(self.builder, extent), extent=extent)

    def scalar_tensor(self, sym: Sym, dtype: str) -> Ref:
        """A dynamic scalar as a 0-d tensor."""
        (value,) = self.builder.host(
            "tensor", (sym.value, Symbolic("dtype", dtype)), (TensorType(dtype, ()),), self.loc
        )
        return self.adopt(value)

    def index_tensor(self, sym: Sym, length: int | Sym) -> Ref:
        """A dynamic index, checked and made non-negative, as a 1-d tensor of one element."""
        checked = self.host("position", sym, length, types=(INT,))
        tensor = self.scalar_tensor(checked, "i64")
        found: Ref = self.native(lambda index: index.reshape(1), (tensor,))
        return found

    def native(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any] | None = None,
        numbers: bool = False,
    ) -> Any:
        """Run library code on fake tensors and record its operations.

        Parameters
        ----------
        numbers
            Whether to let it have numbers that are known at run time only.

        Raises
        ------
        DataDependent
            If it asks for the content of a tensor.
        Unsupported
            If it raises.
        """
        from dyncc.frontend.bridge import lower, scalars_in, wrap

        recorder = self._recorder(self.state)
        recorder.number = self._number if numbers else None
        for sym in scalars_in(self.state, (*args, *(kwargs or {}).values())):
            self._carry(sym)
        real_args = [lower(self.state, arg, recorder) for arg in args]
        real_kwargs = {
            name: lower(self.state, arg, recorder) for name, arg in (kwargs or {}).items()
        }
        mark = self.builder.mark()
        sizes = sizes_of(self.machine.fakes)
        sizes.require, sizes.decide = self._require, self._decide
        try:
            with torch.no_grad(), recorder:
                out = function(*real_args, **real_kwargs)
        except SizeDecides as error:
            self.known_size(sizes.origins_of(error.cond))
            raise Unsupported(
                "DY205",
                _call_of(function),
                "it decides by the size of a tensor, which depends on data",
                "Use an operation that works alike for every size, or a mask with torch.where.",
            ) from error
        except _ERRORS as error:
            problem = _refusal(_call_of(function), error)
            if isinstance(function, torch.nn.Module) or has_symbols((real_args, real_kwargs)):
                raise problem from error
            zeros = torch.utils._pytree.tree_map(_zeros, (real_args, real_kwargs))
            raise python_error(
                self, error, lambda: function(*zeros[0], **zeros[1]), problem
            ) from error
        finally:
            sizes.require = sizes.decide = None
        guard_tensors(self, self.builder.targets_since(mark))
        for name in recorder.written:
            self.decisions.add_state(name)
        return wrap(self.state, out, recorder)

    def _decide(self, relation: Any) -> bool:
        """Native code decides by a relation of sizes; raises Guarded for the first time."""
        answer = self.passed_guard()
        if answer is not None:
            return answer
        text = " ".join(("a size", str(relation.rel_op), "another"))
        raise Guarded(Sym(on_host(self.builder, relation)), None, (text,))

    def _require(self, relation: Any) -> None:
        """Native code rests on a relation of sizes."""
        if may_catch(self.state, RuntimeError, IndexError):
            raise Unsupported(
                "DY304",
                "an operation on sizes that are known at run time only, inside of `try`",
                "it raises where they do not fit each other, which the `except` would catch",
                "Move it out of the `try`, or compare the sizes first.",
            )
        named = {str(symbol) for symbol in relation.free_symbols}
        # What torch says of the result of an operation, which is not there yet, is no condition.
        if named <= sizes_of(self.machine.fakes).origins.keys() | self.builder.extents.keys():
            assert_in_region(self.builder, relation)

    def _number(self, sym: Sym) -> Any:
        """A number that is known at run time only, for native code."""
        found = self.builder.numbers.get(sym.value)
        if found is None:
            kind = sym.value.type
            if kind not in (INT, FLOAT):
                raise NeedsNumber(kind)
            assert isinstance(kind, ScalarType)
            found = fresh_number(self.machine.fakes, kind)
            self._hold(sym, str(found.node.expr))
            self.builder.numbers[sym.value] = found
        return found

    def _carry(self, sym: Sym) -> None:
        """Let regions have a size of which only the number is left."""
        if isinstance(sym.extent, torch.SymInt) and sym.extent.node.expr.is_Symbol:
            name = str(sym.extent.node.expr)
            if name not in self.builder.extents:
                self._hold(sym, name)

    def _hold(self, sym: Sym, name: str) -> None:
        """Put a number into a tensor, off which regions read it."""
        dtype = Symbolic("dtype", "i64" if sym.value.type == INT else "f64")
        made = (TensorType(dtype.name, ()),)
        (tensor,) = self.builder.host("tensor", (sym.value, dtype), made, self.loc)
        self.builder.extents[name] = tensor, -1

    def known_size(self, origins: frozenset[Any]) -> None:
        """Where a size is needed that a loop made one of run time: go back to unrolling it."""
        if self.decisions.keep(origins):
            raise Restart


#: What library code raises for arguments that it does not take.
_ERRORS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


def _call_of(function: Any) -> str:
    """What a diagnostic calls a call."""
    return f"a call of `{getattr(function, '__name__', type(function).__name__)}`"


def _refusal(call: str, error: Exception) -> Unsupported:
    """What to report of a call that raises on tensors without contents."""
    first = str(error).partition("\n")[0]
    if isinstance(error, DataDependentOutputException) or "data is not allocated" in first:
        return Unsupported(
            "DY202",
            call,
            "it asks for the content of a tensor",
            "Use tensor operations, or .item() where a number is wanted.",
        )
    if "TorchScript interpreter" in first:
        return Unsupported(
            "DY202",
            call,
            "TorchScript asks for the content of a tensor, and its Python source is not read",
            "Call the function or module that was scripted.",
        )
    if "already associated to a python object" in first:
        return Unsupported(
            "DY214",
            call,
            "it makes a tensor of a subclass, whose methods are not compiled",
            "Use plain tensors.",
        )
    if isinstance(error, UnsupportedOperatorException | UnsupportedFakeTensorException):
        return Unsupported(
            "DY216",
            call,
            f"PyTorch cannot tell its result from shapes and dtypes alone ({first})",
            "Use another operation, or call it outside of the network.",
        )
    return Unsupported(
        "DY105",
        call,
        f"it raises {type(error).__name__}: {first}",
        "Correct the call; shapes are those of the example inputs.",
    )


def _zeros(item: Any) -> Any:
    """A tensor with contents for one without."""
    if not isinstance(item, torch.Tensor):
        return item
    return torch.zeros(tuple(item.shape), dtype=item.dtype)


_EXTENTS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
}  # fmt: skip


def _extent(op: str, args: tuple[Any, ...]) -> Any:
    """What an operation on sizes makes of them, as native code knows it."""
    sizes = [arg.extent if isinstance(arg, Sym) else arg for arg in args]
    known = op in _EXTENTS and all(isinstance(size, int | torch.SymInt) for size in sizes)
    return _EXTENTS[op](*sizes) if known and has_symbols(sizes) else None
