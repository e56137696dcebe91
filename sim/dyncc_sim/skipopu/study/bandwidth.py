"""Physical and effective bandwidth of the study's model, from the routes that it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu import figures
from dyncc_sim.skipopu.outcomes import Routes
from dyncc_sim.skipopu.performance import Generation, Workload, generate

#: Instances for small models, and that for 7 billion weights.
SMALL, LARGE = ("ecp5_85f", "u280"), "u280_g128"


@dataclass(frozen=True)
class Bandwidth:
    """A run in the model of time with skipping, and the same run without.

    Attributes
    ----------
    model
        For readers.
    arch
        The instance.
    skipping, dense
        The two runs.
    """

    model: str
    arch: ArchSpec
    skipping: Generation
    dense: Generation


def of_routes(
    title: str, config: LlamaConfig, routes: NDArray[numpy.bool_], names: Sequence[str] = SMALL
) -> list[Bandwidth]:
    """A model whose routes are known, on some instances; keys and values are reused.

    Parameters
    ----------
    routes
        Bool of shape (tokens, layers, 2). An eighth of the tokens are the prompt.
    """
    tokens, layers, _ = routes.shape
    found = []
    for name in names:
        arch = ARCHS[name]
        workload = Workload.of_sizes(
            replace(config, context=tokens), arch, WeightType.Q4_1, KvPolicy.REUSE, tied=True
        )
        prompt = tokens // 8
        runs = (
            generate(workload, chosen, prompt, tokens - prompt)
            for chosen in (Routes(routes.transpose(1, 0, 2)), Routes.all(layers, tokens))
        )
        found.append(Bandwidth(title, arch, *runs))
    return found


def of_seven_billion(skipped: float) -> Bandwidth:
    """The setting of the SkipOPU paper; see `dyncc_sim.skipopu.figures`."""
    found = figures.measure(ARCHS[LARGE], skipped=skipped)
    return Bandwidth("sizes of Llama-2-7B", found.arch, found.skipping, found.dense)
