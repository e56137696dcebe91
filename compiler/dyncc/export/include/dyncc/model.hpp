// Load and run a library that `dyncc export --format so` made.
//
//   dyncc::Model model("./halting.so");
//   std::vector<float> features(16);
//   dyncc::Result result = model.run({dyncc::tensor(features.data(), {1, 16})});
//   const float* output = result[0].data<float>();
//
// Every function that can fail throws dyncc::Error. Link with TVM's runtime (libtvm_runtime,
// libtvm_ffi) and, where the C library has it apart, with libdl.
#ifndef DYNCC_MODEL_HPP_
#define DYNCC_MODEL_HPP_

#include <dlfcn.h>
#include <dyncc/abi.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace dyncc {

// What a library or the loader says went wrong; `code` is one of DYNCC_BAD_INPUT and following.
class Error : public std::runtime_error {
 public:
  Error(int code, const std::string& message) : std::runtime_error(message), code(code) {}
  const int code;
};

// DLPack's type for a C++ type: float32 for float, and so on.
template <typename T>
constexpr DLDataType dtype_of() {
  static_assert(std::is_arithmetic<T>::value, "tensors hold numbers");
  if (std::is_same<T, bool>::value) return {kDLBool, 8, 1};
  if (std::is_floating_point<T>::value) return {kDLFloat, 8 * sizeof(T), 1};
  if (std::is_signed<T>::value) return {kDLInt, 8 * sizeof(T), 1};
  return {kDLUInt, 8 * sizeof(T), 1};
}

// A part of a result. Valid as long as the result.
class Value {
 public:
  explicit Value(const dyncc_value* value) : value_(value) {}

  dyncc_kind kind() const { return static_cast<dyncc_kind>(value_->kind); }
  bool is_none() const { return kind() == DYNCC_NONE; }

  bool boolean() const { return expect(DYNCC_BOOL).integer != 0; }
  int64_t integer() const { return expect(DYNCC_INT).integer; }
  double real() const { return expect(DYNCC_FLOAT).real; }
  std::string text() const { return {expect(DYNCC_STR).text, value_->count}; }

  // A contiguous tensor in memory of the CPU.
  const DLTensor& tensor() const { return *expect(DYNCC_TENSOR).tensor; }

  // Its elements, in row-major order; throws unless they are of type T.
  template <typename T>
  T* data() const {
    const DLTensor& found = tensor();
    const DLDataType wanted = dtype_of<T>();
    if (found.dtype.code != wanted.code || found.dtype.bits != wanted.bits) {
      throw Error(DYNCC_BAD_INPUT, "the tensor has elements of another type");
    }
    return static_cast<T*>(found.data);
  }

  // Extents of a tensor.
  std::vector<int64_t> shape() const {
    const DLTensor& found = tensor();
    return {found.shape, found.shape + found.ndim};
  }

  // Number of items of a tuple, list, dict or struct.
  size_t size() const {
    if (kind() < DYNCC_TUPLE) throw Error(DYNCC_BAD_INPUT, "the value has no items");
    return value_->count;
  }
  Value operator[](size_t index) const {
    if (index >= size()) throw Error(DYNCC_BAD_INPUT, "there is no item of this number");
    return Value(&value_->as.items[index]);
  }
  Value operator[](int index) const { return (*this)[static_cast<size_t>(index)]; }
  Value operator[](const std::string& key) const {
    for (size_t index = 0; index < size(); ++index) {
      const char* found = value_->as.items[index].key;
      if (found != nullptr && key == found) return (*this)[index];
    }
    throw Error(DYNCC_BAD_INPUT, "there is no item '" + key + "'");
  }
  Value operator[](const char* key) const { return (*this)[std::string(key)]; }

  // Key in a dict or name in a struct; empty for other items.
  std::string key() const { return value_->key == nullptr ? "" : value_->key; }
  // Name of the class of a struct.
  std::string type_name() const { return value_->type_name == nullptr ? "" : value_->type_name; }

 private:
  using Content = decltype(dyncc_value::as);

  const Content& expect(dyncc_kind wanted) const {
    if (kind() != wanted) throw Error(DYNCC_BAD_INPUT, "the value is of another kind");
    return value_->as;
  }

  const dyncc_value* value_;
};

