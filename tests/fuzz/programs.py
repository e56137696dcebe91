"""Random networks as source: structured control flow, mutation and lists on small tensors."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

HEAD = '''"""A random network."""

import math

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.register_buffer("seen", torch.zeros(3))
        self.calls = 0
'''

TAIL = """

def example_inputs():
    return torch.ones(3), torch.ones(3)


def coverage_inputs():
    generator = torch.Generator().manual_seed(1)
    return [
        tuple(torch.randn(2, 3, generator=generator).mul(scale).unbind(0))
        for scale in (0.3, 1.0, 4.0)
    ]
"""

TENSORS = ("t0", "t1", "t2")
INTS = ("n0", "n1")
FLOATS = ("f0", "f1")
LISTS = ("l0", "l1")

#: Thresholds that sums of rounded values do not come close to by chance.
LIMITS = ("-1.37", "-0.41", "0.173", "0.77", "1.91")
SCALES = ("-0.7", "0.5", "0.9", "1.3")


#: What can be written, with holes: equal holes are filled alike, and the letters say with what.
#: `n` and `m` are integers, `v` is a new name, `test` and `simple` are tests; for others see WORDS.
EXPRESSIONS = (
    "{t} * {scale}",
    "{t} + {u}",
    "{t} - {u} * {scale}",
    "torch.tanh({t})",
    "self.a({t})",
    "torch.relu(self.b({t})) - 0.25",
    "{t} + {n}",
    "{t} * {f}",
    "{t}.clone()",
    "torch.where({t} > {u}, {t}, {u} * 0.5)",
    "torch.zeros(3) + {t}[{place}]",
    "torch.full((3,), {f})",
    "{t}.flip(0)",
    "self.layers[{n} % 3]({t})",
    "{t} if {test} else {u}",
    "{t} * self.seen + self.calls",
)
INT_EXPRESSIONS = (
    "{n} + 1",
    "{n} - {m}",
    "({n} * 3 + {m}) % 7",
    "int({t}.abs().sum().clamp(max=50.0).item() * 2) % 5",
    "int(({t} > 0.1).sum())",
    "{t}.argmax().item()",
    "len({l})",
    "max({n}, {m})",
    "min({n}, 4)",
    "{n} if {test} else {m} + 2",
    "abs({n}) // 2",
    "3",
)
FLOAT_EXPRESSIONS = (
    "{t}.mean().item()",
    "float({t}[1])",
    "{f} * 0.5 + {n}",
    "{t}.clamp(-3, 3).sum().item() - {f} * 0.25",
    "math.tanh({f})",
    "min({f}, 2.5)",
    "0.75",
)
SIMPLE_TESTS = (
    "{t}.sum() > {limit}",
    "{t}.max() < {limit}",
    "({t} > {limit}).any()",
    "{f} > {limit}",
    "{n} % 2 == 0",
    "{n} < {few}",
    "{n} > {m}",
    "len({l}) > {place}",
    "self.one_of({n})",
    "{limit} < {t}[0] < 2.3",
)
TESTS = (
    "{simple1} and {simple2}",
    "{simple1} or {simple2}",
    "not ({simple1})",
    *("{simple1}",) * 5,
)
#: Changes in place. Of clones mostly, for a list would see the others.
CHANGES = (
    "{t} = {t}.clone()\n{t} += {u}",
    "{t} = {t} * 1.0\n{t}.mul_({scale})",
    "{t} = {t}.clone()\n{t}[1] = {u}[0]",
    "{t} = {t}.clone()\n{t}[abs({n}) % 3] = {limit}",
    "{t} = {t} + 0.5\n{v} = {t}[0:2]\n{v}.add_({u}[1].clone())",
    "{t} = {u}.clone()\n{v} = {t}\n{v} *= 0.5",
    "{t} = {t}.clone()\n{t}[{t} > 0.9] = 0.3",
    "{t} += {u} * 0.5",
    "{t}.add_({u})\n{u} = {u} + {t}",
    "{v} = {t}.view(3)\n{u} = {t} + 1.0\n{v}[0] = {n}\n{t} = {t} - {u}",
    "{v} = {t}.clone()\nl0.append({v})\n{v}.mul_(0.5)",
    "self.seen = self.seen * 0.5",
    "self.seen[{end}] = {t}[1]",
    "self.seen += {t}.tanh()",
    "self.calls += 1",
)
OF_LISTS = (
    "{l}.append({t})",
    "{l}.append({t} * 0.5)",
    "{l} = []",
    "if len({l}) > 0:\n    {t} = {l}[-1]",
    "if len({l}) > 1:\n    {t} = {l}[0] + {l}[1]",
    "for {v} in {l}:\n    {t} = {t} * 0.5 + {v}",
    "if len({l}) > 0:\n    {l}.pop()",
    "{l} = {l} + {k}",
    "{l} = [{v} * 0.5 for {v} in {k}]",
    "if len({l}) > 2:\n    {l} = {l}[-2:]",
    "{l}.insert(0, {t})",
    "if len({l}) > 1:\n    {l}[0] = {t} * 0.5",
    "{l}.extend([{t}, {t} + 1.0])",
    "for {v} in {l}[:2]:\n    {t} = {t} + {v}.sum()",
    "if {l}:\n    {t} = {l}[len({l}) // 2] - {t}",
    "{l} = list(reversed({l}))",
    "{t} = torch.stack([{t}, *{l}[:1]]).sum(0)",
)
OTHERS = (
    "{t}, {u} = {u}, {t}",
    "{v} = {{'a': {t}, 'b': {n}}}\n{u} = {v}['a'] + {v}['b']",
    "{v} = ({t}, {f})\n{t} = {v}[0] * {v}[1]",
    "if ({v} := {t}.sum().item()) > 0.3:\n    {t} = {t} - {v} * 0.1",
    "{v} = [{n}, {m}, 2]\nn0 = sum({v}) % 9",
    "{t} = sum([{t}, {u}, {t}]) * 0.3",
    "{v} = lambda z: z * {scale}\n{t} = {v}({u})",
    "{v} = [({t}, {n}), ({u}, 1)]\nfor {v}p, {v}q in {v}:\n    {t} = {t} + {v}p * {v}q",
    "{t} = max([{t}, {u}], key=lambda z: z.sum().item())",
    """match {n} % 3:
    case 0:
        {t} = {t} * 0.5
    case 1:
        {u} = {u} + {t}
    case _:
        n1 = n1 + 1""",
    """def {v}(z):
    if z.sum() > 0.31:
        return z * 0.5
    return z + {n}
{t} = {v}({t})""",
    "while {t}.abs().max() > 1.7:\n    {t} = {t} * 0.6",
    "assert {t}.abs().sum() < 1e9, 'large'",
    "for {v} in self.layers:\n    {t} = torch.tanh({v}({t}))",
    "{t} = {t} + {u}[: abs({n}) % 4].sum()",
    "{t} = {t} - {u}[abs({n}) % 3 :].mean()",
    "{v} = torch.zeros(abs({n}) % 3 + 1) + {f}\n{t} = {t} + {v}.sum()",
    "{v} = {u}[{u} > 0.1]\n{t} = {t} + {v}[: abs({n}) % 3].sum() + {v}.shape[0]",
)
#: What becomes of a tensor that has grown in a loop.
GROWN = (
    "{t} = {grown}[-3:]",
    "{t} = {grown}.view(-1, 3).sum(0)",
    "{t} = {t} + {grown}.mean() + {grown}.shape[0]",
    "{t} = {grown}[: int(({u} > 0.2).sum()) + 1].sum() - {u}",
    "{t} = ({grown} + {grown}.flip(0)).reshape(-1, 3)[-1]",
)
RESULTS = ("t0, t1, n0, f0", "t2, n1, len(l0)", "t0 + t1, l1", "{{'t': t1, 'n': n0}}", "t0")
#: What holes are filled with, by their letters without a number.
WORDS = {
    "t": TENSORS, "u": TENSORS, "f": FLOATS, "l": LISTS, "k": LISTS, "scale": SCALES,
    "limit": LIMITS, "place": ("0", "1", "2"), "end": ("0", "2"), "few": ("1", "2", "4"),
}  # fmt: skip

_choice = functools.cache(st.sampled_from)


class _Holes(dict[str, str]):
    """Fills each hole of a template the first time that it is met."""

    def __init__(self, scope: _Scope, **known: str) -> None:
        super().__init__(known)
        self._scope = scope

    def __missing__(self, hole: str) -> str:
        scope, word = self._scope, hole.rstrip("123")
        if word in WORDS:
            self[hole] = scope.one(WORDS[word])
        elif word in ("n", "m"):
            self[hole] = scope.integer()
        elif word == "v":
            self[hole] = scope.name("v")
        else:
            self[hole] = scope.fill({"test": TESTS, "simple": SIMPLE_TESTS}[word])
        return self[hole]


@dataclass(frozen=True)
class _Scope:
    """What may be written at a place."""

    draw: st.DrawFn
    loops: int = 0
    depth: int = 0
    budget: list[int] = field(default_factory=lambda: [20])
    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    extra_ints: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    results: tuple[str, ...] = RESULTS

    def one(self, items: tuple[str, ...]) -> str:
        return self.draw(_choice(items))

    def upto(self, most: int, least: int = 0) -> int:
        return self.draw(st.integers(least, most))

    def inner(self, loops: int = 0, ints: tuple[str, ...] = ()) -> _Scope:
        return replace(
            self,
            loops=self.loops + loops,
            depth=self.depth + 1,
            extra_ints=(*self.extra_ints, *ints),
        )

    def name(self, start: str) -> str:
        return f"{start}{next(self.counter)}"

    def fill(self, templates: tuple[str, ...], **known: str) -> str:
        """One of the templates, its holes filled."""
        return self.one(templates).format_map(_Holes(self, **known))

    def integer(self) -> str:
        return self.one((*INTS, *self.extra_ints))

    def test(self) -> str:
        return self.fill(TESTS)

    def tensor(self) -> str:
        calls = tuple(f"self.{helper}({{t}}, {{n}})" for helper in self.helpers)
        return self.fill((*EXPRESSIONS, *calls))

    # -- statements ----------------------------------------------------------------------------

    def block(self, most: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.upto(most, min(2, most))):
            if self.budget[0] <= 0:
                break
            lines += self.statement()
        return lines or ["pass"]

    def statement(self) -> list[str]:
        self.budget[0] -= 1
        kinds = ["tensor", "tensor", "tensor", "int", "float", "change", "list", "other"]
        if self.depth < 3:
            kinds += ["if", "if", "if", "while", "while", "for", "for", "try", "grow"]
        if self.loops:
            kinds += ["leave"]
        if self.depth:
            kinds += ["return"]
        method = getattr(self, f"_{self.one(tuple(kinds))}")
        found: list[str] = method()
        return found

    def _tensor(self) -> list[str]:
        return [f"{self.one(TENSORS)} = {self.tensor()}"]

    def _int(self) -> list[str]:
        return [f"{self.one(INTS)} {self.one(('=', '=', '+='))} {self.fill(INT_EXPRESSIONS)}"]

    def _float(self) -> list[str]:
        return [f"{self.one(FLOATS)} = {self.fill(FLOAT_EXPRESSIONS)}"]

    def _change(self) -> list[str]:
        return self.fill(CHANGES).splitlines()

    def _list(self) -> list[str]:
        return self.fill(OF_LISTS).splitlines()

    def _other(self) -> list[str]:
        return self.fill(OTHERS).splitlines()

    def _if(self) -> list[str]:
        lines = [f"if {self.test()}:", *_indent(self.inner().block(3))]
        if self.upto(1):
            if self.upto(3) == 0:
                lines += [f"elif {self.test()}:", *_indent(self.inner().block(2))]
            lines += ["else:", *_indent(self.inner().block(3))]
        return lines

    def _while(self) -> list[str]:
        turn = self.name("k")
        head = f"while {turn} < {self.one(('2', '3', '5'))} and ({self.test()}):"
        body = [f"{turn} += 1", *self.inner(1, (turn,)).block(3)]
        lines = [f"{turn} = 0", head, *_indent(body)]
        if self.upto(4) == 0:
            lines += ["else:", *_indent(self.inner().block(1))]
        return lines

    def _grow(self) -> list[str]:
        """A tensor that grows in a loop."""
        turn, grown = self.name("k"), self.name("g")
        lines = [f"{turn}, {grown} = 0, {self.one(TENSORS)}"]
        lines += [f"while {turn} < {self.one(('2', '3', '5'))} and ({self.test()}):"]
        body = [f"{turn} += 1", f"{grown} = torch.cat([{grown}, {self.one(TENSORS)} * 0.5])"]
        body += self.inner(1, (turn,)).block(2)
        return [*lines, *_indent(body), self.fill(GROWN, grown=grown)]

    def _for(self) -> list[str]:
        turn = self.name("i")
        # Loops over modules are unrolled, and those in loops multiply.
        if not self.depth and self.upto(3) == 0:
            layer, t = self.name("y"), self.one(TENSORS)
            body = [f"{t} = {layer}({t}) * 0.5", *self.inner(1, (turn,)).block(2)]
            return [f"for {turn}, {layer} in enumerate(self.layers):", *_indent(body)]
        over = self.fill(("2", "3", "abs({n}) % 4", "int(({t} > 0.2).sum())"))
        lines = [f"for {turn} in range({over}):", *_indent(self.inner(1, (turn,)).block(3))]
        if self.upto(5) == 0:
            lines += ["else:", *_indent(self.inner().block(1))]
        return lines

    def _try(self) -> list[str]:
        body = self.inner().block(2)
        risky = [f"if {self.test()}:", f"    raise ValueError({self.integer()})"]
        lines = ["try:", *_indent([*body, *risky]), "except ValueError:"]
        lines += _indent(self.inner().block(2))
        if self.upto(1):
            lines += ["finally:", *_indent(self.inner(-self.loops)._tensor())]
        return lines

    def _leave(self) -> list[str]:
        return [f"if {self.test()}:", f"    {self.one(('break', 'continue'))}"]

    def _return(self) -> list[str]:
        return [f"if {self.test()}:", f"    return {self.fill(self.results)}"]


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


@st.composite
def programs(draw: st.DrawFn) -> str:
    """The source of a model file."""
    helpers: list[str] = []
    parts: list[str] = []
    for number in range(draw(st.integers(0, 2))):
        scope = _Scope(draw, budget=[5], depth=1, helpers=tuple(helpers), results=TENSORS)
        body = [
            "t0, t1, t2, n1, f0, f1, l0, l1 = x, x * 0.5, x - 1.0, 1, 0.25, -0.5, [], []",
            *scope.block(3),
            f"return {scope.one(TENSORS)} + n1 * 0.1",
        ]
        parts += [f"def helper{number}(self, x, n0):", *_indent(body), ""]
        helpers.append(f"helper{number}")
    scope = _Scope(draw, helpers=tuple(helpers))
    body = [
        "t0, t1, t2 = x, y, x * 0.5",
        "n0, n1, f0, f1, l0, l1 = 0, 2, 0.5, -0.25, [], []",
        *scope.block(9),
        f"return {scope.fill(RESULTS)}, n0, f1, t2",
    ]
    parts += [
        "def one_of(self, n):", "    return n in (1, 3, 4)", "",
        "def forward(self, x, y):", *_indent(body),
    ]  # fmt: skip
    methods = "\n".join(_indent(parts))
    return f"{HEAD}\n{methods}\n{TAIL}"
