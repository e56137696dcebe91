"""The host program: it goes where the blocks lead, holds no more than it needs, and is text."""

from __future__ import annotations

import random
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyncc.ir.hcfg import (
    Block,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Leaf,
    Literal,
    Loc,
    Record,
    Return,
    Series,
    Struct,
    Value,
    tree_leaves,
)
from dyncc.ir.hostops import SCALAR_FUNCTIONS
from dyncc.ir.parser import parse
from dyncc.ir.types import BOOL, INT, STR
from dyncc.ir.verifier import verify
from dyncc.runtime.hostflow import MAX_DEPTH
from dyncc.runtime.program import Program


class Box:
    """A tensor of a back end that counts those alive."""

    alive: weakref.WeakSet[Box] = weakref.WeakSet()
    most = 0

    def __init__(self, array: numpy.ndarray) -> None:
        self.array = array
        Box.alive.add(self)
        Box.most = max(Box.most, len(Box.alive))


class Doubling:
    """Regions that all double their first parameter."""

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., tuple[Box, ...]]:
        return lambda *params: (Box(params[0].array * 2),)

    def from_external(self, array: Any) -> Box:
        return Box(numpy.array(array))

    def to_numpy(self, tensor: Box) -> numpy.ndarray:
        return tensor.array


def program_of(hcfg: Hcfg) -> Program:
    return Program(hcfg, Doubling(), {}, {})


def text(body: str, state: str = "") -> Hcfg:
    """A program of the text of its blocks, with a region ``@r`` and an input ``x``."""
    hcfg = parse(
        'hcfg 1 "net"\ninput x = %x: f32[2]\n' + state + "\n"
        "region @r (%p: f32[2]) weights () {\n"
        "  %q: f32[2] = aten.add.Tensor(%p, %p)\n  yield (%q)\n}\n\n" + body
    )
    verify(hcfg)
    return hcfg


# --- control flow ------------------------------------------------------------------------------


def graph(size: int, seed: int) -> Hcfg:
    """A random graph, reducible or not, in which each block leads to one or two of all blocks.

    ``fuel`` goes down in each block, and at 0 `position` raises, so that every run ends.
    """
    chance = random.Random(seed)
    names = [f"b{number}" for number in range(size)]
    blocks = {}
    for number, name in enumerate(names):
        fuel, mixed, left, product, new, odd = (
            Value(f"{kind}{number}", INT) for kind in ("fuel", "mixed", "left", "p", "new", "odd")
        )
        test = Value(f"test{number}", BOOL)
        ops = [
            HostOp("position", (0, fuel), (Value(f"z{number}", INT),)),
            HostOp("sub", (fuel, 1), (left,)),
            HostOp("mul", (mixed, 5), (product,)),
            HostOp("add", (product, number + 1), (new,)),
            HostOp("rshift", (new, chance.randrange(4)), (Value(f"s{number}", INT),)),
            HostOp("and", (Value(f"s{number}", INT), 1), (odd,)),
            HostOp("bool", (odd,), (test,)),
        ]
        args = (left, new) if chance.random() < 0.8 else (left, mixed)

        def jump(args: tuple[Value, ...] = args) -> Jump:
            return Jump(chance.choice(names), args)

        kind = chance.random()
        if kind < 0.1:
            end: Any = Return(Series("list", (Leaf(left), Leaf(new))))
        elif kind < 0.3:
            end = jump()
        else:
            end = Branch(test, jump(), jump())
        blocks[name] = Block(name, (fuel, mixed), tuple(ops), end)
    signature = tuple((value.name, Leaf(value)) for value in blocks["b0"].params)
    return Hcfg("graph", signature, (), (), {}, blocks, {})


