"""Regions in C++: each a function that calls its kernels one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from dyncc.backends.tvm.kernels import Buffer, Kernels, RegionPlan
from dyncc.export.literals import dtype
from dyncc.export.weights import Data


class Shapes:
    """Arrays of extents, each once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def __call__(self, shape: Sequence[int]) -> str:
        """The name of the array for a shape."""
        return self._known.setdefault(tuple(shape), f"kShape{len(self._known)}")

    def table(self) -> str:
        """The definitions."""
        return "\n".join(
            # A scalar has no extents, but a pointer to them that is not null.
            f"const int64_t {name}[] = {{{', '.join(map(str, shape or (0,)))}}};"
            for shape, name in self._known.items()
        )


def declarations(kernels: Kernels) -> str:
    """Declarations of the kernels in the object file."""
    symbols = {symbol for plan in kernels.regions.values() for symbol, _ in plan.calls}
    lines = [f"dyncc_host::Kernel {symbol};" for symbol in sorted(symbols)]
    return "\n".join(['extern "C" {', *lines, "}"])


def functions(kernels: Kernels, shapes: Shapes, data: Data) -> list[str]:
    """A function for each region, ``region_`` and its position."""
    constants = [data.add(array) for array in kernels.constants]
    return [
        _function(index, name, plan, shapes, constants)
        for index, (name, plan) in enumerate(kernels.regions.items())
    ]


def tensor_at(place: str, kind: str, shape: Sequence[int], shapes: Shapes) -> str:
    """A tensor in the library's own data."""
    return f"Tensor::at({place}, {dtype(kind)}, {shapes(shape)}, {len(shape)}, Memory::kStatic)"


def _function(
    index: int, name: str, plan: RegionPlan, shapes: Shapes, constants: Sequence[int]
) -> str:
    params = [f"const Tensor& p{i}" for i in range(plan.params)]
    results = [f"Tensor& r{i}" for i in range(len(plan.results))]
    signature = ", ".join(["dyncc_model& model", "const size_t* weights", *params, *results])
    lines = [f"// @{name}", f"void region_{index}({signature}) {{", "  (void)model, (void)weights;"]
    if plan.work:
        lines.append("  char* const work = model.scratch.data();")
    for i, buffer in enumerate(plan.fresh):
        lines.append(
            f"  Tensor f{i} = Tensor::empty({dtype(buffer.dtype)}, {shapes(buffer.shape)}, "
            f"{len(buffer.shape)});"
        )
    buffers = {buffer: "" for _, used in plan.calls for buffer in used}
    for i, buffer in enumerate(buffers):
        buffers[buffer] = f"b{i}"
        lines.append(
            f"  DLTensor b{i} = buffer({_data(buffer, constants)}, {dtype(buffer.dtype)}, "
            f"{shapes(buffer.shape)}, {len(buffer.shape)});"
        )
    for symbol, used in plan.calls:
        lines.append(f"  call({', '.join([symbol, *(buffers[buffer] for buffer in used)])});")
    for i, buffer in enumerate(plan.results):
        lines.append(f"  r{i} = {_result(buffer, plan, shapes, constants)};")
    return "\n".join([*lines, "}"])


def _data(buffer: Buffer, constants: Sequence[int]) -> str:
    """The address of a buffer's first element."""
    match buffer.place:
        case "param":
            return f"p{buffer.index}.data()"
        case "weight":
            return f"dyncc_data + weights[{buffer.index}]"
        case "constant":
            return f"dyncc_data + {constants[buffer.index]}"
        case "work":
            return f"work + {buffer.index}"
        case _:
            return f"f{buffer.index}.data()"


def _result(buffer: Buffer, plan: RegionPlan, shapes: Shapes, constants: Sequence[int]) -> str:
    view = f".view({shapes(buffer.shape)}, {len(buffer.shape)})"
    if buffer.place == "fresh":
        return f"f{buffer.index}{'' if buffer == plan.fresh[buffer.index] else view}"
    if buffer.place == "param":
        return f"p{buffer.index}{view}"
    if buffer.place == "work":
        # Scratch memory is the next region's: what leaves it is copied.
        made = f"Tensor::at(work + {buffer.index}, {dtype(buffer.dtype)}, {shapes(buffer.shape)}"
        return f"{made}, {len(buffer.shape)}, Memory::kBorrowed).copy()"
    return tensor_at(_data(buffer, constants), buffer.dtype, buffer.shape, shapes)
