"""Random images for benches: every kind of neuron, from quiet to violent."""

from __future__ import annotations

import numpy

from dyncc.arch.neurocorex import CURRENT_BITS, FACTOR_BITS, CoreImage, CoreSpec, parameter_sets


def random_image(spec: CoreSpec, seed: int) -> CoreImage:
    """An image whose parameter sets span all dynamics and resets, some at the limits.

    Parameters
    ----------
    spec
        The core; all of its parameter sets are used.
    seed
        The same seed gives the same image.
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
            }
        )
    low, high = spec.weight_range
    return CoreImage(
        spec,
        parameter_sets(spec, sets),
        draw.integers(0, spec.parameter_sets, spec.neurons),
        draw.integers(low, high + 1, (spec.inputs, spec.neurons)),
        draw.integers(low, high + 1, (spec.neurons, spec.neurons)),
    )


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
