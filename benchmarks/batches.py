"""What a batch gives against as many single calls, where samples go different ways.

    python benchmarks/batches.py --backend onnxruntime dycl.skipnet dycl.sdn_vgg

Batches are drawn from the network's coverage inputs, so that they diverge as these do; a second row
has batches whose samples are all alike. A batch and its single calls take turns in one process. The
ratio is the median over batches of the ratios of the least times: on a busy machine the least time
is what a thing takes that was not interrupted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

import dyncc
from dyncc.core.backends import BACKENDS
from dyncc.runtime.program import Program
from dyncc_models import NETWORKS


@dataclass(frozen=True)
class Row:
    """A line of the table: times in seconds, of batches and of their samples one by one."""

    name: str
    batch: float
    single: float
    ratio: float


def measure(name: str, program: Program, batches: list[list[tuple[Any, ...]]], rounds: int) -> Row:
    """Time batches and their samples in turns."""
    times = []
    for samples in batches:

        def together(samples: list[tuple[Any, ...]] = samples) -> None:
            program.batch(samples)

        def one_by_one(samples: list[tuple[Any, ...]] = samples) -> None:
            for sample in samples:
                program(*sample)

        best = [_seconds(together), _seconds(one_by_one)]
        for _ in range(rounds):
            best = [min(best[0], _seconds(together)), min(best[1], _seconds(one_by_one))]
        times.append(best)
    together_, single = (statistics.median(pair[i] for pair in times) for i in (0, 1))
    return Row(name, together_, single, statistics.median(s / b for b, s in times))


def _seconds(task: Callable[[], None]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def rows(name: str, backend: str, size: int, count: int, rounds: int) -> list[Row]:
    """The rows of a network."""
    source = import_module(f"dyncc_models.{name}")
    torch.manual_seed(0)
    example = source.example_inputs()
    program = dyncc.compile(source.build(), example, backend=backend, batch=size)
    inputs = source.coverage_inputs()
    chance = random.Random(0)
    mixed = [[chance.choice(inputs) for _ in range(size)] for _ in range(count)]
    alike = [[chance.choice(inputs)] * size for _ in range(count)]
    return [
        measure(f"{name}, mixed", program, mixed, rounds),
        measure(f"{name}, alike", program, alike, rounds),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="+", choices=NETWORKS)
    parser.add_argument("--backend", choices=tuple(BACKENDS), default="tvm", help="default: tvm")
    parser.add_argument("--size", type=int, default=8, help="samples in a batch (default: 8)")
    parser.add_argument("--batches", type=int, default=10, help="different batches (default: 10)")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each (default: 20)")
    options = parser.parse_args()
    print("network | batch, ms | single calls, ms | batch is faster by")  # noqa: T201
    print("--- | ---: | ---: | ---:")  # noqa: T201
    for name in options.network:
        for row in rows(name, options.backend, options.size, options.batches, options.rounds):
            print(  # noqa: T201
                f"{row.name} | {row.batch * 1e3:.2f} | {row.single * 1e3:.2f} | {row.ratio:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
