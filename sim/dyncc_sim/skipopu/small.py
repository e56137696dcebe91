"""A decoder of random numbers, with programs and memory, that needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import (
    R_CONTEXT,
    R_NEXT_SLOT,
    R_POSITION,
    R_SLOT_LIMIT,
    R_TOKENS,
)
from dyncc.arch.skipopu.matrices import quantise
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.emit import Emitter
from dyncc.backends.skipopu.image import Stored, contents, memory_map
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.performance import plan_of_sizes

#: More tokens than logits are computed together, three times over.
CONFIG = LlamaConfig(
    width=32, hidden=64, layers=3, heads=2, kv_heads=1, head_size=32, vocabulary=1100, context=16
)
TOKENS = (3, 501, 7, 1009, 1, 2, 808, 6)


class Small:
    """The decoder on an instance.

    Parameters
    ----------
    config
        Its sizes.

    Attributes
    ----------
    plan, places, program
        Its plan, memory and program.
    """

    def __init__(
        self, arch: ArchSpec, policy: KvPolicy, all_logits: bool = False, routed: bool = True,
        config: LlamaConfig = CONFIG,
    ) -> None:  # fmt: skip
        self.arch = arch
        self.plan = plan = plan_of_sizes(config, policy, routed)
        draw = numpy.random.default_rng(5)
        shared = plan.kv_heads * plan.head_size
        heads = plan.heads * plan.head_size
        shapes = {"embedding.weight": (plan.vocabulary, plan.width)}
        vectors = {plan.norm: plan.width}
        self._vectors = {}
        for layer in plan.layers:
            shapes |= {
                layer.q: (heads, plan.width), layer.k: (shared, plan.width),
                layer.v: (shared, plan.width), layer.output: (plan.width, heads),
                layer.gate: (plan.hidden, plan.width), layer.up: (plan.hidden, plan.width),
                layer.down: (plan.width, plan.hidden),
            }  # fmt: skip
            vectors |= {layer.norm_attention: plan.width, layer.norm_mlp: plan.width}
            for router in (layer.router_attention, layer.router_mlp):
                if router is not None:
                    self._vectors[router] = draw.normal(size=(2, plan.width))
        # Gains differ, so that an old one in the place of another does not go unseen.
        for name, size in vectors.items():
            self._vectors[name] = draw.uniform(0.5, 1.5, size)
        self._matrices = {}
        for name, (rows, columns) in shapes.items():
            kind = WeightType.Q8_0 if name == plan.embedding else WeightType.Q4_1
            values = draw.normal(size=(rows, columns)) / numpy.sqrt(columns)
            self._matrices[name] = Stored(kind, rows, columns, quantise(kind, values, arch.block))
        self.places = memory_map(plan, arch, self._matrices)
        emitter = Emitter(plan, arch, self.places, self._matrices, all_logits)
        self.program = [item.encode() for item in emitter.program()]

    def memory(self) -> Memory:
        """Memory with all that does not change."""
        found = Memory(self.places.size, self.places.writable)
        for name, content in contents(
            self.plan, self.arch, self.places, self._matrices, self._vectors
        ):
            found.load(self.places.address(name), content)
        return found

    def batches(self) -> list[tuple[int, Sequence[int]]]:
        """Positions and tokens, as many as fit at once, and at most three."""
        size = min(3, self.arch.tokens)
        return [(first, TOKENS[first : first + size]) for first in range(0, len(TOKENS), size)]

    def put(self, memory: Memory, tokens: Sequence[int]) -> None:
        """Tell memory what to work on."""
        memory.load(self.places.address("tokens"), numpy.array(tokens, "<u4").tobytes())

    def registers(self, position: int, tokens: int, next_slot: int) -> dict[int, int]:
        """Registers at the start."""
        return {
            R_TOKENS: tokens, R_POSITION: position, R_CONTEXT: self.plan.context,
            R_SLOT_LIMIT: self.places.slots, R_NEXT_SLOT: next_slot,
        }  # fmt: skip
