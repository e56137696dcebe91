"""The source tree of a library: all that a C++ compiler needs to build it, on any machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy

from dyncc.backends.tvm.kernels import Kernels
from dyncc.core.errors import MissingToolError
from dyncc.export.program import ProgramSource
from dyncc.export.weights import Data
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.sizes import Sizes

#: Files of a tree.
PROGRAM, KERNELS, DATA, DATA_ASSEMBLY, EXPORTS, CMAKE = (
    "program.cpp", "kernels.o", "data.bin", "data.s", "exports.map", "CMakeLists.txt",
)  # fmt: skip

#: Headers of TVM and DLPack that the sources include, and the package that has each.
_HEADERS = {
    "dlpack/dlpack.h": "tvm_ffi",
    "tvm/ffi/c_api.h": "tvm_ffi",
    "tvm/runtime/base.h": "tvm",
    "tvm/runtime/c_backend_api.h": "tvm",
}

#: Options that the meaning of a program rests on: no fused multiply-add where Python has none.
COMPILE_OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")
#: Only the table is visible; what a library needs may lie beside it.
LINK_OPTIONS = ("-shared", "-Wl,-rpath,$ORIGIN", "-Wl,--no-undefined", "-Wl,-Bsymbolic")
LIBRARIES = ("tvm_runtime", "tvm_ffi")

_ASSEMBLY = f"""\
    .section .rodata
    .globl dyncc_data
    .hidden dyncc_data
    .balign 64
dyncc_data:
    .incbin "{DATA}"
    .byte 0
    .section .note.GNU-stack,"",%progbits
"""

_EXPORTS = "{ global: dyncc_get_api; local: *; };\n"

_CMAKE = """\
# Builds the library on the machine that it is for, against TVM's runtime:
#   cmake -S . -B build -DTVM_LIBRARIES=FOLDER && cmake --build build
cmake_minimum_required(VERSION 3.18)
project(@NAME@ CXX ASM)

set(TVM_LIBRARIES "" CACHE PATH "Folder with libtvm_runtime.so and libtvm_ffi.so")
find_library(TVM_RUNTIME tvm_runtime HINTS ${TVM_LIBRARIES} REQUIRED)
find_library(TVM_FFI tvm_ffi HINTS ${TVM_LIBRARIES} REQUIRED)

set(CMAKE_ASM_FLAGS "${CMAKE_ASM_FLAGS} -Wa,-I${CMAKE_CURRENT_SOURCE_DIR}")
set_source_files_properties(data.s PROPERTIES OBJECT_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/data.bin)
add_library(@NAME@ MODULE program.cpp data.s @KERNELS@)
target_include_directories(@NAME@ PRIVATE include support)
target_compile_options(@NAME@ PRIVATE $<$<COMPILE_LANGUAGE:CXX>:@OPTIONS@>)
target_link_options(@NAME@ PRIVATE "-Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/exports.map"
                    "-Wl,-rpath,$ORIGIN" -Wl,-Bsymbolic)
target_link_libraries(@NAME@ PRIVATE ${TVM_RUNTIME} ${TVM_FFI})
set_target_properties(@NAME@ PROPERTIES PREFIX "")
"""


def write_tree(
    folder: Path,
    program: Hcfg,
    sizes: Sizes,
    weights: Mapping[str, numpy.ndarray],
    kernels: Kernels,
    target: Mapping[str, object],
) -> None:
    """Write the tree of a program into an existing folder.

    Parameters
    ----------
    sizes
        Sizes of arguments that calls decide.
    kernels
        The regions of the program.
    target
        What `Cpu.describe` says of the machine that they are for.
    """
    data = Data(weights)
    features = target["features"]
    assert isinstance(features, list)
    machine = f"{target['machine']} {target['mcpu']}"
    source = ProgramSource(program, sizes, kernels, data, machine, tuple(features)).write()
    (folder / PROGRAM).write_text(source, encoding="utf-8")
    (folder / DATA_ASSEMBLY).write_text(_ASSEMBLY, encoding="ascii")
    (folder / EXPORTS).write_text(_EXPORTS, encoding="ascii")
    with (folder / DATA).open("wb") as file:
        data.write(file)
    if kernels.code:
        (folder / KERNELS).write_bytes(kernels.code)
    name = "".join(char if char.isalnum() else "_" for char in program.name)
    cmake = _CMAKE.replace("@NAME@", name).replace("@KERNELS@", KERNELS if kernels.code else "")
    options = ";".join(option for option in COMPILE_OPTIONS if option != "-fPIC")
    (folder / CMAKE).write_text(cmake.replace("@OPTIONS@", options), encoding="utf-8")
    here = Path(__file__).parent
    shutil.copytree(here / "support", folder / "support")
    copy_headers(folder / "include")


def copy_headers(folder: Path) -> None:
    """Copy the headers that programs which load libraries include, and those of the sources."""
    shutil.copytree(Path(__file__).parent / "include", folder, dirs_exist_ok=True)
    for name, package in _HEADERS.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package_folder(package) / "include" / name, target)


def package_folder(name: str) -> Path:
    """Where an installed package is, without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingToolError(
            f"the package {name} was not found", hint="Install dyncc with its dependencies."
        )
    return Path(spec.origin).parent


def library_folders() -> list[Path]:
    """Where TVM's runtime libraries are."""
    return [package_folder("tvm") / "lib", package_folder("tvm_ffi") / "lib"]


def copy_runtime(folder: Path) -> None:
    """Copy TVM's runtime libraries, as they are for this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in zip(library_folders(), LIBRARIES, strict=True):
        file = f"lib{name}.so"
        # A program that runs has the old file open, which must not be written to.
        unfinished = folder / f".{file}.{os.getpid()}"
        shutil.copy(place / file, unfinished)
        unfinished.replace(folder / file)
