"""What Winograd's transforms gain for 3x3 convolutions against the direct rule, and their errors.

    DYNCC_NUM_THREADS=1 python benchmarks/winograd.py

Each shape is compiled twice: by the rules, and with a database that chooses no tiles for it. Both
take turns in one process. The errors are against float64, as parts of the greatest result.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import nn

import dyncc
from dyncc.backends.measuring import call_times
from dyncc.backends.tvm.schedules.shapes import ConvShape
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.database import Database, Record
from dyncc.backends.tvm.tuning.reuse import target_key
from dyncc.backends.tvm.winograd import tile_size
from dyncc.core.tuning import NONE, Tuning

#: Channels and extent of square images, as in residual networks for small and for large ones.
SHAPES = ((32, 16), (64, 32), (128, 16), (256, 8), (64, 56), (128, 28), (256, 14), (512, 7))
#: Seconds of a comparison.
SECONDS = 4.0


def main() -> None:
    """Print the table."""
    cpu = Cpu.host()
    print("shape | tile | times as fast | error | error of the direct rule")  # noqa: T201
    print("--- | ---: | ---: | ---: | ---:")  # noqa: T201
    for channels, extent in SHAPES:
        torch.manual_seed(0)
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval()
        image = torch.randn(1, channels, extent, extent)
        conv = ConvShape(
            batch=1, inputs=channels, outputs=channels, height=extent, width=extent,
            kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            database = Database(Path(folder) / "direct.json")
            direct = Record(target_key(cpu), conv.operator, "", {"winograd": 0}, None, 1, 1, "")
            database.add(direct)
            database.save()
            programs = {
                "rules": dyncc.compile(layer, (image,), tuning=Tuning(database=NONE)),
                "direct": dyncc.compile(
                    layer, (image,), tuning=Tuning(database=str(database.path))
                ),
            }
            times = call_times(
                {name: partial(program, image) for name, program in programs.items()}, SECONDS
            )
            exact = nn.functional.conv2d(image.double(), layer.weight.double(), padding=1)
            errors = [
                float((program(image) - exact).abs().max() / exact.abs().max())
                for program in programs.values()
            ]
        print(  # noqa: T201
            f"{channels} channels of {extent}x{extent} | {tile_size(conv, cpu)} | "
            f"{times['direct'] / times['rules']:.2f} | {errors[0]:.1e} | {errors[1]:.1e}"
        )


if __name__ == "__main__":
    main()
