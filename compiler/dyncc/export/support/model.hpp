// What every exported library has around its program: arguments, results, kernels, errors.
#pragma once

#include <dyncc/abi.h>
#include <tvm/ffi/c_api.h>
#include <tvm/runtime/c_backend_api.h>

#include <cstdio>
#include <deque>
#include <exception>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "list.hpp"
#include "python.hpp"
#include "tensor.hpp"

namespace dyncc_host {

// An argument that the network was not compiled for.
class BadInput : public std::runtime_error {
 public:
  BadInput(const std::string& place, const std::string& message)
      : std::runtime_error(place + ": " + message) {}
};

// -- kernels ----------------------------------------------------------------------------------

using Kernel = int32_t(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result);

inline DLTensor buffer(const void* data, DLDataType dtype, const int64_t* shape, int ndim) {
  return {const_cast<void*>(data), {kDLCPU, 0}, ndim, dtype, const_cast<int64_t*>(shape), nullptr, 0};
}

[[noreturn]] inline void kernel_failed() {
  TVMFFIObjectHandle error = nullptr;
  TVMFFIErrorMoveFromRaised(&error);
  std::string message = "a kernel failed";
  if (error != nullptr) {
    const TVMFFIByteArray& text = TVMFFIErrorGetCellPtr(error)->message;
    message += ": " + std::string(text.data, text.size);
    TVMFFIObjectDecRef(error);
  }
  throw std::runtime_error(message);
}

template <typename... Buffers>
void call(Kernel* kernel, Buffers&... buffers) {
  TVMFFIAny arguments[sizeof...(buffers)] = {};
  size_t count = 0;
  for (DLTensor* each : {&buffers...}) {
    arguments[count].type_index = kTVMFFIDLTensorPtr;
    arguments[count++].v_ptr = each;
  }
  TVMFFIAny result{};
  if (kernel(nullptr, arguments, static_cast<int32_t>(count), &result) != 0) kernel_failed();
}

// Scratch memory that the regions of a model use one after the other.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : memory_(new char[bytes + kAlignment]) {}
  char* data() const {
    const uintptr_t raw = reinterpret_cast<uintptr_t>(memory_.get());
    return memory_.get() + (kAlignment - raw % kAlignment) % kAlignment;
  }

 private:
  std::unique_ptr<char[]> memory_;
};

// -- arguments --------------------------------------------------------------------------------

// A size of arguments that calls decide, between `low` and `high` (-1: no limit).
struct Size {
  const char* name;
  int64_t low;
  int64_t high;
  int64_t found = -1;  // in this call
};

inline std::string type_text(DLDataType dtype, int ndim, const int64_t* shape) {
  static const char* const names[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  std::string text = dtype.code < 7 ? names[dtype.code] : "code" + std::to_string(dtype.code);
  if (dtype.code != kDLBool) text += std::to_string(dtype.bits);
  if (dtype.lanes != 1) text += "x" + std::to_string(dtype.lanes);
  text += "[";
  for (int axis = 0; axis < ndim; ++axis) {
    text += (axis ? "," : "") + (shape[axis] < 0 ? "?" : std::to_string(shape[axis]));
  }
  return text + "]";
}

inline void bind_size(Size& size, int64_t extent, const char* place) {
  if (size.found >= 0 && size.found != extent) {
    throw BadInput(place, std::string("the size ") + size.name + " is " + std::to_string(extent) +
                              " here and " + std::to_string(size.found) + " before");
  }
  if (extent < size.low || (size.high >= 0 && extent > size.high)) {
    throw BadInput(place, std::string("the size ") + size.name + " is " + std::to_string(extent) +
                              ", which the network was not compiled for");
  }
  size.found = extent;
}

// `names[axis]` says which of `sizes` an axis is, or -1.
inline Tensor tensor_argument(const dyncc_value& value, const dyncc_input& input, const int* names,
                              Size* sizes) {
  const std::string expected = "expected " + type_text(input.dtype, input.ndim, input.shape);
  if (value.kind != DYNCC_TENSOR) throw BadInput(input.name, expected + ", got no tensor");
  if (value.as.tensor == nullptr) throw BadInput(input.name, expected + ", got a null pointer");
  const DLTensor& tensor = *value.as.tensor;
  if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr)) {
    throw BadInput(input.name, expected + ", got a tensor without a shape");
  }
  bool same = tensor.ndim == input.ndim && tensor.dtype.code == input.dtype.code &&
              tensor.dtype.bits == input.dtype.bits && tensor.dtype.lanes == 1;
  for (int axis = 0; same && axis < input.ndim; ++axis) {
    same = tensor.shape[axis] >= 0 &&
           (input.shape[axis] < 0 || tensor.shape[axis] == input.shape[axis]);
  }
  if (!same) {
    throw BadInput(input.name,
                   expected + ", got " + type_text(tensor.dtype, tensor.ndim, tensor.shape));
  }
  if (tensor.device.device_type != kDLCPU) {
    throw BadInput(input.name, "the tensor is not in the memory of the CPU");
  }
  if (tensor.data == nullptr && elements(tensor) != 0) {
    throw BadInput(input.name, expected + ", got a tensor without data");
  }
  for (int axis = 0; axis < input.ndim; ++axis) {
    if (names[axis] >= 0) bind_size(sizes[names[axis]], tensor.shape[axis], input.name);
  }
  return from_caller(tensor);
}