def interpreted(hcfg: Hcfg, *arguments: Any) -> tuple[list[Any], Any]:
    """What the text of an HCFG means, with nothing in common with the writer: blocks and result."""
    steps, block, values = [], hcfg.entry, list(arguments)
    while True:
        steps.append((block.name, tuple(values)))
        known = dict(zip(block.params, values, strict=True))
        for op in block.ops:
            args = [known.get(arg, arg) if isinstance(arg, Value) else arg for arg in op.args]
            try:
                known[op.results[0]] = SCALAR_FUNCTIONS[op.op](*args)  # type: ignore[union-attr]
            except IndexError:
                return steps, IndexError
        end = block.terminator
        if isinstance(end, Return):
            return steps, [known[value] for value in tree_leaves(end.result)]
        jump = end if isinstance(end, Jump) else end.then if known[end.condition] else end.orelse
        values = [known[value] for value in jump.args]
        block = hcfg.blocks[jump.target]


class Recorder:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        self.steps.append((block, tuple(arguments)))

    def decide(self, block: str, truth: bool) -> bool:
        return truth


@settings(max_examples=150, deadline=None)
@given(size=st.integers(1, 14), seed=st.integers(0, 10**9), mixed=st.integers(0, 99))
def test_any_graph_goes_where_its_blocks_lead(size: int, seed: int, mixed: int) -> None:
    hcfg = graph(size, seed)
    program = program_of(hcfg)
    for fuel in (1, 2, 3, 7, 40):
        steps, expected = interpreted(hcfg, fuel, mixed)

        def call(fuel: int = fuel) -> Any:
            try:
                return program(fuel, mixed)
            except IndexError:
                return IndexError

        assert call() == expected
        recorder = Recorder()
        with program.observed(recorder), program.trace() as counts:
            assert call() == expected
        assert recorder.steps == steps
        assert sum(counts.values()) == len(steps) - 1


def test_an_observer_decides() -> None:
    class Contrary(Recorder):
        def decide(self, block: str, truth: bool) -> bool:
            assert truth is True
            return False

    hcfg = text(
        "block ^a(%x: f32[2]) {\n  %one: int = const(1)\n  %t: bool = bool(%one)\n"
        '  branch %t then ^b() else ^c() ""\n}\n'
        "block ^b() {\n  return 1\n}\nblock ^c() {\n  return 2\n}\n"
    )
    program = program_of(hcfg)
    x = numpy.ones(2, "float32")
    assert program(x) == 1
    with program.observed(Contrary()):
        assert program(x) == 2
    assert program(x) == 1


def test_branches_become_ifs_and_loops_become_whiles() -> None:
    hcfg = text(
        "block ^a(%x: f32[2]) {\n  %zero: int = const(0)\n  jump ^loop(%x, %zero)\n}\n"
        "block ^loop(%y: f32[2], %i: int) {\n  %t: bool = lt(%i, 3)\n"
        '  branch %t then ^body() else ^end(%y) ""\n}\n'.replace("^body()", "^body(%y, %i)")
        + "block ^body(%z: f32[2], %j: int) {\n  %w: f32[2] = call @r(%z) weights ()\n"
        "  %k: int = add(%j, 1)\n  jump ^loop(%w, %k)\n}\n"
        "block ^end(%e: f32[2]) {\n  return %e\n}\n"
    )
    program = program_of(hcfg)
    assert program(numpy.ones(2, "float32")).tolist() == [8, 8]
    lines = [line.strip() for line in program.host.splitlines()]
    assert lines[0] == "def net(x, out):"
    assert "while at == 1:" in lines
    assert "if t:" in lines
    assert "else:" in lines


def chain(length: int) -> Hcfg:
    """A ladder of tests within each other: ``if x > 0: if x > 1: ...``."""
    blocks = {}
    for number in range(length):
        value, test = Value(f"x{number}", INT), Value(f"t{number}", BOOL)
        ways = Jump(f"b{number + 1}", (value,)), Jump(f"e{number}", ())
        blocks[f"b{number}"] = Block(
            f"b{number}", (value,), (HostOp("gt", (value, number), (test,)),), Branch(test, *ways)
        )
    last = Value("last", INT)
    blocks[f"b{length}"] = Block(f"b{length}", (last,), (), Return(Leaf(last)))
    for number in range(length):
        blocks[f"e{number}"] = Block(f"e{number}", (), (), Return(Literal(-number)))
    return Hcfg("chain", (("x0", Leaf(Value("x0", INT))),), (), (), {}, blocks, {})


