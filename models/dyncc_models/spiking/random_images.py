"""Random images for benches: every kind of neuron, from quiet to violent."""

from __future__ import annotations

import numpy

from dyncc.arch.neurocorex import (
    CURRENT_BITS,
    FACTOR_BITS,
    LAGS,
    WEIGHT_FRACTION_BITS,
    CoreImage,
    CoreSpec,
    Learning,
    Rule,
    Termination,
    Test,
    parameter_sets,
)


def random_image(
    spec: CoreSpec, seed: int, rule: Rule = Rule.TRACES, density: float = 0.3
) -> CoreImage:
    """An image whose parameter sets span all dynamics and resets, some at the limits.

    Parameters
    ----------
    spec
        The core; all of its parameter sets are used.
    seed
        The same seed gives the same image.
    rule
        How it learns, if the core does.
    density
        Part of the synapses that a sparse core holds; they must fit.
    """
    draw = numpy.random.default_rng(seed)
    one, top = 1 << FACTOR_BITS, (1 << (spec.state_bits - 1)) - 1
    sets: list[dict[str, int]] = []
    for index in range(spec.parameter_sets):
        violent = draw.random() < 0.25
        span = top if violent else 4 * one
        sets.append(
            {
                "dynamics": index % 3,
                "decay_v": int(draw.integers(one // 2, one + 1)),
                "decay_i": int(draw.choice([0, int(draw.integers(0, one + 1))])),
                "couple": int(draw.integers(-2 * one, 2 * one) if violent else one),
                "gain": int(
                    draw.integers(-(2 ** (CURRENT_BITS - 1)), 2 ** (CURRENT_BITS - 1))
                    if violent
                    else draw.integers(1 << 14, 1 << 20)
                ),
                "bias": int(draw.integers(-span // 8, span // 8)),
                "leak": int(draw.integers(0, span // 4)),
                "rest": int(draw.integers(-span // 4, span // 4)),
                "threshold": int(draw.integers(0, span // 2)),
                "reset_to": int(draw.integers(-span // 4, span // 4)),
                "reset": int(draw.integers(0, 2)),
                "refractory": int(draw.choice([0, 0, 1, 5, 255])),
                "fires": int(draw.random() < 0.9),
                "delay": int(draw.integers(0, spec.max_delay)),
            }
        )
    low, high = spec.weight_range
    shape = (spec.sources, spec.neurons)
    weights = draw.integers(low, high + 1, shape)
    plastic = numpy.zeros(shape, bool)
    learning = random_learning(spec, draw, rule) if spec.learning else None
    if learning is not None:
        plastic = draw.random(shape) < 0.7
        bounded = numpy.clip(weights, learning.weight_min, learning.weight_max)
        weights = numpy.where(plastic, bounded, weights)
    if spec.sparse:
        kept = draw.random(shape) < density
        weights, plastic = weights * kept, plastic & kept
    return CoreImage(
        spec,
        parameter_sets(spec, sets),
        draw.integers(0, spec.parameter_sets, spec.neurons),
        weights[: spec.inputs],
        weights[spec.inputs :],
        learning,
        plastic[: spec.inputs],
        plastic[spec.inputs :],
        random_termination(spec, draw) if spec.classes else None,
    )


def random_learning(spec: CoreSpec, draw: numpy.random.Generator, rule: Rule) -> Learning:
    """Parameters of STDP, some at their limits; bounds include 0."""
    low, high = spec.weight_range
    whole = (high + 1) << WEIGHT_FRACTION_BITS

    def trace() -> int:
        return int(draw.choice([int(draw.integers(1 << 10, 1 << 15)), (1 << 16) - 1]))

    window = rule == Rule.WINDOWS
    return Learning(
        int(draw.integers(1 << 15, (1 << 16) + 1)),
        int(draw.integers(1 << 15, (1 << 16) + 1)),
        int(draw.integers(0, 6)) if window else trace(),
        int(draw.integers(0, 6)) if window else trace(),
        trace(),
        trace(),
        int(draw.integers(low, 1)),
        int(draw.integers(0, high + 1)),
        rule,
        tuple(draw.integers(-whole // 4, whole // 4, int(draw.integers(0, LAGS + 1))).tolist()),
        int(draw.integers(-whole // 16, whole // 16)),
    )


def random_termination(spec: CoreSpec, draw: numpy.random.Generator) -> Termination:
    """A test that holds now and then."""
    count = int(draw.integers(1, spec.classes + 1))
    first = int(draw.integers(0, spec.neurons - count + 1))
    if draw.random() < 0.5:
        limit = int(draw.integers(0, 1 << (spec.state_bits - 2)))
        return Termination(Test.MARGIN, first, count, limit, least_steps=int(draw.integers(4)))
    return Termination.softmax(first, count, float(draw.uniform(0.3, 0.95)), 2.0)


def quiet_image(spec: CoreSpec) -> CoreImage:
    """An image whose neurons never fire, and whose weights are all one."""
    nothing = parameter_sets(spec, [])
    return CoreImage(
        spec,
        nothing,
        numpy.zeros(spec.neurons, numpy.int64),
        numpy.ones((spec.inputs, spec.neurons), numpy.int64),
        numpy.ones((spec.neurons, spec.neurons), numpy.int64),
    )
