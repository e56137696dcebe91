"""All properties that are proved."""

from __future__ import annotations

from dyncc_sim.formal import (
    arithmetic,
    bus,
    core_cycles,
    core_queues,
    kv_places,
    link,
    neurons,
    skipopu,
    skipopu_front,
    skipopu_memory,
    skipopu_sdram,
    synapses,
    vector_buffer,
)

PROPERTIES = [
    *arithmetic.PROPERTIES,
    *neurons.PROPERTIES,
    *synapses.PROPERTIES,
    *bus.PROPERTIES,
    *core_queues.PROPERTIES,
    *core_cycles.PROPERTIES,
    *link.PROPERTIES,
    *skipopu.PROPERTIES,
    *skipopu_front.PROPERTIES,
    *kv_places.PROPERTIES,
    *vector_buffer.PROPERTIES,
    *skipopu_memory.PROPERTIES,
    *skipopu_sdram.PROPERTIES,
]
