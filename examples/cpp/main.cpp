// Runs a network that `dyncc export` made a library of, without Python.
//
//   run_exported LIBRARY ARGUMENT... [--repeat N]
//
// An argument is a .npy file, or a number for a scalar. Prints what the network returns, and with
// --repeat how long a call takes.

#include <dyncc/model.hpp>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "npy.hpp"

namespace {

constexpr int64_t kShown = 16;  // elements of a tensor that are printed

void print_element(const DLTensor& tensor, int64_t index) {
  const char* data = static_cast<const char*>(tensor.data) + index * tensor.dtype.bits / 8;
  if (tensor.dtype.code == kDLFloat && tensor.dtype.bits == 32) {
    std::printf(" %.9g", static_cast<double>(*reinterpret_cast<const float*>(data)));
  } else if (tensor.dtype.code == kDLFloat && tensor.dtype.bits == 64) {
    std::printf(" %.17g", *reinterpret_cast<const double*>(data));
  } else if (tensor.dtype.code == kDLInt && tensor.dtype.bits == 64) {
    std::printf(" %" PRId64, *reinterpret_cast<const int64_t*>(data));
  } else if (tensor.dtype.code == kDLInt && tensor.dtype.bits == 32) {
    std::printf(" %" PRId32, *reinterpret_cast<const int32_t*>(data));
  } else if (tensor.dtype.code == kDLBool) {
    std::printf(" %s", *data ? "true" : "false");
  } else {
    std::printf(" ?");
  }
}

void print_value(const dyncc::Value& value, int depth) {
  std::printf("%*s%s%s", 2 * depth, "", value.key().c_str(), value.key().empty() ? "" : ": ");
  switch (value.kind()) {
    case DYNCC_NONE:
      std::printf("none\n");
      break;
    case DYNCC_BOOL:
      std::printf("%s\n", value.boolean() ? "true" : "false");
      break;
    case DYNCC_INT:
      std::printf("%" PRId64 "\n", value.integer());
      break;
    case DYNCC_FLOAT:
      std::printf("%.17g\n", value.real());
      break;
    case DYNCC_STR:
      std::printf("%s\n", value.text().c_str());
      break;
    case DYNCC_TENSOR: {
      const DLTensor& tensor = value.tensor();
      int64_t count = 1;
      std::printf("tensor[");
      for (int axis = 0; axis < tensor.ndim; ++axis) {
        std::printf("%s%" PRId64, axis ? "," : "", tensor.shape[axis]);
        count *= tensor.shape[axis];
      }
      std::printf("]");
      for (int64_t index = 0; index < std::min(count, kShown); ++index) {
        print_element(tensor, index);
      }
      std::printf("%s\n", count > kShown ? " ..." : "");
      break;
    }
    default: {
      static const char* const names[] = {"tuple", "list", "dict", "struct"};
      std::printf("%s of %zu\n", names[value.kind() - DYNCC_TUPLE], value.size());
      for (size_t index = 0; index < value.size(); ++index) print_value(value[index], depth + 1);
    }
  }
}

double median_microseconds(dyncc::Model& model, const std::vector<dyncc::Argument>& arguments,
                           int repeats) {
  std::vector<double> times;
  for (int turn = 0; turn < repeats; ++turn) {
    const auto start = std::chrono::steady_clock::now();
    model.run(arguments);
    const std::chrono::duration<double, std::micro> taken =
        std::chrono::steady_clock::now() - start;
    times.push_back(taken.count());
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[static_cast<size_t>(repeats / 2)];
}

dyncc::Argument number(const std::string& text, int32_t kind) {
  if (kind == DYNCC_FLOAT) return std::stod(text);
  if (kind == DYNCC_BOOL) return text == "true" || text == "1";
  return std::stoll(text);
}

int run(int count, char** words) {
  std::vector<std::string> given;
  int repeats = 0;
  for (int index = 1; index < count; ++index) {
    if (std::strcmp(words[index], "--repeat") == 0 && index + 1 < count) {
      repeats = std::stoi(words[++index]);
    } else {
      given.emplace_back(words[index]);
    }
  }
  if (given.empty()) {
    std::fprintf(stderr, "usage: run_exported LIBRARY ARGUMENT... [--repeat N]\n");
    return 2;
  }
  dyncc::Model model(given[0]);
  std::printf("%s for %s\n", model.name().c_str(), model.target().c_str());

  const std::vector<dyncc_input> inputs = model.inputs();
  std::vector<Array> arrays;
  std::vector<dyncc::Argument> arguments;
  for (size_t index = 1; index < given.size(); ++index) {
    const int32_t kind = index <= inputs.size() ? inputs[index - 1].kind : DYNCC_TENSOR;
    if (kind != DYNCC_TENSOR) {
      arguments.push_back(number(given[index], kind));
      continue;
    }
    arrays.push_back(read_npy(given[index]));
    DLTensor tensor{};
    tensor.data = arrays.back().data.get();
    tensor.device = {kDLCPU, 0};
    tensor.dtype = arrays.back().dtype;
    arguments.emplace_back(tensor, arrays.back().shape);
  }

  print_value(model.run(arguments), 0);
  if (repeats > 0) {
    std::printf("%.2f us a call\n", median_microseconds(model, arguments, repeats));
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  try {
    return run(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_exported: %s\n", error.what());
    return 1;
  }
}
