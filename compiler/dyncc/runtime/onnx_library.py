"""Load and call regions that are ONNX models, with ONNX Runtime.

This module is all that such an artifact needs at run time: ONNX Runtime, NumPy and the standard
library. It neither imports torch nor any compiler part of dyncc.

A *session* is a model with the weights of one call site. ONNX Runtime folds constants and packs
matrices when it is made, which it can do for weights only if they are initialisers of the model.
So the models name their weights as data from outside, and each session is given the arrays of the
artifact's one copy; they are not copied.

Sessions have threads of their own. ONNX Runtime can share one pool between all sessions of a
process, but once it does, it refuses sessions of others that do not. So only regions whose work
repays it get more than one thread. These spin while their session runs and sleep when it ends:
threads that spin between calls take the processor from the next region, or from TVM's threads.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as bindings

from dyncc.core.errors import ArtifactError, InputError
from dyncc.runtime.regioncode import numbered, region_caller
from dyncc.runtime.threads import thread_count

# The tensors of the bindings, not their wrappers in Python. Least times of a call that adds 32
# numbers: 2.8 µs with these, 5.3 with NumPy arrays, 35 with the wrappers.
OrtValue = bindings.OrtValue
_from_dlpack = OrtValue.from_dlpack

#: What ONNX Runtime raises; its exceptions have no base of their own.
FAILURES = (
    bindings.Fail, bindings.InvalidArgument, bindings.InvalidGraph, bindings.InvalidProtobuf,
    bindings.NoModel, bindings.NoSuchFile, bindings.NotImplemented, bindings.RuntimeException,
    RuntimeError, ValueError,
)  # fmt: skip

_CPU = bindings.OrtDevice(bindings.OrtDevice.cpu(), bindings.OrtDevice.default_memory(), 0)


def to_numpy(tensor: Any) -> numpy.ndarray:
    """Return a NumPy view of a tensor; the view keeps its memory alive."""
    found: numpy.ndarray = tensor.numpy()
    return found


def from_external(array: Any) -> Any:
    """Turn a torch tensor, a NumPy array or another library's tensor into one of ONNX Runtime.

    The memory is shared when it is contiguous and writable, and copied otherwise.

    Parameters
    ----------
    array
        A CPU torch tensor, a NumPy array, an `OrtValue` (returned as it is), or anything else
        that offers its memory through DLPack.

    Returns
    -------
    OrtValue
        A tensor with the same shape, dtype and values.
    """
    if isinstance(array, OrtValue):
        return array
    if isinstance(array, numpy.ndarray):
        return _of_numpy(array)
    if hasattr(array, "requires_grad"):
        # A torch tensor, recognised by what it can do, so that torch need not be imported.
        return _of_torch(array)
    if isinstance(array, numpy.generic):
        array = numpy.require(array, requirements=["C", "W"])
    return OrtValue.from_dlpack(array.__dlpack__())


def sharing(example: Any) -> Callable[[Any], Any]:
    """What `from_external` does with arrays of the class of this one, without a look at it."""
    if type(example) is numpy.ndarray:
        return _of_numpy
    return _of_torch if hasattr(example, "requires_grad") else from_external


def _of_numpy(array: Any) -> Any:
    if not array.flags.carray:
        array = numpy.require(array, requirements=["C", "W"])
    return _from_dlpack(array.__dlpack__())


def _of_torch(array: Any) -> Any:
    if array.requires_grad:
        array = array.detach()
    # As a rule nothing is to be resolved, and to ask takes half as long as to resolve it.
    if array.is_neg() or array.is_conj() or not array.is_contiguous():
        array = array.resolve_conj().resolve_neg().contiguous()
    # A tensor's `__dlpack__` is written in Python, and takes 3 µs.
    return _from_dlpack(sys.modules["torch"].utils.dlpack.to_dlpack(array))


def open_session(
    model: bytes, weights: Mapping[str, numpy.ndarray], threads: int
) -> onnxruntime.InferenceSession:
    """Prepare a model for calls.

    Parameters
    ----------
    model
        The model, serialised.
    weights
        Its initialisers from outside. The session uses their memory, which must outlive it.
    threads
        How many threads an operator may use.

    Raises
    ------
    Exception
        One of `FAILURES`, if the model is damaged, or has an operator for which ONNX Runtime has
        no code.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised as well
    options.add_session_config_entry("session.force_spinning_stop", "1")
    _share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxLibrary:
    """The regions of an artifact that are ONNX models.

    Parameters
    ----------
    directory
        Where `dyncc.backends.onnxruntime.build` wrote the models.
    report
        The report that it returned.

    Raises
    ------
    ArtifactError
        If a model is missing.
    """

    tensor = OrtValue
    from_external = staticmethod(from_external)
    sharing = staticmethod(sharing)
    to_numpy = staticmethod(to_numpy)

    def __init__(self, directory: Path, report: Mapping[str, Any]) -> None:
        self._report = report
        self._models: dict[str, bytes] = {}
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        self._kept: list[Sequence[numpy.ndarray]] = []
        for name, entry in report["regions"].items():
            try:
                self._models[name] = (Path(directory) / entry["model"]).read_bytes()
            except OSError as error:
                raise ArtifactError(
                    f"the model of the region {name!r} cannot be read: {error}",
                    hint="Compile the model again.",
                ) from error

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions."""
        return tuple(self._models)

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., Sequence[Any]]:
        """Bind a region to the weights of one call site.

        Parameters
        ----------
        region
            Name of the region.
        weights
            Raw weights, in the order of the region program's weight inputs.
        names
            Their names. Equal names must mean equal arrays: sessions are kept by name.

        Returns
        -------
        callable
            Takes the activations as `OrtValue`, returns a sequence of them. ONNX Runtime owns the
            results' memory; no two results share it.

        Raises
        ------
        ArtifactError
            If ONNX Runtime does not take the model.
        """
        if region not in self._models:
            raise ArtifactError(f"the artifact has no model of the region {region!r}")
        entry = self._report["regions"][region]
        if len(weights) != entry["weights"] or len(names) != entry["weights"]:
            raise InputError(
                f"region {region!r} takes {entry['weights']} weights, "
                f"not {len(weights)} with {len(names)} names"
            )
        # The session's wrapper in Python takes and gives other tensors, see `OrtValue`.
        # Results by index: to iterate over a vector of the bindings takes 35 µs.
        takes = ", ".join(f"{name!r}: {name}" for name in numbered("p", entry["params"]))
        known = {
            "run": self._session(region, weights, names)._sess.run_with_ort_values,
            "gives": numbered("r", entry["results"]),
            "options": onnxruntime.RunOptions(),
        }
        called = f"run({{{takes}}}, gives, options)"
        return region_caller(entry["params"], entry["results"], called, "found[{}]", known)

    def _session(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> onnxruntime.InferenceSession:
        key = (region, *names)
        if key not in self._sessions:
            threads = thread_count() if self._report["regions"][region]["parallel"] else 1
            outside = {f"w{index}": array for index, array in enumerate(weights)}
            try:
                self._sessions[key] = open_session(self._models[region], outside, threads)
            except FAILURES as error:
                raise ArtifactError(
                    f"ONNX Runtime {onnxruntime.__version__} does not take the region {region!r}: "
                    f"{error}",
                    hint="The artifact was made with ONNX Runtime "
                    f"{self._report['onnxruntime']}: install that, or compile the model again.",
                ) from error
            self._kept.append(weights)
        return self._sessions[key]


@functools.cache
def _share_memory() -> None:
    """Make one arena for all sessions; each would keep all that it ever used otherwise."""
    kind = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    arena = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})  # no more than is asked for
    with contextlib.suppress(*FAILURES):  # where another user of ONNX Runtime has made one
        onnxruntime.create_and_register_allocator(kind, arena)