template <typename T>
T number_argument(const dyncc_value& value, const dyncc_input& input) {
  const bool widened = value.kind == DYNCC_INT && input.kind == DYNCC_FLOAT;
  if (value.kind != input.kind && !widened) {
    static const char* const names[] = {"None", "a bool", "an int", "a float"};
    throw BadInput(input.name, std::string("expected ") + names[input.kind]);
  }
  if (value.kind == DYNCC_FLOAT) return static_cast<T>(value.as.real);
  return static_cast<T>(value.as.integer);
}

inline void check_call(const char* network, const dyncc_model* model, const dyncc_value* inputs,
                       size_t count, size_t expected, dyncc_result* const* result) {
  if (model == nullptr || result == nullptr || (inputs == nullptr && count != 0)) {
    throw BadInput(network, "a pointer is null");
  }
  if (count != expected) {
    throw BadInput(network, "expected " + std::to_string(expected) + " arguments, got " +
                                std::to_string(count));
  }
}

// What a call writes into an argument.
inline void write_argument(const dyncc_value& value, const Tensor& content) {
  DLTensor& target = *value.as.tensor;
  if (is_contiguous(target)) {
    std::memmove(first_element(target), content.data(), bytes_of(*content));
  } else {
    copy_strided(target, static_cast<char*>(content.data()), true);
  }
}

inline void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// -- results ----------------------------------------------------------------------------------

// A value that the network returns, with all of its parts.
struct Out {
  dyncc_kind kind = DYNCC_NONE;
  const char* key = nullptr;
  const char* type_name = nullptr;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  Tensor tensor;
  std::vector<Out> items;
};

inline Out out() { return {}; }
inline Out out(bool value) {
  Out made;
  made.kind = DYNCC_BOOL;
  made.integer = value;
  return made;
}
inline Out out(int64_t value) {
  Out made;
  made.kind = DYNCC_INT;
  made.integer = value;
  return made;
}
inline Out out(double value) {
  Out made;
  made.kind = DYNCC_FLOAT;
  made.real = value;
  return made;
}
inline Out out(std::string value) {
  Out made;
  made.kind = DYNCC_STR;
  made.text = std::move(value);
  return made;
}
inline Out out(Tensor value) {
  Out made;
  made.kind = DYNCC_TENSOR;
  made.tensor = std::move(value);
  return made;
}
inline Out series(dyncc_kind kind, std::vector<Out> items, const char* type_name = nullptr) {
  Out made;
  made.kind = kind;
  made.items = std::move(items);
  made.type_name = type_name;
  return made;
}
inline Out keyed(const char* key, Out value) {
  value.key = key;
  return value;
}
// Declared fields of an output that are None are no parts of it.
inline Out without_none(Out value) {
  std::vector<Out> kept;
  for (Out& item : value.items) {
    if (item.kind != DYNCC_NONE) kept.push_back(std::move(item));
  }
  value.items = std::move(kept);
  return value;
}

// The items of a list of run-time length, whose leaves are kept as one list each.
template <typename T>
std::vector<Out> column(const List<T>& list) {
  std::vector<Out> items;
  for (const auto& item : list) items.push_back(out(static_cast<T>(item)));
  return items;
}
inline std::vector<Out> rows(dyncc_kind kind, std::vector<std::vector<Out>> columns) {
  std::vector<Out> made(columns.empty() ? 0 : columns[0].size());
  for (size_t row = 0; row < made.size(); ++row) {
    std::vector<Out> items;
    for (std::vector<Out>& column : columns) items.push_back(std::move(column.at(row)));
    made[row] = series(kind, std::move(items));
  }
  return made;
}

