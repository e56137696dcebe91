"""The sequencer: takes instructions in order, keeps registers and loops, hands work to engines.

What it does is what `dyncc_sim.skipopu.sequencer.Sequencer` does, and how long it takes says
`dyncc.arch.skipopu.isa.dispatch_cycles`.
"""

from typing import Any

from amaranth import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.csr import WORKERS as WORKERS
from dyncc.arch.skipopu.isa import (
    BODIES,
    COUNT_BITS,
    ENGINES,
    INSTRUCTION_BITS,
    R_CONTEXT,
    R_NEXT_SLOT,
    R_POSITION,
    R_SLOT_LIMIT,
    R_TOKENS,
    R_ZERO,
    REGISTER_BITS,
    REGISTERS,
    SEMAPHORES,
    Engine,
    Op,
    Pred,
    SetMode,
    Trap,
    operand_registers,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.serial import SerialMultiplier
from dyncc_hw.skipopu.control.decoder import HEADER_LAYOUT, OPERANDS, Decoder, field
from dyncc_hw.skipopu.control.queues import entry_layout
from dyncc_hw.skipopu.control.registers import LoopStack, RegisterFile
from dyncc_hw.skipopu.interfaces import TRAP_BITS

_SHIFT_BITS = (REGISTER_BITS - 1).bit_length()


class Sequencer(wiring.Component):
    """Decodes, reads operands, and dispatches. Registers survive a reset.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    begin
        In one cycle: a program starts at its first instruction. Registers hold what they are to
        hold.
    length
        Instructions of the program.
    words, jump, target
        From and to `fetch.Fetch`.
    put_<engine>
        To `queues.EngineQueue`.
    asks, wait, granted, releases, release
        Semaphores that the sequencer takes and releases itself.
    idle
        Nothing that was dispatched is left.
    routes
        Instructions that decide predicates are left.
    attention, mlp
        The predicates, a bit for each token.
    number, value, write
        Registers are written from outside while no program runs; `read` is what register `number`
        holds.
    next_slot
        What R5 holds in the end.
    tokens, slot_start, slot_limit
        Copies of registers, for others.
    halts, halted, trap, pc
        In one cycle each: the end of the program; registers are final too; the reason why it
        stopped. And where it is.
    stuck
        It waits for others.
    dispatched
        In one cycle: an instruction was dispatched.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        super().__init__(
            {
                "begin": In(1), "length": In(COUNT_BITS),
                "words": In(stream.Signature(INSTRUCTION_BITS)),
                "jump": Out(1), "target": Out(COUNT_BITS),
                **{
                    f"put_{engine.name.lower()}": Out(stream.Signature(entry_layout(engine, arch)))
                    for engine in WORKERS
                },
                "asks": Out(1), "wait": Out(SEMAPHORES), "granted": In(1),
                "releases": Out(1), "release": Out(SEMAPHORES),
                "idle": In(1), "routes": In(1),
                "attention": In(arch.tokens), "mlp": In(arch.tokens),
                "number": In(range(REGISTERS)), "value": In(REGISTER_BITS), "write": In(1),
                "read": Out(REGISTER_BITS),
                "next_slot": In(REGISTER_BITS),
                "slot_start": Out(REGISTER_BITS), "slot_limit": Out(REGISTER_BITS),
                "halts": Out(1), "halted": Out(1), "trap": Out(TRAP_BITS), "pc": Out(COUNT_BITS),
                "stuck": Out(1), "dispatched": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A state for each thing that an instruction needs."""
        m = Module()
        # Found late in a cycle; it is said in the next one, when nothing goes on any more.
        wrong = Signal(TRAP_BITS)
        m.d.sync += self.trap.eq(wrong)
        m.submodules.decoder = decoder = Decoder()
        m.submodules.registers = registers = RegisterFile()
        m.submodules.loops = loops = LoopStack()
        m.submodules.product = product = SerialMultiplier(*3 * [REGISTER_BITS])
        word, header = Signal(INSTRUCTION_BITS), Signal(HEADER_LAYOUT)
        engine, count = Signal(range(len(Engine))), Signal(range(OPERANDS + 1))
        operands = [Signal(REGISTER_BITS, name=f"operand_{i}") for i in range(OPERANDS)]
        step, asked = Signal(range(OPERANDS + 1)), Signal()
        # The register that is read, and whether the first one was other than 0.
        operand_number, some = Signal(range(REGISTERS)), Signal()
        pc, at = self.pc, Signal(COUNT_BITS)
        special = self._special(m, registers)
        active, batch_fits = self._active(m, header, special[R_TOKENS])
        suppressed = ~active.any()
        own = engine == Engine.SEQUENCER
        ends = (header.op == Op.SYNC) | (header.op == Op.HALT)
        waits = (ends & ~self.idle) | ((header.pred != Pred.ALWAYS) & self.routes)
        put, taken = self._hand_over(m, word, header, engine, operands, active, special)
        mode, number = field(word, Op.SETR, "mode"), field(word, Op.SETR, "imm")
        body = field(word, Op.LOOP, "length")
        m.d.comb += [
            decoder.word.eq(self.words.payload),
            self.slot_start.eq(special[R_NEXT_SLOT]),
            self.slot_limit.eq(special[R_SLOT_LIMIT]),
            self.read.eq(registers.read), registers.number.eq(self.number),
            registers.into.eq(self.number), registers.value.eq(self.value),
            registers.write.eq(self.write & (self.number != R_ZERO)),
            self.wait.eq(header.wait), self.release.eq(header.release),
            product.input.payload.first.eq(operands[0]), product.input.payload.second.eq(number),
            loops.at.eq(at), loops.first.eq(pc + 1), loops.last.eq(pc + body),
            loops.turns.eq(operands[0]),
        ]  # fmt: skip
        may = Signal()
        m.d.comb += may.eq(self.granted | ~header.wait.any())
        with m.FSM(name="sequencer"):
            with m.State("STOPPED"), m.If(self.begin):
                m.d.sync += pc.eq(0)
                m.d.comb += [self.jump.eq(1), loops.clear.eq(1)]
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += [
                    word.eq(self.words.payload), header.eq(decoder.header),
                    engine.eq(decoder.engine), count.eq(decoder.count), step.eq(0), asked.eq(0),
                    at.eq(pc),
                ]  # fmt: skip
                m.d.sync += operand_number.eq(
                    self._operand(self.words.payload, decoder.header, Const(0, len(step)))
                )
                m.d.comb += self.words.ready.eq(1)
                with m.If(pc >= self.length):
                    m.d.comb += wrong.eq(Trap.RUNAWAY)
                with m.Elif(self.words.valid):
                    m.next = "OPERANDS"
                    with m.If(decoder.count == 0):
                        m.next = "DISPATCH"
                    with m.If(~decoder.defined):
                        m.d.comb += wrong.eq(Trap.OPCODE)
                        m.next = "TRAPPED"
            with m.State("OPERANDS"):
                m.d.comb += registers.number.eq(operand_number)
                m.d.sync += [
                    step.eq(step + 1), operand_number.eq(self._operand(word, header, step + 1)),
                ]  # fmt: skip
                for index, operand in enumerate(operands):
                    with m.If(step == index):
                        m.d.sync += operand.eq(registers.read)
                with m.If(step == 0):
                    m.d.sync += some.eq(registers.read.any())
                with m.If(step == count - 1):
                    m.next = "DISPATCH"
                    with m.If((header.op == Op.SETR) & (mode == SetMode.ADD)):
                        m.next = "SECOND"
                    with m.If((header.op == Op.SETR) & (mode == SetMode.MULTIPLY)):
                        m.next = "MULTIPLY"
            with m.State("SECOND"):
                m.d.comb += registers.number.eq(number)
                m.d.sync += operands[1].eq(registers.read)
                m.next = "DISPATCH"
            with m.State("MULTIPLY"):
                m.d.comb += [product.input.valid.eq(~asked), product.output.ready.eq(1)]
                with m.If(product.input.ready):
                    m.d.sync += asked.eq(1)
                with m.If(product.output.valid):
                    m.d.sync += operands[1].eq(product.output.payload.product)
                    m.next = "DISPATCH"
            with m.State("DISPATCH"):
                m.d.comb += self.stuck.eq(waits | Mux(own, ~may, ~taken))
                finished, skips, stays = Signal(), Signal(), Signal()
                with m.If(~waits & own):
                    m.d.comb += self.asks.eq(header.wait.any())
                    with m.If(may):
                        m.d.comb += finished.eq(1)
                        with m.If(header.op == Op.LOOP):
                            m.d.comb += skips.eq(suppressed | ~some)
                            m.d.comb += stays.eq(~skips)
                            m.d.sync += at.eq(pc + body)
                        with m.If(~suppressed):
                            self._carry_out(
                                m, word, header, mode, number, body, operands, some, registers,
                                loops, finished, wrong,
                            )  # fmt: skip
                with m.Elif(~waits & ~batch_fits):
                    m.d.comb += wrong.eq(Trap.SHAPE)
                with m.Elif(~waits):
                    m.d.comb += [put.eq(1), finished.eq(taken)]
                m.d.comb += [
                    self.dispatched.eq(finished), self.releases.eq(finished & own),
                ]  # fmt: skip
                with m.If(self.halts):
                    m.next = "HALTED"
                with m.If(finished):
                    m.d.sync += pc.eq(pc + 1)
                    m.next = "DECODE"
                    with m.If(skips | (loops.ends & ~stays)):
                        m.d.sync += pc.eq(pc)
                        m.next = "LOOPS"
            with m.State("LOOPS"):
                # The instruction at `at` is done; a loop may end there, and those around it too.
                m.d.comb += loops.turn.eq(1)
                with m.If(loops.again | ~loops.ends):
                    m.d.comb += [
                        self.target.eq(Mux(loops.again, loops.back, at + 1)),
                        self.jump.eq(loops.again | (at != pc)),
                    ]
                    m.d.sync += pc.eq(self.target)
                    m.next = "DECODE"
            with m.State("TRAPPED"):
                pass  # until reset
            with m.State("HALTED"):
                m.d.comb += self.halted.eq(1)
                m.d.comb += [
                    registers.into.eq(R_NEXT_SLOT), registers.value.eq(self.next_slot),
                    registers.write.eq(1),
                ]  # fmt: skip
                m.next = "STOPPED"
        return m

    def _special(self, m: Module, registers: RegisterFile) -> dict[int, Signal]:
        """Copies of registers that every instruction needs."""
        found = {
            number: Signal(REGISTER_BITS, name=f"r{number}", reset_less=True)
            for number in (R_TOKENS, R_POSITION, R_CONTEXT, R_SLOT_LIMIT, R_NEXT_SLOT)
        }
        for number, copy in found.items():
            with m.If(registers.write & (registers.into == number)):
                m.d.sync += copy.eq(registers.value)
        return found

    def _active(self, m: Module, header: Any, tokens: Value) -> tuple[Value, Value]:
        """Tokens that have the instruction's predicate, and whether there may be so many at all."""
        most = self.arch.tokens
        size = Signal(range(most + 1))
        m.d.comb += size.eq(Mux(tokens > most, most, Mux(tokens == 0, 1, tokens)))
        holders = Array([Const(-1, most), self.attention, ~self.attention, self.mlp, ~self.mlp])
        active = Signal(most)
        m.d.comb += active.eq(holders[header.pred] & ((1 << size) - 1))
        return active, (tokens != 0) & (tokens <= most)

    def _operand(self, word: Value, header: Any, step: Value) -> Value:
        """The number of the register that is read in a step."""
        found: Any = 0
        for op in BODIES:
            names = operand_registers(op)
            if names:
                numbers = Array(field(word, op, name) for name in names)
                found = Mux(header.op == op, numbers[step], found)
        return Value.cast(found)

    def _hand_over(
        self, m: Module, word: Value, header: Any, engine: Value, operands: list[Signal],
        active: Value, special: dict[int, Signal],
    ) -> tuple[Signal, Signal]:  # fmt: skip
        """To the queue of the engine: `put` offers, `taken` says that it was taken."""
        put, taken = Signal(), Signal()
        for worker in WORKERS:
            queue = getattr(self, f"put_{worker.name.lower()}")
            entry, work = queue.payload, queue.payload.work
            m.d.comb += [
                entry.pc.eq(self.pc), entry.wait.eq(header.wait),
                entry.release.eq(header.release), entry.suppressed.eq(~active.any()),
                work.op.eq(header.op), work.active.eq(active),
                work.tokens.eq(special[R_TOKENS]),
                work.position.eq(saturated(special[R_POSITION], COUNT_BITS)),
                work.context.eq(saturated(special[R_CONTEXT], COUNT_BITS)),
                queue.valid.eq(put & (engine == worker)),
            ]  # fmt: skip
            with m.If(engine == worker):
                m.d.comb += taken.eq(put & queue.ready)
            for op, owner in ENGINES.items():
                if owner != worker:
                    continue
                names = operand_registers(op)
                with m.If(header.op == op):
                    for item in BODIES[op]:
                        if item.name == "reserved":
                            continue
                        value = field(word, op, item.name)
                        if item.register:
                            value = saturated(operands[names.index(item.name)], item.value_bits)
                        m.d.comb += getattr(work, item.name).eq(value)
        return put, taken

    def _carry_out(
        self, m: Module, word: Value, header: Any, mode: Value, number: Value, body: Value,
        operands: list[Signal], some: Signal, registers: RegisterFile, loops: LoopStack,
        finished: Signal, wrong: Signal,
    ) -> None:  # fmt: skip
        """An instruction of the sequencer's own that is not suppressed, and may be wrong."""
        source, second = operands[0], operands[1]
        with m.If(header.op == Op.HALT):
            m.d.comb += [self.halts.eq(1), finished.eq(0)]
        with m.If(header.op == Op.SETR):
            m.d.comb += [
                registers.into.eq(field(word, Op.SETR, "d")),
                registers.write.eq(registers.into != R_ZERO),
            ]
            with m.Switch(mode):
                for code, value in (
                    (SetMode.IMMEDIATE, number),
                    (SetMode.ADD_IMMEDIATE, source + number),
                    (SetMode.ADD, source + second),
                    (SetMode.SHIFT_LEFT, source << number[:_SHIFT_BITS].as_unsigned()),
                    (SetMode.MULTIPLY, second),
                ):
                    with m.Case(int(code)):
                        m.d.comb += registers.value.eq(value)
            no_register = (mode == SetMode.ADD) & ((number < 0) | (number >= REGISTERS))
            no_shift = (mode == SetMode.SHIFT_LEFT) & ((number < 0) | (number >= REGISTER_BITS))
            with m.If(no_register | no_shift):
                m.d.comb += [wrong.eq(Trap.OPCODE), registers.write.eq(0), finished.eq(0)]
        with m.If(header.op == Op.LOOP):
            m.d.comb += loops.push.eq(some)
            with m.If(~body.any() | (loops.full & some)):
                m.d.comb += [wrong.eq(Trap.LOOP), loops.push.eq(0), finished.eq(0)]


def saturated(value: Value, bits: int) -> Value:
    """The value, or as many ones as there are bits if it has more."""
    if len(value) <= bits:
        return value
    return Mux(value[bits:].any(), Const(-1, bits), value[:bits])
