"""What the machine computes with: static Python objects, dynamic scalars, and a symbolic heap.

A value is one of

* a plain Python object: static, known at compile time;
* a `Sym`: a bool, int or float that is known only at run time;
* a `Ref`: the identity of a mutable object on the symbolic heap (tensor, list, dict, iterator);
* a `tuple` of values.

Heap objects are immutable and replaced on a write, so a fork copies one dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dyncc.frontend.code import Code, Nested
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.extents import extent_name
from dyncc.ir.hcfg import Value
from dyncc.ir.types import DTYPES, SHORT_DTYPES, TensorType

TORCH_DTYPES: dict[str, torch.dtype] = {
    short: getattr(torch, long) for short, long in DTYPES.items()
}


def short_dtype(dtype: torch.dtype) -> str:
    """Short name of a torch dtype, such as ``f32``."""
    return SHORT_DTYPES[str(dtype).removeprefix("torch.")]


def tensor_type(tensor: torch.Tensor) -> TensorType:
    """Type of a tensor; raises Unsupported if regions know no such tensors."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or dtype not in SHORT_DTYPES:
        found = tensor.device if tensor.layout == torch.strided else tensor.layout
        raise Unsupported(
            "DY215",
            f"a tensor of {dtype if dtype not in SHORT_DTYPES else found}",
            "regions compute on dense tensors in the memory of the CPU",
            "Convert it to such a tensor before the call, or compute with dense tensors.",
        )
    return TensorType(short_dtype(tensor.dtype), tuple(map(extent_name, tensor.shape)))


@dataclass(frozen=True)
class Ref:
    """Identity of an object on the symbolic heap."""

    number: int


@dataclass(frozen=True)
class Sym:
    """A scalar known only at run time.

    `origins` names the widenings that made it dynamic, so that they can be undone where a static
    value turns out to be needed. `tried` counts the values that a case split has already ruled out.
    `extent` is the size of a tensor that it stands for, as native code knows it.
    """

    value: Value
    origins: frozenset[Any] = field(default=frozenset(), compare=False)
    tried: int = 0
    extent: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Bound:
    """A method of a heap object.

    ``name`` names a method that the machine knows, such as the ``append`` of a list, or is the
    function of the user's class.
    """

    owner: Any
    name: Any


@dataclass(frozen=True)
class Super:
    """``super()`` of a heap object: where classes after `kind` are looked up."""

    kind: type
    owner: Ref


