"""Runs the flat code of one block; one handler for each instruction.

A handler changes the state of its path and records into the block under construction. Handlers may
be run again from the start of a new block, so they leave the state as it was when they raise.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch

from dyncc.core.errors import InternalError
from dyncc.frontend.builder import BlockBuilder, Late
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import PythonError, Restart, Unsupported
from dyncc.frontend.extents import SizeDecides, fresh_extent, has_symbols, host_size
from dyncc.frontend.guards import Guarded, guard, guard_tensors, python_error
from dyncc.frontend.machine import Machine, context_of, meeting_point, place_of, post_dominators
from dyncc.frontend.recorder import DataDependent, Recorder, WriteToShared
from dyncc.frontend.values import (
    ArrayObj,
    DynIterObj,
    DynListObj,
    Frame,
    IterObj,
    Ref,
    State,
    Sym,
    TensorObj,
    tensor_type,
)
from dyncc.frontend.views import CannotRecord
from dyncc.ir import hostops
from dyncc.ir.hcfg import Branch, Jump, Loc, Operand, Raise, Symbolic, Value
from dyncc.ir.types import BOOL, INT, TensorType, Type, scalar_type_of


class NeedStatic(Exception):
    """A scalar that is only known at run time is needed now."""

    def __init__(self, sym: Sym, what: str) -> None:
        super().__init__(what)
        self.sym = sym
        self.what = what


class Finished(Exception):
    """The block has its terminator."""


Handler = Callable[["Interpreter", Instr], None]
HANDLERS: dict[str, Handler] = {}


def handles(op: str) -> Callable[[Handler], Handler]:
    """Register a handler of an instruction."""

    def register(function: Handler) -> Handler:
        HANDLERS[op] = function
        return function

    return register


class Interpreter:
    """Runs one path from the start of a block to its terminator."""

    def __init__(self, machine: Machine, state: State, builder: BlockBuilder) -> None:
        self.machine = machine
        self.state = state
        self.builder = builder
        self.decisions = machine.decisions
        self._guards = 0

    @property
    def frame(self) -> Frame:
        """The active function."""
        return self.state.frames[-1]

    @property
    def instr(self) -> Instr:
        """The instruction about to run."""
        return self.frame.code.instrs[self.frame.pc]

    @property
    def loc(self) -> Loc:
        """Its place in the source."""
        return place_of(self.state)

    # -- running -------------------------------------------------------------------------------

    def run(self) -> None:
        """Build the whole block."""
        fresh = True
        try:
            while True:
                if self._must_cut(fresh) and not fresh:
                    self.cut()
                self._step(fresh)
                fresh = False
        except Finished:
            return

    def _step(self, fresh: bool) -> None:
        before, mark = self.state.copy(), self.builder.mark()
        self.builder.begin()
        frame, self._guards = self.frame, 0
        try:
            try:
                HANDLERS[self.instr.op](self, self.instr)
                frame.cleared = (-1, 0)
            except PythonError as error:
                self.state = before.copy()
                self.throw(self.state, error)
        except Late as late:
            self.state = before
            self.builder.rollback(mark)
            if fresh:
                raise InternalError("an instruction cannot be cut", where=str(self.loc)) from late
            self.cut()
        except NeedStatic as need:
            if need.sym.origins:
                self.decisions.keep(need.sym.origins)
                raise Restart from need
            self._give_up(
                before,
                Unsupported(
                    need.what,
                    "it needs a number that is known when the network is compiled, "
                    "and this one comes out of tensor data",
                    "Use a tensor operation that takes the value as a tensor, or a constant.",
                ),
            )
        except DataDependent:
            self._give_up(
                before,
                Unsupported(
                    "this operation",
                    "library code asks for the content of a tensor",
                    "Use .item() where a number is wanted, or a tensor operation.",
                ),
            )
        except WriteToShared as problem:
            if self.decisions.own_arguments():
                raise Restart from problem
            self._give_up(before, Unsupported(problem.construct, problem.why, problem.hint))
        except CannotRecord as problem:
            self._give_up(before, Unsupported(problem.construct, problem.why, problem.hint))
        except Unsupported as problem:
            self._give_up(before, problem)
        except Guarded as test:
            self.state = before
            try:
                self._branch_before(test)
            except Unsupported as problem:
                self._give_up(before, problem)

    def passed_guard(self) -> bool:
        """Count a test that has to precede this instruction; return whether it has done so."""
        self._guards += 1
        pc, passed = self.frame.cleared
        return pc == self.frame.pc and self._guards <= passed

    def _branch_before(self, test: Guarded) -> None:
        """Branch on whether this instruction raises."""
        self.expect_join(raising=True)
        good, bad = self.state.copy(), self.state.copy()
        good.frames[-1].cleared = (good.frames[-1].pc, self._guards)
        self.throw(bad, PythonError(test.kind, test.arguments))
        text = f"{ast.unparse(self.instr.node)} raises no {test.kind.__name__}"  # type: ignore[arg-type]
        self.fork(test.good.value, good, bad, text)

    def throw(self, state: State, error: PythonError) -> None:
        """Let an exception be handled, or end the block with it."""
        from dyncc.frontend.raising import new_error, throw

        problem = None
        if error.problem is not None:
            problem = self.machine.diagnostic(state, error.problem)
        throw(self, state, new_error(state, error.kind, error.arguments, problem))

    def _give_up(self, before: State, problem: Unsupported) -> NoReturn:
        self.state = before
        self.machine.diagnose(self.state, problem)
        self.finish(Raise("NotImplementedError", (problem.construct,), self.loc))

    def finish(self, terminator: Any) -> NoReturn:
        """End the block."""
        self.machine.finish(self.builder, terminator)
        raise Finished

    def cut(self) -> None:
        """End the block here and go on in another."""
        before = self.state.copy()
        try:
            jump = self.edge(self.state)
        except Unsupported as problem:
            self._give_up(before, problem)
        self.finish(jump)

    def edge(self, state: State) -> Jump:
        """An edge to the block for `state`."""
        return self.machine.edge(state, self.builder, self.value_in)

    def value_in(self, state: State, ref: Ref) -> Value:
        """Value of a heap tensor of another state of this block."""
        return self._recorder(state).read(ref)

    def _must_cut(self, fresh: bool) -> bool:
        """Whether a new block starts at this program point."""
        frame = self.frame
        if frame.pc in frame.joins:
            frame.joins -= {frame.pc}
            return True
        found = self.state.heap[self.use()] if self.instr.op == "next" else None
        if isinstance(found, DynIterObj | IterObj) and self._ends_at_run_time(found):
            return True
        may_roll = isinstance(found, DynIterObj) or (isinstance(found, IterObj) and found.changed)
        if frame.pc in frame.code.loop_heads or may_roll:
            context = context_of(self.state)
            if frame.visits.get(frame.pc, self.state.forks) != self.state.forks:
                self.decisions.add_loop(context)
            frame.visits[frame.pc] = self.state.forks
            return context in self.decisions.loops
        return False

    def _ends_at_run_time(self, found: DynIterObj | IterObj) -> bool:
        """Whether the number of turns of a loop is only known at run time."""
        if isinstance(found, DynIterObj):
            return isinstance(found.position, Sym) or isinstance(found.stop, Sym)
        owner = None if found.owner is None else self.state.heap[found.owner]
        return isinstance(found.position, Sym) or isinstance(owner, DynListObj)

    # -- registers -----------------------------------------------------------------------------

    def use(self, index: int = 0) -> Any:
        """Value of a register that the instruction reads."""
        return self.frame.registers[self.instr.uses[index]]

    def uses(self) -> list[Any]:
        """Values of all registers that the instruction reads."""
        return [self.frame.registers[name] for name in self.instr.uses]

    def done(self, value: Any = None) -> None:
        """Write the result and go to the next instruction."""
        if self.instr.dest:
            self.frame.registers[self.instr.dest[0]] = value
        self.frame.pc += 1

    # -- branching -----------------------------------------------------------------------------

    def fork(self, condition: Value, then: State, orelse: State, text: str) -> None:
        """End the block with a branch."""
        then.forks += 1
        orelse.forks += 1
        mark = self.builder.mark()
        try:
            ways = self.edge(then), self.edge(orelse)
        except Late:
            # Packing a list for an edge needs this block's results: branch in a block of its own.
            self.builder.rollback(mark)
            self.cut()
            return
        self.finish(Branch(condition, *ways, text, self.loc))

    def expect_join(self, raising: bool = False) -> None:
        """Note where the paths that are about to fork meet again.

        Parameters
        ----------
        raising
            Whether one of them raises an exception here.
        """
        for frame in self.state.frames[:-1]:
            # A path may come back here by an exception.
            handler = frame.code.instrs[frame.pc - 1].handler
            if handler is not None:
                frame.joins |= {meeting_point(frame.code, frame.pc - 1, handler)}
        frame = self.frame
        handler = self.instr.handler if raising else None
        if handler is not None:
            frame.joins |= {meeting_point(frame.code, frame.pc, handler)}
        else:
            frame.joins |= {post_dominators(frame.code).get(frame.pc, -1)}

    # -- scalars -------------------------------------------------------------------------------

    def host(self, op: str, *args: Any, types: Sequence[Type] | None = None) -> Sym:
        """A host operation with one scalar result."""
        operands = tuple(arg.value if isinstance(arg, Sym) else arg for arg in args)
        guard(self, op, operands)
        try:
            kinds = types or hostops.result_types(op, operands)
        except ValueError as error:
            raise Unsupported(
                f"`{op}` on numbers that come out of tensor data",
                str(error),
                "Compute it with tensor operations.",
            ) from error
        assert kinds is not None
        (value,) = self.builder.host(op, operands, kinds, self.loc)
        origins = frozenset().union(*(arg.origins for arg in args if isinstance(arg, Sym)))
        return Sym(value, origins, extent=_extent(op, args))

    def item(self, ref: Ref) -> Sym:
        """The only element of a tensor as a scalar."""
        fake = self.state.heap[ref].fake
        if has_symbols(fake):
            raise Unsupported(
                "the truth or the number of a tensor whose size depends on data",
                "whether it has one element is known at run time only",
                "Ask for its size with .numel(), or reduce it with .any() or .sum().",
            )
        if fake.numel() != 1:
            raise Unsupported(
                "the truth or the number of a tensor with several elements",
                f"its shape is {tuple(fake.shape)}",
                "Reduce it first, for example with .any(), .all(), .max() or an index.",
            )
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
            return bool(getattr(found, "items", True))
        if isinstance(value, Sym):
            return value if value.value.type == BOOL else self.host("bool", value)
        return bool(value)

    def static(self, value: Any, what: str) -> Any:
        """`value`, which must be known now."""
        if isinstance(value, Sym):
            raise NeedStatic(value, what)
        return value

    # -- tensors -------------------------------------------------------------------------------

    def is_tensor(self, value: Any) -> bool:
        """Whether a value is a heap tensor."""
        return isinstance(value, Ref) and isinstance(self.state.heap[value], TensorObj)

    def _recorder(self, state: State) -> Recorder:
        return Recorder(state, self.builder, self.machine.fakes, self.machine.name_of)

    def read(self, ref: Ref) -> Value:
        """SSA value of a heap tensor."""
        return self._recorder(self.state).read(ref)

    def adopt(self, value: Value, listed: bool = False) -> Ref:
        """A heap tensor for an SSA value of static shape."""
        kind = value.type
        assert isinstance(kind, TensorType)
        with self.machine.fakes:
            dtype = getattr(torch, _long(kind.dtype))
            fake = torch.empty(kind.shape, dtype=dtype)  # type: ignore[arg-type]
        return self._adopted(value, fake, listed)

    def adopt_sized(
        self, op: str, args: tuple[Operand, ...], dtype: str, shape: Sequence[int | None]
    ) -> Ref:
        """The result of a host operation, whose sizes that are None are known at run time only."""
        fakes = self.machine.fakes
        sizes = [fresh_extent(fakes) if extent is None else extent for extent in shape]
        with fakes:
            fake = torch.empty(sizes, dtype=getattr(torch, _long(dtype)))
        (value,) = self.builder.host(op, args, (tensor_type(fake),), self.loc)
        return self._adopted(value, fake, False)

    def _adopted(self, value: Value, fake: torch.Tensor, listed: bool) -> Ref:
        ref = self._recorder(self.state).adopt(value, fake)
        if listed:
            from dyncc.frontend.machine import mark_listed

            mark_listed(self.state, ref)
        return ref

    def size(self, extent: Any) -> Any:
        """A size of a tensor: a number that is known now, or a `Sym`."""
        if isinstance(extent, int):
            return extent
        return Sym(host_size(self.builder, extent), extent=extent)

    def scalar_tensor(self, sym: Sym, dtype: str) -> Ref:
        """A dynamic scalar as a 0-d tensor."""
        (value,) = self.builder.host(
            "tensor", (sym.value, Symbolic("dtype", dtype)), (TensorType(dtype, ()),), self.loc
        )
        return self.adopt(value)

    def index_tensor(self, sym: Sym, length: int) -> Ref:
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
    ) -> Any:
        """Run library code on fake tensors and record its operations.

        Raises
        ------
        DataDependent
            If it asks for the content of a tensor.
        Unsupported
            If it raises.
        """
        from dyncc.frontend.bridge import lower, wrap

        recorder = self._recorder(self.state)
        real_args = [lower(self.state, arg, recorder) for arg in args]
        real_kwargs = {
            name: lower(self.state, arg, recorder) for name, arg in (kwargs or {}).items()
        }
        mark = self.builder.mark()
        try:
            with torch.no_grad(), recorder:
                out = function(*real_args, **real_kwargs)
        except SizeDecides as error:
            raise Unsupported(
                f"a call of `{getattr(function, '__name__', function)}`",
                "it decides by the size of a tensor, which depends on data",
                "Use an operation that works alike for every size, or a mask with torch.where.",
            ) from error
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            problem = Unsupported(
                f"a call of `{getattr(function, '__name__', function)}`",
                f"it raises {type(error).__name__}: {str(error).partition(chr(10))[0]}",
                "Correct the call; shapes are those of the example inputs.",
            )
            if isinstance(function, torch.nn.Module):
                raise problem from error
            zeros = torch.utils._pytree.tree_map(_zeros, (real_args, real_kwargs))
            raise python_error(
                self, error, lambda: function(*zeros[0], **zeros[1]), problem
            ) from error
        guard_tensors(self, self.builder.targets_since(mark))
        for name in recorder.written:
            self.decisions.add_state(name)
        return wrap(self.state, out, recorder)


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


def _long(short: str) -> str:
    from dyncc.ir.types import DTYPES

    return DTYPES[short]


def operand(value: Any) -> Operand:
    """A scalar as an operand of a host operation."""
    found: Operand = value.value if isinstance(value, Sym) else value
    return found


__all__ = ["HANDLERS", "DataDependent", "Interpreter", "NeedStatic", "handles", "operand"]
