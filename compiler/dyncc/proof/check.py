"""Proves a network: natural runs, then forced ones until every edge and loop is covered."""

from __future__ import annotations

import copy
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn

from dyncc.core.errors import MismatchError
from dyncc.ir.hcfg import Branch, Jump
from dyncc.ir.places import Decision, decision_of, decisions, idle
from dyncc.proof.exchange import asking
from dyncc.proof.findings import Proof, Runs
from dyncc.proof.hooks import Impossible, Stop
from dyncc.proof.locate import module_state
from dyncc.proof.memory import Cleared
from dyncc.proof.paths import SEVERAL, Edge, Graph, Script, branches
from dyncc.proof.replay import Replay
from dyncc.proof.source import Asked
from dyncc.proof.trace import MAX_STEPS, Policy, Trace, follow, natural, scripted
from dyncc.runtime.program import Program
from dyncc.verification import ATOL, RTOL, difference

Arguments = tuple[Any, ...] | dict[str, Any]

#: How often a run is planned anew for an edge that earlier runs did not come to.
ATTEMPTS = 6
#: Blocks that a forced run may enter, for each block of the program, before it is given up.
PATIENCE = 50


class Prover:
    """Runs an artifact and its source side by side.

    Parameters
    ----------
    module
        The network; it is copied, never changed.
    program
        The artifact.
    rtol, atol
        A value may differ by `rtol` of the source's greatest in its tensor plus `atol`.
    """

    def __init__(
        self, module: nn.Module, program: Program, rtol: float = RTOL, atol: float = ATOL
    ) -> None:
        self._module = module
        self._program = program
        self._tolerance = (rtol, atol)
        self.graph = Graph(program.hcfg)
        self._homeward = self.graph.homeward()
        self._replay: Replay | None = None
        self._asking: set[Decision] = set()
        self._led: set[str] = set()
        self._idle: Counter[Decision] = Counter()
        self._changing = {slot.name for slot in program.hcfg.state}

    @contextmanager
    def asking(self) -> Iterator[None]:
        """The context in which the source asks how to decide."""
        hcfg = self._program.hcfg
        heads = [
            (block.loc.file, block.loc.line, block.loc.column)
            for name, block in hcfg.blocks.items()
            if block.loc is not None
            and name in self._program.places.blocks
            and self._program.places.blocks[name].whole
            and self._entered_by_jump(name)
        ]
        every = decisions(hcfg) | idle(self._program.places)
        with asking(every, heads, _asked(self), self._module) as self._asking:
            self._led = {
                name
                for name, block in hcfg.blocks.items()
                if isinstance(block.terminator, Branch)
                and decision_of(block.terminator) in self._asking
            }
            yield

    def _entered_by_jump(self, name: str) -> bool:
        """Whether a statement, and not a decision, leads into a block."""
        hcfg, removed = self._program.hcfg, self._program.places.edges
        return any(
            jump.target == name
            and (isinstance(hcfg.blocks[block].terminator, Jump) or (block, way) in removed)
            for block, way, jump in hcfg.edges()
        )

    @property
    def replay(self) -> Replay:
        """The run that is going on."""
        assert self._replay is not None
        return self._replay

    def fresh(self) -> nn.Module:
        """A copy of the network; what no call changes is shared."""
        memo: dict[int, Any] = {}
        for name, tensor in self._module.named_parameters():
            if name not in self._changing:
                memo[id(tensor)] = tensor
        return copy.deepcopy(self._module, memo)

    def run(self, example: Arguments, policy: Policy, name: str, runs: Runs) -> Trace:
        """One run of both from their initial state.

        Raises
        ------
        MismatchError
            At the first difference.
        """
        self._program.reset_state()
        return self.step(self.fresh(), example, policy, name, runs)

    def step(
        self, module: nn.Module, example: Arguments, policy: Policy, name: str, runs: Runs
    ) -> Trace:
        """One run of both from the state that they are in."""
        args, kwargs = ((), example) if isinstance(example, dict) else (tuple(example), {})
        there = copy.deepcopy((args, kwargs))
        here = copy.deepcopy((args, kwargs))
        limit = max(2000, PATIENCE * len(self._program.hcfg.blocks))
        if policy is natural:
            limit = MAX_STEPS
        before = torch.get_rng_state()
        trace = follow(self._program, *there, policy, limit)
        torch.set_rng_state(before)  # both draw the same numbers
        replay = Replay(
            self._program,
            trace,
            module,
            name,
            runs.tally,
            self._asking,
            _own_way if policy is natural else self._other_way,
            self._tolerance,
        )
        replay.arguments = _arguments(self._program, here)
        versions = {key: tensor._version for key, tensor in _tensors(module)}
        self._replay = replay
        result: Any = None
        error: Exception | None = None
        try:
            try:
                with torch.no_grad(), Cleared():  # type: ignore[no-untyped-call]
                    result = module(*here[0], **here[1])
            except Exception as problem:  # noqa: BLE001 the source may raise anything
                error = problem
            replay.finish(result, error)
        except Stop as stop:
            raise stop.error from None
        except Impossible:
            runs.infeasible += not trace.cut
            runs.given_up += trace.cut
            return trace
        finally:
            self._replay = None
        if trace.error is None:
            self._compare_state(module, versions, there, here, name)
        self._count(trace, error, runs)
        return trace

    def _other_way(self, decision: Decision, truth: bool) -> bool:
        """At a decision that makes no difference: one way, and the other when it comes again."""
        del truth
        self._idle[decision] += 1
        return self._idle[decision] % 2 == 0

    def _count(self, trace: Trace, error: Exception | None, runs: Runs) -> None:
        if error is not None and not trace.raises(self._program.hcfg):
            runs.infeasible += 1
            return
        runs.count += 1
        taken = trace.edges()
        for edge in taken:
            runs.edges[edge] = runs.edges.get(edge, 0) + 1
        for loop in self.graph.loops:
            runs.turns.setdefault(loop.head, set()).update(self.graph.turns(loop, taken))

    def _compare_state(
        self, module: nn.Module, versions: dict[str, int], there: Any, here: Any, name: str
    ) -> None:
        try:
            difference(here, there, "arguments", *self._tolerance)
            for key, value in self._program.state().items():
                found = torch.from_numpy(value) if hasattr(value, "dtype") else value
                difference(module_state(module, key), found, key, *self._tolerance)
        except MismatchError as problem:
            raise MismatchError(
                f"{name}, after the call: {problem.where}: {problem.message}", hint=problem.hint
            ) from None
        for key, tensor in _tensors(module):
            if tensor._version != versions.get(key) and key not in self._changing:
                raise MismatchError(
                    f"{name}: the source changes {key}, and the artifact does not know of it"
                )

    def _reason(self, edge: Edge, found: str) -> str:
        block = self._program.hcfg.blocks[edge[0]]
        if isinstance(block.terminator, Branch) and edge[0] not in self._led:
            return "only data can lead there, such as data that makes an operation raise"
        branching = sum(ways == 2 for ways in self.graph.ways.values())
        if len(self._led) < branching:
            return found or "no path was found; a branch before it may depend on data alone"
        return found or "no path was found"

    # -- all runs ------------------------------------------------------------------------------

    def prove(
        self,
        inputs: Sequence[Arguments],
        seed: int = 0,
        wander: int = 0,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Proof:
        """Natural runs on every input, then forced ones; see `dyncc.proof.prove`."""
        report = progress or (lambda what, step, steps: None)
        edges = [(block, way) for block, way, _ in self._program.hcfg.edges()]
        natural_runs, forced = Runs(), Runs()
        with self.asking():
            self._program.reset_state()
            module = self.fresh()
            for number, example in enumerate(inputs):
                report("natural runs", number, len(inputs))
                self.step(module, example, natural, f"input {number}", natural_runs)
            unreached = self._force(inputs, seed, wander, forced, natural_runs, report)
        return Proof(
            edges, [loop.head for loop in self.graph.loops], natural_runs, forced, unreached
        )

    def _force(
        self,
        inputs: Sequence[Arguments],
        seed: int,
        wander: int,
        runs: Runs,
        before: Runs,
        report: Callable[[str, int, int], None],
    ) -> dict[Edge, str]:
        chance = random.Random(seed)
        edges = [(block, way) for block, way, _ in self._program.hcfg.edges()]
        number = 0

        def force(script: Script) -> str:
            nonlocal number
            number += 1
            example = inputs[(number - 1) % len(inputs)]
            policy = scripted(script, self._homeward, self._led)
            refused, endless = runs.infeasible, runs.given_up
            self.run(example, policy, f"forced path {number}", runs)
            if runs.given_up > endless:
                return "the run does not end"
            return (
                "both raise on the way, or the source cannot go there"
                if runs.infeasible > refused
                else ""
            )

        if not branches(self._program.hcfg):
            force([])
        attempts = dict.fromkeys(edges, 0)
        reasons: dict[Edge, str] = {}
        while True:
            open_edges = [
                edge for edge in edges if not runs.edges.get(edge) and attempts[edge] < ATTEMPTS
            ]
            if not open_edges:
                break
            report("forced paths", len(edges) - len(open_edges), len(edges))
            tries = attempts[open_edges[0]]
            # The easy way first takes many at once; later each edge is gone for by itself.
            wanted = open_edges if not tries else open_edges[:1]
            reason = force(self.graph.cover(wanted, chance if tries else None))
            left = [edge for edge in wanted if not runs.edges.get(edge)]
            if len(left) == len(wanted):
                attempts[open_edges[0]] += 1
                reasons[open_edges[0]] = reason
            elif tries == 0 and reason:
                attempts[left[0]] += 1
        for position, loop in enumerate(self.graph.loops):
            report("loops", position, len(self.graph.loops))
            for count in (0, 1, SEVERAL):
                if count in runs.turns.get(loop.head, set()):
                    continue
                script = self.graph.turn(loop, count)
                if script is not None:
                    force(script)
        for step in range(wander):
            report("random paths", step, wander)
            length = 1 + chance.randrange(4 * len(edges) + 4)
            force(self.graph.wander(length, chance))
        return {
            edge: self._reason(edge, reasons.get(edge, ""))
            for edge in edges
            if not runs.edges.get(edge) and not before.edges.get(edge)
        }


def prove(
    module: nn.Module,
    program: Program,
    inputs: Iterable[Arguments],
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    seed: int = 0,
    wander: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Proof:
    """Run an artifact and its source through the same decisions, and compare on the way.

    First on each input as it comes, then led: every branch both ways, every loop 0, 1 and several
    times. Compared are every block parameter that the source has a variable for, at each block
    boundary; the truth of each predicate; results, exceptions and module state.

    Parameters
    ----------
    module
        The network that was compiled, in its initial state; it is not changed.
    program
        The artifact.
    inputs
        Arguments of calls; at least one.
    rtol, atol
        A value may differ by `rtol` of the source's greatest in its tensor plus `atol`.
    seed
        For the paths that are tried where the shortest is not feasible, and for `wander`.
    wander
        Further runs, with random decisions.
    progress
        Called as (what, step, steps).

    Raises
    ------
    MismatchError
        At the first difference: run, block, source line, variable, values.
    """
    examples = list(inputs)
    if not examples:
        raise MismatchError("nothing was compared", hint="Give at least one input.")
    return Prover(module, program, rtol, atol).prove(examples, seed, wander, progress)


def _own_way(decision: Decision, truth: bool) -> bool:
    """The way that the source goes by itself."""
    del decision
    return truth


def _asked(prover: Prover) -> Asked:
    """What the source calls: the run that is going on, or Python's own way between runs."""

    def frame() -> FrameType:
        return sys._getframe(2)

    return Asked(
        decide=lambda *args: prover.replay.decide(frame(), *args),
        operand=lambda *args: prover.replay.operand(frame(), *args),
        plain=Replay.plain,
        turns=lambda *args: prover.replay.turns(*args),
        item=lambda *args: prover.replay.item(frame(), *args),
        at=lambda *args: prover.replay.begin(frame(), *args),
    )


def _tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _arguments(program: Program, example: Any) -> dict[str, Any]:
    """Arguments by name, for state that stands for one."""
    args, kwargs = example
    names = [name for name, _ in program.hcfg.signature]
    return {**dict(zip(names, args, strict=False)), **kwargs}
