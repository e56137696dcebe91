"""Random numbers: the state of a generator is a tensor, which each draw takes and gives anew.

So a draw is a pure operation of the HCFG, passes need not know of an order among draws, and the
compiled network takes the numbers that eager PyTorch would take from the same generator. The state
of torch's default generator and of a generator in the module is module state, that of a generator
among the arguments is an argument that the call changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._prims_common import is_contiguous_or_false

from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.extents import with_plain_sizes
from dyncc.frontend.values import tensor_type
from dyncc.frontend.views import functional_form
from dyncc.ir.hcfg import DEFAULT_GENERATOR, GENERATOR

if TYPE_CHECKING:
    from dyncc.frontend.recorder import Recorder


class Generators:
    """The generators that a network may draw from, with a tensor for the state of each.

    Parameters
    ----------
    module
        The network; its modules may hold generators as attributes.
    """

    def __init__(self, module: nn.Module) -> None:
        self._states: dict[int, torch.Tensor] = {}
        self._alive: list[torch.Generator] = []
        #: Whether an attempt to capture the network has met a draw. Only then do orders matter.
        self.used = False
        #: By name, those that are module state.
        self.of_module: dict[str, torch.Tensor] = {
            DEFAULT_GENERATOR: self.add(torch.default_generator)
        }
        for label, part in module.named_modules():
            for attribute, value in vars(part).items():
                if isinstance(value, torch.Generator) and _identity(value) not in self._states:
                    name = f"{label}.{attribute}" if label else attribute
                    self.of_module[f"{name}.state"] = self.add(value)

    def add(self, generator: torch.Generator) -> torch.Tensor:
        """A tensor that stands for the state of a generator: uint8."""
        self._alive.append(generator)
        return self._states.setdefault(_identity(generator), generator.get_state())

    def state_of(self, generator: torch.Generator | None) -> torch.Tensor:
        """The tensor that stands for the state of a generator, of torch's default one for None."""
        found = self._states.get(_identity(generator or torch.default_generator))
        if found is None:
            raise Unsupported(
                "DY602",
                "a random generator that is neither the module's nor an argument",
                "its state would have to outlive the call",
                "Pass it to forward, or keep it in an attribute of the module.",
            )
        self.used = True
        return found


def _identity(generator: torch.Generator) -> int:
    """The address of a generator: native code makes new Python objects for it."""
    return int(generator._cdata)  # type: ignore[attr-defined]


def draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an ATen operation draws random numbers; not if it drops out nothing."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    for position, argument in enumerate(func._schema.arguments):
        if argument.name == "dropout_p":
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            return bool((argument.default_value if given is None else given) != 0)
    return True


def draw(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record an operation that draws random numbers; returns its result.

    Numbers are drawn in the order of memory, and what regions take and give is contiguous: so must
    the tensors be in eager PyTorch.

    Raises
    ------
    Unsupported
        If the generator is not known, a tensor may not be contiguous, or the operation writes to
        anything but its first argument.
    """
    rest = dict(kwargs)
    state = recorder.external(recorder.generators.state_of(rest.pop(GENERATOR, None)))
    fake_args, fake_kwargs = torch.utils._pytree.tree_map(recorder.fake_argument, (args, rest))
    takes_generator = any(argument.name == GENERATOR for argument in func._schema.arguments)
    with recorder.fakes:
        out = func(*fake_args, **fake_kwargs, **({GENERATOR: None} if takes_generator else {}))
    written = [item.alias_info is not None for item in func._schema.arguments]
    pure = functional_form(func) if any(written) else func
    tensors = [x for x in torch.utils._pytree.tree_leaves((args, rest, out)) if torch.is_tensor(x)]
    if any(written):
        defaults = [item.default_value for item in func._schema.arguments if not item.kwarg_only]
        args = (*args, *defaults[len(args) :])
    if pure is None or any(written[1:]) or not isinstance(out, torch.Tensor):
        raise Unsupported(
            "DY602",
            f"`{func}`",
            "it draws random numbers, and is not compiled",
            "Draw them with torch.rand, torch.bernoulli or the like.",
        )
    if recorder.is_relaid((args, rest)) or not all(map(is_contiguous_or_false, tensors)):
        raise Unsupported(
            "DY602",
            f"`{func}`",
            "it draws random numbers in the order in which a tensor is stored, which is not the "
            "order of its dimensions",
            "Draw with torch.rand or torch.randn of its shape, which heed no other tensor's order.",
        )
    recorder.builder.separate(True)
    out = with_plain_sizes(recorder.fakes, out)
    old = recorder.state.heap[state].fake
    operands = tuple((name, recorder.operand(item)) for name, item in rest.items())
    value, after = recorder.builder.tensor(
        str(pure),
        tuple(recorder.operand(item) for item in args),
        (*operands, (GENERATOR, recorder.read(state))),
        (tensor_type(out), tensor_type(old)),
    )
    assert value is not None
    assert after is not None
    recorder.assign(state, after)
    if any(written):
        recorder.assign(recorder.ref_of(args[0]), value)
        return args[0]
    recorder.adopt(value, out)
    return out