// The caller may keep and change a result: it must not be in memory of the caller's, of the
// library's or of what the next call starts from.
inline void detach(Out& value, const std::vector<const Tensor*>& kept) {
  if (value.kind == DYNCC_TENSOR) {
    bool shared = !value.tensor.is_owned();
    for (const Tensor* other : kept) shared = shared || value.tensor.shares_memory(*other);
    if (shared) value.tensor = value.tensor.copy();
  }
  for (Out& item : value.items) detach(item, kept);
}

// State that outlives the call must not be in memory of the caller's.
inline Tensor kept(Tensor value) { return value.is_owned() ? value : value.copy(); }

}  // namespace dyncc_host

struct dyncc_result {
  explicit dyncc_result(dyncc_host::Out returned) : root(std::move(returned)), value(shown(root)) {}

  dyncc_host::Out root;
  std::deque<std::vector<dyncc_value>> parts;
  dyncc_value value;

 private:
  dyncc_value shown(const dyncc_host::Out& from) {
    dyncc_value to{};
    to.kind = from.kind;
    to.key = from.key;
    to.type_name = from.type_name;
    switch (from.kind) {
      case DYNCC_NONE:
        break;
      case DYNCC_BOOL:
      case DYNCC_INT:
        to.as.integer = from.integer;
        break;
      case DYNCC_FLOAT:
        to.as.real = from.real;
        break;
      case DYNCC_STR:
        to.as.text = from.text.c_str();
        to.count = from.text.size();
        break;
      case DYNCC_TENSOR:
        to.as.tensor = &*from.tensor;
        break;
      default: {
        std::vector<dyncc_value> items;
        items.reserve(from.items.size());
        for (const dyncc_host::Out& item : from.items) items.push_back(shown(item));
        parts.push_back(std::move(items));
        to.as.items = parts.back().data();
        to.count = parts.back().size();
      }
    }
    return to;
  }
};

namespace dyncc_host {

// -- errors -----------------------------------------------------------------------------------

inline std::string& last_error() {
  thread_local std::string message;
  return message;
}

// Carry out `action`, and turn what it throws into a code and a message.
template <typename Action>
int guarded(Action action) noexcept {
  int code = DYNCC_FAILED;
  const char* message = "something went wrong";
  try {
    action();
    return DYNCC_OK;
  } catch (const BadInput& error) {
    code = DYNCC_BAD_INPUT;
    last_error() = error.what();
  } catch (const Raised& error) {
    code = DYNCC_RAISED;
    last_error() = error.what();
  } catch (const std::bad_alloc&) {
    message = "out of memory";
    last_error() = message;
  } catch (const std::exception& error) {
    last_error() = error.what();
  } catch (...) {
    last_error() = message;
  }
  return code;
}

// Refuse a CPU that lacks features which the code was compiled for, by the kernel's names. A
// system that does not list its features gets the benefit of the doubt.
inline void check_cpu(const std::vector<std::string>& needed) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("flags", 0) != 0 && line.rfind("Features", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1) + " ");
    std::vector<std::string> present;
    for (std::string word; words >> word;) present.push_back(word);
    std::string missing;
    for (const std::string& feature : needed) {
      if (std::find(present.begin(), present.end(), feature) == present.end()) {
        missing += (missing.empty() ? "" : ", ") + feature;
      }
    }
    if (missing.empty()) return;
    throw std::runtime_error(
        "the library was compiled for CPU features that this machine lacks: " + missing);
  }
}

}  // namespace dyncc_host

// Kernels call TVM's runtime through these variables, which TVM's own loader would fill in.
extern "C" {
extern decltype(&TVMBackendParallelLaunch) __TVMBackendParallelLaunch;
extern decltype(&TVMBackendParallelBarrier) __TVMBackendParallelBarrier;
extern decltype(&TVMBackendAllocWorkspace) __TVMBackendAllocWorkspace;
extern decltype(&TVMBackendFreeWorkspace) __TVMBackendFreeWorkspace;
decltype(&TVMBackendParallelLaunch) __TVMBackendParallelLaunch = &TVMBackendParallelLaunch;
decltype(&TVMBackendParallelBarrier) __TVMBackendParallelBarrier = &TVMBackendParallelBarrier;
decltype(&TVMBackendAllocWorkspace) __TVMBackendAllocWorkspace = &TVMBackendAllocWorkspace;
decltype(&TVMBackendFreeWorkspace) __TVMBackendFreeWorkspace = &TVMBackendFreeWorkspace;
}
