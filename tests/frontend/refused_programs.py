"""Programs that are refused, one for a diagnostic; docs/diagnostics.md is made from them.

Each function is the ``forward`` of a network and is compiled for a tensor x of shape (1, 4). `MEMBERS`
has what its network holds besides.
"""

# Wrong on purpose.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN003, ANN201, ANN202, ANN204, B007, B016, B030, B905, E501, F507, F821, F841
# ruff: noqa: PTH110, RUF059, S102, T201, UP030, UP031, UP032

from __future__ import annotations

import contextvars
import copy
import dataclasses
import functools
import itertools
import os
import sys
import threading
import warnings
from collections import deque
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

#: What the networks of some programs hold, by the name of the program.
MEMBERS: dict[str, dict[str, Any]] = {}

#: Limits of the front end that some programs meet sooner, by the name of the program.
LIMITS: dict[str, dict[str, int]] = {
    "endless_dict": {"variants.MAX_VARIANTS": 10},
    "many_questions": {"interpreter.MAX_QUESTIONS": 1},
}


def array_of_bfloat16(self, x):
    return x.bfloat16().numpy()


def tensor_and_array(self, x):
    return x + x.detach().numpy()


def array_and_data(self, x):
    return x.numpy() + x.sum().item()


def operator_of_arrays(self, x):
    return x.numpy() ** 2.5 // x.numpy()


def argument_of_numpy(self, x):
    return numpy.sum(x.numpy(), where=x.numpy() > 0)


def array_method(self, x):
    return x.numpy().tobytes()


def wrong_arguments(self, x):
    def inner(a):
        return a

    return inner(x, x)


def tuple_of_dynamic_length(self, x):
    items = []
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    return tuple(items)


def deep_copy(self, x):
    return copy.deepcopy(iter([x]))


def nested_lists(self, x):
    return torch.tensor([[x.sum().item()], [1.0]])


def double_star(self, x):
    def inner(**kwargs):
        return x

    return inner(**x)


GENERATOR = torch.Generator()


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.noise = torch.rand(4)

    def forward(self, x):
        return x + self.noise


def random_module(self, x):
    return Noisy()(x)


def random_numbers(self, x):
    return x + torch.rand(1, 4, generator=GENERATOR)


def random_order(self, x):
    return torch.rand_like(x.reshape(2, 2).t())


def random_activation(self, x):
    return nn.functional.rrelu(x, training=True)


def native_with_array(self, x):
    return numpy.linalg.norm(x.numpy())


def hooks(self, x):
    return self.layer(x)


_HOOKED = nn.Linear(4, 4)
_HOOKED.register_forward_hook(lambda module, args, result: result)
MEMBERS["hooks"] = {"layer": _HOOKED}


def recursion(self, x):
    def again(y):
        with torch.no_grad():
            return again(y * 2) if y.sum() < 100 else y

    return again(x)


def cell_without_value(self, x):
    if x.sum() > 0:
        y = x

    def inner():
        return y

    return inner()


def containers_of_data(self, x):
    return {"a": x.sum().item()} == {"a": 1.0}


def host_operation(self, x):
    return x.sum().item() @ 2


def truth_of_open_size(self, x):
    if x[x > 0]:
        return x
    return x + 1


def truth_of_several(self, x):
    if x > 0:
        return x
    return x + 1


def shapes_that_do_not_fit(self, x):
    return x @ x


def key_of_list(self, x):
    return {"a": x}[[1]]


def dict_without_key(self, x):
    return {"a": x}.pop("b")


def set_method(self, x):
    return {1, 2}.pop()


def set_without_key(self, x):
    seen = {1}
    seen.remove(2)
    return x


def tuple_method(self, x):
    return (x.sum().item(), 2.0).index(2.0)


def context_manager(self, x):
    with self.lock:
        return x


MEMBERS["context_manager"] = {"lock": threading.Lock()}


def autocast(self, x):
    with torch.autocast("cpu"):
        return x @ x.T


def a_class(self, x):
    class Inner:
        pass

    return x


def result_of_a_type(self, x):
    return {"x": x, "set": frozenset({1})}


def caught_operation(self, x):
    try:
        return x.sum().item() ** 0.5
    except ZeroDivisionError:
        return x


def arguments_of_object(self, x):
    class_ = object
    return class_(1)


class Plain:
    def __init__(self, value):
        self.value = value


def arguments_of_class(self, x):
    return Plain(x, x).value


def missing_attribute(self, x):
    return Plain(x).other


class Guarded:
    def __init__(self, value):
        self.value = value

    def __getattr__(self, name):
        raise AttributeError(name)


