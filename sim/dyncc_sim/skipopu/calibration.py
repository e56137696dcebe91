"""The model of time beside the hardware: cycles of whole programs.

Usage: ``python -m dyncc_sim.skipopu.calibration [--rtl] [-o FILE.md]``. With ``--rtl`` the programs
run on the hardware again, and their cycles are recorded in ``calibration.json``, beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from dyncc.arch.reference import table
from dyncc.arch.skipopu.isa import R_NEXT_SLOT
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.files import write_text
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.outcomes import Computed
from dyncc_sim.skipopu.small import Small
from dyncc_sim.skipopu.timing import simulate

RECORD = Path(__file__).with_suffix(".json")
#: Most that the model may be off, as a part of the hardware's cycles.
LIMIT = 0.05
#: Two layers; small, since each cycle of the hardware costs time.
DECODER = LlamaConfig(
    width=64, hidden=96, layers=2, heads=2, kv_heads=1, head_size=32, vocabulary=96, context=40
)


@dataclass(frozen=True)
class Series:
    """Programs that run one after the other.

    Attributes
    ----------
    arch, policy
        The instance; what becomes of keys and values of tokens that skip attention.
    batches
        Tokens of each program. Random routers decide what they skip.
    logits
        Whether logits of all tokens are stored, or only the number of the largest.
    before
        Tokens that the simulator alone has worked on before, so that the context is longer. The
        first program has to fetch all their keys and values.
    """

    arch: ArchSpec
    policy: KvPolicy
    batches: tuple[int, ...]
    logits: bool = False
    before: int = 0

    @property
    def name(self) -> str:
        """In the record."""
        sizes = "-".join(map(str, self.batches))
        stored = "logits" if self.logits else "largest"
        return f"{self.arch.name} {self.policy.value} {self.before} {sizes} {stored}"

    def prepared(self) -> Prepared:
        """A decoder and its memory, with the tokens before."""
        small = Small(self.arch, self.policy, self.logits, config=DECODER)
        memory, draw = small.memory(), numpy.random.default_rng(7)
        found = Prepared(self, small, memory, draw)
        while found.position < self.before:
            size = min(self.arch.tokens, self.before - found.position)
            start, place, tokens = found.batch(size)
            memory.load(place, tokens)
            left = Machine(self.arch, memory).run(small.program, start)
            found.went(size, left)
        return found


@dataclass
class Prepared:
    """Where a series is.

    Attributes
    ----------
    series, small, memory, draw
        What runs, on what; where tokens come from.
    position, slot
        Tokens so far, and the next slot.
    """

    series: Series
    small: Small
    memory: Memory
    draw: numpy.random.Generator
    position: int = 0
    slot: int = 0

    def batch(self, size: int) -> tuple[dict[int, int], int, bytes]:
        """Registers at the start; the address of the next tokens, and their numbers."""
        tokens = self.draw.integers(0, DECODER.vocabulary, size).astype("<u4").tobytes()
        registers = self.small.registers(self.position, size, self.slot)
        return registers, self.small.places.address("tokens"), tokens

    def went(self, size: int, registers: Sequence[int]) -> None:
        """A batch is done."""
        self.position, self.slot = self.position + size, registers[R_NEXT_SLOT]


SERIES = (
    Series(SINGLE, KvPolicy.DENSE, (1, 1)),
    Series(SINGLE, KvPolicy.REUSE, (1, 1), before=30),
    Series(BATCHED, KvPolicy.REUSE, (3, 4, 1, 2)),
    Series(BATCHED, KvPolicy.EVICT, (4,) * 9, logits=True),
)


def modelled(series: Series) -> list[float]:
    """Cycles of its programs, as the model has them."""
    found = series.prepared()
    executor, program = Executor(series.arch, found.memory), found.small.program
    cycles = []
    for size in series.batches:
        start, place, tokens = found.batch(size)
        found.memory.load(place, tokens)
        timing = simulate(series.arch, program, start, Computed(executor))
        found.went(size, timing.registers)
        cycles.append(timing.cycles)
    return cycles


def measured(series: Series) -> list[int]:
    """Cycles of its programs on the hardware, which is compared with the simulator meanwhile.

    Counted from the end of the start, which clears registers, to the halt.

    Raises
    ------
    MissingToolError, ToolError, MismatchError
        As `dyncc_sim.runner.run_bench`.
    """
    from dyncc_sim.skipopu.bench.machine_cases import MachineCases, run

    found = series.prepared()
    cases = MachineCases(series.arch, found.memory)
    for size in series.batches:
        start, place, tokens = found.batch(size)
        left = cases.run(found.small.program, start, [(place, tokens)])
        found.went(size, left)
    # The bench counts from the cycle behind a command.
    told = run(cases, latency=series.arch.memory_latency_cycles - 1)
    return [each["cycles"] for each in told]


def recorded() -> dict[str, list[int]]:
    """Cycles of programs on the hardware by `Series.name`, as they were measured last."""
    found: dict[str, list[int]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Row:
    """A program.

    Attributes
    ----------
    series, number
        Which one of which.
    position
        Tokens before it.
    measured, modelled
        Cycles of the hardware, and of the model.
    """

    series: Series
    number: int
    position: int
    measured: int
    modelled: float

    @property
    def error(self) -> float:
        """What the model is off, as a part of the hardware's cycles."""
        return self.modelled / self.measured - 1


