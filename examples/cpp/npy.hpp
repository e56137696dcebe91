// Reads arrays in NumPy's .npy format (versions 1 to 3, row-major, little-endian).
#pragma once

#include <dlpack/dlpack.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

struct Array {
  DLDataType dtype;
  std::vector<int64_t> shape;
  std::unique_ptr<char, decltype(&std::free)> data{nullptr, &std::free};
};

inline DLDataType npy_dtype(const std::string& text) {
  const auto bits = static_cast<uint8_t>(8 * std::stoi(text.substr(2)));
  switch (text.at(1)) {
    case 'f':
      return {kDLFloat, bits, 1};
    case 'i':
      return {kDLInt, bits, 1};
    case 'u':
      return {kDLUInt, bits, 1};
    case 'b':
      return {kDLBool, bits, 1};
    default:
      throw std::runtime_error("elements of type " + text + " are not read");
  }
}

// The text between two marks of the header, which is a Python dict.
inline std::string between(const std::string& text, const std::string& before, char after) {
  const size_t start = text.find(before);
  if (start == std::string::npos) throw std::runtime_error("the header lacks " + before);
  const size_t first = start + before.size();
  return text.substr(first, text.find(after, first) - first);
}

inline Array read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (all.size() < 12 || all.compare(0, 6, "\x93NUMPY") != 0) {
    throw std::runtime_error(path + " is no .npy file");
  }
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(all[at]); };
  const size_t start = all[6] == 1 ? 10 : 12;
  const size_t length = all[6] == 1
                            ? byte(8) + 256u * byte(9)
                            : byte(8) + 256u * (byte(9) + 256u * (byte(10) + 256u * byte(11)));
  const std::string header = all.substr(start, length);
  if (header.find("'fortran_order': False") == std::string::npos) {
    throw std::runtime_error(path + " is not in row-major order");
  }
  Array array;
  array.dtype = npy_dtype(between(header, "'descr': '", '\''));
  size_t bytes = array.dtype.bits / 8;
  const std::string extents = between(header, "'shape': (", ')');
  for (size_t at = 0; at < extents.size();) {
    size_t end = extents.find(',', at);
    if (end == std::string::npos) end = extents.size();
    const std::string extent = extents.substr(at, end - at);
    if (extent.find_first_of("0123456789") != std::string::npos) {
      array.shape.push_back(std::stoll(extent));
      bytes *= static_cast<size_t>(array.shape.back());
    }
    at = end + 1;
  }
  if (all.size() - start - length < bytes) throw std::runtime_error(path + " is cut short");
  // At 64 bytes the library reads the memory where it is.
  array.data.reset(static_cast<char*>(std::aligned_alloc(64, (bytes + 64) / 64 * 64)));
  if (array.data == nullptr) throw std::bad_alloc();
  all.copy(array.data.get(), bytes, start + length);
  return array;
}
