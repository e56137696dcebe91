"""Load and call a compiled region library.

This module is all that an artifact needs at run time: TVM's runtime library, its foreign function
interface (the package ``tvm_ffi``), NumPy and the standard library. It imports no compiler part of
dyncc, and not the package ``tvm``, which is TVM's compiler and takes seconds to import.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from dyncc.core.errors import ArtifactError, InputError
from dyncc.runtime.alignment import ALIGNMENT, aligned
from dyncc.runtime.regioncode import numbered, region_caller
from dyncc.runtime.threads import thread_count

# For libraries without threads of their own. TVM reads this once, when it starts; left to itself it
# has been seen to use one thread.
os.environ.setdefault("TVM_NUM_THREADS", str(thread_count()))
# Its threads look for work 300 000 times before they sleep, yielding the processor each time. Where
# others want it too, that keeps a process from ending for minutes. These take half a millisecond.
os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "1000")

import tvm_ffi

_KIND_CPU, _POOLED_ALLOCATOR = 1, 2


def _start_runtime() -> None:
    """Load TVM's runtime library, which registers its functions and objects.

    Importing ``tvm`` would do the same and load the compiler as well; it may be imported before or
    after. The symbols are global: compiled libraries refer to them.
    """
    package = importlib.util.find_spec("tvm")
    for folder in (package and package.submodule_search_locations) or ():
        for file in Path(folder).glob("lib/libtvm_runtime.*"):
            ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL)
            return
    raise ImportError("TVM's runtime library is not there; the package apache-tvm has it")


_start_runtime()
_item_of_tuple = tvm_ffi.get_global_func("ffi.ArrayGetItem")


def cpu_features() -> frozenset[str] | None:
    """Return the kernel's names of this CPU's instruction-set features.

    Returns
    -------
    frozenset of str or None
        ``None`` where the system does not tell.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return None


def to_numpy(tensor: Any) -> numpy.ndarray:
    """Return a NumPy view of a TVM tensor; the view keeps the tensor's memory alive."""
    return numpy.from_dlpack(tensor)


def from_external(array: Any) -> Any:
    """Turn a torch tensor or a NumPy array into a TVM tensor.

    The memory is shared when it is contiguous, writable and aligned to 64 bytes, and copied
    otherwise: compiled code crashes on a misaligned argument.

    Parameters
    ----------
    array
        A CPU torch tensor, a NumPy array, a tensor of ONNX Runtime, or a TVM tensor (returned as it
        is).

    Returns
    -------
    tvm_ffi.Tensor
        A tensor with the same shape, dtype and values.
    """
    if isinstance(array, tvm_ffi.Tensor):
        return array
    # Tensors of others are recognised by what they can do, so that nothing need be imported.
    if hasattr(array, "requires_grad"):  # torch's
        if array.requires_grad:
            array = array.detach()
        usable = array.data_ptr() % ALIGNMENT == 0 and array.is_contiguous() and array.numel()
        if usable and not array.is_neg() and not array.is_conj():
            return tvm_ffi.from_dlpack(array)
        array = array.resolve_conj().resolve_neg().numpy()
    elif hasattr(array, "tensor_size_in_bytes"):  # ONNX Runtime's
        if array.tensor_size_in_bytes() and array.data_ptr() % ALIGNMENT == 0:
            return tvm_ffi.from_dlpack(array)
        array = array.numpy()
    array = numpy.asarray(array)
    usable = (
        array.size
        and array.flags.c_contiguous
        and array.flags.writeable
        and array.ctypes.data % ALIGNMENT == 0
    )
    return tvm_ffi.from_dlpack(array if usable else aligned(array))


def sharing(example: Any) -> Callable[[Any], Any]:
    """What `from_external` does with arrays of the class and dtype of this one, but in less time.

    Those whose memory is not shared are left to it.
    """
    if type(example) is numpy.ndarray:
        return _of_numpy
    if hasattr(example, "requires_grad") and not example.is_complex():
        return _of_torch
    return from_external


def _of_numpy(array: Any) -> Any:
    try:
        tensor = tvm_ffi.from_dlpack(array)
    except Exception:  # noqa: BLE001 - read-only, or what `from_external` has to refuse
        return from_external(array)
    return tensor if _is_usable(tensor) else tvm_ffi.from_dlpack(aligned(array))


def _of_torch(array: Any) -> Any:
    if array.requires_grad or array.is_neg():
        return from_external(array)
    try:
        tensor = tvm_ffi.from_dlpack(array)
    except Exception:  # noqa: BLE001 - what `from_external` has to refuse
        return from_external(array)
    return tensor if _is_usable(tensor) else from_external(array)


def _is_usable(tensor: Any) -> bool:
    """Whether compiled code can take the memory of a tensor as it is."""
    found: bool = not tensor.data_ptr() % ALIGNMENT and tensor.is_contiguous() and tensor.numel()
    return found