def has_attribute(self, x):
    return x if hasattr(Guarded(x), "other") else x + 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any


def frozen_object(self, x):
    item = Frozen(x)
    item.value = x
    return item.value


class Reading:
    @property
    def value(self):
        return 1


def no_setter(self, x):
    item = Reading()
    item.value = x
    return x


def object_method(self, x):
    return Plain(x).__dir__()


def content_needed(self, x):
    return numpy.float32(x.sum())


def outside_item(self, x):
    self.table["a"] = x
    return x


MEMBERS["outside_item"] = {"table": {"a": 1}}


def deletion(self, x):
    items = (x, x)
    del items[0]
    return x


def unpacking(self, x):
    a, b, c = x, x
    return a


def yield_in_forward(self, x):
    yield x


def yield_in_try(self, x):
    def items():
        try:
            yield x
        finally:
            print("done")

    for item in items():
        return item
    return x


def exhausted(self, x):
    found = iter([x])
    next(found)
    return next(found)


def deque_of_dynamic_length(self, x):
    seen = deque(maxlen=3)
    while x.sum() < 100:
        seen.append(x)
        x = x + 1
    seen.append(x)
    return list(seen)


def deque_method(self, x):
    seen = deque([x])
    return seen.index(x)


def dynamic_list_method(self, x):
    items = []
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    items.sort()
    return items


def list_method(self, x):
    return [1].__sizeof__()


def joined_numbers(self, x):
    items = []
    while x.sum() < 100:
        items.append(x.sum().item())
        x = x + 1
    return torch.cat(items)


def positional_pattern(self, x):
    match Plain(x):
        case Plain(value):
            return value
    return x


def method_of_object(self, x):
    return self.layer.weight.sum().item().hex()


MEMBERS["method_of_object"] = {"layer": nn.Linear(4, 4)}


def tensor_leaves(self, x):
    return x.data_ptr()


def nested_to_list(self, x):
    return x[x.sum(1) > 0].tolist()


def attribute_of_tensor(self, x):
    return x.missing


def foreign_object(self, x):
    self.box.value = 2
    return x


MEMBERS["foreign_object"] = {"box": Plain(1)}


def sequence_of_dynamic_length(self, x):
    items = []
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    a, b = items
    return a


def iterated_number(self, x):
    for item in int(x.sum()):
        x = x + item
    return x


def iterated_object(self, x):
    for item in Plain(x):
        x = x + item
    return x


def no_value(self, x):
    y = y + x
    return y


def no_name(self, x):
    return undefined(x)


def changed_array(self, x):
    array = x.numpy()
    array += 1
    return array


def operands(self, x):
    return {"a": x} - [x]


def raising_expression(self, x):
    return x + [1, 2][5]


VARIABLE = contextvars.ContextVar("VARIABLE")


def context_variable(self, x):
    return x + VARIABLE.get()


def context_variable_left(self, x):
    VARIABLE.set(1)
    return x


def context_variable_method(self, x):
    return VARIABLE.__hash__()


def error_keywords(self, x):
    raise ValueError(message="no")


class Shown(Exception):
    def __str__(self):
        return "shown"


def error_text(self, x):
    try:
        raise Shown("no")
    except Shown as error:
        return {"x": x, "text": str(error)}


def raised_number(self, x):
    raise 5


def caught_number(self, x):
    try:
        raise ValueError("no")
    except 5:
        return x


def strict_lengths(self, x):
    for a, b in zip((x,), (x, x), strict=True):
        x = a + b
    return x


def sorted_dynamic_list(self, x):
    items = []
    while x.sum() < 100:
        items.append(x.sum().item())
        x = x + 1
    return sorted(items)


def largest_of_dynamic_list(self, x):
    items = []
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    return max(items)


def format_of_container(self, x):
    print(f"{[x.sum().item()]:>20}")
    return x


def text_of_object(self, x):
    print(f"{Plain(x)}")
    return x


def print_to_file(self, x):
    print(x.sum().item(), file=sys.stderr)
    return x


def format_field(self, x):
    print("{0.real}".format(x.sum().item()))
    return x


def percent_values(self, x):
    print("%d %d" % (x.sum().item(),))
    return x


def super_in_function(self, x):
    def inner():
        return super().forward(x)

    return inner()


def environment(self, x):
    if os.environ.get("SCALE"):
        return x * float(os.environ["SCALE"])
    return x


def environment_by_a_function(self, x):
    return x / 2 if os.getenv("HALVE") else x


def command_line(self, x):
    return x / 2 if "--halve" in sys.argv else x


def method_of_the_environment(self, x):
    return x * len(self.read("HOME", ""))


MEMBERS["method_of_the_environment"] = {"read": os.environ.get}


