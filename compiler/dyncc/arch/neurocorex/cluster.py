"""Clusters of several cores: address events, routing tables, and what a cluster is programmed with.

The cores and the host exchange *words* of the layout `WORD`, each from a source to a target. The
host sends its spikes on input lines, then a word with ``end`` to every core, which starts a step. A
core sends an event for each spike and each core that has a line for it, and to the host; then its
end to every other core. When it has those of all other cores, it has all their spikes for the next
step, and sends its end to the host. When the host has those of all cores, the step is done.

A channel must keep the order of words from one source to one target, and lose none. It need not
keep the order of words of different sources: a core may be done with a step that another did not
start, and ``phase`` tells events for that step and for the one after apart. Further ahead it cannot
be, since the host waits for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy

from dyncc.arch.fields import Code, Field, pack, width
from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex.image import CoreImage, memory_words
from dyncc.arch.neurocorex.layout import (
    BUS_BITS,
    CHUNK_BITS,
    INDEX_BITS,
    SPACE_BITS,
    Space,
    bus_words,
)
from dyncc.arch.neurocorex.spec import CoreSpec
from dyncc.core.errors import ConfigError

MAX_CORES = 16
#: The number of the host as a source or a target; cores count from 0.
HOST = MAX_CORES
_LINE_BITS = 12

#: A word between cores: three bytes.
WORD = (
    Field("index", _LINE_BITS, False, "input line of the target; to the host, neuron that fired"),
    Field("target", 5, False, "core that it is for; 16 is the host"),
    Field("source", 5, False, "core that sent it; 16 is the host"),
    Field("end", 1, False, "no event, but the end of those of the source for that step"),
    Field("phase", 1, False, "lowest bit of the step that it is for, the first being step 0; "
                             "to the host, of the step that comes next"),
)  # fmt: skip

#: An event between the host and a cluster.
ADDRESS_EVENT = (
    Field("index", _LINE_BITS, False, "input line to spike, or neuron that fired"),
    Field("core", 4, False, "on which core"),
)


class ClusterSpace(Code):
    """Memories of a core's router, numbered with those of the core; see `Space`."""

    ROUTES = 16, "where the spikes of each neuron go"
    TRAFFIC = 17, "what the router counted; read only"
    TRAVELLING = 18, "spikes on their way to other cores, as in the core's STATE (with delays)"


#: The words of `ClusterSpace.TRAFFIC`, which count from the core's ``clear`` on, and wrap.
TRAFFIC = (
    Field("sent", BUS_BITS, False, "events sent to other cores"),
    Field("received", BUS_BITS, False, "events of other cores and the host taken in"),
    Field("dropped", BUS_BITS, False, "events dropped: the core lacks the line, or more events "
                                      "came for a step than it has lines"),
)  # fmt: skip

#: A bus address of a cluster: the address on a core, and above it the core.
CORE_ADDRESS_BITS = CHUNK_BITS + INDEX_BITS + SPACE_BITS
CLUSTER_ADDRESS_BITS = CORE_ADDRESS_BITS + ADDRESS_EVENT[1].bits


@dataclass(frozen=True)
class ClusterSpec:
    """Size of a cluster.

    Parameters
    ----------
    cores
        Its cores, up to 16; they may differ.

    Raises
    ------
    ConfigError
        If there are too many cores, or none.
    """

    cores: tuple[CoreSpec, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(core, CoreSpec) for core in self.cores):
            raise TypeError("cores must be a tuple of CoreSpec")
        if not 1 <= len(self.cores) <= MAX_CORES:
            raise ConfigError(f"a cluster has 1..{MAX_CORES} cores, not {len(self.cores)}")

    def others(self, core: int) -> tuple[int, ...]:
        """The numbers of all cores but one."""
        return tuple(number for number in range(len(self.cores)) if number != core)


def cluster_address(core: int, space: Space | ClusterSpace, index: int, chunk: int = 0) -> int:
    """Bus address of a part of a memory word of a core or its router."""
    on_core = chunk | index << CHUNK_BITS | space << (CHUNK_BITS + INDEX_BITS)
    return on_core | core << CORE_ADDRESS_BITS


def route_fields(spec: ClusterSpec, core: int) -> tuple[Field, ...]:
    """Layout of a word of `ClusterSpace.ROUTES`, one for each neuron, lowest bits first."""
    found = [
        Field("report", 1, False, "whether the host is told of its spikes"),
        Field("delay", 4, False, "steps that a spike travels beyond the first"),
    ]
    for other in spec.others(core):
        bits = max(1, (spec.cores[other].inputs - 1).bit_length())
        found += [
            Field(f"to_{other}", 1, False, f"whether spikes go to core {other}"),
            Field(f"line_{other}", bits, False, f"their input line on core {other}"),
        ]
    return tuple(found)