@dataclass(frozen=True)
class ViewStep:
    """One view operation on the way from a storage to a tensor.

    ``args`` are what follows the viewed tensor; ``index`` picks a result of operations such as
    ``unbind`` that return several.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    index: int | None = None


@dataclass(frozen=True)
class Storage:
    """What aliasing tensors share.

    ``source`` is the SSA value of the contiguous base tensor, or the name of a weight while the
    storage still holds its initial content. ``owner`` names the module state that it backs;
    ``listed`` says that there is a copy of it, in a list of run-time length or in the module, so
    that a write would not be seen there. ``content`` is what the base holds, where that is known
    when the network is compiled. ``relaid`` says that eager PyTorch may hold it in another order of
    dimensions than ``fake`` has, since what crosses the edge of a block is stored contiguously.
    """

    source: Value | str
    fake: torch.Tensor
    owner: str | None = None
    listed: bool = False
    content: torch.Tensor | None = field(default=None, compare=False)
    relaid: bool = False


@dataclass(frozen=True)
class TensorObj:
    """A tensor: a storage and the views that lead from its base to it."""

    storage: Ref
    chain: tuple[ViewStep, ...]
    fake: torch.Tensor


@dataclass(frozen=True)
class ListObj:
    """A list of known length."""

    items: tuple[Any, ...]


@dataclass(frozen=True)
class DictObj:
    """A dict with static keys."""

    items: tuple[tuple[Any, Any], ...]

    def get(self, key: Any) -> Any:
        """Value of `key`; raises KeyError."""
        for known, value in self.items:
            if known == key:
                return value
        raise KeyError(key)

    def set(self, key: Any, value: Any) -> DictObj:
        """A dict with `key` set, order kept."""
        done = False
        items = []
        for known, old in self.items:
            same = known == key
            items.append((known, value if same else old))
            done |= same
        return DictObj((*items, (key, value)) if not done else tuple(items))


@dataclass(frozen=True)
class SetObj:
    """A set of values that are known when the network is compiled, in the order of a Python set."""

    items: frozenset[Any]


@dataclass(frozen=True)
class PartialObj:
    """What ``functools.partial`` makes of values that are known at run time only."""

    function: Any
    args: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class InstanceObj:
    """An object of a class of the user's (or a named tuple of a library).

    ``fields`` are its attributes. ``content`` is what it holds as a tuple (a tuple of values) or
    as a list or dict (a `Ref` to one).
    """

    kind: type
    fields: tuple[tuple[str, Any], ...] = ()
    content: Any = None

    def get(self, name: str) -> Any:
        """Value of an attribute; raises KeyError."""
        return dict(self.fields)[name]

    def set(self, name: str, value: Any) -> InstanceObj:
        """An object with an attribute set, order kept."""
        return replace(self, fields=tuple((dict(self.fields) | {name: value}).items()))


@dataclass(frozen=True)
class IterObj:
    """An iterator over a known sequence of values.

    ``owner`` is the list that it goes through, whose changes it sees; ``changed`` says that there
    were any. Of such a list, ``items`` are those that it had at the last look.
    """

    items: tuple[Any, ...]
    position: Any = 0
    owner: Ref | None = None
    changed: bool = False


@dataclass(frozen=True)
class DynListObj:
    """A list of run-time length whose elements all look like `element`.

    ``element`` is a template (see `templates.Template`); ``values`` holds one SSA list for each of
    its leaves. ``origins`` are as in `Sym`.
    """

    element: Any
    values: tuple[Value, ...]
    origins: frozenset[Any] = field(default=frozenset(), compare=False)


#: What tells a range, which can be gone through again and again, from an iterator over it.
RANGE = "range"
#: The source of an iterator whose items another one takes now; where it stands is not known.
TAKEN = "taken"


@dataclass(frozen=True)
class DynIterObj:
    """An iterator whose length is only known at run time, or a range of which iterators are made.

    ``source`` is a `DynListObj` reference, a column of `sequences`, None for an iterator over a
    range, `RANGE` for a range itself, or `TAKEN`; position, stop and step are scalars.
    """

    source: Any
    position: Any
    stop: Any
    step: Any


@dataclass
class Frame:
    """A function activation: code, program point and registers.

    ``joins`` are the program points where paths that forked in this activation meet again (-1
    stands for its return); ``visits`` gives the state's fork count at the last visit of each loop
    head, and ``turned`` holds those that it came back to. ``cleared`` has the outcomes of tests
    that precede the instruction at a program point, see `guards`.
    ``exhausted`` is, in a generator, the program point of its consumer to go on at when it returns;
    it is None where the consumer called ``next``. ``called`` is what was known of the arguments of
    a recursive call.
    """

    code: Code
    function: Any
    pc: int
    registers: dict[str, Any]
    result: str | None = None
    joins: frozenset[int] = frozenset()
    visits: dict[int, int] = field(default_factory=dict)
    cleared: tuple[int, tuple[bool, ...]] = (-1, ())
    exhausted: int | None = None
    called: Any = None
    turned: frozenset[int] = frozenset()

    def enter_loop(self, head: int) -> None:
        """Forget what earlier loops at this place did."""
        self.visits.pop(head, None)
        self.turned -= {head}

    def visit(self, head: int, forks: int) -> bool:
        """Note that the head of a loop is reached; return whether after a turn that forked."""
        again = self.visits.get(head, forks) != forks
        if again:
            self.turned |= {head}
        self.visits[head] = forks
        return again

    def copy(self) -> Frame:
        """An independent copy."""
        return replace(self, registers=dict(self.registers), visits=dict(self.visits))


@dataclass(frozen=True)
class CellObj:
    """A variable that functions share: its value, or nothing."""

    parts: tuple[Any, ...] = ()

    @property
    def label(self) -> Any:
        """What is static about it."""
        return "cell"

    def rebuilt(self, parts: tuple[Any, ...]) -> CellObj:
        """The same with other values."""
        return CellObj(parts)


@dataclass(frozen=True)
class ClosureObj:
    """A function made in the network.

    ``parts`` are the values of its defaults, then its cells.
    """

    template: Nested
    function: Any
    parts: tuple[Any, ...]

    @property
    def label(self) -> Any:
        """What is static about it."""
        return ("closure", self.template, self.function)

    def rebuilt(self, parts: tuple[Any, ...]) -> ClosureObj:
        """The same with other values."""
        return replace(self, parts=parts)


@dataclass(frozen=True)
class GeneratorObj:
    """A generator: the frame in which it waits, or what it returned."""

    frame: Frame | None
    value: Any = None

    def _names(self) -> list[str]:
        if self.frame is None:
            return []
        return sorted(
            self.frame.code.live_while_waiting(self.frame.pc) & self.frame.registers.keys()
        )

    @property
    def label(self) -> Any:
        """What is static about it."""
        if self.frame is None:
            return "finished generator"
        return ("generator", self.frame.code.serial, self.frame.pc, tuple(self._names()))

    @property
    def parts(self) -> tuple[Any, ...]:
        """Its live values."""
        if self.frame is None:
            return (self.value,)
        return tuple(self.frame.registers[name] for name in self._names())

    def rebuilt(self, parts: tuple[Any, ...]) -> GeneratorObj:
        """The same with other values."""
        if self.frame is None:
            return GeneratorObj(None, parts[0])
        registers = dict(zip(self._names(), parts, strict=True))
        return GeneratorObj(replace(self.frame.copy(), registers=registers))


@dataclass(frozen=True)
class ArrayObj:
    """A NumPy array, which shares the memory of a tensor."""

    tensor: Ref

    @property
    def label(self) -> Any:
        """What is static about it."""
        return "array"

    @property
    def parts(self) -> tuple[Any, ...]:
        """Its tensor."""
        return (self.tensor,)

    def rebuilt(self, parts: tuple[Any, ...]) -> ArrayObj:
        """The same of another tensor."""
        return ArrayObj(parts[0])


#: Heap objects that are walked by their ``parts``.
Composite = CellObj | ClosureObj | GeneratorObj | ArrayObj


#: What labels of modules begin with that forward makes; the names of those of the network do not.
MADE = ".made"


@dataclass
class State:
    """Everything a path knows: frames, heap, and attributes written on static objects."""

    frames: list[Frame]
    heap: dict[Ref, Any] = field(default_factory=dict)
    attributes: dict[tuple[str, str], Any] = field(default_factory=dict)
    externals: dict[int, Ref] = field(default_factory=dict)
    forks: int = 0
    serial: int = 0

    def look(self, iterator: IterObj) -> IterObj:
        """An iterator with the items that its list has now."""
        if iterator.owner is None:
            return iterator
        found = self.heap[iterator.owner]
        if isinstance(found, ListObj) and found.items is iterator.items:
            return iterator
        items = found.items if isinstance(found, ListObj) else ()
        return replace(iterator, items=items, changed=True)

    def new(self, item: Any) -> Ref:
        """Put an object on the heap."""
        self.serial += 1
        ref = Ref(self.serial)
        self.heap[ref] = item
        return ref

    def copy(self) -> State:
        """An independent copy (heap objects are immutable and shared)."""
        return State(
            [frame.copy() for frame in self.frames],
            dict(self.heap),
            dict(self.attributes),
            dict(self.externals),
            self.forks,
            self.serial,
        )