def is_there(self, x):
    return x * os.path.exists("scale.txt")


def world(self, x):
    return x * self.random()


MEMBERS["world"] = {"random": __import__("random").random}


def array_with_dtype(self, x):
    return numpy.asarray(x.numpy(), dtype="float64")


def object_to_library(self, x):
    return torch.stack([x, Plain(x)])


def partial_to_library(self, x):
    return tree_map(functools.partial(torch.add, x), [x])


def method_to_library(self, x):
    return tree_map(x.mul, [x])


def function_to_library(self, x):
    def inner(y):
        return y * x

    return tree_map(inner, [x])


def size_as_float(self, x):
    return torch.sym_float(x[x > 0].shape[0])


def list_to_library(self, x):
    items = []
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    return torch.hstack(items)


def endless_iterator(self, x):
    for i in itertools.count():
        x = x + i
    return x


_SCOPE = {}
exec("def unseen(x):\n    return x + 1", _SCOPE)


def without_source(self, x):
    return self.unseen(x)


MEMBERS["without_source"] = {"unseen": _SCOPE["unseen"]}


def range_of_tensor(self, x):
    return torch.arange(x.sum())


def method_that_asks(self, x):
    return x.__contains__(1)


def index_that_asks(self, x):
    return x[[x[0, 0].long(), 0]]


def comparison_of_tensors(self, x):
    return torch.allclose(x, x + 1)


def tensor_of_tensors(self, x):
    return torch.tensor([x[0, 0], x[0, 1]])


def comparison_of_lists(self, x):
    return x if [x.sum().item(), None] == [1.0, None] else x + 1


def in_list_of_pairs(self, x):
    items = []
    while x.sum() < 100:
        items.append((x.sum().item(), x))
        x = x + 1
    return x if 1.0 in items else x + 1


def sizes_in_try(self, x):
    found = x[x > 0]
    try:
        return found + x[0, :3]
    except RuntimeError:
        return x


def index_in_try(self, x):
    try:
        return x[0][x[0].long()]
    except IndexError:
        return x


def resized_by_data(self, x):
    return nn.functional.interpolate(x[x > 0][None, None], scale_factor=1.5)


def rank_of_found(self, x):
    return torch.linalg.matrix_rank(x[x > 0][None])


def dict_method(self, x):
    return {"a": x}.__sizeof__()


def unhashable_key(self, x):
    return {slice(1): x}


def triples(self, x):
    return dict([(1, 2, x)])


def copied_module(self, x):
    return copy.deepcopy(self.layer)(x)


MEMBERS["copied_module"] = {"layer": nn.Linear(4, 4)}


class Table(dict):
    pass


class Row(list):
    pass


def keys_that_are_no_strings(self, x):
    return Table({1: x})


def result_of_a_class(self, x):
    return Plain(x)


def class_of_open_length(self, x):
    return len(Row(x[x > 0]))


def five():
    return 5


@dataclasses.dataclass
class WithFactory:
    value: Any = dataclasses.field(default_factory=five)


def default_factory(self, x):
    return x + WithFactory().value


class Descriptor:
    def __get__(self, owner, kind=None):
        return 1


class Holder:
    value = Descriptor()


def descriptor(self, x):
    return x + Holder().value


class Empty:
    pass


def class_without_arguments(self, x):
    return Empty(x)


class Pair(NamedTuple):
    a: Any
    b: Any


def named_tuple_without_an_item(self, x):
    return Pair(x)


class Sized:
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)


def truth_of_object(self, x):
    return x if Sized([x]) else x + 1


def key_from_data(self, x):
    return {x.sum().item(): 1}


def ellipsis_and_number(self, x):
    x = x * 1
    x[..., int(x.sum())] = 1
    return x


def throw_before_the_beginning(self, x):
    def items():
        yield x

    return items().throw(ValueError("no"))


def rotated_deque(self, x):
    seen = deque([x])
    seen.rotate(1)
    return seen[0]


def lists_of_two_kinds(self, x):
    tensors, numbers = [], []
    while x.sum() < 100:
        tensors.append(x)
        numbers.append(x.sum().item())
        x = x + 1
    return [*tensors, *numbers]


def extended_list(self, x):
    items = []
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    found = [x]
    found.extend(items)
    return found


def endless_dict(self, x):
    seen = {}
    while x.sum() < 100:
        seen[len(seen)] = x
        x = x + 1
    return x


def method_of_an_iterator(self, x):
    return iter([x]).__length_hint__()


def attribute_without_a_first_value(self, x):
    if self.before is not None:
        x = x + self.before
    self.before = x
    return x


MEMBERS["attribute_without_a_first_value"] = {"before": None}


