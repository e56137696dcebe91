"""Reads the text form of an HCFG: the exact inverse of `dyncc.ir.text`."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from dyncc.core.errors import ArtifactError
from dyncc.ir.hcfg import (
    STRUCTS,
    Block,
    BlockOp,
    Branch,
    Each,
    Hcfg,
    HostOp,
    Jump,
    Leaf,
    Literal,
    Loc,
    Operand,
    Raise,
    Record,
    Region,
    RegionCall,
    Return,
    Series,
    StateSlot,
    Struct,
    Symbolic,
    TensorOp,
    Terminator,
    Tree,
    Value,
)
from dyncc.ir.text import FORMAT
from dyncc.ir.types import DTYPES, SCALARS, Dim, ListType, ScalarType, TensorType, Type

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t]+)
  | (?P<newline>\n)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<number>-?(?:inf|nan|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.]))
  | (?P<name>(?:[%@^]|\*{1,2})?[\w.]+)
  | (?P<mark>[-+=:,()\[\]{}<>])
    """,
    re.VERBOSE,
)
_KEYWORDS: dict[str, bool | None] = {"none": None, "true": True, "false": False}


def parse(text: str) -> Hcfg:
    """Read a program.

    Raises
    ------
    ArtifactError
        If the text is no program, or of a newer format.
    """
    return _Parser(text).program()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        line, position = 1, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self._fail(f"unexpected character {text[position]!r}", line)
            kind = match.lastgroup
            assert kind is not None
            if kind == "newline":
                line += 1
            elif kind != "space":
                self._tokens.append((kind, match.group(), line))
            position = match.end()
        self._tokens.append(("end", "", line))
        self._values: dict[str, Value] = {}

    # -- tokens --------------------------------------------------------------------------------

    def _fail(self, message: str, line: int | None = None) -> NoReturn:
        raise ArtifactError(
            f"the program text is damaged: {message}",
            where=f"line {self._tokens[self._at][2] if line is None else line}",
            hint="Compile the model again.",
        )

    @property
    def _next(self) -> str:
        return self._tokens[self._at][1]

    def _take(self, kind: str | None = None) -> str:
        found_kind, found, _ = self._tokens[self._at]
        if kind is not None and found_kind != kind:
            self._fail(f"expected a {kind}, found {found!r}")
        self._at += found_kind != "end"
        return found

    def _expect(self, *texts: str) -> None:
        for text in texts:
            if self._next != text:
                self._fail(f"expected {text!r}, found {self._next!r}")
            self._take()

    def _accept(self, text: str) -> bool:
        if self._next == text and self._tokens[self._at][0] != "string":
            self._take()
            return True
        return False

    def _string(self) -> str:
        text = self._take("string")
        try:
            found: str = json.loads(text)
        except json.JSONDecodeError:
            self._fail(f"bad string {text}")
        return found

    def _integer(self) -> int:
        text = self._take("number")
        if not re.fullmatch(r"-?\d+", text):
            self._fail(f"expected an integer, found {text!r}")
        return int(text)

    def _sigil(self, sigil: str) -> str:
        text = self._take("name")
        if not text.startswith(sigil) or len(text) == 1:
            self._fail(f"expected a name with {sigil!r}, found {text!r}")
        return text[1:]

    # -- program -------------------------------------------------------------------------------

    def program(self) -> Hcfg:
        self._expect("hcfg")
        version = self._integer()
        if version != FORMAT:
            raise ArtifactError(
                f"the program has format {version}, and this dyncc reads format {FORMAT}",
                where="line 1",
                hint="Load it with the dyncc that wrote it, or compile the model again.",
            )
        name = self._string()
        signature: list[tuple[str, Tree]] = []
        optional: list[str] = []
        state: list[StateSlot] = []
        weights: dict[str, TensorType] = {}
        regions: dict[str, Region] = {}
        blocks: dict[str, Block] = {}
        while (keyword := self._take()) != "":
            if keyword == "input":
                argument = self._take("name")
                self._expect("=")
                signature.append((argument, self._tree(typed=True)))
                if self._accept("optional"):
                    optional.append(argument)
            elif keyword == "state":
                state.append(self._state())
            elif keyword == "weight":
                weight = self._string()
                self._expect(":")
                kind = self._type()
                if not isinstance(kind, TensorType):
                    self._fail(f"the weight {weight!r} is no tensor")
                weights[weight] = kind
            elif keyword == "region":
                region = self._region()
                regions[region.name] = region
            elif keyword == "block":
                block = self._block()
                blocks[block.name] = block
            else:
                self._fail(f"unknown keyword {keyword!r}")
        if not blocks:
            self._fail("it has no blocks")
        return Hcfg(name, tuple(signature), tuple(optional), tuple(state), weights, blocks, regions)

    def _state(self) -> StateSlot:
        name = self._string()
        self._expect("=")
        value = None if self._accept("none") else self._definition()
        self._expect("initial")
        initial = self._operand()
        if isinstance(initial, Value | Symbolic | str | tuple):
            self._fail(f"the initial value of {name!r} is no number")
        return StateSlot(name, value, initial)

    def _region(self) -> Region:
        name = self._sigil("@")
        self._values = {}
        params = self._definitions()
        self._expect("weights")
        weights = self._definitions()
        self._expect("{")
        ops: list[TensorOp] = []
        while not self._accept("yield"):
            ops.append(self._tensor_op())
        results = self._uses()
        self._expect("}")
        return Region(name, params, weights, tuple(ops), results)

    def _tensor_op(self) -> TensorOp:
        results: list[Value | None] = []
        while self._next == "_" or self._next.startswith("%"):
            results.append(None if self._accept("_") else self._definition())
            if not self._accept(","):
                self._expect("=")
                break
        target = self._take("name")
        args: list[Operand] = []
        kwargs: list[tuple[str, Operand]] = []
        self._expect("(")
        while not self._accept(")"):
            if self._tokens[self._at + 1][1] == "=" and self._tokens[self._at][0] == "name":
                name = self._take()
                self._expect("=")
                kwargs.append((name, self._operand()))
            else:
                args.append(self._operand())
            if self._next != ")":
                self._expect(",")
        return TensorOp(target, tuple(args), tuple(kwargs), tuple(results))

    def _block(self) -> Block:
        name = self._sigil("^")
        self._values = {}
        params = self._definitions()
        loc = self._loc()
        self._expect("{")
        ops: list[BlockOp] = []
        while (terminator := self._terminator()) is None:
            ops.append(self._op())
        self._expect("}")
        return Block(name, params, tuple(ops), terminator, loc)

    def _op(self) -> BlockOp:
        results: list[Value] = []
        if self._next.startswith("%"):
            results.append(self._definition())
            while self._accept(","):
                results.append(self._definition())
            self._expect("=")
        if self._accept("call"):
            region = self._sigil("@")
            args = self._uses()
            self._expect("weights", "(")
            weights: list[str] = []
            while not self._accept(")"):
                weights.append(self._string())
                if self._next != ")":
                    self._expect(",")
            return RegionCall(region, args, tuple(weights), tuple(results))
        op = self._take("name")
        return HostOp(op, self._operands(), tuple(results), self._loc())

    def _terminator(self) -> Terminator | None:
        if self._accept("jump"):
            return self._jump()
        if self._accept("branch"):
            condition = self._use()
            self._expect("then")
            then = self._jump()
            self._expect("else")
            orelse = self._jump()
            return Branch(condition, then, orelse, self._string(), self._loc())
        if self._accept("return"):
            result = self._tree(typed=False)
            updates: list[tuple[str, Tree]] = []
            while self._accept("set"):
                name = self._string()
                self._expect("=")
                updates.append((name, self._tree(typed=False)))
            return Return(result, tuple(updates), self._loc())
        if self._accept("raise"):
            exception = self._take("name")
            return Raise(exception, self._operands(), self._loc())
        return None

    def _jump(self) -> Jump:
        return Jump(self._sigil("^"), self._uses())

    def _loc(self) -> Loc | None:
        if not self._accept("at"):
            return None
        file = self._string()
        self._expect(":")
        line = self._integer()
        self._expect(":")
        return Loc(file, line, self._integer())

    # -- values, types, operands ---------------------------------------------------------------

    def _definition(self) -> Value:
        name = self._sigil("%")
        self._expect(":")
        value = Value(name, self._type())
        self._values[name] = value
        return value

    def _definitions(self) -> tuple[Value, ...]:
        self._expect("(")
        values: list[Value] = []
        while not self._accept(")"):
            values.append(self._definition())
            if self._next != ")":
                self._expect(",")
        return tuple(values)

    def _use(self) -> Value:
        name = self._sigil("%")
        if name not in self._values:
            self._fail(f"%{name} is used before it is defined")
        return self._values[name]

    def _uses(self) -> tuple[Value, ...]:
        self._expect("(")
        values: list[Value] = []
        while not self._accept(")"):
            values.append(self._use())
            if self._next != ")":
                self._expect(",")
        return tuple(values)

    def _type(self) -> Type:
        name = self._take("name")
        if name == "list":
            self._expect("<")
            element = self._type()
            self._expect(">")
            if isinstance(element, ListType):
                self._fail("a list of lists")
            return ListType(element)
        if self._accept("["):
            shape: list[Dim] = []
            while not self._accept("]"):
                number = self._tokens[self._at][0] == "number"
                shape.append(self._integer() if number else self._take("name"))
                if self._next != "]":
                    self._expect(",")
            if name not in DTYPES:
                self._fail(f"unknown dtype {name!r}")
            return TensorType(name, tuple(shape))
        found: ScalarType | None = SCALARS.get(name)
        if found is None:
            self._fail(f"unknown type {name!r}")
        return found

    def _operands(self) -> tuple[Operand, ...]:
        self._expect("(")
        operands: list[Operand] = []
        while not self._accept(")"):
            operands.append(self._operand())
            if self._next != ")":
                self._expect(",")
        return tuple(operands)

    def _operand(self) -> Operand:
        kind, text, _ = self._tokens[self._at]
        if kind == "string":
            return self._string()
        if kind == "number":
            return self._number()
        if text.startswith("%"):
            return self._use()
        if self._accept("["):
            items: list[Operand] = []
            while not self._accept("]"):
                items.append(self._operand())
                if self._next != "]":
                    self._expect(",")
            return tuple(items)
        name = self._take("name")
        if name in _KEYWORDS:
            return _KEYWORDS[name]
        self._expect(":")
        if name == "float":
            return float(self._take("number"))
        if name == "complex":
            real = float(self._take("number"))
            self._expect(":")
            return complex(real, float(self._take("number")))
        return Symbolic(name, self._take("name"))

    def _number(self) -> int | float:
        text = self._take("number")
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

    def _tree(self, typed: bool) -> Tree:
        text = self._next
        if text.startswith("%"):
            return Leaf(self._definition() if typed else self._use())
        if self._accept("{"):
            pairs: list[tuple[str | int | bool | float | None, Tree]] = []
            while not self._accept("}"):
                key = self._operand()
                if isinstance(key, Value | Symbolic | tuple | complex):
                    self._fail("a dict key must be a literal")
                self._expect(":")
                pairs.append((key, self._tree(typed)))
                if self._next != "}":
                    self._expect(",")
            return Record(tuple(pairs))
        if text in STRUCTS and self._tokens[self._at][0] == "name":
            return self._struct(typed)
        if text in ("tuple", "list", "each") and self._tokens[self._at][0] == "name":
            kind = self._take()
            self._expect("(")
            items: list[Tree] = []
            while not self._accept(")"):
                items.append(self._tree(typed))
                if self._next != ")":
                    self._expect(",")
            if kind == "each":
                if len(items) != 1:
                    self._fail("each() takes one element")
                return Each(items[0])
            return Series(kind, tuple(items))
        literal = self._operand()
        if isinstance(literal, Value | Symbolic | tuple):
            self._fail("expected a literal")
        return Literal(literal)

    def _struct(self, typed: bool) -> Struct:
        kind, name = self._take("name"), self._string()
        if not name.isidentifier():
            self._fail(f"a class cannot be called {name!r}")
        self._expect("{")
        fields: list[tuple[str, Tree]] = []
        while not self._accept("}"):
            key = self._string()
            self._expect(":")
            fields.append((key, self._tree(typed)))
            if self._next != "}":
                self._expect(",")
        return Struct(kind, name, tuple(fields))
