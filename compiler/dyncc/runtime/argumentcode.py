"""Writes what takes arguments that are exactly as expected: one Python function for a program.

Nearly all calls of a program are alike: tensors of the same classes and of the right dtypes and
shapes, numbers of the right types. The function compares all that in one go and shares the tensors.
Where anything differs, it gives None, and `dyncc.runtime.arguments` looks closely: it converts what
can be converted, and is what raises errors. So nothing is refused here, and nothing may be taken
here that it would refuse or take otherwise.

What the tensors of a call are like is learnt from the last one that was looked at closely. Data
becomes text as in `dyncc.runtime.hostcode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dyncc.ir import sizes
from dyncc.ir.hcfg import Hcfg, Leaf, Literal, Record, Series, Struct, Tree
from dyncc.ir.types import ScalarType, TensorType
from dyncc.runtime.generators import is_generator
from dyncc.runtime.hosttext import Names, tuple_of

#: Types of numbers that are taken as they are.
SCALARS = {"bool": bool, "int": int, "float": float, "complex": complex, "str": str}

_MISSING = object()

#: What was given for each leaf, what the program runs on, and what makes of a back-end tensor what
#: the caller gets.
Taken = tuple[Sequence[Any], Sequence[Any], Callable[[Any], Any]]


class ExactArguments:
    """Takes arguments that are like those of an earlier call.

    Parameters
    ----------
    program
        The program.
    known
        The sizes that it was compiled for, by name.
    out
        What makes results where no tensor is given.

    Attributes
    ----------
    text
        The source of `take`.
    take
        The function: takes the arguments in the order of the signature; gives `Taken`, or None
        where they are not exactly as expected.
    """

    def __init__(self, program: Hcfg, known: sizes.Sizes, out: Callable[[Any], Any]) -> None:
        writer = _Writer(program, known)
        self.text = writer.write()
        self._tensors = writer.tensors
        self._namespace = writer.names.namespace
        self._namespace["out"] = out
        file = f"<dyncc: arguments of {program.name}>"
        exec(compile(self.text, file, "exec"), self._namespace)  # noqa: S102
        self.take: Callable[[Sequence[Any]], Taken | None] = self._namespace.pop(writer.name)

    def learn(
        self,
        given: Sequence[Any],
        sharing: Callable[[Any], Callable[[Any], Any]],
        out: Callable[[Sequence[Any]], Callable[[Any], Any]],
    ) -> None:
        """Expect tensors like those of a call whose arguments were right.

        Parameters
        ----------
        given
            What was given for each leaf.
        sharing
            What makes back-end tensors of tensors like one.
        out
            What makes results, given these leaves.
        """
        for tensor in self._tensors:
            example = given[tensor.place]
            # A generator's state is asked for at each call; no class is None.
            known = None if is_generator(example) else example
            self._namespace[tensor.kind] = None if known is None else type(known)
            self._namespace[tensor.dtype] = None if known is None else known.dtype
            self._namespace[tensor.share] = None if known is None else sharing(known)
        self._namespace["out"] = out([given[tensor.place] for tensor in self._tensors])


@dataclass(frozen=True)
class _Tensor:
    """A tensor among the leaves: its position, and the names of what is known of the last one."""

    place: int
    kind: str
    dtype: str
    share: str


class _Writer:
    def __init__(self, program: Hcfg, known: sizes.Sizes) -> None:
        self.names = Names({})
        for builtin in (type, tuple, list, dict, len, getattr):
            self.names.of(builtin, builtin.__name__)
        self.name = self.names.new("take")
        self.tensors: list[_Tensor] = []
        self._args = self.names.new("args")
        self._signature = program.signature
        self._known = known
        self._extents: dict[str, str] = {}
        self._given: list[str] = []
        self._taken: list[str] = []
        self._lines: list[str] = []

    def write(self) -> str:
        arguments = [self.names.new(name) for name, _ in self._signature]
        if arguments:
            self._lines.append(f"{tuple_of(arguments)} = {self._args}")
        for argument, (_, tree) in zip(arguments, self._signature, strict=True):
            self._tree(tree, argument)
        given = tuple_of(self._given)
        self._lines.append(f"return {given}, [{', '.join(self._taken)}], out")
        body = "".join(f"    {line}\n" for line in self._lines)
        return f"def {self.name}({self._args}):\n{body}"

    def _unless(self, *conditions: str) -> None:
        """Give up unless all of these hold."""
        self._lines.append(f"if not ({' and '.join(conditions)}): return None")

    def _tree(self, tree: Tree, value: str) -> None:
        match tree:
            case Leaf(leaf) if isinstance(leaf.type, TensorType):
                self._tensor(leaf.type, value)
            case Leaf(leaf):
                assert isinstance(leaf.type, ScalarType)
                kind = SCALARS[leaf.type.kind]
                self._unless(f"type({value}) is {self.names.of(kind, kind.__name__)}")
                self._given.append(value)
                self._taken.append(value)
            case Literal(literal):
                kind = type(literal)
                self._unless(
                    f"type({value}) is {self.names.of(kind, kind.__name__)}",
                    f"not {value} != {self.names.read(literal)}",
                )
            case Series(_, items):
                self._unless(
                    f"(type({value}) is tuple or type({value}) is list)",
                    f"len({value}) == {len(items)}",
                )
                parts = [self.names.new(f"{value}_{index}") for index in range(len(items))]
                if parts:
                    self._lines.append(f"{tuple_of(parts)} = {value}")
                for part, item in zip(parts, items, strict=True):
                    self._tree(item, part)
            case Record(pairs):
                keys = self.names.of(dict(pairs).keys(), "keys")
                self._unless(f"type({value}) is dict", f"{value}.keys() == {keys}")
                for key, item in pairs:
                    part = self.names.new(f"{value}_{key}")
                    self._lines.append(f"{part} = {value}[{self.names.read(key)}]")
                    self._tree(item, part)
            case Struct(_, _, fields):
                missing = self.names.of(_MISSING, "missing")
                for key, item in fields:
                    part = self.names.new(f"{value}_{key}")
                    self._lines.append(f"{part} = getattr({value}, {key!a}, {missing})")
                    self._unless(f"{part} is not {missing}")
                    self._tree(item, part)

    def _tensor(self, kind: TensorType, value: str) -> None:
        tensor = _Tensor(
            len(self._given), *(self.names.new(f"{value}_{n}") for n in ("kind", "dtype", "share"))
        )
        self.names.namespace |= dict.fromkeys((tensor.kind, tensor.dtype, tensor.share))
        self.tensors.append(tensor)
        self._unless(
            f"type({value}) is {tensor.kind}",
            f"{value}.dtype is {tensor.dtype}",
            *self._shape(kind.shape, value),
        )
        self._given.append(value)
        self._taken.append(f"{tensor.share}({value})")

    def _shape(self, shape: Sequence[int | str], value: str) -> list[str]:
        """Conditions on the shape of a tensor."""
        if all(isinstance(extent, int) for extent in shape):
            return [f"{value}.shape == {tuple_of(map(str, shape))}"]
        found = self.names.new(f"{value}_shape")
        conditions = [f"len({found} := {value}.shape) == {len(shape)}"]
        for place, extent in enumerate(shape):
            here = f"{found}[{place}]"
            if isinstance(extent, int):
                conditions.append(f"{here} == {extent}")
            elif extent in self._extents:
                conditions.append(f"{here} == {self._extents[extent]}")
            else:
                self._extents[extent] = local = self.names.new(extent)
                size = self._known.get(extent, sizes.Size(0))
                above = "" if size.high is None else f" <= {size.high}"
                conditions.append(f"{size.low} <= ({local} := {here}){above}")
        return conditions
