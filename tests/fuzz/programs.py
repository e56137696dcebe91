"""Random networks as source: structured control flow, mutation and lists on small tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass
class _Scope:
    """What may be written at a place."""

    draw: st.DrawFn
    loops: int = 0
    depth: int = 0
    budget: list[int] = field(default_factory=lambda: [20])
    counter: list[int] = field(default_factory=lambda: [0])
    extra_ints: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    method: bool = True

    def one(self, *items: str) -> str:
        return self.draw(st.sampled_from(items))

    def inner(self, loops: int = 0, ints: tuple[str, ...] = ()) -> _Scope:
        return _Scope(
            self.draw, self.loops + loops, self.depth + 1, self.budget, self.counter,
            (*self.extra_ints, *ints), self.helpers, self.method,
        )  # fmt: skip

    def name(self, start: str) -> str:
        self.counter[0] += 1
        return f"{start}{self.counter[0]}"

    # -- expressions ---------------------------------------------------------------------------

    def tensor(self) -> str:
        t, u, n, f = self.one(*TENSORS), self.one(*TENSORS), self.integer(), self.one(*FLOATS)
        forms = [
            f"{t} * {self.one(*SCALES)}",
            f"{t} + {u}",
            f"{t} - {u} * {self.one(*SCALES)}",
            f"torch.tanh({t})",
            f"self.a({t})",
            f"torch.relu(self.b({t})) - 0.25",
            f"{t} + {n}",
            f"{t} * {f}",
            f"{t}.clone()",
            f"torch.where({t} > {u}, {t}, {u} * 0.5)",
            f"torch.zeros(3) + {t}[{self.one('0', '1', '2')}]",
            f"torch.full((3,), {f})",
            f"{t}.flip(0)",
            f"self.layers[{n} % 3]({t})",
            f"{t} if {self.condition()} else {u}",
            f"{t} * self.seen + self.calls",
        ]
        if self.helpers:
            forms.append(f"self.{self.one(*self.helpers)}({t}, {n})")
        return self.one(*forms)

    def integer(self) -> str:
        return self.one(*INTS, *self.extra_ints)

    def int_expression(self) -> str:
        n, m, t = self.integer(), self.integer(), self.one(*TENSORS)
        return self.one(
            f"{n} + 1",
            f"{n} - {m}",
            f"({n} * 3 + {m}) % 7",
            f"int({t}.abs().sum().clamp(max=50.0).item() * 2) % 5",
            f"int(({t} > 0.1).sum())",
            f"{t}.argmax().item()",
            f"len({self.one(*LISTS)})",
            f"max({n}, {m})",
            f"min({n}, 4)",
            f"{n} if {self.condition()} else {m} + 2",
            f"abs({n}) // 2",
            "3",
        )

    def float_expression(self) -> str:
        t, f, n = self.one(*TENSORS), self.one(*FLOATS), self.integer()
        return self.one(
            f"{t}.mean().item()",
            f"float({t}[1])",
            f"{f} * 0.5 + {n}",
            f"{t}.clamp(-3, 3).sum().item() - {f} * 0.25",
            f"math.tanh({f})",
            f"min({f}, 2.5)",
            "0.75",
        )

    def condition(self, deep: bool = True) -> str:
        t, n, f = self.one(*TENSORS), self.integer(), self.one(*FLOATS)
        simple = [
            f"{t}.sum() > {self.one(*LIMITS)}",
            f"{t}.max() < {self.one(*LIMITS)}",
            f"({t} > {self.one(*LIMITS)}).any()",
            f"{f} > {self.one(*LIMITS)}",
            f"{n} % 2 == 0",
            f"{n} < {self.one('1', '2', '4')}",
            f"{n} > {self.integer()}",
            f"len({self.one(*LISTS)}) > {self.one('0', '1', '2')}",
            f"self.one_of({n})",
            f"{self.one(*LIMITS)} < {t}[0] < 2.3",
        ]
        if not deep:
            return self.one(*simple)
        kind = self.draw(st.integers(0, 7))
        if kind > 2:
            return self.one(*simple)
        left, right = self.condition(False), self.condition(False)
        return (f"{left} and {right}", f"{left} or {right}", f"not ({left})")[kind]

    # -- statements ----------------------------------------------------------------------------

    def block(self, most: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.draw(st.integers(min(2, most), most))):
            if self.budget[0] <= 0:
                break
            lines += self.statement()
        return lines or ["pass"]

    def statement(self) -> list[str]:
        self.budget[0] -= 1
        kinds = ["tensor", "tensor", "tensor", "int", "float", "place", "list", "misc"]
        if self.depth < 3:
            kinds += ["if", "if", "if", "while", "while", "for", "for", "try", "grow"]
        if self.loops:
            kinds += ["leave"]
        if self.depth:
            kinds += ["return"]
        method = getattr(self, f"_{self.one(*kinds)}")
        found: list[str] = method()
        return found

    def _tensor(self) -> list[str]:
        return [f"{self.one(*TENSORS)} = {self.tensor()}"]

    def _int(self) -> list[str]:
        return [f"{self.one(*INTS)} {self.one('=', '=', '+=')} {self.int_expression()}"]

    def _float(self) -> list[str]:
        return [f"{self.one(*FLOATS)} = {self.float_expression()}"]

    def _place(self) -> list[str]:
        """Changes in place. Of clones mostly, for a list would see the others."""
        t, u, n = self.one(*TENSORS), self.one(*TENSORS), self.integer()
        view = self.name("v")
        return self.draw(
            st.sampled_from(
                [
                    [f"{t} = {t}.clone()", f"{t} += {u}"],
                    [f"{t} = {t} * 1.0", f"{t}.mul_({self.one(*SCALES)})"],
                    [f"{t} = {t}.clone()", f"{t}[1] = {u}[0]"],
                    [f"{t} = {t}.clone()", f"{t}[abs({n}) % 3] = {self.one(*LIMITS)}"],
                    [f"{t} = {t} + 0.5", f"{view} = {t}[0:2]", f"{view}.add_({u}[1].clone())"],
                    [f"{t} = {u}.clone()", f"{view} = {t}", f"{view} *= 0.5"],
                    [f"{t} = {t}.clone()", f"{t}[{t} > 0.9] = 0.3"],
                    [f"{t} += {u} * 0.5"],
                    [f"{t}.add_({u})", f"{u} = {u} + {t}"],
                    [
                        f"{view} = {t}.view(3)",
                        f"{u} = {t} + 1.0",
                        f"{view}[0] = {n}",
                        f"{t} = {t} - {u}",
                    ],
                    [f"{view} = {t}.clone()", f"{LISTS[0]}.append({view})", f"{view}.mul_(0.5)"],
                    ["self.seen = self.seen * 0.5"],
                    [f"self.seen[{self.one('0', '2')}] = {t}[1]"],
                    [f"self.seen += {t}.tanh()"],
                    ["self.calls += 1"],
                ]
            )
        )

    def _list(self) -> list[str]:
        values, t = self.one(*LISTS), self.one(*TENSORS)
        other = self.one(*LISTS)
        item = self.name("e")
        return self.draw(
            st.sampled_from(
                [
                    [f"{values}.append({t})"],
                    [f"{values}.append({t} * 0.5)"],
                    [f"{values} = []"],
                    [f"if len({values}) > 0:", f"    {t} = {values}[-1]"],
                    [f"if len({values}) > 1:", f"    {t} = {values}[0] + {values}[1]"],
                    [f"for {item} in {values}:", f"    {t} = {t} * 0.5 + {item}"],
                    [f"if len({values}) > 0:", f"    {values}.pop()"],
                    [f"{values} = {values} + {other}"],
                    [f"{values} = [{item} * 0.5 for {item} in {other}]"],
                    [f"if len({values}) > 2:", f"    {values} = {values}[-2:]"],
                    [f"{values}.insert(0, {t})"],
                    [f"if len({values}) > 1:", f"    {values}[0] = {t} * 0.5"],
                    [f"{values}.extend([{t}, {t} + 1.0])"],
                    [f"for {item} in {values}[:2]:", f"    {t} = {t} + {item}.sum()"],
                    [f"if {values}:", f"    {t} = {values}[len({values}) // 2] - {t}"],
                    [f"{values} = list(reversed({values}))"],
                    [f"{t} = torch.stack([{t}, *{values}[:1]]).sum(0)"],
                ]
            )
        )

    def _misc(self) -> list[str]:
        t, u, n, f = self.one(*TENSORS), self.one(*TENSORS), self.integer(), self.one(*FLOATS)
        name = self.name("m")
        return self.draw(
            st.sampled_from(
                [
                    [f"{t}, {u} = {u}, {t}"],
                    [f"{name} = {{'a': {t}, 'b': {n}}}", f"{u} = {name}['a'] + {name}['b']"],
                    [f"{name} = ({t}, {f})", f"{t} = {name}[0] * {name}[1]"],
                    [f"if ({name} := {t}.sum().item()) > 0.3:", f"    {t} = {t} - {name} * 0.1"],
                    [f"{name} = [{n}, {self.integer()}, 2]", f"{INTS[0]} = sum({name}) % 9"],
                    [f"{t} = sum([{t}, {u}, {t}]) * 0.3"],
                    [f"{name} = lambda z: z * {self.one(*SCALES)}", f"{t} = {name}({u})"],
                    [
                        f"{name} = [({t}, {n}), ({u}, 1)]",
                        f"for {name}p, {name}q in {name}:",
                        f"    {t} = {t} + {name}p * {name}q",
                    ],
                    [f"{t} = max([{t}, {u}], key=lambda z: z.sum().item())"],
                    [
                        f"match {n} % 3:",
                        "    case 0:",
                        f"        {t} = {t} * 0.5",
                        "    case 1:",
                        f"        {u} = {u} + {t}",
                        "    case _:",
                        f"        {INTS[1]} = {INTS[1]} + 1",
                    ],
                    [
                        f"def {name}(z):",
                        "    if z.sum() > 0.31:",
                        "        return z * 0.5",
                        f"    return z + {n}",
                        f"{t} = {name}({t})",
                    ],
                    [f"while {t}.abs().max() > 1.7:", f"    {t} = {t} * 0.6"],
                    [f"assert {t}.abs().sum() < 1e9, 'large'"],
                    [f"for {name} in self.layers:", f"    {t} = torch.tanh({name}({t}))"],
                    [f"{t} = {t} + {u}[: abs({n}) % 4].sum()"],
                    [f"{t} = {t} - {u}[abs({n}) % 3 :].mean()"],
                    [f"{name} = torch.zeros(abs({n}) % 3 + 1) + {f}", f"{t} = {t} + {name}.sum()"],
                    [
                        f"{name} = {u}[{u} > 0.1]",
                        f"{t} = {t} + {name}[: abs({n}) % 3].sum() + {name}.shape[0]",
                    ],
                ]
            )
        )

    def _if(self) -> list[str]:
        lines = [f"if {self.condition()}:", *_indent(self.inner().block(3))]
        if self.draw(st.booleans()):
            if self.draw(st.integers(0, 3)) == 0:
                lines += [f"elif {self.condition()}:", *_indent(self.inner().block(2))]
            lines += ["else:", *_indent(self.inner().block(3))]
        return lines

    def _while(self) -> list[str]:
        turn = self.name("k")
        most = self.one("2", "3", "5")
        test = self.condition()
        body = [f"{turn} += 1", *self.inner(1, (turn,)).block(3)]
        lines = [f"{turn} = 0", f"while {turn} < {most} and ({test}):", *_indent(body)]
        if self.draw(st.integers(0, 4)) == 0:
            lines += ["else:", *_indent(self.inner().block(1))]
        return lines

    def _grow(self) -> list[str]:
        """A tensor that grows in a loop."""
        turn, grown = self.name("k"), self.name("g")
        t, u = self.one(*TENSORS), self.one(*TENSORS)
        head = [f"{turn}, {grown} = 0, {t}"]
        head += [f"while {turn} < {self.one('2', '3', '5')} and ({self.condition()}):"]
        body = [f"{turn} += 1", f"{grown} = torch.cat([{grown}, {u} * 0.5])"]
        body += self.inner(1, (turn,)).block(2)
        end = self.one(
            f"{t} = {grown}[-3:]",
            f"{t} = {grown}.view(-1, 3).sum(0)",
            f"{t} = {t} + {grown}.mean() + {grown}.shape[0]",
            f"{t} = {grown}[: int(({u} > 0.2).sum()) + 1].sum() - {u}",
            f"{t} = ({grown} + {grown}.flip(0)).reshape(-1, 3)[-1]",
        )
        return [*head, *_indent(body), end]

    def _for(self) -> list[str]:
        turn = self.name("i")
        # Loops over modules are unrolled, and those in loops multiply.
        kind = self.draw(st.integers(0, 2 if self.depth else 3))
        if kind == 0:
            over = f"range({self.one('2', '3')})"
        elif kind == 1:
            over = f"range(abs({self.integer()}) % 4)"
        elif kind == 2:
            over = f"range(int(({self.one(*TENSORS)} > 0.2).sum()))"
        else:
            layer = self.name("y")
            t = self.one(*TENSORS)
            body = [f"{t} = {layer}({t}) * 0.5", *self.inner(1, (turn,)).block(2)]
            return [f"for {turn}, {layer} in enumerate(self.layers):", *_indent(body)]
        lines = [f"for {turn} in {over}:", *_indent(self.inner(1, (turn,)).block(3))]
        if self.draw(st.integers(0, 5)) == 0:
            lines += ["else:", *_indent(self.inner().block(1))]
        return lines

    def _try(self) -> list[str]:
        body = self.inner().block(2)
        risky = [f"if {self.condition()}:", f"    raise ValueError({self.integer()})"]
        lines = ["try:", *_indent([*body, *risky]), "except ValueError:"]
        lines += _indent(self.inner().block(2))
        if self.draw(st.booleans()):
            lines += ["finally:", *_indent(self.inner(-self.loops)._tensor())]
        return lines

    def _leave(self) -> list[str]:
        return [f"if {self.condition()}:", f"    {self.one('break', 'continue')}"]

    def _return(self) -> list[str]:
        return [f"if {self.condition()}:", f"    return {self.result()}"]

    def result(self) -> str:
        if not self.method:
            return self.one(*TENSORS)
        return self.one(
            "t0, t1, n0, f0", "t2, n1, len(l0)", "t0 + t1, l1", "{'t': t1, 'n': n0}", "t0"
        )


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


@st.composite
def programs(draw: st.DrawFn) -> str:
    """The source of a model file."""
    helpers: list[str] = []
    parts: list[str] = []
    for number in range(draw(st.integers(0, 2))):
        scope = _Scope(draw, budget=[5], depth=1, helpers=tuple(helpers), method=False)
        body = [
            "t0, t1, t2, n1, f0, f1, l0, l1 = x, x * 0.5, x - 1.0, 1, 0.25, -0.5, [], []",
            *scope.block(3),
            f"return {draw(st.sampled_from(TENSORS))} + n1 * 0.1",
        ]
        parts += [f"def helper{number}(self, x, n0):", *_indent(body), ""]
        helpers.append(f"helper{number}")
    scope = _Scope(draw, helpers=tuple(helpers))
    body = [
        "t0, t1, t2 = x, y, x * 0.5",
        "n0, n1, f0, f1, l0, l1 = 0, 2, 0.5, -0.25, [], []",
        *scope.block(9),
        f"return {scope.result()}, n0, f1, t2",
    ]
    parts += [
        "def one_of(self, n):", "    return n in (1, 3, 4)", "",
        "def forward(self, x, y):", *_indent(body),
    ]  # fmt: skip
    methods = "\n".join(_indent(parts))
    return f"{HEAD}\n{methods}\n{TAIL}"