def cluster_bus_words(spec: ClusterSpec, core: int, space: Space | ClusterSpace) -> int:
    """Bus words that make one word of a memory of a core or its router."""
    if isinstance(space, Space):
        return bus_words(spec.cores[core], space)
    return -(-width(route_fields(spec, core)) // BUS_BITS) if space == ClusterSpace.ROUTES else 1


@dataclass
class ClusterImage:
    """What a cluster is programmed with, and where the neurons of a network are on it.

    Attributes
    ----------
    spec
        The cluster.
    images
        Of each core.
    core, index
        Core of each neuron of the network, and its number there; int, shape (neurons,).
    neuron_lines
        Input line of each neuron on each core, -1 where there is none; shape (neurons, cores).
    input_lines
        The same of the inputs of the network, shape (inputs, cores).
    reports
        Of which neurons the host is told when they fire; bool, shape (neurons,), by default all.

    Raises
    ------
    ConfigError
        If a shape or a number does not fit the cluster; says which.
    """

    spec: ClusterSpec
    images: tuple[CoreImage, ...]
    core: Integers
    index: Integers
    neuron_lines: Integers
    input_lines: Integers
    reports: Any = field(default=None)

    def __post_init__(self) -> None:
        if tuple(image.spec for image in self.images) != self.spec.cores:
            raise ConfigError("the images are not those of the cores of the cluster")
        neurons, cores = len(self.core), len(self.spec.cores)
        if self.reports is None:
            self.reports = numpy.ones(neurons, bool)
        for name, shape in (
            ("index", (neurons,)),
            ("neuron_lines", (neurons, cores)),
            ("input_lines", (self.inputs, cores)),
            ("reports", (neurons,)),
        ):
            found = numpy.shape(getattr(self, name))
            if found != shape:
                raise ConfigError(f"{name} must have shape {shape}, not {found}")
        if sum(image.termination is not None for image in self.images) > 1:
            raise ConfigError("dynamic termination watches neurons of one core, not of several")
        if ((self.core < 0) | (self.core >= cores)).any():
            raise ConfigError(
                f"neurons are on cores {self.core.min()}..{self.core.max()}, "
                f"the cluster has {cores}"
            )
        for number in range(cores):
            self._check_core(number)

    def _check_core(self, number: int) -> None:
        core = self.spec.cores[number]
        own = self.core == number
        for numbers, count, what in (
            (self.index[own], core.neurons, "neurons"),
            (self._lines_of(number), core.inputs, "input lines"),
        ):
            if len(numpy.unique(numbers)) < len(numbers):
                raise ConfigError(f"two of the {what} of core {number} are the same")
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
                raise ConfigError(
                    f"core {number} has {count} {what}, and {numbers.min()}..{numbers.max()} "
                    "are used"
                )
        if (self.neuron_lines[own, number] >= 0).any():
            raise ConfigError(f"a neuron of core {number} leads to an input line of its own core")

    def _lines_of(self, number: int) -> Integers:
        lines = numpy.concatenate((self.input_lines[:, number], self.neuron_lines[:, number]))
        used: Integers = lines[lines != -1]
        return used

    @property
    def neurons(self) -> int:
        """Neurons of the network."""
        return len(self.core)

    @property
    def inputs(self) -> int:
        """Inputs of the network."""
        return len(self.input_lines)

    @property
    def lines(self) -> Integers:
        """Input lines that each core uses, shape (cores,)."""
        return numpy.array([len(self._lines_of(number)) for number in range(len(self.images))])

    def events(self, inputs: Any) -> list[tuple[int, int]]:
        """Core and line of each event that spikes of the network's inputs make.

        Parameters
        ----------
        inputs
            Bool, shape (inputs,).
        """
        lines = self.input_lines[numpy.asarray(inputs, bool)]
        return [(int(core), int(lines[row, core])) for row, core in numpy.argwhere(lines >= 0)]

    def neurons_of(self, core: int) -> Integers:
        """Neurons of the network on a core, in the order of their numbers there."""
        found = numpy.flatnonzero(self.core == core)
        return found[numpy.argsort(self.index[found])]


def route_words(image: ClusterImage, core: int) -> list[int]:
    """The memory ROUTES of a core's router."""
    layout = route_fields(image.spec, core)
    words = [0] * image.spec.cores[core].neurons
    on_core = image.images[core]
    delays = on_core.parameters["delay"][on_core.assignment]
    for neuron in image.neurons_of(core).tolist():
        place = int(image.index[neuron])
        values = {"report": int(image.reports[neuron]), "delay": int(delays[place])}
        for other in image.spec.others(core):
            line = int(image.neuron_lines[neuron, other])
            values |= {f"to_{other}": int(line >= 0), f"line_{other}": max(line, 0)}
        words[place] = pack(layout, values)
    return words


def cluster_memory_words(image: ClusterImage, core: int) -> dict[Space | ClusterSpace, list[int]]:
    """Contents of every memory of a core and its router, in the order of programming."""
    words: dict[Space | ClusterSpace, list[int]] = dict(memory_words(image.images[core]).items())
    words[ClusterSpace.ROUTES] = route_words(image, core)
    if image.spec.cores[core].max_delay > 1:
        words[ClusterSpace.TRAVELLING] = [0] * image.spec.cores[core].neurons
    return words