def rows(series: Series, cycles: Sequence[int]) -> Iterator[Row]:
    """Compare the model with what was measured.

    Raises
    ------
    ValueError
        If these are not as many programs.
    """
    position = series.before
    for number, (one, other) in enumerate(zip(cycles, modelled(series), strict=True)):
        yield Row(series, number, position, one, other)
        position += series.batches[number]


def page(found: Sequence[Row]) -> str:
    """The page in Markdown."""
    worst = max(found, key=lambda row: abs(row.error))
    sizes = (
        f"{DECODER.layers} layers of width {DECODER.width}, {DECODER.hidden} hidden, "
        f"{DECODER.heads} heads of {DECODER.head_size}, {DECODER.vocabulary} words"
    )
    errors = [row.error for row in found]
    lines = [
        "# SkipOPU: the model of time against the hardware",
        "",
        "Cycles of whole programs on the hardware, in a simulation that also compares every result",
        "with the simulator's, and in the model of time (`dyncc_sim.skipopu.timing`). The page is",
        "written by `python -m dyncc_sim.skipopu.calibration -o docs/skipopu-calibration.md`; with",
        "`--rtl` it measures and records the hardware's cycles anew, which takes some minutes.",
        "Tests hold the model to 5 % of the record, and the record to the hardware.",
        "",
        "A program is a pass over a batch of tokens through a small decoder with random weights",
        f"and routers: {sizes}.",
        "`single` is a small ECP5 with 2 bytes a cycle and one request at a time; `batched` has",
        "batches of 4, 8 bytes a cycle and 4 requests.",
        "",
        table(
            ("Instance", "Keys", "Tokens", "Position", "Stored", "RTL", "Model", "Difference"),
            [
                (
                    row.series.arch.name, row.series.policy.value,
                    row.series.batches[row.number], row.position,
                    "all logits" if row.series.logits else "largest",
                    f"{row.measured:,}", f"{row.modelled:,.0f}", f"{row.error:+.1%}",
                )
                for row in found
            ],
        ).rstrip(),
        "",
        f"The largest difference is {abs(worst.error):.1%}, the mean {numpy.mean(errors):+.1%}.",
        "",
        "## What a latency is",
        "",
        "`memory_latency_cycles` counts from a burst's command on the memory's bus to its first",
        "word. The memory port adds 6 cycles to each request: it is chosen, checked and cut first.",
        "",
        "## What the model leaves out",
        "",
        "- Exact turns at the port. A request that finds the stream of matrices at work waits for",
        "  the requests of it that are on their way, being cut, and checked, in the mean.",
        "- Reads and writes at once: the memory of the bench has separate channels, and the model",
        "  one that they share. Turns of a real memory from one to the other, and its banks.",
        "- Which positions a tile of attention has: those of evicted tokens are counted.",
        "- Conflicts at the vector buffer's ports, and two engines that start in one cycle.",
        "- Numbers that change times: a row's number in the serial multiplier.",
        "- The start of a program, which clears registers, and the host between programs.",
        "- Heads that overlap: the hardware takes one after the other, as instances with",
        "  `overlapped_heads=1` do. For `u280` and `u280_g128`, which have 64 and are modelled",
        "  only, attention is a pipeline whose steps nobody has measured.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command; 5 if the model is further off than `LIMIT`."""
    parser = argparse.ArgumentParser(description="SkipOPU's model of time against the hardware.")
    parser.add_argument("--rtl", action="store_true", help="measure the hardware again")
    parser.add_argument("-o", "--output", metavar="FILE.md", help="default: standard output")
    given = parser.parse_args(arguments)
    if given.rtl:
        cycles = {series.name: measured(series) for series in SERIES}
        RECORD.write_text(json.dumps(cycles, indent=1) + "\n", encoding="utf-8")
    known = recorded()
    found = [row for series in SERIES for row in rows(series, known[series.name])]
    if given.output is None:
        sys.stdout.write(page(found))
    else:
        write_text(given.output, page(found))
    return 5 if any(abs(row.error) > LIMIT for row in found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
