// Lists of run-time length: immutable values with an append that does not copy.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "python.hpp"
#include "tensor.hpp"

namespace dyncc_host {

// Calls of a recursive function that wait for each other at run time.
constexpr size_t kMaxStack = 10000;

// Versions made by appending share one buffer; each knows how much of it is its own.
template <typename T>
class List {
 public:
  // std::vector packs bool into bits, which cannot be referred to.
  using Item = std::conditional_t<std::is_same_v<T, bool>, unsigned char, T>;

  List() : buffer_(std::make_shared<std::vector<Item>>()) {}
  List(std::initializer_list<T> items)
      : buffer_(std::make_shared<std::vector<Item>>(items.begin(), items.end())),
        length_(items.size()) {}
  explicit List(std::vector<Item> items)
      : buffer_(std::make_shared<std::vector<Item>>(std::move(items))), length_(buffer_->size()) {}

  size_t size() const { return length_; }
  const Item* begin() const { return buffer_->data(); }
  const Item* end() const { return buffer_->data() + length_; }
  std::vector<Item> copy() const { return {begin(), end()}; }

  List append(T item) const {
    if (buffer_->size() != length_) {
      std::vector<Item> items = copy();
      items.push_back(std::move(item));
      return List(std::move(items));
    }
    List longer(*this);
    longer.buffer_->push_back(std::move(item));
    ++longer.length_;
    return longer;
  }

