"""The host program of a library: an HCFG as one C++ translation unit.

Each block becomes a function that takes its parameters out of a frame, computes, puts the
arguments of an edge into the frame and returns the number of the next block; a loop calls one after
the other.
"""

from __future__ import annotations

from collections import Counter

from dyncc.backends.tvm.kernels import Kernels
from dyncc.export import host_ops, regions, returns
from dyncc.export.literals import dtype, literal, text, type_name, variable
from dyncc.export.regions import Shapes
from dyncc.export.weights import Data
from dyncc.ir.hcfg import (
    ARGUMENT,
    Block,
    Branch,
    Hcfg,
    Jump,
    Raise,
    RegionCall,
    Return,
    Value,
    argument_leaves,
)
from dyncc.ir.sizes import Sizes
from dyncc.ir.types import TensorType

#: Kinds of arguments, as include/dyncc/abi.h has them.
_KINDS = {"bool": "DYNCC_BOOL", "int": "DYNCC_INT", "float": "DYNCC_FLOAT"}


class ProgramSource:
    """Writes the translation unit.

    Parameters
    ----------
    program, sizes
        What to write, and the sizes that calls decide.
    kernels, data
        Its regions, and the weights and constants they read.
    target
        What the library says that it is for.
    features
        CPU features that it needs.
    """

    def __init__(
        self,
        program: Hcfg,
        sizes: Sizes,
        kernels: Kernels,
        data: Data,
        target: str,
        features: tuple[str, ...],
    ) -> None:
        self._program = program
        self._sizes = dict(sizes)
        self._kernels = kernels
        self._data = data
        self._target = target
        self._features = features
        self._shapes = Shapes()
        self._numbers = {name: index for index, name in enumerate(program.blocks)}
        self._state = {slot.name: slot for slot in program.state if slot.value is not None}

    def write(self) -> str:
        """The text."""
        # The tables of shapes are complete only when all that uses them is written.
        functions = [
            *regions.functions(self._kernels, self._shapes, self._data),
            *(self._block(block) for block in self._program.blocks.values()),
        ]
        interface = self._inputs()
        initial = self._initial_state()
        parts = [
            f"// {self._program.name}: made by `dyncc export`; not meant to be changed.",
            "#include <model.hpp>",
            'extern "C" const char dyncc_data[];',
            regions.declarations(self._kernels),
            "namespace dyncc_host {\nnamespace {",
            self._shapes.table(),
            self._state_struct(),
            "}  // namespace\n}  // namespace dyncc_host",
            self._model_struct(),
            "namespace dyncc_host {\nnamespace {",
            self._frame(),
            *functions,
            interface,
            initial,
            self._run(),
            self._table(),
            "}  // namespace\n}  // namespace dyncc_host",
            "const dyncc_api* dyncc_get_api(void) { return &dyncc_host::kApi; }",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _model_struct(self) -> str:
        work = max((plan.work for plan in self._kernels.regions.values()), default=0)
        return f"""\
struct dyncc_model {{
  dyncc_host::Scratch scratch{{{work}}};
  dyncc_host::State state;
}};"""

    # -- state and frame -----------------------------------------------------------------------

    def _state_struct(self) -> str:
        members = [
            f"  {type_name(slot.value.type)} {_member(index)}{{}};  // {slot.name}"
            for index, slot in enumerate(self._state.values())
            if slot.value is not None
        ]
        return "\n".join(["struct State {", *members, "};"])

    def _initial_state(self) -> str:
        lines = ["void set_initial(State& state) {", "  (void)state;"]
        for index, slot in enumerate(self._state.values()):
            assert slot.value is not None
            if isinstance(slot.value.type, TensorType):
                shape = [int(extent) for extent in slot.value.type.shape]
                place = f"dyncc_data + {self._data.weight(slot.name)}"
                made = regions.tensor_at(place, slot.value.type.dtype, shape, self._shapes)
            else:
                made = literal(slot.initial)
            lines.append(f"  state.{_member(index)} = {made};")
        return "\n".join([*lines, "}"])

    def _frame(self) -> str:
        lines = [
            "// Arguments on their way to blocks, and what the program returned.",
            "struct Frame {",
        ]
        for name, block in self._program.blocks.items():
            members = " ".join(f"{type_name(p.type)} {variable(p)}{{}};" for p in block.params)
            lines.append(f"  struct {{ {members} }} b{self._numbers[name]};")
        written = [
            f"  Tensor {_written(index)};  // {name.removeprefix(ARGUMENT)}"
            for index, name in enumerate(self._arguments_written())
        ]
        return "\n".join([*lines, "  Out result;", *written, "};"])

    def _arguments_written(self) -> list[str]:
        """Names, among the state that calls set, of arguments that they change in place."""
        exits = (block.terminator for block in self._program.blocks.values())
        names = (name for end in exits if isinstance(end, Return) for name, _ in end.state)
        return sorted({name for name in names if name.startswith(ARGUMENT)})

    # -- blocks --------------------------------------------------------------------------------

    def _block(self, block: Block) -> str:
        number = self._numbers[block.name]
        lines = [f"// ^{block.name}{f' at {block.loc}' if block.loc else ''}"]
        lines.append(f"int block_{number}(dyncc_model& model, Frame& frame) {{")
        lines.append("  (void)model;")
        if block.params:
            names = ", ".join(variable(param) for param in block.params)
            lines.append(f"  auto [{names}] = std::move(frame.b{number});")
        for op in block.ops:
            if isinstance(op, RegionCall):
                lines += self._call(op)
            else:
                lines += [f"  {line}" for line in host_ops.statements(op)]
        lines += [f"  {line}" for line in self._leave(block)]
        return "\n".join([*lines, "}"])

    def _call(self, op: RegionCall) -> list[str]:
        results = [variable(value) for value in op.results]
        plan = self._kernels.regions[op.region]
        offsets = [self._data.packed(recipe, op.weights) for recipe in plan.recipes]
        index = list(self._kernels.regions).index(op.region)
        lines = [f"  Tensor {', '.join(results)};"] if results else []
        weights = "nullptr"
        if offsets:
            weights = f"kWeights_{results[0] if results else index}"
            lines.append(f"  static const size_t {weights}[] = {{{', '.join(map(str, offsets))}}};")
        arguments = ["model", weights, *(variable(arg) for arg in op.args), *results]
        return [*lines, f"  region_{index}({', '.join(arguments)});"]

    def _leave(self, block: Block) -> list[str]:
        match block.terminator:
            case Jump() as jump:
                return self._jump(jump)
            case Branch(condition, then, orelse, predicate):
                # A newline would end the comment, and so would a backslash go on with it.
                shown = " ".join(predicate.split()).replace("\\", "/")
                return [
                    f"if ({variable(condition)}) {{{f'  // {shown}' if shown else ''}",
                    *(f"  {line}" for line in self._jump(then)),
                    "}",
                    *self._jump(orelse),
                ]
            case Return(result, state):
                lines = []
                for name, tree in state:
                    if name in self._state:
                        index = list(self._state).index(name)
                        lines.append(f"model.state.{_member(index)} = {returns.kept(tree)};")
                    elif name.startswith(ARGUMENT):
                        index = self._arguments_written().index(name)
                        lines.append(f"frame.{_written(index)} = {returns.kept(tree)};")
                return [*lines, f"frame.result = {returns.built(result)};", "return -1;"]
            case Raise(exception, args):
                return [f"raise({text(exception)}, {host_ops.message(args)});"]

    def _jump(self, jump: Jump) -> list[str]:
        number = self._numbers[jump.target]
        uses = Counter(jump.args)
        arguments = [_handed_over(value, uses[value] == 1) for value in jump.args]
        lines = [f"frame.b{number} = {{{', '.join(arguments)}}};"] if arguments else []
        return [*lines, f"return {number};"]

    # -- the interface -------------------------------------------------------------------------

    def _inputs(self) -> str:
        """Tables of arguments and sizes, and how those of a call get into the frame."""
        leaves = list(argument_leaves(self._program.signature))
        names = list(self._sizes)
        entry = self._program.entry
        rows, takes = [], []
        for index, (place, value) in enumerate(leaves):
            kind = value.type
            target = f"frame.b0.{variable(value)}"
            if isinstance(kind, TensorType):
                shape = [extent if isinstance(extent, int) else -1 for extent in kind.shape]
                which = [
                    names.index(extent) if isinstance(extent, str) and extent in names else -1
                    for extent in kind.shape
                ]
                rows.append(
                    f"{{{text(place)}, DYNCC_TENSOR, {dtype(kind.dtype)}, {len(shape)}, "
                    f"{self._shapes(shape)}}}"
                )
                takes.append(
                    f"  static const int kSizes{index}[] = {{{', '.join(map(str, [*which, -1]))}}};"
                )
                takes.append(
                    f"  {target} = tensor_argument(inputs[{index}], kInputs[{index}], "
                    f"kSizes{index}, sizes);"
                )
            else:
                rows.append(f"{{{text(place)}, {_KINDS[str(kind)]}, DLDataType{{}}, 0, nullptr}}")
                take = f"number_argument<{type_name(kind)}>(inputs[{index}], kInputs[{index}])"
                takes.append(f"  {target} = {take};")
        for index, slot in enumerate(self._state.values()):
            assert slot.value is not None
            takes.append(f"  frame.b0.{variable(slot.value)} = model.state.{_member(index)};")
        assert len(entry.params) == len(leaves) + len(self._state)
        sizes = ", ".join(
            f"{{{text(name)}, {size.low}, {-1 if size.high is None else size.high}}}"
            for name, size in self._sizes.items()
        )
        return "\n".join(
            [
                f"const dyncc_input kInputs[] = {{{', '.join([*rows, '{}'])}}};",
                f"constexpr size_t kInputCount = {len(leaves)};",
                "",
                "void take_arguments(",
                "    dyncc_model& model, const dyncc_value* inputs, Frame& frame) {",
                f"  Size sizes[] = {{{sizes + ', ' if sizes else ''}{{nullptr, 0, -1}}}};",
                "  (void)model, (void)inputs, (void)frame, (void)sizes;",
                *takes,
                "}",
            ]
        )

    def _run(self) -> str:
        cases = "\n".join(
            f"      case {number}: block = block_{number}(model, frame); break;"
            for number in self._numbers.values()
        )
        places = [place for place, _ in argument_leaves(self._program.signature)]
        writes = "\n".join(
            f"  if (frame.{_written(index)}.is_set()) "
            f"write_argument(inputs[{places.index(name.removeprefix(ARGUMENT))}], "
            f"frame.{_written(index)});"
            for index, name in enumerate(self._arguments_written())
        )
        kept = ", ".join(
            f"&model.state.{_member(index)}"
            for index, slot in enumerate(self._state.values())
            if slot.value is not None and isinstance(slot.value.type, TensorType)
        )
        return f"""\
Out run_program(dyncc_model& model, const dyncc_value* inputs) {{
  Frame frame;
  take_arguments(model, inputs, frame);
  for (int block = 0; block >= 0;) {{
    switch (block) {{
{cases}
      default: __builtin_unreachable();
    }}
  }}
  detach(frame.result, {{{kept}}});
{writes}
  return std::move(frame.result);
}}"""

    def _table(self) -> str:
        features = ", ".join(text(feature) for feature in self._features)
        return f"""\
int create(dyncc_model** model) {{
  return guarded([&] {{
    check_cpu({{{features}}});
    auto made = std::make_unique<dyncc_model>();
    set_initial(made->state);
    *model = made.release();
  }});
}}

void destroy(dyncc_model* model) {{ delete model; }}

int run(dyncc_model* model, const dyncc_value* inputs, size_t count, dyncc_result** result) {{
  return guarded([&] {{
    check_call({text(self._program.name)}, model, inputs, count, kInputCount, result);
    *result = new dyncc_result(run_program(*model, inputs));
  }});
}}

const dyncc_value* value(const dyncc_result* result) {{ return &result->value; }}

void release(dyncc_result* result) {{ delete result; }}

int reset(dyncc_model* model) {{
  return guarded([&] {{ set_initial(model->state); }});
}}

const char* error() {{ return last_error().c_str(); }}

const dyncc_api kApi = {{
    DYNCC_ABI_VERSION, {text(self._program.name)}, {text(self._target)}, kInputCount, kInputs,
    create, destroy, run, value, release, reset, error}};"""


def _member(index: int) -> str:
    return f"s{index}"


def _written(index: int) -> str:
    return f"written{index}"


def _handed_over(value: Value, last: bool) -> str:
    """An argument of an edge; what nothing uses any more is moved."""
    name = variable(value)
    return f"std::move({name})" if last and not _is_number(value) else name


def _is_number(value: Value) -> bool:
    return str(value.type) in ("bool", "int", "float")
