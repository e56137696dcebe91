"""Layouts of a core's memories, and how its bus addresses them."""

from __future__ import annotations

from dyncc.arch.fields import Code, Field, width
from dyncc.arch.neurocorex.spec import (
    CURRENT_BITS,
    FACTOR_BITS,
    LAGS,
    TABLE_ENTRIES,
    TABLE_FRACTION_BITS,
    TRACE_BITS,
    WEIGHT_FRACTION_BITS,
    CoreSpec,
)


def parameter_fields(spec: CoreSpec) -> tuple[Field, ...]:
    """Layout of a parameter set, lowest bits first."""
    state = spec.state_bits
    return (
        Field("decay_v", FACTOR_BITS + 1, False, "factor of the membrane potential in a step"),
        Field("decay_i", FACTOR_BITS + 1, False, "factor of the current in a step"),
        Field("couple", FACTOR_BITS + 2, True, "part of the current that reaches the membrane"),
        Field("gain", CURRENT_BITS, True, "current that a weight of one adds"),
        Field("bias", state, True, "added to the membrane in each step"),
        Field("leak", state, False, "amount of a linear leak"),
        Field("rest", state, True, "potential that an exponential decay tends to"),
        Field("threshold", state, True, "the neuron fires strictly above it"),
        Field("reset_to", state, True, "potential after a spike, or target of a linear leak"),
        Field("refractory", 8, False, "steps after a spike in which the neuron cannot fire"),
        Field("dynamics", 2, False, "see Dynamics"),
        Field("reset", 1, False, "see Reset"),
        Field("fires", 1, False, "whether the neuron fires at all"),
        Field("delay", 4, False, "steps that a spike travels beyond the first"),
    )


def state_fields(spec: CoreSpec) -> tuple[Field, ...]:
    """Layout of a neuron's state, lowest bits first."""
    found = [
        Field("v", spec.state_bits, True, "membrane potential"),
        Field("i", CURRENT_BITS, True, "current"),
        Field("refractory", 8, False, "steps left in which the neuron cannot fire"),
    ]
    if spec.max_delay > 1:
        meaning = "spikes on their way, the nearest lowest"
        found.append(Field("travelling", spec.max_delay - 1, False, meaning))
    return tuple(found)


def synapse_fields(spec: CoreSpec) -> tuple[Field, ...]:
    """Layout of a synapse, lowest bits first; a word of weights holds `lanes` of them.

    In a sparse core the synapse of lane l leads to the neuron ``target * lanes + l``.
    """
    fraction = WEIGHT_FRACTION_BITS if spec.learning else 0
    found = [Field("weight", spec.weight_bits + fraction, True, "weight; learns in 1/256 steps")]
    if spec.learning:
        found.append(Field("plastic", 1, False, "whether the synapse learns"))
    if spec.sparse:
        target = max(1, (spec.row_words - 1).bit_length())
        found.append(Field("target", target, False, "word of the neuron it leads to"))
        found.append(Field("present", 1, False, "whether the place holds a synapse"))
    return tuple(found)


def row_fields(spec: CoreSpec) -> tuple[Field, ...]:
    """Where the synapses of a source are in a sparse core."""
    bits = max(1, spec.synapse_words.bit_length())
    return (
        Field("first", bits, False, "its first word of synapses"),
        Field("count", bits, False, "its number of words"),
    )


def control_registers(spec: CoreSpec) -> tuple[Field, ...]:
    """The registers of a core by their index; each takes a bus word."""
    found = [Field("clear", 1, False, "writing 1 forgets spikes, sums and traces; reads as 0")]
    if spec.learning:
        weight = spec.weight_bits + WEIGHT_FRACTION_BITS
        found += [
            Field("rule", 2, False, "see Rule"),
            Field("decay_pre", 17, False, "factor of the sources' traces in a step, Q.16"),
            Field("decay_post", 17, False, "factor of the neurons' traces in a step, Q.16"),
            Field("bump_pre", TRACE_BITS, False, "what a spike adds to a source's trace"),
            Field("bump_post", TRACE_BITS, False, "what a spike adds to a neuron's trace"),
            Field("rate_plus", TRACE_BITS, False, "learning rate of potentiation"),
            Field("rate_minus", TRACE_BITS, False, "learning rate of depression"),
            Field("weight_min", weight, True, "least plastic weight, with fraction bits"),
            Field("weight_max", weight, True, "largest plastic weight, with fraction bits"),
            Field("drift", weight, True, "what every plastic weight gains in a step"),
            *(
                Field(f"lag_{lag}", weight, True, f"gain for a spike {lag} steps before")
                for lag in range(LAGS)
            ),
        ]
    if spec.classes:
        score = spec.state_bits + 1
        found += [
            Field("test", 2, False, "see Test"),
            Field("first_class", _index_bits(spec.neurons), False, "first neuron watched"),
            Field("class_count", _index_bits(spec.classes + 1), False, "neurons watched"),
            Field("limit", max(score, 32), False, "least margin, or largest sum of the table"),
            Field("shift", 5, False, "bits dropped from a distance before the table"),
            Field("least_steps", 16, False, "steps before which the test does not hold"),
        ]
    return tuple(found)


