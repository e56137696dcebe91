"""From Relax operations to scheduled loops."""

from __future__ import annotations

import tvm
from tvm import relax

from dyncc.backends.tvm.target import Cpu


def lower(module: tvm.IRModule, cpu: Cpu, scheduled: bool) -> tvm.IRModule:
    """Legalise, fuse and schedule.

    Parameters
    ----------
    module
        Relax functions.
    cpu
        The machine to schedule for.
    scheduled
        Whether to use dyncc's schedules; without them code is slow and plain.
    """
    transform = relax.transform
    passes = [
        transform.DecomposeOpsForInference(),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
    ]
    return tvm.transform.Sequential(passes)(module)