def iterator_of_open_length(self, x):
    items = [x]
    found = iter(items)
    while x.sum() < 100:
        items.append(x)
        x = x + 1
    a, b = found
    return a


def begun_iterator(self, x):
    found = enumerate(x[x > 0])
    for i, item in found:
        if item > 50:
            break
    for (i, item), other in zip(found, x[x < 0]):
        x = x + item
    return x


def list_of_kinds_beside(self, x):
    for item, other in zip(x[x > 0], (1, "a")):
        x = x + item
    return x


def reversed_iterator(self, x):
    for i, item in reversed(enumerate(x[x > 0])):
        x = x + item
    return x


def reversed_iterator_of_a_list(self, x):
    for item in reversed(iter([x, x + 1])):
        x = x * item
    return x


def iterator_in_two_places(self, x):
    numbers = iter(range(int(x.sum())))
    for first, second in zip(numbers, numbers):
        x = x * first + second
    return x


def iterator_after_enumerate(self, x):
    numbers = iter(range(int(x.sum())))
    for i, number in enumerate(numbers):
        x = x * i + number
        if number > 3:
            break
    return x + next(numbers, 0)


def reversed_generator(self, x):
    for item in reversed(x + i for i in range(3)):
        x = x * item
    return x


def reversed_range_iterator(self, x):
    for i in reversed(iter(range(int(x.sum())))):
        x = x * i
    return x


def reversed_range_of_steps(self, x):
    for i in reversed(range(0, int(x.sum()), 2)):
        x = x * i
    return x


def list_outside(self, x):
    self.seen.append(x)
    return x


MEMBERS["list_outside"] = {"seen": []}


def exception_with_a_list(self, x):
    raise ValueError([x])


def exception_around_a_generator(self, x):
    def items():
        try:
            yield x
            yield x + 1
        finally:
            print("done")

    for item in items():
        raise ValueError("no")


def lists_of_unlike_elements(self, x):
    items = []
    while x.sum() < 100:
        items.append(x if len(items) % 2 else x[0])
        x = x + 1
    return items


def write_through_overlapping_view(self, x):
    x = x * 1
    x.unfold(1, 2, 2).zero_()
    return x


def subclass(self, x):
    return x.as_subclass(Tensor)


def squeezed(self, x):
    return x[x > 0].squeeze()


def losses(self, x):
    return nn.functional.ctc_loss(x[:, None], x.long(), x.long()[0], x.long()[0])


def resized(self, x):
    x = x * 1
    x.resize_(2, 2)
    return x


def out_argument(self, x):
    result = torch.empty(1, 4)
    torch.add(x, 1, out=result)
    return result


def shifted_in_place(self, x):
    x = x.long()
    x <<= 1
    return x


def reshaped_and_written(self, x):
    found = x[x > 0]
    found.view(-1, 1).mul_(2)
    return found


def copied_into_found(self, x):
    found = x[x > 0]
    found.copy_(x.sum())
    return found


def written_to_itself(self, x):
    row = x[0] * 1
    row[1:].add_(row[:-1])
    return row


def many_questions(self, x):
    return nn.functional.unfold(x[x > 0].expand(1, 1, 3, -1), 3)


def tensor_as_key(self, x):
    return {x: 1}


def gradient(self, x):
    x = x.clone().requires_grad_(True)
    (x**2).sum().backward()
    return x.grad


def packed_weights(self, x):
    return self.quantised(x)


with warnings.catch_warnings():
    # These are on their way out of torch, and still met.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    MEMBERS["packed_weights"] = {
        "quantised": torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)))
    }


def attribute_named_by_data(self, x):
    return getattr(self, f"layer{int(x.argmax())}")(x)


def changed_items_of_an_array(self, x):
    row = x.numpy()[0]
    row[1] = 5
    return x


def _doubled(x: Tensor) -> Tensor:
    return x * 2 if bool(x.sum() > 0) else x


def function_of_torchscript(self, x):
    return self.scripted(x)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    MEMBERS["function_of_torchscript"] = {"scripted": torch.jit.script(_doubled)}


class Marked(Tensor):
    pass


def marked(self, x):
    return x.as_subclass(Marked) + 1


COUNT = 0


def global_count(self, x):
    global COUNT
    COUNT += 1
    return x + COUNT


def sparse(self, x):
    return x.to_sparse()


def quantised(self, x):
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


def nested(self, x):
    return torch.nested.nested_tensor([x[0], x[0, :2]])


def changed_after_it_was_listed(self, x):
    seen = []
    x = x * 1
    while x.sum() < 10:
        seen.append(x)
        x.add_(1)
    return seen