def nest(depth: int) -> Hcfg:
    """Loops within each other, each of which runs twice; counts the innermost turns."""
    names = [f"i{number}" for number in range(depth)]

    def params(suffix: str) -> tuple[Value, ...]:
        return (*(Value(f"{name}{suffix}", INT) for name in names), Value(f"n{suffix}", INT))

    blocks = {}
    start = Value("start", INT)
    blocks["a"] = Block("a", (start,), (), Jump("h0", (start,) * (depth + 1)))
    for number in range(depth):
        own = params(f"_{number}")
        test = Value(f"t{number}", BOOL)
        # Into the next loop, or out of this one, to the end of the one around.
        into = Jump(f"h{number + 1}" if number + 1 < depth else "count", own)
        out = Jump(f"l{number - 1}" if number else "end", own)
        blocks[f"h{number}"] = Block(
            f"h{number}", own, (HostOp("lt", (own[number], 2), (test,)),), Branch(test, into, out)
        )
        last = params(f"_l{number}")
        more, zero = Value(f"more{number}", INT), Value(f"zero{number}", INT)
        again = tuple(
            more if i == number else zero if number < i < depth else value
            for i, value in enumerate(last)
        )
        ops = HostOp("add", (last[number], 1), (more,)), HostOp("const", (0,), (zero,))
        blocks[f"l{number}"] = Block(f"l{number}", last, ops, Jump(f"h{number}", again))
    own, new = params("_c"), Value("new", INT)
    ops = (HostOp("add", (own[-1], 1), (new,)),)
    blocks["count"] = Block("count", own, ops, Jump(f"l{depth - 1}", (*own[:-1], new)))
    own = params("_e")
    blocks["end"] = Block("end", own, (), Return(Leaf(own[-1])))
    return Hcfg("nest", (("start", Leaf(start)),), (), (), {}, blocks, {})


def test_deep_programs_do_not_exceed_what_python_compiles() -> None:
    length = 4 * MAX_DEPTH
    deep = program_of(chain(length))
    assert [deep(length + 1), deep(0), deep(100)] == [length + 1, 0, -100]
    assert program_of(nest(3))(0) == 8
    assert program_of(nest(12))(0) == 2**12
    program_of(nest(30))  # compiles; its 2 ** 30 turns would take long


# --- memory ------------------------------------------------------------------------------------


def test_tensors_are_freed_after_their_last_use() -> None:
    blocks = []
    for i in range(40):
        jump = f"jump ^b{i + 1}(%w{i})"
        if i % 3 == 0:  # ways that join
            jump = f'branch %t{i} then ^b{i + 1}(%w{i}) else ^b{i + 1}(%w{i}) ""'
        blocks.append(
            f"block ^b{i}({'%x' if i == 0 else f'%v{i}'}: f32[2]) {{\n"
            f"  %w{i}: f32[2] = call @r({'%x' if i == 0 else f'%v{i}'}) weights ()\n"
            f"  %o{i}: int = const(1)\n  %t{i}: bool = bool(%o{i})\n  {jump}\n}}\n"
        )
    hcfg = text("".join(blocks) + "block ^b40(%v40: f32[2]) {\n  return %v40\n}\n")
    program = program_of(hcfg)
    Box.alive.clear()
    Box.most = 0
    assert program(numpy.ones(2, "float32")).tolist() == [2.0**40] * 2
    # One that is read and one that is written; the argument is the caller's.
    assert Box.most == 3
    assert len(Box.alive) == 0


def test_a_program_is_freed_without_a_collection() -> None:
    hcfg = text("block ^a(%x: f32[2]) {\n  return %x\n}\n")
    program = program_of(hcfg)
    with program.trace():
        program(numpy.ones(2, "float32"))
    executor = weakref.ref(program._executor)
    del program
    assert executor() is None


# --- text --------------------------------------------------------------------------------------

HOSTILE = "x\n    raise SystemExit\n'\"\\#{0} \u2028é"


