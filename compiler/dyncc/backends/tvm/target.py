"""The CPU that the compiler works for: LLVM target, vector width, and what must be present."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tvm

from dyncc.core.errors import ConfigError, MissingToolError

#: Names, as the kernel spells them, of features whose absence would kill the process. Features
#: not listed here are never used by the code that is generated for plain float arithmetic.
_VECTOR_FEATURES = (
    *("sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "movbe"),
    *("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vbmi2"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "gfni"),
    *("asimd", "asimdhp", "asimddp", "sve", "sve2", "i8mm", "bf16"),
)


def _present() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


@dataclass(frozen=True)
class Cpu:
    """The machine that code is generated for.

    Attributes
    ----------
    mcpu
        LLVM's name of the CPU.
    features
        Features that the loading machine must have.
    lanes
        float32 elements in one vector register.
    registers
        Number of vector registers.
    threads
        Threads that a kernel may use.
    triple
        LLVM's name of the machine, or None for this one.
    """

    mcpu: str
    features: tuple[str, ...]
    lanes: int
    registers: int
    threads: int
    triple: str | None = None

    @classmethod
    def cross(cls, triple: str, mcpu: str | None = None) -> Cpu:
        """Describe another machine by its triple.

        Parameters
        ----------
        triple
            Such as ``aarch64-linux-gnu``.
        mcpu
            LLVM's name of the CPU, by default one that every machine of the triple understands.

        Raises
        ------
        ConfigError
            If the triple is none that code is generated for.
        """
        machine = triple.partition("-")[0]
        if machine not in _CROSS or triple.count("-") < 2:
            known = ", ".join(f"{name}-linux-gnu" for name in _CROSS)
            raise ConfigError(
                f"no code is generated for the target {triple!r}", hint=f"It may be {known}."
            )
        return replace(_CROSS[machine], triple=triple, mcpu=mcpu or _CROSS[machine].mcpu)

    @classmethod
    def host(cls) -> Cpu:
        """Describe the machine this process runs on."""
        system_cpu = tvm.get_global_func("target.llvm_get_system_cpu", allow_missing=True)
        if system_cpu is None:
            raise MissingToolError(
                "this build of TVM has no LLVM code generator",
                hint="Install the apache-tvm wheel that dyncc asks for.",
            )
        present = _present()
        if "avx512f" in present:
            lanes, registers = 16, 32
        elif "avx2" in present:
            lanes, registers = 8, 16
        else:
            lanes, registers = 4, 32 if "asimd" in present else 16
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        features = tuple(name for name in _VECTOR_FEATURES if name in present)
        return cls(str(system_cpu()), features, lanes, registers, threads)

    def target(self) -> tvm.target.Target:
        """Return TVM's target for this CPU."""
        options = {"kind": "llvm", "mcpu": self.mcpu, "num-cores": self.threads, "opt-level": 3}
        if self.triple is not None:
            options["mtriple"] = self.triple
        return tvm.target.Target(options)

    def describe(self) -> dict[str, Any]:
        """Return what a report keeps of the target."""
        return {
            "kind": "llvm",
            "machine": self.triple.partition("-")[0] if self.triple else platform.machine(),
            "mcpu": self.mcpu,
            "features": list(self.features),
            "lanes": self.lanes,
            "threads": self.threads,
        }


#: What may be taken for granted of machines elsewhere, by the first part of their triples: Armv8-A
#: with its 32 vector registers of 128 bits, and x86-64-v3. Boards have four cores as a rule.
_CROSS = {
    "aarch64": Cpu("generic", ("asimd",), lanes=4, registers=32, threads=4),
    "x86_64": Cpu(
        "x86-64-v3", ("avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"), 8, registers=16, threads=4
    ),
}
