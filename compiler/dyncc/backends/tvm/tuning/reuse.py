"""How a compilation takes what was found before."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx

from dyncc.backends.tvm.knobs import choosing
from dyncc.backends.tvm.packing import Layouts
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.database import SHIPPED, Database, Record
from dyncc.core.tuning import database_path

#: What applying a trace raises to a kernel that it does not fit.
_MISFITS = (RuntimeError, ValueError, TypeError, IndexError)


def target_key(cpu: Cpu) -> str:
    """What code depends on: the CPU with its features, the threads, and TVM's version."""
    found = cpu.describe()
    features = " ".join(sorted(found["features"]))
    return (
        f"{found['machine']} {found['mcpu']}, {found['threads']} threads, "
        f"{features}, tvm {tvm.__version__}"
    )


def kernel_key(function: tirx.PrimFunc) -> str:
    """A kernel by its structure; names of variables are no part of it."""
    plain = function.with_attr("global_symbol", "main")
    return f"kernel {tvm_ffi.structural_hash(plain) & (2**64 - 1):016x}"


def databases() -> list[Database]:
    """The one of `dyncc.core.tuning.database_path`, and the one that comes with dyncc.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """
    path = database_path()
    return [] if path is None else [Database(path), Database(SHIPPED)]


@dataclass
class Found:
    """What databases have for one target, and what was used of it.

    Attributes
    ----------
    cpu
        The target.
    sources
        Databases; the first that has a record counts.
    used
        By kernel of the module, its record and the file that it is from.
    """

    cpu: Cpu
    sources: Sequence[Database] = ()
    used: dict[str, tuple[Record, str]] = field(default_factory=dict)

    @functools.cached_property
    def target(self) -> str:
        """What records have to be of."""
        return target_key(self.cpu)

    def layouts(self) -> Layouts:
        """Choices of layouts, by operator."""
        return {
            record.key: record.choices
            for source in reversed(self.sources)
            for record in source.of_target(self.target)
        }

    def record(self, function: tirx.PrimFunc) -> tuple[Record, str] | None:
        """The record of a kernel, and the file that has it."""
        if not self.sources:
            return None
        key = kernel_key(function)
        for source in self.sources:
            record = source.find(self.target, key)
            if record is not None:
                return record, "dyncc" if source.path == SHIPPED else str(source.path)
        return None

    def schedule(
        self, name: str, function: tirx.PrimFunc, rule: Callable[[], s_tir.Schedule | None]
    ) -> s_tir.Schedule | None:
        """Schedule a kernel as it was found to be best, or else by the rule."""
        found = self.record(function)
        if found is None:
            return rule()
        schedule = apply(found[0], function, rule)
        if schedule is None:
            return rule()
        self.used[name] = found
        return schedule

    def report(self, module: tvm.IRModule, entry: str) -> dict[str, Any]:
        """What a manifest says of a region's kernels.

        Returns
        -------
        dict
            ``kernels``: how many it calls; ``tuned``: by the name of each of which something was
            found, ``from`` (a file, or ``dyncc``), ``machine``, ``by`` (``rules`` or
            ``MetaSchedule``), ``choices``, ``seconds`` and ``untuned`` (of a call, measured then).
        """
        names = region_kernels(module, entry)
        tuned = {
            name: {
                "from": source,
                "machine": record.machine,
                "by": "rules" if record.trace is None else "MetaSchedule",
                "choices": dict(record.choices),
                "seconds": record.seconds,
                "untuned": record.untuned,
            }
            for name in names
            if name in self.used
            for record, source in [self.used[name]]
        }
        return {"kernels": len(names), "tuned": tuned}


def apply(
    record: Record, function: tirx.PrimFunc, rule: Callable[[], s_tir.Schedule | None]
) -> s_tir.Schedule | None:
    """Schedule a kernel as a record says; None if the record does not fit it (any more)."""
    if record.trace is not None:
        schedule = s_tir.Schedule(function)
        try:
            s_tir.schedule.Trace.apply_json_to_schedule(record.trace, schedule)
        except _MISFITS:
            return None
        return schedule
    with choosing(record.choices) as choices:
        schedule = rule()
    kept = all(choices.made.get(name) == value for name, value in record.choices.items())
    return schedule if kept else None


def region_kernels(module: tvm.IRModule, entry: str) -> list[str]:
    """Names of the kernels that a region calls, each once, without those that copy nothing."""
    names = dict.fromkeys(call.args[0].name_hint for call in kernel_calls(module[entry]))
    return [name for name in names if not relax.analysis.has_reshape_pattern(module[name])]


def kernel_calls(function: relax.Function) -> list[relax.Call]:
    """The calls of kernels in a region's function, in order."""
    return [
        binding.value
        for block in function.body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
        and binding.value.op == tvm.ir.Op.get("relax.call_tir")
    ]
