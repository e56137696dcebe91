"""Calls an exported library through its C interface; runs alone, without dyncc, torch or tvm.

``python client.py LIBRARY``: standard input holds a list of steps as JSON, and the answers are
printed as JSON. A step is ``{"run": [arguments]}`` or ``{"reset": true}``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import numpy

NONE, BOOL, INT, FLOAT, STR, TENSOR, TUPLE, LIST, DICT, STRUCT = range(10)
#: DLPack's type codes.
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
VERSION = 1


class DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Content(ctypes.Union):
    _fields_ = [
        ("integer", ctypes.c_int64),
        ("real", ctypes.c_double),
        ("text", ctypes.c_void_p),
        ("tensor", ctypes.POINTER(Tensor)),
        ("items", ctypes.c_void_p),
    ]


class Value(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32),
        ("key", ctypes.c_char_p),
        ("type_name", ctypes.c_char_p),
        ("count", ctypes.c_size_t),
        ("content", Content),
    ]


class Input(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_int32),
        ("dtype", DataType),
        ("ndim", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
    ]


class Api(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint32),
        ("network", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("input_count", ctypes.c_size_t),
        ("inputs", ctypes.POINTER(Input)),
        ("create", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_void_p))),
        ("destroy", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        (
            "run",
            ctypes.CFUNCTYPE(
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.POINTER(Value),
                ctypes.c_size_t,
                ctypes.POINTER(ctypes.c_void_p),
            ),
        ),
        ("value", ctypes.CFUNCTYPE(ctypes.POINTER(Value), ctypes.c_void_p)),
        ("release", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("reset", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)),
        ("error", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    ]


class Library:
    """A library and one model of it."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        library.dyncc_get_api.restype = ctypes.POINTER(Api)
        self.api = library.dyncc_get_api().contents
        assert self.api.version == VERSION
        self.model = ctypes.c_void_p()
        code = self.api.create(ctypes.byref(self.model))
        if code:
            raise RuntimeError(self.api.error().decode())

    def run(self, arguments: list[Any]) -> dict[str, Any]:
        """Code and message, or code and value, and arrays that were arguments, after the call."""
        held = [made(argument) for argument in arguments]
        values = (Value * max(1, len(held)))(*(value for value, _ in held))
        result = ctypes.c_void_p()
        code = self.api.run(self.model, values, len(held), ctypes.byref(result))
        if code:
            return {"code": code, "error": self.api.error().decode()}
        shown = plain(self.api.value(result).contents)
        self.api.release(result)
        after = [array.tolist() for _, kept in held for array in kept[:1]]
        return {"code": 0, "value": shown, "arguments": after}


def made(argument: Any) -> tuple[Value, list[Any]]:
    """A value for an argument, and what has to live as long."""
    value = Value()
    if isinstance(argument, dict):
        return tensor_value(value, argument)
    if isinstance(argument, bool):
        value.kind, value.content.integer = BOOL, argument
    elif isinstance(argument, int):
        value.kind, value.content.integer = INT, argument
    elif isinstance(argument, float):
        value.kind, value.content.real = FLOAT, argument
    return value, []


def tensor_value(value: Value, argument: dict[str, Any]) -> tuple[Value, list[Any]]:
    """A tensor: ``data``, ``dtype``, ``shape``; ``null`` makes a pointer null, ``strided`` gaps."""
    value.kind = TENSOR
    if argument.get("null") == "tensor":
        return value, []
    shape = argument["shape"]
    array = numpy.array(argument["data"], argument["dtype"]).reshape(shape)
    if argument.get("strided"):
        wide = numpy.zeros([*shape[:-1], 2 * shape[-1] + 1], array.dtype)
        wide[..., 1::2] = array
        array = wide[..., 1::2]
    extents = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    strides = (ctypes.c_int64 * max(1, len(shape)))(*(s // array.itemsize for s in array.strides))
    dtype = DataType(CODES[array.dtype.kind], 8 * array.itemsize, 1)
    data = None if argument.get("null") == "data" else array.ctypes.data
    tensor = Tensor(data, argument.get("device", 1), 0, len(shape), dtype, extents, strides, 0)
    value.content.tensor = ctypes.pointer(tensor)
    return value, [array, extents, strides, tensor]


def plain(value: Value) -> Any:
    """A value as what JSON has, with its kind."""
    kind, content = value.kind, value.content
    if kind in (BOOL, INT):
        return bool(content.integer) if kind == BOOL else content.integer
    if kind == FLOAT:
        return {"float": content.real.hex()}
    if kind == STR:
        return ctypes.string_at(content.text, value.count).decode("utf-8", "surrogatepass")
    if kind == TENSOR:
        return array_of(content.tensor.contents)
    if kind == NONE:
        return None
    items = (Value * value.count).from_address(content.items) if value.count else ()
    names = {TUPLE: "tuple", LIST: "list", DICT: "dict", STRUCT: "struct"}
    if kind in (TUPLE, LIST):
        return {names[kind]: [plain(item) for item in items]}
    pairs = [[item.key.decode(), plain(item)] for item in items]
    name = {"name": value.type_name.decode()} if kind == STRUCT else {}
    return {names[kind]: pairs, **name}


def array_of(tensor: Tensor) -> dict[str, Any]:
    """The elements of a tensor as bytes, in hexadecimal digits."""
    assert not tensor.strides
    shape = [tensor.shape[axis] for axis in range(tensor.ndim)]
    width = tensor.dtype.bits // 8
    count = int(numpy.prod(shape, dtype=numpy.int64)) * width
    kind = next(letter for letter, code in CODES.items() if code == tensor.dtype.code)
    data = ctypes.string_at(tensor.data, count) if count else b""
    return {"dtype": f"{kind}{width}", "shape": shape, "data": data.hex()}


def inputs_of(api: Api) -> list[dict[str, Any]]:
    """What a library says of its arguments."""
    return [
        {
            "name": entry.name.decode(),
            "kind": entry.kind,
            "bits": entry.dtype.bits,
            "shape": [entry.shape[axis] for axis in range(entry.ndim)],
        }
        for entry in (api.inputs[index] for index in range(api.input_count))
    ]


def main() -> None:
    """Answer the requests."""
    library = Library(sys.argv[1])
    answers: list[Any] = [{"name": library.api.network.decode(), "inputs": inputs_of(library.api)}]
    for step in json.load(sys.stdin):
        if "run" in step:
            answers.append(library.run(step["run"]))
        else:
            answers.append({"code": library.api.reset(library.model)})
    library.api.destroy(library.model)
    assert not {"dyncc", "tvm", "tvm_ffi", "torch"} & set(sys.modules)
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
