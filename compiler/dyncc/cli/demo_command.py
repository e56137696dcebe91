"""``dyncc demo``: the main job on real input."""

from __future__ import annotations

import argparse

from dyncc.core.backends import BACKENDS

HELP = "compile a trained early-exit network and classify digits with it"
DESCRIPTION = """\
Compile the early-exit network of dyncc_models, classify the held-back scikit-learn digits with the
artifact and with eager PyTorch, and print both side by side. Exit code 5 if they disagree."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", default="out/digits.dyncc", metavar="DIR")
    parser.add_argument("--backend", default="tvm", choices=tuple(BACKENDS))


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from pathlib import Path

    import torch

    from dyncc.cli.progress import progress
    from dyncc.core.files import write_text
    from dyncc.driver import compile
    from dyncc.ir.drawing import to_svg
    from dyncc.runtime.summary import summary
    from dyncc.timing import median_seconds
    from dyncc.verification import compare
    from dyncc_models import digits, shallow_deep

    network = shallow_deep.build()
    seed = int(shallow_deep.read_metadata()["split_seed"])
    images, labels = digits.digits_split(seed).test
    output = Path(arguments.output)
    with progress() as report:
        program = compile(
            network,
            shallow_deep.example_inputs(),
            output,
            arguments.backend,
            name="ShallowDeep",
            progress=report,
            source={"model": f"{shallow_deep.__file__}:build"},
        )
    print(f"{output}: {summary(program)}")

    inputs = [(image.unsqueeze(0).clone(),) for image in images]
    # Raises where any logit or exit differs.
    compared = compare(network, program, inputs)
    drawing = output.parent / "digits.svg"
    write_text(drawing, to_svg(program.hcfg, compared.counts))

    def classify(run: object) -> list[tuple[int, int]]:
        answers = []
        with torch.inference_mode():
            for (image,) in inputs:
                logits, index = run(image)  # type: ignore[operator]
                answers.append((int(logits.argmax()), index))
        return answers

    both = {"eager": classify(network), "compiled": classify(program)}
    print(f"\n{len(inputs)} held-back digits   " + "".join(f"{name:>10}" for name in both))

    def row(name: str, values: list[str]) -> None:
        print(f"{name:<24}" + "".join(f"{value:>10}" for value in values))

    correct = {
        name: sum(digit == int(label) for (digit, _), label in zip(answers, labels, strict=True))
        for name, answers in both.items()
    }
    row("accuracy", [f"{100 * correct[name] / len(inputs):.1f} %" for name in both])
    for index in range(len(network.classifiers) + 1):  # type: ignore[arg-type]
        shares = [sum(exit_ == index for _, exit_ in answers) for answers in both.values()]
        row(f"left at exit {index}", [f"{100 * share / len(inputs):.1f} %" for share in shares])

    seconds = {
        "eager": median_seconds(lambda: classify(network)),
        "compiled": median_seconds(lambda: classify(program)),
    }
    row("latency per image", [f"{1e6 * s / len(inputs):.0f} µs" for s in seconds.values()])
    agree = sum(a == b for a, b in zip(*both.values(), strict=True))
    print(
        f"\nagree on {agree} of {len(inputs)} images, max abs error {compared.max_abs_error:.1e}, "
        f"edges taken {compared.taken(program.hcfg)}, "
        f"{seconds['eager'] / seconds['compiled']:.2f}x the speed of eager PyTorch\n"
        f"drawing: {drawing}"
    )
    return 0 if agree == len(inputs) else 5
