"""From Relax operations to scheduled loops."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial

import tvm
from tvm import relax, s_tir, tirx

from dyncc.backends.tvm import mathematics, pooling
from dyncc.backends.tvm.schedules import generic, kernels, rows
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.reuse import Found

#: What a schedule raises that does not fit its function.
_MISFITS = (RuntimeError, ValueError, TypeError, IndexError)

#: How operations are written that dyncc writes otherwise than TVM.
_LEGALIZATIONS = mathematics.LEGALIZATIONS | pooling.LEGALIZATIONS


class Care(enum.Enum):
    """How far schedules are trusted to survive code generation."""

    TRUST = enum.auto()
    """Schedule everything."""
    VERIFY = enum.auto()
    """Generate code for each scheduled function alone first, and leave it plain if that fails."""
    PLAIN = enum.auto()
    """Schedule nothing."""


def lower(module: tvm.IRModule, cpu: Cpu, care: Care, found: Found) -> tvm.IRModule:
    """Legalise, fuse and schedule.

    Parameters
    ----------
    module
        Relax functions, and the kernels they call.
    cpu
        The machine to schedule for.
    care
        Which of dyncc's schedules to use; without them code is slow and plain.
    found
        What searches found for the kernels of this machine.

    Returns
    -------
    IRModule
        Relax functions that call scheduled TIR.
    """
    fused = fuse(module, care)
    return fused if care is Care.PLAIN else _schedule_all(fused, cpu, care, found)


def fuse(module: tvm.IRModule, care: Care) -> tvm.IRModule:
    """Legalise and fuse: the kernels that are to be scheduled."""
    transform = relax.transform
    passes = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        transform.LegalizeOps(None if care is Care.PLAIN else _LEGALIZATIONS),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        # What only reshapes is a view. TVM would not see that any more when it has a schedule.
        transform.RewriteDataflowReshape(),
        transform.DeadCodeElimination(),
    ]
    return tvm.transform.Sequential(passes)(module)


def _schedule_all(module: tvm.IRModule, cpu: Cpu, care: Care, known: Found) -> tvm.IRModule:
    result = tvm.IRModule(module.functions, attrs=module.attrs)
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            main = function.with_attr("global_symbol", "main")
            found = known.schedule(name.name_hint, main, partial(schedule_by_rule, main, cpu))
            if found is not None and care is Care.VERIFY and not _compiles(found.mod, cpu):
                known.used.pop(name.name_hint, None)
                found = None
            if found is not None:
                body = found.mod["main"].with_attr("tirx.is_scheduled", True)
                old = function.attrs.get("global_symbol") if function.attrs else None
                result[name] = (
                    body.with_attr("global_symbol", old)
                    if old is not None
                    else body.without_attr("global_symbol")
                )
    return result


def _compiles(module: tvm.IRModule, cpu: Cpu) -> bool:
    try:
        tvm.compile(module, target=cpu.target())
    except _MISFITS:
        return False
    return True


def schedule_by_rule(function: tirx.PrimFunc, cpu: Cpu) -> s_tir.Schedule | None:
    """Return the first schedule that fits, or None: the function then stays as it is."""
    rules: tuple[Callable[[], s_tir.Schedule | None], ...] = (
        lambda: kernels.schedule_kernel(function, cpu),
        lambda: generic.schedule_elementwise(function, cpu),
        lambda: rows.schedule_rows(function, cpu),
        lambda: generic.schedule_window(function, cpu),
    )
    for rule in rules:
        try:
            found = rule()
        except _MISFITS:
            continue
        if found is not None:
            return found
    return None
