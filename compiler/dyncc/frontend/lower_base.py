"""What lowering of all constructs shares: instructions, labels, names, stores, loops."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from dyncc.frontend.code import GENERATOR, Code, Handler, Instr, Label


@dataclass(frozen=True)
class Scope:
    """What a jump may leave: a loop, or statements with a ``finally``.

    Attributes
    ----------
    loop
        Of a loop: where ``continue`` and ``break`` go.
    cleanup
        Emits the code to be run on leaving.
    handler
        Where exceptions of that code go.
    """

    loop: tuple[Label, Label] | None
    cleanup: Callable[[], None] | None = None
    handler: Handler | None = None


class Lowering:
    """Holds the code under construction and the loop context."""

    def __init__(self, name: str, file: str, lines: list[str]) -> None:
        self.code = Code(name, file, lines)
        self.locals: set[str] = set()
        self.cells: set[str] = set()
        #: Generator expressions whose consumer goes through them before anything else happens.
        self.at_once: set[ast.AST] = set()
        self._temporaries = 0
        self._labels: list[int | None] = []
        self.scopes: list[Scope] = []
        self._renamed: list[dict[str, str]] = []
        self.handler: Handler | None = None
        self._caught: list[str] = []

    # -- building ------------------------------------------------------------------------------

    def temporary(self) -> str:
        self._temporaries += 1
        return f".{self._temporaries}"

    def label(self) -> Label:
        self._labels.append(None)
        return Label(len(self._labels) - 1)

    def place(self, label: Label) -> None:
        self._labels[label.number] = len(self.code.instrs)

    def emit(
        self,
        node: ast.AST,
        op: str,
        *,
        dest: tuple[str, ...] = (),
        uses: tuple[str, ...] = (),
        const: object = None,
        targets: tuple[Label, ...] = (),
    ) -> None:
        self.code.instrs.append(Instr(op, dest, uses, const, targets, node, self.handler))

    def owner(self) -> tuple[str, ...]:
        """The register of the generator that this code belongs to."""
        return (GENERATOR,) if self.code.is_generator else ()

    def jump(self, node: ast.AST, target: Label) -> None:
        self.emit(node, "jump", targets=(target,))

    def value(self, node: ast.AST, op: str, *uses: str, const: object = None) -> str:
        dest = self.temporary()
        self.emit(node, op, dest=(dest,), uses=uses, const=const)
        return dest

    def constant(self, value: object, node: ast.AST) -> str:
        return self.value(node, "const", const=value)

    def unsupported(self, node: ast.AST, construct: str) -> str:
        return self.value(node, "unsupported", const=construct)

    # -- stores --------------------------------------------------------------------------------

    def store(self, target: ast.expr, value: str) -> None:
        match target:
            case ast.Name(name):
                register = self.rename(name)
                if register in self.cells:
                    self.emit(target, "cell_set", uses=(register, value), const=name)
                elif register in self.locals:
                    self.emit(target, "move", dest=(register,), uses=(value,))
                else:
                    self.unsupported(target, f"assignment to the global `{name}`")
            case ast.Attribute(owner, attribute):
                self.emit(target, "setattr", uses=(self.expr(owner), value), const=attribute)
            case ast.Subscript(owner, index):
                uses = (self.expr(owner), self.expr(index), value)
                self.emit(target, "setitem", uses=uses)
            case ast.Tuple(items) | ast.List(items):
                star = next((i for i, e in enumerate(items) if isinstance(e, ast.Starred)), None)
                value = self.value(target, "sequence", value)
                parts = tuple(self.temporary() for _ in items)
                self.emit(target, "unpack", dest=parts, uses=(value,), const=(len(items), star))
                for item, part in zip(items, parts, strict=True):
                    self.store(item.value if isinstance(item, ast.Starred) else item, part)
            case _:
                self.unsupported(target, "assignment target")

    def forget(self, node: ast.AST, name: str) -> None:
        """Take the value of a variable away."""
        register = self.rename(name)
        if register in self.cells:
            self.emit(node, "cell_clear", uses=(register,))
        else:
            self.emit(node, "forget", dest=(register,))

    def rename(self, name: str) -> str:
        for scope in reversed(self._renamed):
            if name in scope:
                return scope[name]
        return name

    # -- loops ---------------------------------------------------------------------------------

    def loop(
        self,
        node: ast.AST,
        iterable: ast.expr,
        target: ast.expr,
        body: Callable[[], None],
        exhausted: Label,
        end: Label,
    ) -> None:
        """A ``for`` loop; `exhausted` and `end` are placed by the caller."""
        head = self.label()
        iterator = self.value(iterable, "iter", self.expr(iterable))
        self.place(head)
        self.store(target, self.step(node, target, iterator, exhausted))
        self.scopes.append(Scope((head, end)))
        body()
        self.scopes.pop()
        self.jump(node, head)

    def step(self, node: ast.AST, target: ast.AST, iterator: str, exhausted: Label) -> str:
        """Register of the next item of an iterator; at its end, control goes to `exhausted`."""
        given = self.temporary()
        self.emit(node, "next", dest=(given,), uses=(iterator,), targets=(exhausted,))
        return self.value(target, "fetch", iterator, given)

    def body(self, statements: list[ast.stmt]) -> None:
        """Code for statements."""
        raise NotImplementedError

    def expr(self, node: ast.expr) -> str:
        """Code for an expression; the register of its value."""
        raise NotImplementedError
