"""A design with properties: what Amaranth components do for all inputs."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from amaranth import Cat, Module, Signal, Value
from amaranth.asserts import AnyConst
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib.data import View
from amaranth.lib.wiring import In

#: Attribute of signals whose value a proof leaves open.
FREE = "dyncc_free"


class Design:
    """Components, assumptions, claims and situations that must be possible.

    All inputs are free in each cycle, the reset too, except where they are given or assumed.

    Parameters
    ----------
    lemmas
        Whether lemmas are claimed too, as an induction needs it. Without them what fails is a
        claim.

    Attributes
    ----------
    m
        The module around the components; ghost registers go here.
    multiplies
        Whether products are computed; otherwise they are free, which proves no less.
    """

    def __init__(self, lemmas: bool = True) -> None:
        self._lemmas = lemmas
        # FIFOs of Amaranth bring lemmas of their own.
        self._platform = "formal" if lemmas else None
        self.m = Module()
        self.multiplies = True
        self._ports: list[Any] = []
        # Local variables of `elaborate`, by what it returned.
        self._variables: dict[Any, dict[str, Any]] = {}

    def add(self, component: Any, name: str, **given: Any) -> Any:
        """Add a component.

        Parameters
        ----------
        name
            Of its instance.
        **given
            Values of inputs, by the names of members joined by two underscores; the others are
            free.

        Returns
        -------
        Module
            Its inside, see `submodule`, `signal` and `state`.
        """
        inputs = {
            "__".join(map(str, path)): Value.cast(value)
            for path, member, value in component.signature.flatten(component)
            if member.flow == In
        }
        unknown = given.keys() - inputs.keys()
        if unknown:
            raise ValueError(f"{type(component).__name__} has no input {', '.join(unknown)}")
        self.m.submodules[name] = component
        for key, port in inputs.items():
            if key in given:
                self.m.d.comb += port.eq(given[key])
            else:
                self._ports.append(port)
        return self.open(component)

    def open(self, component: Any) -> Any:
        """The inside of a component, before it becomes part of the design."""
        code = type(component).elaborate.__code__
        variables: dict[str, Any] = {}

        def look(frame: FrameType, event: str, _: Any) -> None:
            if event == "return" and frame.f_code is code:
                variables.update(frame.f_locals)

        profiler = sys.getprofile()
        sys.setprofile(look)
        try:
            inside = component.elaborate(self._platform)
        finally:
            sys.setprofile(profiler)
        self._variables[inside] = variables
        component.elaborate = lambda platform: inside
        return inside

    def submodule(self, inside: Any, name: str) -> Any:
        """The inside of a part."""
        return self.open(getattr(inside.submodules, name))

    def signal(self, inside: Any, name: str) -> Any:
        """A signal inside of a component: a variable of `elaborate`, or one that has this name.

        Languages for assertions have hierarchical names; Amaranth offers no other way.

        Raises
        ------
        LookupError
            If there is none, or more than one.
        """
        variable = self._variables[inside].get(name)
        if isinstance(variable, Signal | View):
            return variable
        found = [driven for driven in inside._driving if driven.name == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} signals are named {name!r}")
        return found[0]

    @staticmethod
    def state(inside: Any, name: str) -> Any:
        """Whether the state machine inside is in a state.

        Raises
        ------
        LookupError
            If there is no such state.
        """
        machine = inside._generated["fsm"]
        if name not in machine.encoding:
            raise LookupError(f"there is no state {name}, but {', '.join(machine.encoding)}")
        return machine.ongoing(name)

    def states(self, inside: Any) -> Any:
        """Whether the state machine inside is in any of its states; some numbers are none."""
        names = list(inside._generated["fsm"].encoding)
        return Cat(self.state(inside, name) for name in names).any()

    def free(self, *signals: Any) -> None:
        """Leave signals open, whatever drives them: what holds then holds for any driver."""
        for given in signals:
            Value.cast(given).attrs[FREE] = 1

    def input(self, shape: Any, name: str) -> Any:
        """A signal with any value in each cycle."""
        found = Signal(shape, name=name)
        self._ports.append(found)
        return found

    def constant(self, shape: Any) -> Any:
        """Any value, the same in each cycle."""
        return AnyConst(shape)

    def control(self, registers: dict[str, Any], stable: bool = True) -> None:
        """Registers of a core with any values, which change only if `stable` is off."""
        for register in registers.values():
            if stable:
                self.m.d.comb += register.eq(AnyConst(register.shape()))
            else:
                self._ports.append(register)

    def last(self, value: Any, cycles: int = 1) -> Any:
        """A value some cycles ago; zero before there was any."""
        value = Value.cast(value)
        for _ in range(cycles):
            kept = Signal(value.shape())
            self.m.d.sync += kept.eq(value)
            value = kept
        return value

    def history(self, value: Any, cycles: int) -> list[Any]:
        """A value one cycle ago, two, and so on."""
        found = [self.last(value)]
        while len(found) < cycles:
            found.append(self.last(found[-1]))
        return found

    def claim(self, condition: Any, says: str) -> None:
        """Something that always holds."""
        self.m.d.comb += Assert(condition, says, src_loc_at=1)

    def lemma(self, condition: Any, says: str) -> None:
        """Something that always holds, and that makes claims inductive."""
        if self._lemmas:
            self.m.d.comb += Assert(condition, says, src_loc_at=1)

    def assume(self, condition: Any) -> None:
        """What the environment keeps to."""
        self.m.d.comb += Assume(condition, src_loc_at=1)

    def reaches(self, condition: Any, says: str) -> None:
        """Something that may happen: without it a claim may say nothing."""
        self.m.d.comb += Cover(condition, says, src_loc_at=1)

    def rtlil(self, locations: bool) -> str:
        """The design for yosys, with or without locations in the Python sources."""
        found: str = rtlil.convert(
            self.m, name="top", ports=self._ports, platform=self._platform, emit_src=locations
        )
        return found