def test_nothing_of_a_program_becomes_code() -> None:
    value, other, test = Value(HOSTILE, STR), Value("at", STR), Value("out", BOOL)
    loc = Loc(HOSTILE, 3)
    inner = Struct("namedtuple", "Pair", (("a", Leaf(other)), ("b", Literal(float("nan")))))
    result = Record(((HOSTILE, Leaf(value)), ("pair", inner), (2.5, Literal(10**5000))))
    first = Block(
        HOSTILE,
        (value,),
        (
            HostOp("str.concat", (value, HOSTILE), (other,), loc),
            HostOp("eq", (value, other), (test,), loc),
        ),
        Branch(test, Jump("class", ()), Jump("\n", (value, other)), HOSTILE, loc),
        loc,
    )
    left, right = Value("import", STR), Value("None", STR)
    blocks = {
        HOSTILE: first,
        "class": Block("class", (), (), Return(Literal(None))),
        "\n": Block(
            "\n",
            (left, right),
            (),
            Return(
                replace(result, items=((HOSTILE, Leaf(left)), ("pair", replace(
                    inner, items=(("a", Leaf(right)), inner.items[1]))), result.items[2]))
            ),
            loc,
        ),
    }  # fmt: skip
    hcfg = Hcfg(HOSTILE, (("x", Leaf(value)),), (), (), {}, blocks, {})
    program = program_of(hcfg)
    found = program("given")
    assert found[HOSTILE] == "given"
    assert found["pair"].a == "given" + HOSTILE
    assert found["pair"].b != found["pair"].b
    assert found[2.5] == 10**5000
    assert program.host.isascii()
    assert not any(line.strip().startswith("raise") for line in program.host.splitlines())


def test_tracebacks_show_the_line_and_its_source() -> None:
    hcfg = text(
        'block ^a(%x: f32[2]) at "net.py":7:0 {\n  %a: int = const(1)\n'
        '  %b: float = truediv(%a, 0) at "net.py":8:4\n  return %b\n}\n'
    )
    with pytest.raises(ZeroDivisionError) as caught:
        program_of(hcfg)(numpy.ones(2, "float32"))
    shown = "".join(traceback.format_exception(caught.value))
    assert "b = truediv(a, 0)  # 'net.py':8" in shown


# --- calls -------------------------------------------------------------------------------------

COUNTING = (
    "block ^a(%x: f32[2], %n: f32[2]) {\n  %m: f32[2] = call @r(%n) weights ()\n"
    '  %v: float = item(%x)\n  %t: bool = gt(%v, 0.0)\n  branch %t then ^b(%m) else ^c() ""\n}\n'
    'block ^b(%k: f32[2]) {\n  return %k set "n" = %k\n}\n'
    'block ^c() {\n  raise ValueError("negative")\n}\n'
)


def counting() -> Program:
    body = COUNTING.replace("%x: f32[2]", "%x: f32[]").replace("%x)", "%x)")
    hcfg = parse(
        'hcfg 1 "net"\ninput x = %x: f32[]\nstate "n" = %n: f32[2] initial none\n'
        'weight "n" : f32[2]\n'
        "region @r (%p: f32[2]) weights () {\n"
        "  %q: f32[2] = aten.add.Tensor(%p, %p)\n  yield (%q)\n}\n\n" + body
    )
    verify(hcfg)
    return Program(hcfg, Doubling(), {"n": numpy.ones(2, "float32")}, {})


def test_what_a_call_returned_is_not_what_the_next_one_changes() -> None:
    program = counting()
    up = numpy.float32(1).reshape(())
    first = program(up)
    first[:] = 100  # the caller's own
    assert program(up).tolist() == [4, 4]
    assert program.state()["n"].tolist() == [4, 4]


def test_after_an_exception_all_is_as_before() -> None:
    program = counting()
    up, down = numpy.float32(1).reshape(()), numpy.float32(-1).reshape(())
    assert program(up).tolist() == [2, 2]
    with pytest.raises(ValueError, match="negative"):
        program(down)
    assert program(up).tolist() == [4, 4]
    program.reset_state()
    assert program(up).tolist() == [2, 2]


def test_calls_from_several_threads_run_one_after_the_other() -> None:
    program = counting()
    up = numpy.float32(1).reshape(())

    def work() -> None:
        for _ in range(15):
            program(up)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert program(up).tolist() == [2.0**61] * 2  # no call was lost