 private:
  std::shared_ptr<std::vector<Item>> buffer_;
  size_t length_ = 0;
};

// Where an index that may be negative points to.
template <typename T>
size_t place(const List<T>& items, int64_t index, const char* complaint) {
  const int64_t length = static_cast<int64_t>(items.size());
  if (index < -length || index >= length) raise("IndexError", complaint);
  return static_cast<size_t>(index < 0 ? index + length : index);
}

template <typename T>
List<T> list_push(const List<T>& items, T item) {
  if (items.size() >= kMaxStack) raise("RecursionError", "maximum recursion depth exceeded");
  return items.append(std::move(item));
}

template <typename T>
T list_get(const List<T>& items, int64_t index) {
  return static_cast<T>(items.begin()[place(items, index, "list index out of range")]);
}

template <typename T>
List<T> list_set(const List<T>& items, int64_t index, T item) {
  const size_t at = place(items, index, "list assignment index out of range");
  auto copy = items.copy();
  copy[at] = std::move(item);
  return List<T>(std::move(copy));
}

template <typename T>
List<T> list_concat(const List<T>& left, const List<T>& right) {
  auto copy = left.copy();
  copy.insert(copy.end(), right.begin(), right.end());
  return List<T>(std::move(copy));
}

template <typename T>
std::pair<List<T>, T> list_pop(const List<T>& items, int64_t index) {
  if (items.size() == 0) raise("IndexError", "pop from empty list");
  const size_t at = place(items, index, "pop index out of range");
  auto copy = items.copy();
  T taken = static_cast<T>(copy[at]);
  copy.erase(copy.begin() + static_cast<std::ptrdiff_t>(at));
  return {List<T>(std::move(copy)), std::move(taken)};
}

template <typename T>
List<T> list_insert(const List<T>& items, int64_t index, T item) {
  const int64_t length = static_cast<int64_t>(items.size());
  if (index < 0) index = std::max<int64_t>(index + length, 0);
  auto copy = items.copy();
  copy.insert(copy.begin() + std::min(index, length), std::move(item));
  return List<T>(std::move(copy));
}

template <typename T>
List<T> list_reverse(const List<T>& items) {
  auto copy = items.copy();
  std::reverse(copy.begin(), copy.end());
  return List<T>(std::move(copy));
}

template <typename T>
List<T> list_slice(const List<T>& items, std::optional<int64_t> first, std::optional<int64_t> last,
                   std::optional<int64_t> by) {
  const int64_t step = by.value_or(1), length = static_cast<int64_t>(items.size());
  if (step == 0) raise("ValueError", "slice step cannot be zero");
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? length : length - 1;
  const auto clamped = [&](std::optional<int64_t> bound, int64_t otherwise) {
    if (!bound.has_value()) return otherwise;
    return std::clamp(*bound < 0 ? *bound + length : *bound, lowest, highest);
  };
  int64_t at = clamped(first, step > 0 ? lowest : highest);
  const int64_t count = range_length(at, clamped(last, step > 0 ? highest : lowest), step);
  std::vector<typename List<T>::Item> part;
  for (int64_t taken = 0; taken < count; ++taken) part.push_back(items.begin()[at + taken * step]);
  return List<T>(std::move(part));
}

template <typename T>
bool list_contains(const List<T>& items, T value) {
  return std::find(items.begin(), items.end(), value) != items.end();
}

template <typename T>
int64_t list_sum(const List<T>& items) {
  int64_t sum = 0;
  for (const auto& item : items) sum = add(sum, static_cast<int64_t>(item));
  return sum;
}

// The first of the least items, or of the greatest.
template <typename T>
T list_extreme(const List<T>& items, bool greatest) {
  if (items.size() == 0) {
    raise("ValueError", greatest ? "max() arg is an empty sequence" : "min() arg is an empty sequence");
  }
  auto found = *items.begin();
  for (const auto& item : items) {
    if (greatest ? item > found : item < found) found = item;
  }
  return static_cast<T>(found);
}

// One tensor of several: `outer` times, a part of each follows that of the one before.
inline Tensor joined(const List<Tensor>& items, const std::vector<int64_t>& shape, size_t outer) {
  Tensor made = Tensor::empty((*items.begin())->dtype, shape.data(), static_cast<int>(shape.size()));
  char* target = static_cast<char*>(made.data());
  for (size_t turn = 0; turn < outer; ++turn) {
    for (const Tensor& item : items) {
      const size_t bytes = bytes_of(*item) / outer;
      std::memcpy(target, static_cast<const char*>(item.data()) + turn * bytes, bytes);
      target += bytes;
    }
  }
  return made;
}

inline size_t product(const std::vector<int64_t>& shape, size_t axes) {
  size_t count = 1;
  for (size_t axis = 0; axis < axes; ++axis) count *= static_cast<size_t>(shape[axis]);
  return count;
}

// Whether two shapes are equal but for one axis (-1 for none).
inline bool alike(const DLTensor& left, const DLTensor& right, int64_t but) {
  if (left.ndim != right.ndim) return false;
  for (int axis = 0; axis < left.ndim; ++axis) {
    if (axis != but && left.shape[axis] != right.shape[axis]) return false;
  }
  return true;
}

// `axis` is not negative.
inline Tensor list_stack(const List<Tensor>& items, int64_t axis) {
  if (items.size() == 0) raise("ValueError", "need at least one array to stack");
  const DLTensor& first = **items.begin();
  for (const Tensor& item : items) {
    if (!alike(first, *item, -1)) raise("ValueError", "all input arrays must have the same shape");
  }
  std::vector<int64_t> shape(first.shape, first.shape + first.ndim);
  const size_t outer = product(shape, static_cast<size_t>(axis));
  shape.insert(shape.begin() + axis, static_cast<int64_t>(items.size()));
  if (product(shape, shape.size()) == 0) {
    return Tensor::empty(first.dtype, shape.data(), static_cast<int>(shape.size()));
  }
  return joined(items, shape, outer);
}

// `axis` is not negative.
inline Tensor list_cat(const List<Tensor>& items, int64_t axis) {
  if (items.size() == 0) raise("ValueError", "need at least one array to concatenate");
  const DLTensor& first = **items.begin();
  std::vector<int64_t> shape(first.shape, first.shape + first.ndim);
  int64_t total = 0;
  for (const Tensor& item : items) {
    if (!alike(first, *item, axis)) {
      raise("ValueError", "all the input array dimensions except for the concatenation axis must "
                          "match exactly");
    }
    total += item->shape[axis];
  }
  const size_t outer = product(shape, static_cast<size_t>(axis));
  shape[static_cast<size_t>(axis)] = total;
  if (product(shape, shape.size()) == 0) {
    return Tensor::empty(first.dtype, shape.data(), static_cast<int>(shape.size()));
  }
  return joined(items, shape, outer);
}

// The only element of a tensor.
template <typename T>
T item(const Tensor& tensor) {
  if (elements(*tensor) != 1) {
    raise("ValueError", "can only convert an array of size 1 to a Python scalar");
  }
  return *static_cast<const T*>(tensor.data());
}

// A number as an element; raises if it has no place there.
template <typename Element, typename T>
Element element(T value) {
  if constexpr (std::is_integral_v<Element> && !std::is_same_v<Element, bool>) {
    if constexpr (std::is_floating_point_v<T>) {
      return element<Element>(to_int(value));
    } else if (value < std::numeric_limits<Element>::min() ||
               value > std::numeric_limits<Element>::max()) {
      raise("OverflowError", "Python integer " + std::to_string(value) + " out of bounds");
    }
  }
  if constexpr (std::is_same_v<Element, bool>) {
    return value != 0;
  } else {
    return static_cast<Element>(value);
  }
}

template <typename Element, typename T>
Tensor scalar_tensor(T value, DLDataType dtype) {
  Tensor made = Tensor::empty(dtype, nullptr, 0);
  *static_cast<Element*>(made.data()) = element<Element>(value);
  return made;
}

template <typename Element, typename T>
Tensor list_tensor(const List<T>& items, DLDataType dtype) {
  const int64_t length = static_cast<int64_t>(items.size());
  Tensor made = Tensor::empty(dtype, &length, 1);
  Element* target = static_cast<Element*>(made.data());
  for (const auto& item : items) *target++ = element<Element>(static_cast<T>(item));
  return made;
}

template <typename Element, typename T>
List<T> tensor_list(const Tensor& tensor) {
  const Element* source = static_cast<const Element*>(tensor.data());
  return List<T>(std::vector<typename List<T>::Item>(source, source + elements(*tensor)));
}

}  // namespace dyncc_host
