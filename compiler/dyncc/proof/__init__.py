"""Proof of every path: an artifact and its source, forced through the same decisions.

`paths` plans decisions that take every edge and turn every loop, `trace` leads the artifact along
them, `source` makes the original functions ask for theirs, `replay` compares both at every block
boundary, and `check` does all of this for a network. `batches` compares batches with single calls.
"""

from __future__ import annotations

from dyncc.proof.batches import BatchRuns, compare_batches
from dyncc.proof.check import prove
from dyncc.proof.findings import Proof, Runs

__all__ = ["BatchRuns", "Proof", "Runs", "compare_batches", "prove"]
