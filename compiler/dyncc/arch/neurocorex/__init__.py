"""NeuroCoreX: parameters of the spiking core, and what it is programmed with.

This is the one contract between the integer twin, the hardware, the link and the host. The order of
operations in a step is that of `dyncc_models.spiking.twin`.
"""

from dyncc.arch.neurocorex.image import CoreImage, memory_words, parameter_sets
from dyncc.arch.neurocorex.layout import (
    BUS_BITS,
    CHUNK_BITS,
    INDEX_BITS,
    SPACE_BITS,
    Field,
    Space,
    address,
    bus_words,
    memory_bits,
    memory_depth,
    pack,
    parameter_fields,
    state_fields,
    unpack,
)
from dyncc.arch.neurocorex.learning import Learning
from dyncc.arch.neurocorex.spec import (
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    STATE_FRACTION_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    CoreSpec,
    Dynamics,
    Reset,
)

__all__ = [
    "BUS_BITS",
    "CHUNK_BITS",
    "CURRENT_BITS",
    "CURRENT_FRACTION_BITS",
    "FACTOR_BITS",
    "INDEX_BITS",
    "SPACE_BITS",
    "STATE_FRACTION_BITS",
    "TRACE_FRACTION_BITS",
    "WEIGHT_FRACTION_BITS",
    "CoreImage",
    "CoreSpec",
    "Dynamics",
    "Field",
    "Learning",
    "Reset",
    "Space",
    "address",
    "bus_words",
    "memory_bits",
    "memory_depth",
    "memory_words",
    "pack",
    "parameter_fields",
    "parameter_sets",
    "state_fields",
    "unpack",
]
