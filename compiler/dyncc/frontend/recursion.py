"""Recursion whose depth depends on data: a loop, with a stack of what waits in lists.

The first activation of such a function, its *base*, has lists of run-time length in registers: one
of numbers that say where calls come from, and one for each variable that lives across a call there.
A call pushes and goes on at the function's beginning; a return pops and goes on behind the call of
that number. So calls and returns are edges like any other. The places that calls come from are
known from the attempt of the capture before (`Decisions.recursive`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dyncc.frontend.bridge import scalars_in
from dyncc.frontend.canonical import known_part
from dyncc.frontend.code import SHARED, SITE, STACK
from dyncc.frontend.decisions import Restart, Unsupported
from dyncc.frontend.extents import has_symbols
from dyncc.frontend.reached import Reached
from dyncc.frontend.standing import context_of
from dyncc.frontend.templates import Template
from dyncc.frontend.values import (
    DynListObj,
    Frame,
    IterObj,
    ListObj,
    Ref,
    Sym,
    TensorObj,
    tensor_type,
)
from dyncc.frontend.widening import mark_listed
from dyncc.ir.hcfg import Operand
from dyncc.ir.types import INT, ListType, ScalarType, TensorType, Type

if TYPE_CHECKING:
    from dyncc.frontend.interpreter import Interpreter

#: Activations that wait for each other; more need a stack.
MAX_DEPTH = 200


@dataclass(frozen=True)
class Known:
    """A value that is known when the network is compiled."""

    key: Any
    item: Any = field(compare=False)


@dataclass(frozen=True)
class Pushed:
    """A value on the stack."""

    type: TensorType | ScalarType
    origins: frozenset[Any] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class Shared:
    """An object that all activations have, by its position among those of the base."""

    position: int


@dataclass(frozen=True)
class Parts:
    """A tuple, or a list or iterator that nobody else has."""

    kind: str
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Waiting:
    """An activation that waits for a call."""

    code: Any
    function: Any
    pc: int
    result: str | None
    registers: tuple[tuple[str, Any], ...]


#: Where a call comes from: the activations from the base's successor on that wait for it, and the
#: register that gets its result.
Site = tuple[str, tuple[Waiting, ...]]


def enter(run: Interpreter, frame: Frame) -> None:
    """Enter a function in a new activation, whose caller stands behind its call already."""
    state = run.state
    bases = [i for i, f in enumerate(state.frames) if f.code is frame.code and STACK in f.registers]
    if bases:
        _call(run, frame, bases[-1])
    state.frames.append(frame)
    context = context_of(state)
    if context in run.decisions.recursive:
        _begin(run, frame, run.decisions.recursive[context])
        run.cut()


def check(run: Interpreter, frame: Frame) -> None:
    """Give a call a stack that repeats one that is under way, but for data: only data ends it."""
    frames = run.state.frames
    before = [other for other in frames if other.code is frame.code]
    if not before or any(STACK in other.registers for other in before):
        return
    frame.called = known_part(run.state, frame, run.machine.fakes)
    if len(frames) < MAX_DEPTH and all(other.called != frame.called for other in before):
        return
    # The entry's activation has no caller that could be told from others.
    at = next((i for i, other in enumerate(frames) if i and other.code is frame.code), len(frames))
    base = (*context_of(run.state)[:at], (frame.code.serial, 0))
    if at == len(frames) and len(frames) > 1:
        raise _refused(frame, "it is called by itself through the network's entry")
    if base not in run.decisions.recursive:
        run.decisions.recursive[base] = ()
        run.decisions.changed = True
        raise Restart
    for value in frame.registers.values():
        for sym in scalars_in(run.state, value):
            if sym.origins:
                run.static(sym, f"a call of `{frame.code.name}` by itself")
    raise _refused(frame, "all that is known when the network is compiled is as one call before")


def _begin(run: Interpreter, frame: Frame, sites: tuple[Site, ...]) -> None:
    """Give the base its stack."""
    numbers = run.builder.host("list.of", (0,), (ListType(INT),), run.loc)
    columns = [
        run.builder.host("list.of", (), (ListType(kind),), run.loc)[0]
        for site in sites
        for kind in _types(site)
    ]
    shared = tuple(value for _, value in sorted(frame.registers.items()) if _is_object(run, value))
    frame.registers[SHARED] = shared
    frame.registers[STACK] = tuple(
        run.state.new(DynListObj(_template(column.type.element), (column,)))  # type: ignore[union-attr]
        for column in (*numbers, *columns)
    )


def _is_object(run: Interpreter, value: Any) -> bool:
    return isinstance(value, Ref) and not isinstance(run.state.heap[value], TensorObj)


def _template(kind: Type) -> Template:
    return Template("tensor" if isinstance(kind, TensorType) else "scalar", kind)


def _types(site: Site) -> list[TensorType | ScalarType]:
    return [part.type for waiting in site[1] for _, spec in waiting.registers for part in _on(spec)]


def _on(spec: Any) -> Iterator[Pushed]:
    """What of a value is on the stack."""
    if isinstance(spec, Pushed):
        yield spec
    elif isinstance(spec, Parts):
        for part in spec.parts:
            yield from _on(part)


# --- calls ------------------------------------------------------------------------------------


def _call(run: Interpreter, frame: Frame, at: int) -> None:
    """Push what waits from the base at a depth on, and go on at its beginning."""
    state = run.state
    base = state.frames[at]
    context = (*context_of(state)[:at], (frame.code.serial, 0))
    waiting = state.frames[at:]
    for item in waiting:
        if item.code.instrs[item.pc - 1].handler is not None:
            raise _refused(frame, "it is called in a `try` or `with`", "Call it outside of it.")
        if item.code.is_generator:
            raise _refused(frame, "it is called by a generator", "Append to a list instead.")
    shared = base.registers[SHARED]
    others = [value for item in (*state.frames[:at], frame) for value in item.registers.values()]
    owned = Reached(state, *others, *state.attributes.values(), *shared).refs
    save = _Save(run, frame, shared, owned)
    assert frame.result is not None
    site = frame.result, tuple(save.frame(item, item is waiting[-1]) for item in waiting)
    sites = run.decisions.recursive[context]
    found = run.machine.sites.setdefault(context, [])
    if site not in found:
        found.append(site)
    stack = [state.heap[column] for column in base.registers[STACK]]
    if site in sites:
        number = sites.index(site)
        first = 1 + sum(len(_types(other)) for other in sites[:number])
        pushed: list[Operand] = [number + 1, *save.leaves]
        places = (0, *range(first, first + len(save.leaves)))
        for place, leaf in zip(places, pushed, strict=True):
            (column,) = stack[place].values
            op = "list.append" if place else "list.push"
            (longer,) = run.builder.host(op, (column, leaf), (column.type,), run.loc)
            stack[place] = DynListObj(stack[place].element, (longer,))
    frame.registers[SHARED] = shared
    frame.registers[STACK] = tuple(state.new(column) for column in stack)
    frame.result = base.result
    state.frames[at:] = [frame]
    run.cut()


class _Save:
    """Takes apart the activations that wait."""

    def __init__(
        self, run: Interpreter, frame: Frame, shared: tuple[Any, ...], owned: set[Ref]
    ) -> None:
        self._run = run
        self._frame = frame
        self._shared = shared
        self._owned = owned
        self.leaves: list[Any] = []

    def frame(self, item: Frame, innermost: bool) -> Waiting:
        """What is kept of an activation; its live values become leaves."""
        gets = self._frame.result if innermost else None
        names = item.code.live_while_waiting(item.pc) & item.registers.keys() - {
            STACK,
            SHARED,
            SITE,
            gets,
        }
        # What an activation between two calls gets as a result is not there yet.
        found = tuple((name, self._value(item.registers[name])) for name in sorted(names))
        return Waiting(item.code, item.function, item.pc, item.result, found)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Sym):
            kind = value.value.type
            assert isinstance(kind, ScalarType)
            self.leaves.append(value.value)
            return Pushed(kind, value.origins)
        if type(value) is tuple:
            return Parts("tuple", tuple(map(self._value, value)))
        if not isinstance(value, Ref):
            plain = value is None or isinstance(value, bool | int | float | complex | str)
            return Known((type(value), repr(value)) if plain else id(value), value)
        if value in self._shared:
            return Shared(self._shared.index(value))
        found = self._run.state.heap[value]
        if isinstance(found, TensorObj):
            if has_symbols(found.fake):
                raise _refused(self._frame, "a tensor of a size that data decides waits for it")
            mark_listed(self._run.state, value)
            read = self._run.value_in(self._run.state, value)
            self.leaves.append(self._run.builder.materialised(read))
            return Pushed(tensor_type(found.fake))
        if value not in self._owned and isinstance(found, ListObj | IterObj):
            # Whoever else has it now has a copy.
            self._owned.add(value)
            if isinstance(found, ListObj):
                return Parts("list", tuple(map(self._value, found.items)))
            if found.owner is None and isinstance(found.position, int):
                rest = found.items[found.position :]
                return Parts("iterator", tuple(map(self._value, rest)))
        raise _refused(
            self._frame,
            f"an object that may change ({type(found).__name__.removesuffix('Obj')}) waits for it "
            "in a variable that only some of the calls have",
            "Pass such an object from call to call as an argument, or use tuples.",
        )


# --- returns ----------------------------------------------------------------------------------


def give_back(run: Interpreter, value: Any) -> bool:
    """Return from a function with a stack; False if this is the return from its base."""
    registers = run.frame.registers
    below = len(run.state.frames) - 1
    context = (*context_of(run.state)[:below], (run.frame.code.serial, 0))
    sites = run.decisions.recursive[context]
    if not sites:
        return False
    kind, *rest = registers.get(SITE, ("pop",))
    if kind == "take" and rest[0] == "0":
        return False
    if kind == "take":
        _take(run, value, sites, int(rest[0]) - 1)
        run.cut()
    if kind == "pop":
        numbers, *columns = registers[STACK]
        (number,) = _pop(run, numbers)
        registers[STACK] = (numbers, *columns)
        rest = [number, "0"]
    number, asked = rest[0], int(rest[1])
    there, elsewhere = run.state.copy(), run.state.copy()
    there.frames[-1].registers[SITE] = ("take", str(asked))
    last = asked + 1 == len(sites)
    after = str(asked + 1)
    elsewhere.frames[-1].registers[SITE] = ("take", after) if last else ("ask", number, after)
    name = run.frame.code.name
    text = f"`{name}` returns to call {asked}" if asked else f"`{name}` returns for good"
    run.fork(run.host("eq", number, asked).value, there, elsewhere, text)
    return True


def _pop(run: Interpreter, column: Ref) -> list[Any]:
    """Take the last of a list of the stack."""
    found: DynListObj = run.state.heap[column]
    (values,) = found.values
    kind = found.element.type
    assert kind is not None
    rest, taken = run.builder.host("list.pop", (values, -1), (values.type, kind), run.loc)
    run.state.heap[column] = DynListObj(found.element, (rest,))
    return [run.adopt(taken, listed=True) if isinstance(kind, TensorType) else Sym(taken)]


def _take(run: Interpreter, value: Any, sites: tuple[Site, ...], number: int) -> None:
    """Pop what waits at a site, and go on there."""
    left = run.state.frames.pop()
    result, waiting = sites[number]
    first = 1 + sum(len(_types(site)) for site in sites[:number])
    stack = left.registers[STACK]
    columns = stack[first : first + len(_types(sites[number]))]
    popped = iter([item for column in columns for item in _pop(run, column)])
    shared = left.registers[SHARED]
    for item in waiting:
        registers = {name: _restored(run, spec, popped, shared) for name, spec in item.registers}
        run.state.frames.append(Frame(item.code, item.function, item.pc, registers, item.result))
    base = run.state.frames[-len(waiting)]
    base.registers |= {STACK: stack, SHARED: shared}
    base.result = left.result
    run.frame.registers[result] = value


def _restored(run: Interpreter, spec: Any, popped: Iterator[Any], shared: tuple[Any, ...]) -> Any:
    if isinstance(spec, Known):
        return spec.item
    if isinstance(spec, Shared):
        return shared[spec.position]
    if isinstance(spec, Pushed):
        item = next(popped)
        return Sym(item.value, spec.origins) if isinstance(item, Sym) else item
    parts = tuple(_restored(run, part, popped, shared) for part in spec.parts)
    if spec.kind == "tuple":
        return parts
    return run.state.new(ListObj(parts) if spec.kind == "list" else IterObj(parts))


def _refused(frame: Frame, why: str, hint: str | None = None) -> Unsupported:
    return Unsupported(
        "DY303",
        f"a call of `{frame.code.name}` by itself",
        f"data decides how deep it goes, and {why}",
        hint or "Write it as a loop, with a list for what is still to be done.",
    )
