"""The blocks of a core side by side, for their benches: one build for all of them."""

from dataclasses import asdict
from typing import Any

from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import CoreSpec, Space, control_registers
from dyncc_hw.neurocorex.bus import BusServer
from dyncc_hw.neurocorex.learning import LearningEngine
from dyncc_hw.neurocorex.neuron import NeuronUnit
from dyncc_hw.neurocorex.plasticity import TraceUnit
from dyncc_hw.neurocorex.shared_neuron import SharedNeuronUnit
from dyncc_hw.neurocorex.synapses import SynapseUnit
from dyncc_hw.neurocorex.termination import TerminationUnit
from dyncc_sim.runner import run_bench


class Rig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """Blocks that a core of a size has, each with its ports; and its registers as inputs.

    Members
    -------
    neuron, shared_neuron, synapses, traces, learning, termination, bus, narrow_bus
        Blocks; `traces` and `learning` in cores that learn, `termination` in those with classes.
    control
        Registers by name, for the blocks that read them.

    Attributes
    ----------
    blocks, registers
        Components and signals, by name.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        registers = {
            item.name: Signal(
                signed(item.bits) if item.signed else unsigned(item.bits), name=item.name
            )
            for item in control_registers(spec)
        }
        self.blocks: dict[str, Any] = {
            "neuron": NeuronUnit(spec),
            "shared_neuron": SharedNeuronUnit(spec),
            "synapses": SynapseUnit(spec),
            "bus": BusServer(spec),
            "narrow_bus": BusServer(spec, {Space.PARAMETERS}),
        }
        if spec.learning:
            self.blocks["traces"] = TraceUnit(spec, registers)
            self.blocks["learning"] = LearningEngine(spec, registers)
        if spec.classes:
            self.blocks["termination"] = TerminationUnit(spec, registers)
        self.registers = registers
        control = wiring.Signature(
            {name: In(register.shape()) for name, register in registers.items()}
        )
        ports = {name: Out(block.signature) for name, block in self.blocks.items()}
        super().__init__({**ports, "control": Out(control)})

    def inputs(self, block: str) -> list[str]:
        """Names of the inputs of a block."""
        return [
            "__".join(map(str, path))
            for path, member, _ in self.blocks[block].signature.flatten(self.blocks[block])
            if member.flow == In
        ]

    def elaborate(self, platform: Any) -> Module:
        """Connect each block to its ports."""
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
            wiring.connect(m, block, wiring.flipped(getattr(self, name)))
        for name, register in self.registers.items():
            m.d.comb += register.eq(getattr(self.control, name))
        return m


#: Modules of benches; a test of theirs has the name of its block.
BENCHES = tuple(
    f"dyncc_sim.neurocorex_{name}_bench"
    for name in ("neuron", "synapses", "traces", "learning", "termination", "bus")
)


def run_blocks(spec: CoreSpec, seed: int, simulator: str = "verilator") -> None:
    """Run the benches of all blocks of a core of this size.

    Raises
    ------
    MissingToolError, ToolError, MismatchError
        As `dyncc_sim.runner.run_bench`.
    """
    rig = Rig(spec)
    options = {
        "spec": asdict(spec),
        "inputs": {name: rig.inputs(name) for name in rig.blocks},
        "registers": list(rig.registers),
        "seed": seed,
    }
    run_bench(rig, BENCHES, options, simulator=simulator, tests=rig.blocks)
