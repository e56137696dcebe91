"""A core in a device at the other end of a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import (
    BUS_BITS,
    CHUNK_BITS,
    COUNTERS,
    DECIDED_BIT,
    INDEX_BITS,
    CoreImage,
    CoreSpec,
    Rule,
    Space,
    address,
    bus_words,
    memory_depth,
    memory_words,
    weight_words,
)
from dyncc.arch.neurocorex.packets import (
    ADDRESS,
    DRAIN,
    INFO,
    MAGIC,
    MAX_DRAIN,
    MAX_EVENTS,
    MAX_READ,
    MAX_WRITE,
    QUERIES,
    READ,
    SNAPSHOT,
    VERSION,
    Opcode,
    spec_of,
)
from dyncc.arch.neurocorex.readback import effective_weights, read_registers, read_synapses
from dyncc.core.errors import LinkError
from dyncc.link import Protocol, Request, Session, Transport
from dyncc.spiking.core import (
    Core,
    Progress,
    Recording,
    check_recorded,
    check_size,
    not_programmed,
    quiet,
    run_is_over,
)
from dyncc.spiking.stimulus import Log, Words, check_lines, stimulus_words

_BYTES = BUS_BITS // 8
_ADDRESSED = (Opcode.READ, Opcode.WRITE)
_COUNTED = [item.name for item in COUNTERS if item.name not in ("drift", "decision")]


def _describe(opcode: int, payload: bytes) -> str:
    """Where a request reads or writes."""
    if opcode not in _ADDRESSED:
        return ""
    place = int.from_bytes(payload[: width(ADDRESS) // 8], "little")
    space = Space(place >> (CHUNK_BITS + INDEX_BITS)).name
    index = place >> CHUNK_BITS & ((1 << INDEX_BITS) - 1)
    return f"address {place:#010x}: {space}[{index}]"


PROTOCOL = Protocol(
    "NeuroCoreX",
    INFO,
    MAGIC,
    VERSION,
    Opcode,
    # What DRAIN gives does not change: later requests only let more words follow.
    frozenset(QUERIES - {Opcode.DRAIN}),
    frozenset({Opcode.SNAPSHOT, Opcode.STOP}),
    _describe,
)

_RESTARTED = "It was restarted, or another program speaks to it. Program it again."
#: Seconds between two looks at a core that is at work, at first and at most.
_LOOKS = (0.0005, 0.02)
#: Seconds without the end of a step, beside the time that the longest can take.
_STALLED = 2.0


class DeviceCore(Core):
    """A core that is reached over a line: a board, a simulation, or the twin of a device.

    Parameters
    ----------
    transport
        The line; closed with the core.
    progress
        Called in long work.

    Attributes
    ----------
    session
        The connection; its ``info`` says more of the device, its ``statistics`` what passed.

    Raises
    ------
    LinkError
        If no NeuroCoreX device answers.
    """

    def __init__(self, transport: Transport, progress: Progress = quiet) -> None:
        self.session = Session(transport, PROTOCOL)
        self.spec = spec_of(self.session.info)
        self.session.slowness = _longest_step(self.spec) / self.session.info["clk_hz"]
        self._progress = progress
        self._image: CoreImage | None = None
        self._decided, self._steps, self._position = False, 0, 0

    def close(self) -> None:
        """Let go of the line."""
        self.session.close()

    # --- programming ------------------------------------------------------------------------

    def program(self, image: CoreImage) -> None:
        """Load an image; what the device was doing ends."""
        check_size(image.spec, self.spec)
        self._image = None
        self.session.ask(Opcode.STOP)
        self._position = self._settle(self._state)["log_end"]
        self._write(memory_words(image))
        self._image = image

    def rest(self) -> None:
        """Return to rest with the weights that were learnt."""
        image, words = self._programmed(), {}
        if image.learning is not None and image.learning.rule == Rule.LAGS:
            # The common drift is a counter, which `clear` sets to zero.
            words[Space.WEIGHTS] = weight_words(image, self.weights())[0]
        initial = memory_words(image)
        words[Space.CONTROL] = initial[Space.CONTROL][:1]
        words[Space.STATE] = initial[Space.STATE]
        self._settle(self._snapshot)
        self._image = None
        self._write(words)
        self._image = image

    def _programmed(self) -> CoreImage:
        if self._image is None:
            raise not_programmed()
        return self._image

    def _write(self, memories: dict[Space, list[int]]) -> None:
        """Fill memories from their first words on; CONTROL begins with `clear`."""
        frames = [
            frame for space, words in memories.items() for frame in self._frames(space, words)
        ]
        sent = []
        for done, payload in enumerate(frames):
            self._progress("programming", done, len(frames))
            sent.append(self.session.send(Opcode.WRITE, payload))
        for request in sent:
            self.session.wait(request)
        self._decided, self._steps = False, 0

    def _frames(self, space: Space, words: list[int]) -> Iterator[bytes]:
        """Payloads that write a memory."""
        parts = bus_words(self.spec, space)
        content = b"".join(word.to_bytes(parts * _BYTES, "little") for word in words)
        for first in range(0, parts * len(words), MAX_WRITE):
            place = address(space, *divmod(first, parts))
            payload = content[first * _BYTES : (first + MAX_WRITE) * _BYTES]
            yield place.to_bytes(width(ADDRESS) // 8, "little") + payload

    # --- reading ----------------------------------------------------------------------------

    def weights(self) -> Integers:
        """Weights of all synapses."""
        self._programmed()
        drift = self._settle(self._snapshot)["drift"]
        registers = read_registers(self.spec, self._read(Space.CONTROL))
        rows = self._read(Space.ROWS) if self.spec.sparse else None
        table = read_synapses(self.spec, self._read(Space.WEIGHTS), rows)
        felt = effective_weights(registers, table.weight, table.plastic, drift)
        found: Integers = table.matrix(felt)
        return found

    def counters(self) -> dict[str, int]:
        """What the core counted."""
        self._programmed()
        found = self._snapshot()
        return {name: found[name] for name in _COUNTED}

    def _read(self, space: Space) -> list[int]:
        """All words of a memory."""
        parts = bus_words(self.spec, space)
        total = parts * memory_depth(self.spec, space)
        sent = []
        for first in range(0, total, MAX_READ):
            self._progress("reading", first, total)
            place = address(space, *divmod(first, parts))
            sent.append(self._ask_words(place, min(MAX_READ, total - first)))
        content = b"".join(self.session.wait(request) for request in sent)
        size = parts * _BYTES
        return [
            int.from_bytes(content[start : start + size], "little")
            for start in range(0, len(content), size)
        ]

    def _ask_words(self, place: int, count: int) -> Request:
        asked = pack(READ, {"address": place, "count": count})
        return self.session.send(Opcode.READ, asked.to_bytes(width(READ) // 8, "little"))

    def _state(self) -> dict[str, int]:
        return unpack(SNAPSHOT, int.from_bytes(self.session.ask(Opcode.SNAPSHOT), "little"))

    def _snapshot(self) -> dict[str, int]:
        """The state of a device that did not break off a step."""
        found = self._state()
        if found["watchdog"]:
            self._image = None
            raise LinkError(
                f"the watchdog broke off a step that did not end, after {found['steps']} steps",
                where=self.session.transport.name,
                hint="Program the core again.",
            )
        return found

    def _settle(self, state: Callable[[], dict[str, int]]) -> dict[str, int]:
        """Wait until the core has nothing to do; its state then."""
        look = _Look(self.session)
        while (found := state())["running"]:
            look.again(found)
        return found

    # --- running ----------------------------------------------------------------------------

    def run(self, lines: Any, record: Sequence[int] = ()) -> Recording:
        """Carry out a step for each row of `lines`."""
        image, rows = self._programmed(), check_lines(self.spec, lines)
        recorded = check_recorded(self.spec, record)
        if self._decided:
            raise run_is_over()
        # If this breaks off, what the device holds is not known until it is programmed again.
        self._image = None
        log, potentials = Log(self.spec), numpy.zeros((len(rows), len(recorded)), numpy.int64)
        # Potentials can be read between two steps only.
        ends = range(1, len(rows) + 1) if recorded else (len(rows),)
        for end in ends:
            self._carry_out(stimulus_words(rows[log.steps : end]), log, end, len(rows))
            potentials[end - 1 : end] = self._potentials(recorded)
            if log.decided:
                break
        self._steps = (self._steps + log.steps) % (1 << BUS_BITS)
        found = self._snapshot()
        self._check(found)
        self._image, self._decided = image, log.decided
        winner = found["decision"] & ((1 << DECIDED_BIT) - 1)
        return Recording(log.spikes(), potentials[: log.steps], log.decided, winner)

    def _check(self, found: dict[str, int]) -> None:
        """Whether the device did what it was told."""
        where = self.session.transport.name
        if found["disordered"]:
            raise LinkError("the device dropped spikes as out of the order of lines", where=where)
        if found["steps"] != self._steps:
            raise LinkError(
                f"the device counts {found['steps']} steps, and was told to do {self._steps}",
                where=where,
                hint=_RESTARTED,
            )

    def _carry_out(self, words: Words, log: Log, steps: int, total: int) -> None:
        """Send words as there is room for them, and take the log, until so many steps ended.

        `total` is for the report of progress.
        """
        sent, look = self._feed(words), _Look(self.session)
        while log.steps < steps and not log.decided:
            asked = pack(DRAIN, {"position": self._position, "count": MAX_DRAIN})
            drain = self.session.send(Opcode.DRAIN, asked.to_bytes(width(DRAIN) // 8, "little"))
            # Words go out while the answer comes in.
            sent += self._feed(words[sent:])
            count = log.add(self.session.wait(drain))
            self._position = (self._position + count) % (1 << DRAIN[0].bits)
            self._progress("running", log.steps, total)
            if count == 0:
                found = self._snapshot()
                if not found["running"] and sent == len(words):
                    self._check_end(found, log, steps)
                look.again(found)
            else:
                look = _Look(self.session)

    def _check_end(self, found: dict[str, int], log: Log, steps: int) -> None:
        """Whether the log of a device that has nothing to do goes on."""
        if found["log_end"] == self._position:
            raise LinkError(
                f"the device has nothing to do after {log.steps} steps of {steps}",
                where=self.session.transport.name,
                hint=_RESTARTED,
            )

    def _feed(self, words: Words) -> int:
        """Send as many words as there is room for, but no crumbs; returns how many."""
        sent = 0
        while (size := min(len(words) - sent, MAX_EVENTS)) and size <= self.session.credits:
            payload = words[sent : sent + size].astype("<u2").tobytes()
            self.session.send(Opcode.EVENTS, payload, events=size)
            sent += size
        return sent

    def _potentials(self, recorded: list[int]) -> list[int]:
        """Potentials of neurons, which are read in runs of neighbours."""
        if not recorded:
            return []
        parts = bus_words(self.spec, Space.STATE)
        wanted = sorted(set(recorded))
        limit = MAX_READ // parts
        runs: list[list[int]] = [wanted[:1]]
        for before, neuron in pairwise(wanted):
            if neuron == before + 1 and len(runs[-1]) < limit:
                runs[-1].append(neuron)
            else:
                runs.append([neuron])
        # A potential is in the lowest part of its word.
        sent = [
            self._ask_words(address(Space.STATE, run[0]), (len(run) - 1) * parts + 1)
            for run in runs
        ]
        found: dict[int, int] = {}
        for run, request in zip(runs, sent, strict=True):
            content = numpy.frombuffer(self.session.wait(request), "<u4")[::parts].tolist()
            found.update(zip(run, content, strict=True))
        sign = 1 << (self.spec.state_bits - 1)
        return [((found[neuron] & (2 * sign - 1)) ^ sign) - sign for neuron in recorded]


class _Look:
    """Waits, a little longer each time, for a core that is at work; but not for ever."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pause = _LOOKS[0]
        self._steps = -1
        self._since = 0.0

    def again(self, found: dict[str, int]) -> None:
        """Wait; raises LinkError if a core whose state is `found` stands still for too long."""
        session = self._session
        now = session.transport.now()
        if found["steps"] != self._steps:
            self._steps, self._since = found["steps"], now
        elif now - self._since > _STALLED + session.slowness:
            flags = ", ".join(f"{item.name} {found[item.name]}" for item in SNAPSHOT[:5])
            raise LinkError(
                f"no step ended in {now - self._since:.1f} s, after {self._steps} steps",
                where=session.transport.name,
                hint=f"The device says: {flags}.",
            )
        session.pause(self._pause)
        self._pause = min(2 * self._pause, _LOOKS[1])


def _longest_step(spec: CoreSpec) -> int:
    """Cycles that no step exceeds, with slack: all sources spike and all neurons fire."""
    words = spec.synapse_words or spec.sources * spec.row_words
    cycles = 8 * (words + spec.sources + spec.neurons) + 1024
    if spec.learning:
        cycles += 8 * (words if spec.sparse else spec.neurons * spec.sources)
    return cycles