// What a call returned; owns its tensors, also after the model is gone.
class Result : public Value {
 public:
  Result(std::shared_ptr<const dyncc_api> api, dyncc_result* result)
      : Value(api->value(result)),
        result_(result, [api](dyncc_result* old) { api->release(old); }) {}

 private:
  std::shared_ptr<dyncc_result> result_;
};

// An argument of a call.
class Argument {
 public:
  Argument(bool value) { set(DYNCC_BOOL).integer = value; }  // NOLINT: meant to convert
  Argument(double value) { set(DYNCC_FLOAT).real = value; }  // NOLINT
  template <typename T, std::enable_if_t<std::is_integral<T>::value, int> = 0>
  Argument(T value) {  // NOLINT
    set(DYNCC_INT).integer = value;
  }
  // A tensor that somebody else owns; it has to live until the call is over.
  Argument(DLTensor* tensor) { set(DYNCC_TENSOR).tensor = tensor; }  // NOLINT
  Argument(DLTensor tensor, std::vector<int64_t> shape)
      : tensor_(std::make_shared<Held>(Held{tensor, std::move(shape)})) {
    tensor_->tensor.shape = tensor_->shape.data();
    tensor_->tensor.ndim = static_cast<int32_t>(tensor_->shape.size());
    set(DYNCC_TENSOR).tensor = &tensor_->tensor;
  }

  const dyncc_value& value() const { return value_; }

 private:
  struct Held {
    DLTensor tensor;
    std::vector<int64_t> shape;
  };

  decltype(dyncc_value::as)& set(dyncc_kind kind) {
    value_.kind = kind;
    return value_.as;
  }

  dyncc_value value_{};
  std::shared_ptr<Held> tensor_;
};

// A row-major tensor in memory of the caller's, which is not copied if it is aligned to 64 bytes.
template <typename T>
Argument tensor(T* data, std::vector<int64_t> shape) {
  DLTensor made{};
  made.data = const_cast<std::remove_const_t<T>*>(data);
  made.device = {kDLCPU, 0};
  made.dtype = dtype_of<std::remove_const_t<T>>();
  return Argument(made, std::move(shape));
}

// A network with its state. One thread at a time may use it; make one for each thread.
class Model {
 public:
  // Load the library at `path`; as for dlopen, one without a slash is looked for in system folders.
  explicit Model(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw Error(DYNCC_FAILED, dlerror());
    std::shared_ptr<void> opened(library, [](void* old) { dlclose(old); });
    auto get_api = reinterpret_cast<decltype(&dyncc_get_api)>(dlsym(library, "dyncc_get_api"));
    if (get_api == nullptr) throw Error(DYNCC_FAILED, path + " was not made by dyncc export");
    // The library stays as long as anything holds the table.
    api_ = std::shared_ptr<const dyncc_api>(opened, get_api());
    if (api_->version != DYNCC_ABI_VERSION) {
      throw Error(DYNCC_FAILED, path + " has version " + std::to_string(api_->version) +
                                    " of the interface, and this program has " +
                                    std::to_string(DYNCC_ABI_VERSION));
    }
    dyncc_model* model = nullptr;
    check(api_->create(&model));
    const std::shared_ptr<const dyncc_api> api = api_;
    model_ = std::shared_ptr<dyncc_model>(model, [api](dyncc_model* old) { api->destroy(old); });
  }

  std::string name() const { return api_->network; }
  std::string target() const { return api_->target; }

  // Arguments that a call takes, in order.
  std::vector<dyncc_input> inputs() const {
    return {api_->inputs, api_->inputs + api_->input_count};
  }

  Result run(const std::vector<Argument>& arguments) {
    std::vector<dyncc_value> values;
    values.reserve(arguments.size());
    for (const Argument& argument : arguments) values.push_back(argument.value());
    dyncc_result* result = nullptr;
    check(api_->run(model_.get(), values.data(), values.size(), &result));
    return Result(api_, result);
  }

  // Give module state its initial value.
  void reset() { check(api_->reset(model_.get())); }

 private:
  void check(int code) const {
    if (code != DYNCC_OK) throw Error(code, api_->error());
  }

  std::shared_ptr<const dyncc_api> api_;
  std::shared_ptr<dyncc_model> model_;
};

}  // namespace dyncc

#endif  // DYNCC_MODEL_HPP_
