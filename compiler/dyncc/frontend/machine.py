"""Explores a program: runs flat code on symbolic states and builds a block for each piece.

A block starts from a canonical state. It ends at a branch on data, where the paths that forked
earlier meet, at the head of a loop with a data-dependent trip count, and where a tensor operation
needs a scalar that the block's own region computes. States that agree in everything static share a
block, which is what joins paths and closes loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dyncc.core.errors import Diagnostic, UnsupportedError
from dyncc.frontend import library
from dyncc.frontend.builder import BlockBuilder, Regions
from dyncc.frontend.canonical import Canonical, Canonicaliser, Path
from dyncc.frontend.code import STACK, Instr
from dyncc.frontend.decisions import Context, Decisions, Extent, Restart, Unsupported
from dyncc.frontend.differences import differences
from dyncc.frontend.sampling import Generators
from dyncc.frontend.standing import (
    context_of,
    diagnostic,
    is_open,
    loops_around,
    place_of,
    skip_jumps,
)  # fmt: skip
from dyncc.frontend.templates import Template
from dyncc.frontend.values import (
    MADE,
    ListObj,
    Ref,
    State,
)
from dyncc.frontend.variants import Variants, grow_without_end
from dyncc.frontend.widening import lookup, mark_listed, pack, template_at, without_mark
from dyncc.ir.hcfg import Block, Jump, Loc, Terminator, Value
from dyncc.ir.places import Point
from dyncc.ir.types import SCALARS, Type

#: More than any network has.
MAX_BLOCKS = 4000


class Machine:
    """One attempt to capture a program.

    Parameters
    ----------
    decisions
        What earlier attempts learned; this one adds to it.
    fakes
        The mode that all fake tensors belong to.
    name_of
        Weight name of a tensor that existed before the capture, and whether it is module state.
    module_names
        Dotted name of each module, by identity.
    parameter_names
        Dotted names of the tensors that are ``nn.Parameter``.
    generators
        The generators of random numbers that are known.
    """

    def __init__(
        self,
        decisions: Decisions,
        fakes: FakeTensorMode,
        name_of: Callable[[torch.Tensor], tuple[str, bool]],
        module_names: dict[int, str],
        parameter_names: frozenset[str],
        generators: Generators,
    ) -> None:
        self.decisions = decisions
        self.fakes = fakes
        self.name_of = name_of
        #: Those of the network, and labels of modules that forward makes.
        self.module_names = dict(module_names)
        self._made: list[nn.Module] = []
        self.parameter_names = parameter_names
        self.generators = generators
        self.blocks: dict[str, Block] = {}
        self.regions = Regions()
        self.diagnostics: list[Diagnostic] = []
        self._values = 0
        self._block_count = 0
        self._memo: dict[object, str] = {}
        self._variants = Variants()
        self._positive: dict[str, list[bool]] = {}
        self._pending: list[tuple[str, Canonical]] = []
        self.places: dict[str, Path] = {}
        self._weights: dict[int, torch.Tensor] = {}
        #: Where functions are called from whose recursion has a stack.
        self.sites: dict[Context, list[Any]] = {}
        self.points: dict[str, tuple[Point, list[tuple[Loc, Instr]]]] = {}
        self._outside: dict[int, tuple[str, object]] = {}
        #: What is read of the process, and where; see `environment`.
        self.frozen: dict[str, None] = {}

    def fresh(self, kind: Type) -> Value:
        """A value with a new name."""
        self._values += 1
        return Value(f"v{self._values}", kind)

    def fake_weight(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake tensor for one that existed before the capture."""
        found = self._weights.get(id(tensor))
        if found is None:
            found = self.fakes.from_tensor(tensor.detach(), static_shapes=True)
            self._weights[id(tensor)] = found
        return found

    def adopt(self, module: nn.Module) -> None:
        """Keep a module that forward made: what is written to it belongs to the path."""
        for name, part in module.named_modules(prefix=f"{MADE}{len(self._made)}"):
            self.module_names.setdefault(id(part), name)
        self._made.append(module)

    def outside_name(self, item: object) -> str:
        """The same name at each call for an object that existed before the capture."""
        name, _ = self._outside.setdefault(id(item), (str(len(self._outside)), item))
        return name

    def explore(self, state: State, params: tuple[Value, ...]) -> None:
        """Build every block that can be reached from `state`, the first being the entry."""
        from dyncc.frontend.interpreter import Interpreter

        name = self._new_name()
        builder = BlockBuilder(name, params, self.fresh, place_of(state))
        self._note(state, builder)
        Interpreter(self, state, builder).run()
        while self._pending:
            name, canonical = self._pending.pop()
            place = place_of(canonical.state)
            builder = BlockBuilder(name, tuple(canonical.params), self.fresh, place)
            self._note(canonical.state, builder)
            for value, path in zip(canonical.params, canonical.places, strict=True):
                self.places[value.name] = path
            Interpreter(self, canonical.state, builder).run()

    def _note(self, state: State, builder: BlockBuilder) -> None:
        """Keep where a block begins in the source, for `dyncc.ir.places`."""
        frame = state.frames[-1]
        own = [item.code for item in state.frames if item.code.file != library.__file__]
        functions = tuple((code.file, code.name) for code in own)
        is_turn = frame.pc in frame.code.loop_heads or frame.code.instrs[frame.pc].op == "next"
        whole = (is_turn or frame.pc in frame.code.statements) and own[-1] is frame.code
        recursive = any(STACK in item.registers for item in state.frames)
        self.points[builder.name] = Point(functions, whole, recursive=recursive), builder.passed

    def finish(self, builder: BlockBuilder, terminator: Terminator) -> None:
        """End a block."""
        self.blocks[builder.name] = builder.finish(terminator, self.regions)

    def _new_name(self) -> str:
        self._block_count += 1
        return f"b{self._block_count - 1}"

    # -- edges ---------------------------------------------------------------------------------

    def edge(
        self,
        state: State,
        builder: BlockBuilder,
        read: Callable[[State, Ref], Value],
    ) -> Jump:
        """An edge from the block under construction to the block for `state`.

        Parameters
        ----------
        read
            Gives the value of a heap tensor in the block under construction.
        """
        skip_jumps(state)
        context = context_of(state)
        canonical = self._canonical(state, context, builder, read)
        name = self._memo.get(canonical.key)
        if name is None and self._widen_against(context, canonical, state):
            canonical = self._canonical(state, context, builder, read)
            name = self._memo.get(canonical.key)
        if name is None:
            name = self._memo[canonical.key] = self._new_name()
            alike = self._variants.add(context, canonical)
            grow = grow_without_end(alike)
            if grow and self.decisions.hold(loops_around(state)):
                raise Restart
            too_many = (
                self._block_count > MAX_BLOCKS
                or self._variants.are_too_many(context, alike)
                or (grow and bool(canonical.positive))
            )
            if too_many and self.decisions.changed:
                # What was learned may make them fewer.
                raise Restart
            open_ended = is_open(state) or self.decisions.holds(context)
            rolls = too_many or self._variants.need_rolling(context, open_ended)
            if rolls and self.decisions.roll(context):
                raise Restart
            if too_many:
                self.diagnose(
                    state,
                    Unsupported(
                        "DY302",
                        "this statement",
                        f"it is reached in {self._variants.count(context)} different states, "
                        f"and the program has {self._block_count} blocks",
                        "Bound the loop around it with a smaller constant, or keep what it changes "
                        "in tensors of constant shape or in numbers.",
                    ),
                )
                raise UnsupportedError(self.diagnostics)
            self._pending.append((name, canonical))
            self._positive[name] = canonical.positive
        for number, (then, now) in enumerate(
            zip(self._positive[name], canonical.positive, strict=True)
        ):
            known = self.decisions.empty.get(context, ())
            if then and not now and f"s{number}" not in known:
                self.decisions.may_be_empty(context, f"s{number}")
        return Jump(name, tuple(self._argument(leaf, builder) for leaf in canonical.leaves))

    def _canonical(
        self,
        state: State,
        context: Context,
        builder: BlockBuilder,
        read: Callable[[State, Ref], Value],
    ) -> Canonical:
        widen = self.decisions.widened.get(context, {})
        found = self._walk(state, context, widen, builder, read)
        varying = self.decisions.varying(context, found.aliases)
        return found if varying == widen else self._walk(state, context, varying, builder, read)

    def _walk(
        self,
        state: State,
        context: Context,
        widen: Mapping[Path, Template | Extent | None],
        builder: BlockBuilder,
        read: Callable[[State, Ref], Value],
    ) -> Canonical:
        # Packing copies tensors into a list, so mark them before the walk reads their storages.
        packed: dict[Path, tuple[Value, ...]] = {}
        for path, template in widen.items():
            if isinstance(template, Template):
                found = lookup(state, path)
                if isinstance(found, ListObj):
                    mark_listed(state, found)
                    packed[path] = pack(found, template, state, builder, read)
        return Canonicaliser(
            state, widen, self.fresh, packed, read, context, self.fakes,
            self.decisions.empty.get(context, ()),
            self.decisions.relaid_at(context) if self.generators.used else None,
        ).run()  # fmt: skip

    def _widen_against(self, context: Context, canonical: Canonical, state: State) -> bool:
        """Widen where this state differs from an earlier one at the same place."""
        if self._widen_places(context, canonical, state, sizes=False):
            return True
        # Elsewhere than in loops, blocks for known sizes are better than one for all.
        frame = state.frames[-1]
        return frame.pc in frame.turned and self._widen_places(
            context, canonical, state, sizes=True
        )

    def _widen_places(
        self, context: Context, canonical: Canonical, state: State, sizes: bool
    ) -> bool:
        any_widened = False
        alike = self._variants.alike(context, canonical)
        kept = self.decisions.static_at(context)
        for earlier in alike:
            found = differences(earlier.key, canonical.key, kept)
            if not found or (not sizes and any(how is not None for how in found.values())):
                continue
            # In an order of its own, so that the same model always gives the same program.
            paths = sorted(found, key=repr)
            templates = [template_at(path, earlier.state, state) for path in paths]
            if any(template is None for template in templates):
                continue
            reason = frozenset((context, without_mark(path)) for path in paths)
            for path, template in zip(paths, templates, strict=True):
                assert template is not None
                if isinstance(path[-1], tuple):
                    self.decisions.alias(
                        context, path[:-1], canonical.aliases.get(path[:-1], set())
                    )
                self.decisions.widen(context, without_mark(path), found[path] or template[0])
                self.decisions.explain((context, without_mark(path)), reason)
            any_widened = True
            self._forget(earlier)
            if sizes:
                # Labels of sizes mean nothing beside those of before.
                self._variants.forget(context)
                break
        return any_widened

    def _forget(self, earlier: Canonical) -> None:
        """Spare this attempt, which is to be repeated, what the next one does not come to."""
        if self.decisions.changed:
            self._pending = [item for item in self._pending if item[1] is not earlier]

    def _argument(self, leaf: object, builder: BlockBuilder) -> Value:
        if isinstance(leaf, Value):
            return leaf
        if isinstance(leaf, tuple):  # a weight's name and type
            name, kind = leaf
            return builder.materialised(builder.weight(name, kind))
        assert isinstance(leaf, bool | int | float)
        (value,) = builder.host("const", (leaf,), (SCALARS[type(leaf).__name__],))
        return value

    # -- diagnostics ---------------------------------------------------------------------------

    def diagnose(self, state: State, problem: Unsupported) -> None:
        """Record what cannot be compiled at the place where `state` stands."""
        self.report(diagnostic(state, problem))

    def report(self, found: Diagnostic) -> None:
        """Record what cannot be compiled."""
        if found not in self.diagnostics:
            self.diagnostics.append(found)
