// Tensors of the host program: immutable, shared by counting references.
#pragma once

#include <dlpack/dlpack.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <utility>
#include <vector>

namespace dyncc_host {

// What kernels may assume of every pointer.
constexpr size_t kAlignment = 64;

enum class Memory {
  kOwned,     // allocated here
  kBorrowed,  // the caller's; valid during the call
  kStatic     // part of the library; read-only
};

inline size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

inline size_t item_bytes(DLDataType dtype) { return static_cast<size_t>(dtype.bits) / 8; }

inline size_t elements(const DLTensor& tensor) {
  size_t count = 1;
  for (int axis = 0; axis < tensor.ndim; ++axis) count *= static_cast<size_t>(tensor.shape[axis]);
  return count;
}

inline size_t bytes_of(const DLTensor& tensor) {
  return elements(tensor) * item_bytes(tensor.dtype);
}

class Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor& other) : block_(other.block_) { retain(); }
  Tensor(Tensor&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Tensor() { release(block_); }

  // A new tensor, its content undefined.
  static Tensor empty(DLDataType dtype, const int64_t* shape, int ndim) {
    size_t bytes = item_bytes(dtype);
    for (int axis = 0; axis < ndim; ++axis) bytes *= static_cast<size_t>(shape[axis]);
    Tensor made(make(dtype, shape, ndim, bytes, Memory::kOwned));
    char* memory = reinterpret_cast<char*>(made.block_->extents() + ndim);
    made.block_->tensor.data = memory + (kAlignment - reinterpret_cast<uintptr_t>(memory)) % kAlignment;
    return made;
  }
  // A tensor in memory that outlives it.
  static Tensor at(const void* data, DLDataType dtype, const int64_t* shape, int ndim,
                   Memory memory) {
    Tensor made(make(dtype, shape, ndim, 0, memory));
    made.block_->tensor.data = const_cast<void*>(data);
    return made;
  }
  // The same elements in another shape.
  Tensor view(const int64_t* shape, int ndim) const {
    Tensor made(make(block_->tensor.dtype, shape, ndim, 0, root()->memory));
    made.block_->tensor.data = block_->tensor.data;
    made.block_->base = root();
    root()->references.fetch_add(1, std::memory_order_relaxed);
    return made;
  }
  Tensor copy() const {
    Tensor made = empty(block_->tensor.dtype, block_->tensor.shape, block_->tensor.ndim);
    const size_t bytes = bytes_of(block_->tensor);
    if (bytes != 0) std::memcpy(made.data(), data(), bytes);
    return made;
  }

  DLTensor& operator*() const { return block_->tensor; }
  DLTensor* operator->() const { return &block_->tensor; }
  void* data() const { return block_->tensor.data; }
  bool is_set() const { return block_ != nullptr; }
  bool is_owned() const { return root()->memory == Memory::kOwned; }
  bool shares_memory(const Tensor& other) const { return root() == other.root(); }

 private:
  // Header, extents, and the elements of an owned tensor, in one allocation.
  struct Block {
    std::atomic<int> references;
    Memory memory;
    Block* base;  // whose memory a view is in
    DLTensor tensor;

    int64_t* extents() { return reinterpret_cast<int64_t*>(this + 1); }
  };

  explicit Tensor(Block* block) : block_(block) {}

  static Block* make(DLDataType dtype, const int64_t* shape, int ndim, size_t bytes,
                     Memory memory) {
    const size_t room = memory == Memory::kOwned ? bytes + kAlignment : 0;
    const size_t header = sizeof(Block) + static_cast<size_t>(ndim) * sizeof(int64_t);
    void* raw = std::malloc(header + room);
    if (raw == nullptr) throw std::bad_alloc();
    Block* block = new (raw) Block{{1}, memory, nullptr, {}};
    for (int axis = 0; axis < ndim; ++axis) block->extents()[axis] = shape[axis];
    block->tensor = {nullptr, {kDLCPU, 0}, ndim, dtype, block->extents(), nullptr, 0};
    return block;
  }

  void retain() const {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  static void release(Block* block) {
    while (block != nullptr && block->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Block* base = block->base;
      block->~Block();
      std::free(block);
      block = base;
    }
  }
  Block* root() const { return block_->base == nullptr ? block_ : block_->base; }

  Block* block_ = nullptr;
};

// Whether the elements lie in row-major order without gaps.
inline bool is_contiguous(const DLTensor& tensor) {
  if (tensor.strides == nullptr) return true;
  int64_t expected = 1;
  for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
    if (tensor.shape[axis] != 1 && tensor.strides[axis] != expected) return false;
    expected *= tensor.shape[axis];
  }
  return true;
}

inline char* first_element(const DLTensor& tensor) {
  return static_cast<char*>(tensor.data) + tensor.byte_offset;
}

// Copy between a row-major array and a tensor of any strides.
inline void copy_strided(const DLTensor& tensor, char* row_major, bool to_tensor) {
  const size_t width = item_bytes(tensor.dtype);
  std::vector<int64_t> index(static_cast<size_t>(tensor.ndim), 0);
  std::vector<int64_t> strides(index.size(), 1);
  for (int axis = tensor.ndim - 2; axis >= 0; --axis) {
    const size_t at = static_cast<size_t>(axis);
    strides[at] = strides[at + 1] * tensor.shape[axis + 1];
  }
  if (tensor.strides != nullptr) strides.assign(tensor.strides, tensor.strides + tensor.ndim);
  for (size_t count = elements(tensor); count > 0; --count) {
    int64_t offset = 0;
    for (size_t axis = 0; axis < index.size(); ++axis) offset += index[axis] * strides[axis];
    char* element = first_element(tensor) + offset * static_cast<int64_t>(width);
    std::memcpy(to_tensor ? element : row_major, to_tensor ? row_major : element, width);
    row_major += width;
    for (size_t axis = index.size(); axis-- > 0;) {
      if (++index[axis] < tensor.shape[axis]) break;
      index[axis] = 0;
    }
  }
}

// A caller's tensor: shared if kernels can read it as it is, else copied.
inline Tensor from_caller(const DLTensor& tensor) {
  const bool aligned = reinterpret_cast<uintptr_t>(first_element(tensor)) % kAlignment == 0;
  if (is_contiguous(tensor) && aligned) {
    return Tensor::at(first_element(tensor), tensor.dtype, tensor.shape, tensor.ndim,
                      Memory::kBorrowed);
  }
  Tensor made = Tensor::empty(tensor.dtype, tensor.shape, tensor.ndim);
  copy_strided(tensor, static_cast<char*>(made.data()), false);
  return made;
}

}  // namespace dyncc_host