def pack(recipe: Mapping[str, Any], sources: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """Carry out a packing recipe.

    Parameters
    ----------
    recipe
        ``{"inputs": [...], "steps": [[operation, argument], ...]}``.
    sources
        The arrays of ``recipe["inputs"]``.
    """
    value = sources[0]
    for operation, argument in recipe["steps"]:
        if operation == "reshape":
            value = value.reshape(argument)
        elif operation == "transpose":
            value = value.transpose(argument)
        elif operation == "pad":
            value = numpy.pad(value, argument)
        elif operation == "bn_scale":
            value = _bn_scale(argument, sources)
        elif operation == "bn_shift":
            _, beta, mean, _ = (source.astype("float64") for source in sources)
            value = beta - mean * _bn_scale(argument, sources)
        elif operation == "windows":
            value = _transformed_windows(numpy.array(argument), value)
        elif operation == "astype":
            value = value.astype(argument)
        else:
            raise ArtifactError(
                f"the library asks for an unknown packing step {operation!r}",
                hint="Compile the model again with this version of dyncc.",
            )
    return numpy.asarray(value, order="C")  # ascontiguousarray makes 0-d arrays 1-d


def _transformed_windows(matrix: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
    """Return ``matrix @ window @ matrix.T`` in float64, for windows in the last two of four axes.

    The axes of the result are those of the windows first, then those of which there are many.
    """
    places, many = matrix.shape[0], weights.shape[:2]
    windows = weights.reshape(math.prod(many), -1).T.astype("float64")
    transformed: numpy.ndarray = numpy.kron(matrix, matrix) @ windows
    return transformed.reshape(places, places, *many)


def _bn_scale(epsilon: float, sources: Sequence[numpy.ndarray]) -> numpy.ndarray:
    gamma, _, _, variance = (source.astype("float64") for source in sources)
    scale: numpy.ndarray = gamma / numpy.sqrt(variance + epsilon)
    return scale


_launcher = 0


def _share_threads(module: Any) -> None:
    """Let a library use the threads of the first one that was loaded, which it may be itself.

    They are in `dyncc/backends/tvm/support/threads.cpp`. A library that has none uses TVM's.
    """
    global _launcher
    if module.implements_function("dyncc_threads", query_imports=True):
        choose = module.get_function("dyncc_threads", query_imports=True)
        _launcher = choose(thread_count(), _launcher)


def _load(path: Path) -> Any:
    """Load a library, also where another one was loaded from the same path before.

    The dynamic loader knows libraries by name: after a model is compiled again into the same
    directory, it would hand out the old code. A copy of its own name makes it look at the file
    (TVM follows links); it stays mapped after it is deleted.
    """
    with tempfile.TemporaryDirectory(prefix="dyncc.") as directory:
        module = tvm_ffi.load_module(str(shutil.copy(path, directory)))
        _share_threads(module)
        return module


class TvmLibrary:
    """A compiled region library.

    Parameters
    ----------
    path
        The shared library that `dyncc.backends.tvm.build` wrote.
    report
        The report that `dyncc.backends.tvm.build` returned.

    Raises
    ------
    ArtifactError
        If the library is missing or damaged, or was compiled for features this machine lacks.
    """

    def __init__(self, path: Path, report: Mapping[str, Any]) -> None:
        self._report = report
        self._packed: dict[tuple[tuple[str, ...], str], Any] = {}
        self._check_machine(report["target"])
        if not report["regions"]:
            return  # a program without tensor code that TVM compiles has no library
        if not Path(path).is_file():
            raise ArtifactError(f"the region library {path} is missing")
        try:
            self._machine = _load(Path(path))["vm_load_executable"]()
            self._machine["vm_initialization"](_KIND_CPU, 0, _POOLED_ALLOCATOR)
        except (RuntimeError, AttributeError, ValueError, OSError) as error:
            raise ArtifactError(
                f"the region library {path} cannot be loaded: {error}",
                hint="Compile the model again.",
            ) from error

    @staticmethod
    def _check_machine(target: Mapping[str, Any]) -> None:
        here = platform.machine()
        if target["machine"] != here:
            raise ArtifactError(
                f"the library was compiled for {target['machine']}, and this machine is {here}",
                hint="Compile the model again on this machine.",
            )
        present = cpu_features()
        # A system that does not list its features gets the benefit of the doubt.
        missing = sorted(set(target["features"]) - present) if present is not None else []
        if missing:
            raise ArtifactError(
                "the library was compiled for CPU features that this machine lacks: "
                + ", ".join(missing),
                hint="Compile the model again on this machine.",
            )

    tensor = tvm_ffi.Tensor
    from_external = staticmethod(from_external)
    sharing = staticmethod(sharing)
    to_numpy = staticmethod(to_numpy)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions in the library."""
        return tuple(self._report["regions"])

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., tuple[Any, ...]]:
        """Bind a region to the weights of one call site.

        Parameters
        ----------
        region
            Name of the region.
        weights
            Raw weights, in the order of the region program's weight inputs.
        names
            Their names. Equal names must mean equal arrays: packed weights are kept by name.

        Returns
        -------
        callable
            Takes the activations as TVM tensors, returns a tuple of TVM tensors.
        """
        try:
            entry = self._report["regions"][region]
            function = self._machine[entry["entry"]]
        except (KeyError, AttributeError, ValueError) as error:
            raise ArtifactError(f"the region library has no region {region!r}") from error
        if len(weights) != entry["weights"] or len(names) != entry["weights"]:
            raise InputError(
                f"region {region!r} takes {entry['weights']} weights, "
                f"not {len(weights)} with {len(names)} names"
            )
        packed = tuple(self._weight(recipe, weights, names) for recipe in entry["packed"])
        # Iterating over TVM's tuples is slow, and so is `[]`.
        if "results" in entry:
            args = ", ".join([*numbered("p", entry["params"]), *numbered("w", len(packed))])
            known = {"run": function, "item": _item_of_tuple}
            known |= zip(numbered("w", len(packed)), packed, strict=True)
            return region_caller(
                entry["params"], entry["results"], f"run({args})", "item(found, {})", known
            )

        def call(*activations: Any) -> tuple[Any, ...]:  # reports of before do not count
            results = function(*activations, *packed)
            return tuple([_item_of_tuple(results, place) for place in range(len(results))])

        return call

    def _weight(
        self, recipe: Mapping[str, Any], weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Any:
        key = (tuple(names[i] for i in recipe["inputs"]), json.dumps(recipe["steps"]))
        if key not in self._packed:
            sources = [weights[i] for i in recipe["inputs"]]
            self._packed[key] = from_external(pack(recipe, sources))
        return self._packed[key]