#: What a core counts from `clear` on; each counter is a bus word and wraps.
COUNTERS = (
    Field("cycles", 32, False, "cycles in which the core was busy"),
    Field("steps", 32, False, "steps carried out"),
    Field("input_spikes", 32, False, "spikes that came in"),
    Field("spikes", 32, False, "spikes that neurons fired"),
    Field("synaptic_operations", 32, False, "weights added"),
    Field("weight_reads", 32, False, "words of weights read in steps"),
    Field("weight_writes", 32, False, "words of weights written in steps"),
    Field("drift", 32, True, "what plastic weights gained together, 1/256 of a weight"),
    Field("decision", 32, False, "bit 31: whether the termination test holds; below: the winner"),
)
DECIDED_BIT = 31


def _index_bits(depth: int) -> int:
    return max(1, (depth - 1).bit_length())


class Space(Code):
    """Memories of a core as its bus addresses them."""

    WEIGHTS = 1, "words of synapses"
    STATE = 2, "state of each neuron"
    PARAMETERS = 3, "parameter sets"
    ASSIGNMENT = 4, "parameter set of each neuron"
    ROWS = 5, "where the synapses of each source are (sparse cores)"
    PRE = 6, "trace of each source; read only (cores that learn)"
    POST = 7, "trace of each neuron; read only (cores that learn)"
    CONTROL = 8, "registers"
    COUNTERS = 9, "what the core counted; read only"
    TABLE = 10, "exponent table of dynamic termination (cores with classes)"


#: Memories that only the core writes.
READ_ONLY = frozenset({Space.PRE, Space.POST, Space.COUNTERS})


def spaces(spec: CoreSpec) -> tuple[Space, ...]:
    """The memories that a core has."""
    lacking = set()
    if not spec.sparse:
        lacking.add(Space.ROWS)
    if not spec.learning:
        lacking |= {Space.PRE, Space.POST}
    if not spec.classes:
        lacking.add(Space.TABLE)
    return tuple(space for space in Space if space not in lacking)


#: Words of the bus.
BUS_BITS = 32
#: An address holds, from the low bits: the bus word in a memory word, the memory word, the memory.
CHUNK_BITS, INDEX_BITS, SPACE_BITS = 5, 22, 5


def address(space: Space, index: int, chunk: int = 0) -> int:
    """Bus address of a part of a memory word."""
    return chunk | index << CHUNK_BITS | space << (CHUNK_BITS + INDEX_BITS)


def memory_bits(spec: CoreSpec, space: Space) -> int:
    """Width of a memory's words."""
    layouts = {
        Space.STATE: state_fields,
        Space.PARAMETERS: parameter_fields,
        Space.ROWS: row_fields,
    }
    if space in layouts:
        return width(layouts[space](spec))
    return {
        Space.WEIGHTS: spec.lanes * width(synapse_fields(spec)),
        Space.ASSIGNMENT: _index_bits(spec.parameter_sets),
        Space.PRE: TRACE_BITS,
        Space.POST: TRACE_BITS,
        Space.TABLE: TABLE_FRACTION_BITS + 1,
    }.get(space, BUS_BITS)


def bus_words(spec: CoreSpec, space: Space) -> int:
    """Bus words that make one word of a memory."""
    return -(-memory_bits(spec, space) // BUS_BITS)


def memory_depth(spec: CoreSpec, space: Space) -> int:
    """Number of a memory's words."""
    return {
        Space.WEIGHTS: spec.synapse_words or spec.sources * spec.row_words,
        Space.STATE: spec.neurons,
        Space.PARAMETERS: spec.parameter_sets,
        Space.ASSIGNMENT: spec.neurons,
        Space.ROWS: spec.sources,
        Space.PRE: spec.sources,
        Space.POST: spec.neurons,
        Space.CONTROL: len(control_registers(spec)),
        Space.COUNTERS: len(COUNTERS),
        Space.TABLE: TABLE_ENTRIES,
    }[space]
