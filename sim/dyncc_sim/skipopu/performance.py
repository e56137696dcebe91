r"""Speed of decoders on an instance, without their weights: tokens a second, and bytes.

The closed formula that a figure is held against: with a fraction :math:`p` of sublayers skipped,
:math:`b_w` bits a weight, binary16 scales for groups of :math:`g`, and :math:`K(L)` bytes of keys
and values of a context of :math:`L`, a token takes

.. math:: B = (1 - p) \sum_l W_l (b_w + 16 / g) / 8 + W_{head} + (1 - p) K(L)

bytes at least, and no machine of the bandwidth :math:`\beta` makes more than :math:`\beta / B`
tokens a second (`limit_bytes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from dyncc.arch.skipopu.formats import GROUPS, WeightType, kv_slot_bytes
from dyncc.arch.skipopu.isa import R_CONTEXT, R_POSITION, R_SLOT_LIMIT, R_TOKENS
from dyncc.arch.skipopu.matrices import row_bytes
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.emit import Emitter
from dyncc.backends.skipopu.image import Stored, memory_map
from dyncc.backends.skipopu.plan import DecoderPlan, LayerPlan
from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.outcomes import Assumed, Outcomes, Routes
from dyncc_sim.skipopu.timing import Timing, simulate

#: Sizes of Llama 2 7B (arXiv 2307.09288), for the prompt and the text of SkipOPU's table.
LLAMA2_7B = LlamaConfig(
    width=4096, hidden=11008, layers=32, heads=32, kv_heads=32, head_size=128, vocabulary=32000,
    context=1152,
)  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """The program of a decoder on an instance.

    Attributes
    ----------
    arch, plan
        The instance, and the decoder.
    program
        Words of a pass over a batch.
    slots
        Keys and values that the pool holds.
    """

    arch: ArchSpec
    plan: DecoderPlan
    program: tuple[int, ...]
    slots: int

    @classmethod
    def of_sizes(
        cls, config: LlamaConfig, arch: ArchSpec, kind: WeightType, policy: KvPolicy,
        routed: bool = True, tied: bool = False,
    ) -> Workload:  # fmt: skip
        """A decoder of which only sizes are known.

        Parameters
        ----------
        kind
            How matrices are stored; the embedding is `WeightType.Q8_0`.
        routed
            Whether sublayers have routers, all but attention of layer 0.
        tied
            Whether the output matrix is the embedding.

        Raises
        ------
        ConfigError
            If the decoder does not fit the instance.
        """
        plan = plan_of_sizes(config, policy, routed, tied)
        heads, shared = plan.heads * plan.head_size, plan.kv_heads * plan.head_size
        shapes = {plan.embedding: (plan.vocabulary, plan.width)}
        if plan.output is not None:
            shapes[plan.output] = (plan.vocabulary, plan.width)
        for layer in plan.layers:
            shapes |= {
                layer.q: (heads, plan.width), layer.k: (shared, plan.width),
                layer.v: (shared, plan.width), layer.output: (plan.width, heads),
                layer.gate: (plan.hidden, plan.width), layer.up: (plan.hidden, plan.width),
                layer.down: (plan.width, plan.hidden),
            }  # fmt: skip
        matrices = {}
        for name, (rows, columns) in shapes.items():
            stored = WeightType.Q8_0 if name == plan.embedding else kind
            size = row_bytes(stored, columns, arch.block)
            # Of the right shape, and without the memory that it would take.
            data = numpy.broadcast_to(numpy.uint8(0), (rows, size))
            matrices[name] = Stored(stored, rows, columns, data)
        places = memory_map(plan, arch, matrices)
        program = Emitter(plan, arch, places, matrices, all_logits=False).program()
        return cls(arch, plan, tuple(item.encode() for item in program), places.slots)

    def time(
        self, outcomes: Outcomes, position: int, tokens: int = 1, record: bool = False
    ) -> Timing:
        """Time of a batch of tokens at a position."""
        registers = {
            R_TOKENS: tokens, R_POSITION: position, R_CONTEXT: self.plan.context,
            R_SLOT_LIMIT: self.slots,
        }  # fmt: skip
        return simulate(self.arch, self.program, registers, outcomes, record=record)


@dataclass(frozen=True)
class Generation:
    """Time of a prompt and the text that follows.

    Attributes
    ----------
    prompt, decoded
        Timings of the batches of the prompt, and of tokens at evenly spread positions behind it.
    new_tokens
        Tokens of the text.
    """

    prompt: tuple[Timing, ...]
    decoded: tuple[Timing, ...]
    new_tokens: int

    @property
    def token_seconds(self) -> float:
        """Mean time of a token of the text."""
        return sum(timing.seconds for timing in self.decoded) / len(self.decoded)

    @property
    def prompt_seconds(self) -> float:
        """Time of the prompt."""
        return sum(timing.seconds for timing in self.prompt)

    @property
    def decode_tokens_s(self) -> float:
        """Tokens a second once the prompt is done."""
        return 1 / self.token_seconds

    @property
    def tokens_s(self) -> float:
        """Tokens of the text by the time of both."""
        return self.new_tokens / (self.prompt_seconds + self.new_tokens * self.token_seconds)

    @property
    def bytes_per_token(self) -> float:
        """Mean of the bytes that a token of the text reads and writes."""
        moved = [timing.bytes_read + timing.bytes_written for timing in self.decoded]
        return sum(moved) / len(moved)

    @property
    def bandwidth_used(self) -> float:
        """Bytes moved for the text, as a part of those that the port could have moved."""
        arch = self.decoded[0].arch
        return self.bytes_per_token / (self.token_seconds * arch.memory_bytes_s)

    @property
    def effective_bytes_s(self) -> float:
        """Bytes a second that a machine which skips nothing would need for the same speed."""
        dense = sum(timing.dense_bytes for timing in self.decoded) / len(self.decoded)
        return dense / self.token_seconds


def generate(
    workload: Workload, routes: Routes, prompt: int, new_tokens: int, samples: int = 4
) -> Generation:
    """Time a prompt, and samples of the tokens that follow it.

    Parameters
    ----------
    routes
        Of all layers and of ``prompt + new_tokens`` positions.
    samples
        Tokens that are timed: in the middle of as many parts of the text. A token's time grows
        evenly with its position.

    Raises
    ------
    ConfigError
        If the tokens do not fit the context, or there are less than samples.
    """
    end = prompt + new_tokens
    if not 0 < samples <= new_tokens or end > workload.plan.context:
        raise ConfigError(
            f"{samples} samples of {new_tokens} tokens behind a prompt of {prompt} do not fit a "
            f"context of {workload.plan.context}"
        )
    outcomes = Assumed(workload.arch, routes)
    batches = [
        workload.time(outcomes, first, min(workload.arch.tokens, prompt - first))
        for first in range(0, prompt, workload.arch.tokens)
    ]
    decoded = []
    for sample in range(samples):
        position = prompt + (2 * sample + 1) * new_tokens // (2 * samples)
        outcomes.remember(position, workload.plan.policy)
        decoded.append(workload.time(outcomes, position))
    return Generation(tuple(batches), tuple(decoded), new_tokens)


def limit_bytes(
    config: LlamaConfig, arch: ArchSpec, kind: WeightType, skipped: float, context: int
) -> float:
    """Bytes that a token reads at least, by the closed formula above.

    Parameters
    ----------
    skipped
        Fraction of sublayers.
    context
        Tokens that are attended to.
    """
    heads, shared = config.heads * config.head_size, config.kv_heads * config.head_size
    layer = config.width * (2 * heads + 2 * shared + 3 * config.hidden)
    group = GROUPS[kind].bytes(arch.block) / arch.block
    slots = context * kv_slot_bytes(arch.kv, config.kv_heads, config.head_size)
    return (
        (1 - skipped) * config.layers * (layer * group + slots)
        + config.vocabulary * config.width * group
    )  # fmt: skip


def plan_of_sizes(
    config: LlamaConfig, policy: KvPolicy, routed: bool = True, tied: bool = True
) -> DecoderPlan:
    """The plan of a decoder of which only sizes are known; names are those of `SkipLlama`."""
    layers = []
    for index in range(config.layers):
        name = f"layers.{index}"
        layers.append(
            LayerPlan(
                f"{name}.norm_attention.weight", f"{name}.attention.q.weight",
                f"{name}.attention.k.weight", f"{name}.attention.v.weight",
                f"{name}.attention.output.weight", f"{name}.norm_mlp.weight",
                f"{name}.mlp.gate.weight", f"{name}.mlp.up.weight", f"{name}.mlp.down.weight",
                f"{name}.router_attention.weight" if routed and index else None,
                f"{name}.router_mlp.weight" if routed else None,
            )
        )  # fmt: skip
    return DecoderPlan(
        config.width, config.hidden, config.heads, config.kv_heads, config.head_size,
        config.vocabulary, config.context, config.rope_base, config.eps, policy.value,
        "embedding.weight", "norm.weight", tuple(layers), None if tied else "output.weight",
    )  # fmt: skip
