"""Where candidates run: in this process, or on a machine that TVM's RPC tracker hands out."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy
import tvm
from tvm import s_tir, te

from dyncc.backends.refusals import FAILURES, tail
from dyncc.core.errors import ToolError
from dyncc.runtime.tvm_library import from_external, to_numpy

#: Runs a kernel once; its results are the last tensors that it was given.
Kernel = Callable[..., Any]

#: Seconds within which a tracker has to answer.
_ANSWER = 5.0

#: Seconds that a machine of the tracker's is waited for while others have all of them.
_PATIENCE = 20.0

#: Seconds after which a server ends a session by itself, so that it is free if this process dies.
_SESSION = 600

#: Sets which cores TVM's threads use (here the fast ones, where they differ) and how many.
_CONFIGURE, _BIG_CORES = "runtime.config_threadpool", 1

#: All threads together have to be this part of their number faster than one, or others are at work.
_FREE = 0.8


class Machine(Protocol):
    """Runs kernels."""

    #: Its name, for records.
    name: str

    def load(self, library: tvm.runtime.Module) -> Kernel:
        """Return the kernel ``main`` of a library, ready to be called."""

    def place(self, array: numpy.ndarray) -> Any:
        """Return an array of its own, for kernels to read or write."""

    def fetch(self, tensor: Any) -> numpy.ndarray:
        """Return what an array holds."""

    def burst(self, kernel: Kernel, arguments: Sequence[Any], calls: int) -> float:
        """Seconds of the fastest of some calls."""

    def use_threads(self, count: int) -> None:
        """Let kernels run in this many threads from now on."""


class Here:
    """The process that tunes."""

    def __init__(self) -> None:
        from dyncc.runtime.threads import thread_count

        self.name = f"{_cpu_name()}, {thread_count()} threads"

    def load(self, library: tvm.runtime.Module) -> Kernel:
        """Return the kernel, compiled in memory."""
        kernel: Kernel = library["main"]
        return kernel

    def place(self, array: numpy.ndarray) -> Any:
        """Return a tensor of TVM's."""
        return from_external(array.copy())

    def fetch(self, tensor: Any) -> numpy.ndarray:
        """Return a copy."""
        return to_numpy(tensor).copy()

    def burst(self, kernel: Kernel, arguments: Sequence[Any], calls: int) -> float:
        """Seconds of the fastest call."""
        best = float("inf")
        for _ in range(calls):
            started = time.perf_counter()
            kernel(*arguments)
            best = min(best, time.perf_counter() - started)
        return best

    def use_threads(self, count: int) -> None:
        """Tell TVM's pool, which may bind this thread to a core; that is undone."""
        cpus = os.sched_getaffinity(0)
        tvm.get_global_func(_CONFIGURE)(_BIG_CORES, count)
        os.sched_setaffinity(0, cpus)


