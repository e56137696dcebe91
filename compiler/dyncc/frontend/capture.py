"""From a module and example arguments to an HCFG."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

# Importing a module of handlers registers them.
from dyncc.core.errors import Diagnostic, ModelError, UnsupportedError
from dyncc.frontend import (
    binding,
    calls,
    closures,
    comparisons,
    contexts,
    control,
    items,
    iteration,
    library_autograd,
    matching,
    objects,
    operations,
    raising,
    strings,
)
from dyncc.frontend.decisions import ENTRY, Decisions, Restart
from dyncc.frontend.extents import Sizes
from dyncc.frontend.instances import is_data, is_named_tuple, is_output_class
from dyncc.frontend.lower import SourceUnavailable, code_of
from dyncc.frontend.machine import Machine
from dyncc.frontend.recovery import Recovery
from dyncc.frontend.sampling import Generators
from dyncc.frontend.shapes import Shapes
from dyncc.frontend.values import (
    DictObj,
    Frame,
    InstanceObj,
    ListObj,
    State,
    Storage,
    Sym,
    TensorObj,
    tensor_type,
)
from dyncc.ir.hcfg import (
    ARGUMENT,
    Hcfg,
    Leaf,
    Literal,
    Record,
    Series,
    StateSlot,
    Struct,
    Tree,
    Value,
)
from dyncc.ir.order import reverse_postorder
from dyncc.ir.places import Places, Point, decisions
from dyncc.ir.sizes import Size
from dyncc.ir.types import SCALARS, Dim, TensorType

HANDLER_MODULES = (
    calls, closures, comparisons, contexts, control, items, iteration, library_autograd,
    matching, objects, operations, raising, strings,
)  # fmt: skip

#: A capture that still changes its mind after so many attempts does not converge.
MAX_ATTEMPTS = 200


_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


@dataclass(frozen=True)
class Capture:
    """A program and the tensors that it uses.

    Attributes
    ----------
    program
        The HCFG, not yet optimised.
    weights
        Every tensor named in ``program.weights``.
    places
        Where its blocks and values come from.
    frozen
        What installed packages read of the process, and where: see `dyncc.frontend.environment`.
    """

    program: Hcfg
    weights: dict[str, torch.Tensor]
    places: Places
    frozen: tuple[str, ...] = ()


def capture(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    name: str,
    dims: Mapping[str, tuple[Dim, ...]] | None = None,
    sizes: Mapping[str, Size] | None = None,
) -> Capture:
    """Capture every path of ``module(*args, **kwargs)``.

    Parameters
    ----------
    module
        The network; it is neither run nor changed.
    args, kwargs
        Example arguments: tensors (their shapes and dtypes count), numbers (any number of that
        type can be given later, unless the code needs it constant), strings and None (constant),
        and tuples, lists and dicts of these.
    name
        Name of the program.
    dims
        By place: shapes of tensors some of whose sizes have names, since they are known when the
        program is called.
    sizes
        What is known of these.

    Raises
    ------
    UnsupportedError
        Carries every construct on any path that cannot be compiled.
    ModelError
        If the source of ``forward`` cannot be read or the arguments do not fit it.
    """
    decisions = Decisions()
    generators = Generators(module)
    shapes = Shapes(dict(dims or {}), dict(sizes or {}))
    for _ in range(MAX_ATTEMPTS):
        attempt = _Attempt(module, args, kwargs, decisions, shapes, generators)
        decisions.changed = False
        try:
            with _plain_fakes():
                attempt.run()
        except Restart:
            continue
        except UnsupportedError as refused:
            others = _Attempt(module, args, kwargs, decisions, shapes, generators, Recovery)
            raise UnsupportedError(others.behind(refused.diagnostics)) from None
        if not decisions.changed:
            return attempt.capture(name)
    raise ModelError(
        f"the capture of {name} does not settle after {MAX_ATTEMPTS} attempts",
        hint="A loop makes values of ever new kinds; please report it with the model.",
    )


@contextmanager
def _plain_fakes() -> Iterator[None]:
    """Keep torch from logging shape errors: those that matter become diagnostics.

    Nor may it choose a kernel of oneDNN's, such as that of a recurrent layer, which no other back
    end has.
    """
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    kernels = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(kernels)
        logger.disabled = before


class _Attempt:
    """One attempt under given decisions."""

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        decisions: Decisions,
        shapes: Shapes,
        generators: Generators,
        machine: type[Machine] = Machine,
    ) -> None:
        self.module = module
        self.shapes = shapes
        self.arguments = (args, dict(kwargs))
        self.decisions = decisions
        self.tensors: dict[str, torch.Tensor] = {}
        self._names: dict[int, str] = {}
        self._alive: list[torch.Tensor] = []
        state_tensors = [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
        for tensor_name, tensor in state_tensors:
            self._names.setdefault(id(tensor), tensor_name)
        modules = {id(sub): label for label, sub in reversed(list(module.named_modules()))}
        parameters = frozenset(label for label, _ in module.named_parameters())
        self.fakes = FakeTensorMode(shape_env=Sizes())
        self.generators = generators
        for generator, tensor in self.generators.of_module.items():
            self._names[id(tensor)] = generator
        self.machine = machine(
            decisions, self.fakes, self.name_of, modules, parameters, self.generators
        )
        shapes.start()
        self.params: list[Value] = []
        self.signature: list[tuple[str, Tree]] = []
        self.optional: list[str] = []
        self.slots: list[StateSlot] = []
        self.state = State([])

    def name_of(self, tensor: torch.Tensor) -> tuple[str, bool]:
        """Weight name of a tensor, and whether it is module state."""
        # States know tensors by their id, which must not be given to another while they do.
        self._alive.append(tensor)
        name = self._names.get(id(tensor))
        is_state = name is not None
        if name is None:
            for known, other in self.tensors.items():
                if known.startswith("constant.") and _same(tensor, other):
                    name = known
                    break
            else:
                count = sum(known.startswith("constant.") for known in self.tensors)
                name = f"constant.{count}"
        self.tensors[name] = tensor.detach()
        return name, is_state

    def behind(self, known: Sequence[Diagnostic]) -> list[Diagnostic]:
        """Diagnostics of a refused program, and those of places behind these: see `recovery`."""
        self.machine.diagnostics = list(known)
        with _plain_fakes(), suppress(UnsupportedError):
            self.run()
        return self.machine.diagnostics

    # -- entry ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Explore the program."""
        forward = type(self.module).forward
        function = inspect.unwrap(forward, stop=lambda f: not calls.is_torch_wrapper(f))
        if not isinstance(function, types.FunctionType):
            raise ModelError(f"{type(self.module).__name__}.forward is no Python function")
        try:
            code = code_of(function)
        except SourceUnavailable as error:
            raise ModelError(
                f"the source of {type(self.module).__name__}.forward cannot be read: {error}",
                hint="Define the module in a file.",
            ) from error
        registers = self._registers(function)
        self.shapes.check_used()
        self.state.frames.append(Frame(code, function, 0, registers))
        self._enter_state()
        relaid = self.decisions.count_relaid()
        self.machine.explore(self.state, tuple(self.params))
        if self.decisions.count_relaid() != relaid:
            self.decisions.changed = True
        self.decisions.call_from(self.machine.sites)
        if self.machine.diagnostics and not self.decisions.changed:
            raise UnsupportedError(self.machine.diagnostics)

    def _registers(self, function: types.FunctionType) -> dict[str, Any]:
        signature = binding.signature_of(function)
        args, kwargs = self.arguments
        try:
            bound = signature.bind(self.module, *args, **kwargs)
        except TypeError as error:
            raise ModelError(
                f"the example arguments do not fit {function.__qualname__}: {error}",
                hint="Give one example for each argument of forward that has no default.",
            ) from error
        registers: dict[str, Any] = {}
        for position, (name, parameter) in enumerate(signature.parameters.items()):
            if position == 0 and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                registers[name] = self.module
            elif name in bound.arguments:
                shown = _STARS.get(parameter.kind, "") + name
                given = bound.arguments[name]
                given = given[1:] if position == 0 else given
                value, tree = self._argument(given, (shown,))
                registers[name] = (self.module, *value) if position == 0 else value
                self.signature.append((shown, tree))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                registers[name] = ()
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                registers[name] = self.state.new(DictObj(()))
            else:
                registers[name] = parameter.default
                if parameter.default is None or isinstance(
                    parameter.default, bool | int | float | str
                ):
                    self.signature.append((name, Literal(parameter.default)))
                    self.optional.append(name)
        return registers

    def _param(self, kind: Any) -> Value:
        value = self.machine.fresh(kind)
        self.params.append(value)
        return value

    def _argument(self, example: Any, path: tuple[Any, ...]) -> tuple[Any, Tree]:
        if isinstance(example, torch.Tensor):
            where = _place(path)
            shape = self.shapes.fake_shape(where, example, self.fakes)
            with self.fakes:
                fake = torch.empty(shape, dtype=example.dtype)
            value = self._param(tensor_type(fake))
            owned = self.decisions.owned_arguments
            owner = ARGUMENT + where
            storage = self.state.new(
                Storage(value, fake, owner if owned else None, listed=not owned)
            )
            ref = self.state.new(TensorObj(storage, (), fake))
            if owned:
                self.state.externals[id(example)] = ref
            return ref, Leaf(value)
        if isinstance(example, torch.Generator):
            return self._generator(example, path)
        if isinstance(example, bool | int | float):
            if (ENTRY, path) in self.decisions.kept:
                return example, Literal(example)
            value = self._param(SCALARS[type(example).__name__])
            return Sym(value, frozenset({(ENTRY, path)})), Leaf(value)
        if example is None or isinstance(example, str):
            return example, Literal(example)
        if is_named_tuple(type(example)) or is_data(example):
            return self._structure(example, path)
        if isinstance(example, tuple | list):
            pairs = [self._argument(item, (*path, i)) for i, item in enumerate(example)]
            items = tuple(value for value, _ in pairs)
            tree = Series(type(example).__name__, tuple(sub for _, sub in pairs))
            return (self.state.new(ListObj(items)) if isinstance(example, list) else items), tree
        if isinstance(example, dict):
            built = {key: self._argument(item, (*path, key)) for key, item in example.items()}
            record = Record(tuple((key, sub) for key, (_, sub) in built.items()))
            content = tuple((key, value) for key, (value, _) in built.items())
            return self.state.new(DictObj(content)), record
        raise ModelError(
            f"the example argument {'.'.join(map(str, path))} is a {type(example).__name__}",
            hint="Arguments are tensors, numbers, strings, None, or tuples, lists, dicts of these.",
        )

    def _generator(self, example: torch.Generator, path: tuple[Any, ...]) -> tuple[Any, Tree]:
        """A generator of random numbers among the arguments; the program takes its state."""
        state = self.generators.add(example)
        with self.fakes:
            fake = torch.empty(state.shape, dtype=state.dtype)
        value = self._param(tensor_type(fake))
        storage = self.state.new(Storage(value, fake, ARGUMENT + _place(path)))
        self.state.externals[id(state)] = self.state.new(TensorObj(storage, (), fake))
        return example, Leaf(value)

    def _structure(self, example: Any, path: tuple[Any, ...]) -> tuple[Any, Tree]:
        """An argument that is a named tuple or an object of a data class."""
        kind = type(example)
        is_tuple = isinstance(example, tuple)
        names = kind._fields if is_tuple else [field.name for field in dataclasses.fields(example)]
        how = "namedtuple" if is_tuple else "output" if is_output_class(kind) else "dataclass"
        pairs = [(name, self._argument(getattr(example, name), (*path, name))) for name in names]
        tree = Struct(how, kind.__name__, tuple((name, sub) for name, (_, sub) in pairs))
        values = tuple((name, value) for name, (value, _) in pairs)
        if is_tuple:
            return self.state.new(InstanceObj(kind, (), tuple(v for _, v in values))), tree
        return self.state.new(InstanceObj(kind, values)), tree

    def _enter_state(self) -> None:
        """Entry parameters for the module state that earlier attempts saw change."""
        tensors: dict[str, torch.Tensor] = {}
        tensors |= dict(self.module.named_parameters(remove_duplicate=False))
        tensors |= dict(self.module.named_buffers(remove_duplicate=False))
        tensors |= self.generators.of_module
        for name in sorted(self.decisions.state):
            if name.startswith(ARGUMENT):
                continue
            if name in tensors:
                tensor = tensors[name]
                self.name_of(tensor)
                fake = self.fakes.from_tensor(tensor.detach(), static_shapes=True)
                value = self._param(tensor_type(fake))
                storage = self.state.new(Storage(value, fake, name))
                ref = self.state.new(TensorObj(storage, (), fake))
                self.state.externals[id(tensor)] = ref
                self.slots.append(StateSlot(name, value))
                continue
            label, _, attribute = name.rpartition(".")
            initial = getattr(self.module.get_submodule(label), attribute, None)
            if isinstance(initial, bool | int | float):
                value = self._param(SCALARS[type(initial).__name__])
                self.state.attributes[label, attribute] = (Sym(value),)
                self.slots.append(StateSlot(name, value, initial))
            else:
                self.slots.append(StateSlot(name, None))

    # -- result --------------------------------------------------------------------------------

    def capture(self, name: str) -> Capture:
        """The finished program."""
        used = {
            weight
            for block in self.machine.blocks.values()
            for op in block.ops
            for weight in getattr(op, "weights", ())
        }
        used |= {slot.name for slot in self.slots if slot.name in self.tensors}
        weights = {key: self.tensors[key] for key in self.tensors if key in used}
        types_: dict[str, TensorType] = {key: tensor_type(weights[key]) for key in weights}
        blocks = self.machine.blocks
        program = self.shapes.named(
            Hcfg(
                name,
                tuple(self.signature),
                tuple(self.optional),
                tuple(self.slots),
                types_,
                {name: blocks[name] for name in reverse_postorder(blocks)},
                self.machine.regions.by_name,
            )
        )
        return Capture(program, weights, self._places(program), tuple(self.machine.frozen))

    def _places(self, program: Hcfg) -> Places:
        wanted = {item[:3] for item in decisions(program)}
        blocks: dict[str, Point] = {}
        for name, (point, found) in self.machine.points.items():
            passed = tuple(
                (loc.file, loc.line, loc.column, operations.source_text(instr))
                for loc, instr in found
                if (loc.file, loc.line, loc.column) in wanted
            )
            blocks[name] = replace(point, passed=passed)
        return Places(self.machine.places, blocks)


def _place(path: tuple[Any, ...]) -> str:
    """The place of an argument, as Python writes it."""
    return str(path[0]) + "".join(f"[{step!r}]" for step in path[1:])


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and bool(torch.equal(torch.nan_to_num(left), torch.nan_to_num(right)))
        and bool(torch.equal(left != left, right != right))
    )
