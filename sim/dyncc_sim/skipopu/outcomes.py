"""What a program decides while it runs: routes, and which keys and values are fetched.

The model of time asks an `Outcomes`. `Computed` runs the program bit by bit beside it; `Assumed`
takes routes from a table, and follows slots but no numbers, for sizes that nobody wants to compute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import NO_SLOT, R_NEXT_SLOT, LoadMode, Op, Pred, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.history import History
from dyncc_sim.skipopu.sequencer import Mask, Work, holders
from dyncc_sim.skipopu.trace import Trace
from dyncc_sim.skipopu.trap import Fault


class Outcomes(Protocol):
    """What the model of time asks."""

    def start(self, registers: Sequence[int]) -> None:
        """A program starts."""

    def end(self, registers: list[int]) -> None:
        """It halts: put the counter of slots back."""

    def predicates(self, pred: Pred, tokens: int) -> Mask:
        """Tokens of a batch that have a predicate."""

    def streamed(self, work: Work) -> bool:
        """Whether the matrix that an instruction takes rows of is next in the stream."""

    def execute(self, work: Work) -> int:
        """An instruction starts; returns the slots that it fetches. Raises Fault."""

    def finish(self, work: Work) -> None:
        """An instruction is done, or was suppressed."""


class Computed:
    """Outcomes of the bit-exact simulator.

    Parameters
    ----------
    executor
        Buffers and engines.
    trace
        Collects what they do, as `Machine` does.
    """

    def __init__(self, executor: Executor, trace: Trace | None = None) -> None:
        self._executor, self._trace = executor, trace
        self._written: dict[int, Any] = {}
        self.start, self.predicates = executor.start, executor.predicates
        self.streamed = executor.streamed

    def end(self, registers: list[int]) -> None:
        """Put the counter of slots back."""
        registers[R_NEXT_SLOT] = self._executor.next_slot

    def execute(self, work: Work) -> int:
        """Carry out an instruction; returns the slots that it fetches."""
        before = self._executor.kv.fetched
        self._written[work.number] = self._executor.execute(work)
        return self._executor.kv.fetched - before

    def finish(self, work: Work) -> None:
        """Write the line of an instruction."""
        written = self._written.pop(work.number, None)
        if self._trace is not None:
            self._trace.add(work, written)


class Routes:
    """Which sublayers run.

    Parameters
    ----------
    runs
        Bool of shape (layers, positions, 2): attention and MLP. Attention of layer 0 always runs.
    """

    def __init__(self, runs: NDArray[numpy.bool_]) -> None:
        if runs.ndim != 3 or runs.shape[2] != 2:
            raise ConfigError(f"routes have shape (layers, positions, 2), not {runs.shape}")
        self.runs = runs.astype(bool)
        self.runs[0, :, 0] = True

    @classmethod
    def all(cls, layers: int, positions: int) -> Routes:
        """Nothing is skipped."""
        return cls(numpy.ones((layers, positions, 2), bool))

    @classmethod
    def random(
        cls, layers: int, positions: int, skipped: float | Sequence[Sequence[float]], seed: int
    ) -> Routes:
        """Each sublayer is skipped with a probability of its own.

        Parameters
        ----------
        skipped
            Probability; or one of each layer's attention and MLP, shape (layers, 2).
        """
        draw = numpy.random.default_rng(seed).random((layers, positions, 2))
        limits = numpy.broadcast_to(numpy.asarray(skipped, float), (layers, 2))
        return cls(draw >= limits[:, None, :])

    @classmethod
    def balanced(cls, layers: int, positions: int, skipped: float, seed: int) -> Routes:
        """Every token skips the same number of sublayers of each kind, at random layers.

        Parameters
        ----------
        skipped
            Fraction, rounded to whole sublayers.
        """
        count = round(skipped * layers)
        if not 0 <= count < layers:
            raise ConfigError(f"{skipped} of {layers} sublayers cannot be skipped: layer 0 runs")
        draw = numpy.random.default_rng(seed).random((layers, positions, 2))
        draw[0, :, 0] = 1
        return cls(numpy.argsort(numpy.argsort(draw, axis=0), axis=0) >= count)


def slots_read(own: NDArray[Any], ran: NDArray[numpy.bool_], policy: str) -> NDArray[Any]:
    """The slots that attention reads.

    Parameters
    ----------
    own
        The slot of each layer and position, if it is written, of shape (layers, positions).
    ran
        Whether attention ran there.
    policy
        ``dense``, ``reuse`` or ``evict``.

    Raises
    ------
    ConfigError
        If there is no such policy.
    """
    if policy == "dense":
        return own
    if policy == "evict":
        return numpy.where(ran, own, NO_SLOT)
    if policy == "reuse":
        layers = numpy.arange(len(ran))[:, None]
        last = numpy.maximum.accumulate(numpy.where(ran, layers, 0), axis=0)
        return numpy.take_along_axis(own, last, axis=0)
    raise ConfigError(f"there is no policy {policy!r}, but dense, reuse and evict")


class Assumed:
    """Outcomes from a table of routes.

    The n-th `Op.ROUTE` of a program is taken to be that of layer n.

    Parameters
    ----------
    arch
        The instance.
    routes
        Of all positions that programs work on or attend to.

    Attributes
    ----------
    table
        Slots, int64 of shape (layers, positions).
    """

    def __init__(self, arch: ArchSpec, routes: Routes) -> None:
        self._places = arch.kv_tokens
        self._runs = routes.runs
        self.table = numpy.full(routes.runs.shape[:2], NO_SLOT, numpy.int64)
        self._history = History(arch.kv_tokens)
        self._stream: deque[list[int]] = deque()
        self._predicates = numpy.ones((2, arch.tokens), bool)
        self._layer = 0

    def remember(self, positions: int, policy: str) -> None:
        """Put keys and values in place as if programs had run for the first positions.

        Parameters
        ----------
        policy
            ``dense``, ``reuse`` or ``evict``.
        """
        ran = self._runs[:, :positions, 0]
        own = numpy.arange(self.table.size).reshape(self.table.shape)[:, :positions]
        self.table[:, :positions] = found = slots_read(own, ran, policy)
        self._history = History(self._places)
        for layer in numpy.flatnonzero(ran[:, -1]) if positions else ():
            self._history.fetch(found[layer])

    def start(self, registers: Sequence[int]) -> None:
        """A program starts."""
        self._stream.clear()
        self._predicates[:] = True
        self._layer = 0

    def end(self, registers: list[int]) -> None:
        """Slots are numbered by layer and position, so that there is no counter."""

    def predicates(self, pred: Pred, tokens: int) -> Mask:
        """Tokens of a batch that have a predicate."""
        return holders(pred, *self._predicates[:, :tokens])

    def streamed(self, work: Work) -> bool:
        """Whether a matrix of the right kind is next in the stream."""
        op = work.instruction.op
        if op not in (Op.GEMV, Op.GEMM) and not (op == Op.ROUTE and work.values["route"]):
            return True
        return bool(self._stream) and ((self._stream[0][0] == WeightType.BFP16) == (op == Op.ROUTE))

    def execute(self, work: Work) -> int:
        """Follow an instruction; returns the slots that it fetches."""
        v, op = work.values, work.instruction.op
        if op == Op.LD and v["mode"] == LoadMode.WEIGHTS:
            self._stream.append([v["type"], v["rows"], v["columns"]])
        elif op in (Op.GEMV, Op.GEMM):
            self._take(v["type"], v["rows"], v["columns"])
        elif op == Op.ROUTE:
            self._route(work)
        elif op in (Op.KVAPP, Op.KVSEL):
            self._write(work)
        elif op == Op.ATTN:
            last = work.position + int(numpy.flatnonzero(work.active)[-1])
            return int(self._history.fetch(self._row(v["layer"], last)[: last + 1]).sum())
        return 0

    def finish(self, work: Work) -> None:
        """Nothing."""

    def _take(self, kind: int, rows: int, columns: int) -> None:
        have = self._stream[0]
        if have[0] != kind or have[2] != columns or not 0 < rows <= have[1]:
            raise Fault(
                Trap.SHAPE, f"{rows} rows of {columns} are wanted, and {have[1:]} are streamed"
            )
        have[1] -= rows
        if not have[1]:
            self._stream.popleft()

    def _route(self, work: Work) -> None:
        tokens = len(work.active)
        self._predicates[:, :tokens] = True
        if work.values["route"]:
            self._take(WeightType.BFP16, 4, work.values["columns"])
            self._row(self._layer, work.position + tokens - 1)
            runs = self._runs[self._layer, work.position : work.position + tokens]
            self._predicates[:, :tokens] = runs.T
        self._layer += 1

    def _write(self, work: Work) -> None:
        v, layer = work.values, work.values["layer"]
        for token in numpy.flatnonzero(work.active):
            position = work.position + int(token)
            row = self._row(layer, position)
            if work.instruction.op == Op.KVAPP:
                row[position] = layer * row.size + position
                self._history.keep(position, int(row[position]))
            else:
                row[position] = NO_SLOT if v["evict"] else self.table[layer - 1, position]

    def _row(self, layer: int, position: int) -> Any:
        layers, positions, _ = self._runs.shape
        if layer >= layers or position >= positions:
            raise ConfigError(
                f"there are routes of {layers} layers and {positions} positions, and the program "
                f"is at layer {layer} and position {position}"
            )
        return self.table[layer]