class There:
    """A machine behind a tracker.

    Parameters
    ----------
    host, port
        Of the tracker.
    key
        Of the kind of machine.

    Raises
    ------
    ToolError
        If there is no tracker, or it has no machine of that kind.
    """

    def __init__(self, host: str, port: int, key: str) -> None:
        self._key = key
        self._tracker = f"{host}:{port}"
        self.name = f"{self._key} of the tracker {self._tracker}"
        self._session = self._connect(host, port)
        self._device = self._session.cpu()
        self._loaded = 0

    def _connect(self, host: str, port: int) -> Any:
        from tvm import rpc

        try:
            # TVM would try for a minute.
            socket.create_connection((host, port), timeout=_ANSWER).close()
            tracker = rpc.TrackerSession((host, port))
        except FAILURES as error:
            raise ToolError(
                f"there is no RPC tracker at {self._tracker}",
                hint="Start one: python -m tvm.exec.rpc_tracker --host HOST --port PORT",
                log=tail(error),
            ) from error
        end = time.perf_counter() + _PATIENCE
        while True:
            found = self._asked(tracker)
            kinds = [str(item["key"]).partition(":")[2] for item in found["server_info"]]
            if self._key not in kinds:
                raise ToolError(
                    f"the RPC tracker at {self._tracker} has no server for the key {self._key!r}",
                    hint=f"It has {', '.join(sorted(set(kinds))) or 'none'}. Start one on the "
                    f"machine: python -m tvm.exec.rpc_server --tracker {self._tracker} "
                    f"--key {self._key}",
                )
            # A request waits until a server is free, however long that takes.
            if found["queue_info"].get(self._key, {}).get("free", 0) > 0:
                break
            if time.perf_counter() > end:
                raise ToolError(
                    f"all servers of the RPC tracker at {self._tracker} for the key "
                    f"{self._key!r} are in use",
                    hint="Try again when another process is done, or start one more server.",
                )
            time.sleep(0.2)
        try:
            return tracker.request(self._key, session_timeout=_SESSION)
        except FAILURES as error:
            raise ToolError(
                f"the RPC server for the key {self._key!r} of {self._tracker} does not answer",
                hint="See what it printed, and start it again.",
                log=tail(error),
            ) from error

    def _asked(self, tracker: Any) -> Any:
        try:
            return tracker.summary()
        except FAILURES as error:
            raise self._lost(error) from error

    def _lost(self, error: BaseException) -> ToolError:
        return ToolError(
            f"the connection to the RPC server for the key {self._key!r} of {self._tracker} "
            "was lost",
            hint="What was found until then is kept. Start the server again, and tune again.",
            log=tail(error),
        )

    def _checked(self, action: Callable[[], Any]) -> Any:
        """Carry out an action; what fails because nobody answers is a ToolError."""
        try:
            return action()
        except FAILURES as error:
            if self._answers():
                raise  # the candidate is at fault
            raise self._lost(error) from error

    def _answers(self) -> bool:
        try:
            self._session.get_function("runtime.RPCTimeEvaluator")
        except FAILURES:
            return False
        return True

    def load(self, library: tvm.runtime.Module) -> Kernel:
        """Send a library, and return its kernel."""
        name = f"candidate{self._loaded}.so"
        self._loaded += 1
        with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
            path = Path(folder) / name
            library.export_library(str(path))
            code = bytearray(path.read_bytes())

        def send() -> Any:
            self._session.upload(code, name)
            module = self._session.load_module(name)
            self._session.remove(name)
            return module

        return _Remote(self._checked(send))

    def place(self, array: numpy.ndarray) -> Any:
        """Send an array."""
        return self._checked(lambda: tvm.runtime.tensor(array, self._device))

    def fetch(self, tensor: Any) -> numpy.ndarray:
        """Get an array back."""
        found: numpy.ndarray = self._checked(tensor.numpy)
        return found

    def burst(self, kernel: Kernel, arguments: Sequence[Any], calls: int) -> float:
        """Seconds of the fastest call, as the machine itself measures it."""
        assert isinstance(kernel, _Remote)

        def measure() -> Any:
            evaluator = kernel.module.time_evaluator("main", self._device, number=1, repeat=calls)
            return evaluator(*arguments)

        return float(min(self._checked(measure).results))

    def use_threads(self, count: int) -> None:
        """Tell the pool of the server."""
        self._checked(lambda: self._session.get_function(_CONFIGURE)(_BIG_CORES, count))


class _Remote:
    """A kernel on another machine; its module can be measured."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self._function = module["main"]

    def __call__(self, *arguments: Any) -> None:
        self._function(*arguments)


def is_free(machine: Machine, threads: int, target: tvm.target.Target) -> bool:
    """Whether a machine runs some threads as fast side by side as one after the other.

    Where other processes want the CPUs too, kernels in several threads take the time of the one
    that waits longest, which says nothing about the kernels.
    """
    length = 4096
    x = te.placeholder((threads, length), name="x")
    k = te.reduce_axis((0, 64), "k")
    y = te.compute((threads, length), lambda i, j: te.sum(x[i, j] * (1 + k), axis=k), name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]))
    schedule.parallel(schedule.get_loops(schedule.get_sblock("y"))[0])
    with target:
        kernel = machine.load(tvm.tirx.build(schedule.mod, target=target))
    zeros = numpy.zeros((threads, length), "float32")
    arguments = [machine.place(zeros), machine.place(zeros)]
    times: dict[int, list[float]] = {1: [], threads: []}
    for _ in range(20):
        for count, seen in times.items():
            machine.use_threads(count)
            seen.append(machine.burst(kernel, arguments, 3))
    one, all_of_them = (sorted(seen)[len(seen) // 2] for seen in times.values())
    return one > _FREE * threads * all_of_them


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    import platform

    return platform.processor() or platform.machine()
