// Scalars as Python computes with them. An int has 64 bits here: what does not fit raises.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>

namespace dyncc_host {

// An exception of the network's, by the name that it has in Python.
class Raised : public std::runtime_error {
 public:
  Raised(const std::string& type, const std::string& message)
      : std::runtime_error(message.empty() ? type : type + ": " + message) {}
};

[[noreturn]] inline void raise(const char* type, const std::string& message) {
  throw Raised(type, message);
}

[[noreturn]] inline void overflow() {
  raise("OverflowError", "an integer has more than the 64 bits of an exported library");
}

inline double pi() { return 3.14159265358979323846; }

// -- integers ---------------------------------------------------------------------------------

inline int64_t add(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) overflow();
  return result;
}
inline int64_t sub(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_sub_overflow(a, b, &result)) overflow();
  return result;
}
inline int64_t mul(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) overflow();
  return result;
}
inline int64_t neg(int64_t a) { return sub(0, a); }
inline int64_t pos(int64_t a) { return a; }
inline int64_t invert(int64_t a) { return ~a; }
inline int64_t abs(int64_t a) { return a < 0 ? neg(a) : a; }

inline int64_t floordiv(int64_t a, int64_t b) {
  if (b == 0) raise("ZeroDivisionError", "integer division or modulo by zero");
  if (b == -1) return neg(a);
  const int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0));
}
inline int64_t mod(int64_t a, int64_t b) {
  if (b == 0) raise("ZeroDivisionError", "integer modulo by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
inline double truediv(int64_t a, int64_t b) {
  if (b == 0) raise("ZeroDivisionError", "division by zero");
  constexpr int64_t exact = int64_t{1} << 53;
  // Python rounds the exact quotient; so does the processor if both are exact.
  if (a < -exact || a > exact || b < -exact || b > exact) overflow();
  return static_cast<double>(a) / static_cast<double>(b);
}
inline int64_t pow(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result = mul(result, base);
    if (exponent > 1) base = mul(base, base);
  }
  return result;
}
inline int64_t lshift(int64_t a, int64_t by) {
  if (by < 0) raise("ValueError", "negative shift count");
  if (a == 0) return 0;
  if (by > 63) overflow();
  const __int128 wide = static_cast<__int128>(a) * (static_cast<__int128>(1) << by);
  if (wide != static_cast<int64_t>(wide)) overflow();
  return static_cast<int64_t>(wide);
}
inline int64_t rshift(int64_t a, int64_t by) {
  if (by < 0) raise("ValueError", "negative shift count");
  return a >> (by > 63 ? 63 : by);
}
inline int64_t bit_length(int64_t a) {
  uint64_t size = a < 0 ? uint64_t{0} - static_cast<uint64_t>(a) : static_cast<uint64_t>(a);
  int64_t bits = 0;
  for (; size != 0; size >>= 1) ++bits;
  return bits;
}
inline int64_t range_length(int64_t start, int64_t stop, int64_t step) {
  if (step == 0) raise("ValueError", "range() arg 3 must not be zero");
  if (step > 0 ? start >= stop : start <= stop) return 0;
  const int64_t span = step > 0 ? sub(stop, start) : sub(start, stop);
  return (span - 1) / (step > 0 ? step : neg(step)) + 1;
}
inline int64_t position(int64_t index, int64_t length) {
  if (index < -length || index >= length) {
    raise("IndexError", "index " + std::to_string(index) + " is out of range for length " +
                            std::to_string(length));
  }
  return index < 0 ? index + length : index;
}

// -- floats -----------------------------------------------------------------------------------

inline double add(double a, double b) { return a + b; }
inline double sub(double a, double b) { return a - b; }
inline double mul(double a, double b) { return a * b; }
inline double neg(double a) { return -a; }
inline double pos(double a) { return a; }
inline double abs(double a) { return std::fabs(a); }

inline double truediv(double a, double b) {
  if (b == 0) raise("ZeroDivisionError", "float division by zero");
  return a / b;
}
inline double mod(double a, double b) {
  if (b == 0) raise("ZeroDivisionError", "float modulo");
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}
inline double floordiv(double a, double b) {
  if (b == 0) raise("ZeroDivisionError", "float floor division by zero");
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}
inline double pow(double base, double exponent) {
  if (base == 0 && exponent < 0) {
    raise("ZeroDivisionError", "0.0 cannot be raised to a negative power");
  }
  if (std::isfinite(base) && base < 0 && std::isfinite(exponent) &&
      exponent != std::floor(exponent)) {
    raise("ValueError", "the power is complex, which an exported library cannot compute");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    raise("OverflowError", "(34, 'Numerical result out of range')");
  }
  return result;
}

// -- conversions ------------------------------------------------------------------------------

// An integral float as an int.
inline int64_t whole(double a) {
  if (std::isnan(a)) raise("ValueError", "cannot convert float NaN to integer");
  if (std::isinf(a)) raise("OverflowError", "cannot convert float infinity to integer");
  if (a < -9223372036854775808.0 || a >= 9223372036854775808.0) overflow();
  return static_cast<int64_t>(a);
}
inline int64_t to_int(double a) { return whole(std::trunc(a)); }
inline int64_t to_int(int64_t a) { return a; }
inline int64_t floor(double a) { return whole(std::floor(a)); }
inline int64_t ceil(double a) { return whole(std::ceil(a)); }
// Half to even, which is how processors round unless they are told otherwise.
inline int64_t round(double a) { return whole(std::nearbyint(a)); }

// To a number of decimals, by way of the decimal that is next to the exact value.
inline double round(double a, int64_t digits) {
  if (!std::isfinite(a) || digits > 323) return a;
  char raw[800];
  const int places = static_cast<int>(digits);
  const auto end = std::to_chars(raw, raw + sizeof raw, a, std::chars_format::fixed, places);
  double result = 0;
  std::from_chars(raw, end.ptr, result);
  return result;
}

// -- the math module --------------------------------------------------------------------------

// A function of which the result is not a number only outside of its domain.
template <typename Function, typename... Arguments>
double domain_checked(bool may_overflow, Function function, Arguments... arguments) {
  const double result = function(arguments...);
  if (std::isfinite(result)) return result;
  const bool any_nan = (... || std::isnan(arguments));
  const bool all_finite = (... && std::isfinite(arguments));
  if (std::isnan(result) && !any_nan) raise("ValueError", "math domain error");
  if (std::isinf(result) && all_finite) {
    if (may_overflow) raise("OverflowError", "math range error");
    raise("ValueError", "math domain error");
  }
  return result;
}
inline double math_pow(double a, double b) {
  if (a == 0 && b < 0 && std::isfinite(b)) raise("ValueError", "math domain error");
  return domain_checked(true, [](double x, double y) { return std::pow(x, y); }, a, b);
}
inline bool is_close(double a, double b) {
  if (a == b) return true;
  if (std::isinf(a) || std::isinf(b)) return false;
  const double distance = std::fabs(b - a);
  return distance <= std::fabs(1e-9 * b) || distance <= std::fabs(1e-9 * a) || distance <= 0.0;
}

// -- the first of the least and of the greatest, also where some are no numbers -----------------

template <typename T>
T least(T first) {
  return first;
}
template <typename T, typename... Rest>
T least(T first, T second, Rest... rest) {
  return least<T>(second < first ? second : first, rest...);
}
template <typename T>
T greatest(T first) {
  return first;
}
template <typename T, typename... Rest>
T greatest(T first, T second, Rest... rest) {
  return greatest<T>(second > first ? second : first, rest...);
}

// -- text -------------------------------------------------------------------------------------

inline std::string text(bool a) { return a ? "True" : "False"; }
inline std::string text(int64_t a) { return std::to_string(a); }
inline std::string text(const std::string& a) { return a; }

// The shortest digits that read back as the same float, laid out as Python does.
inline std::string text(double a) {
  if (std::isnan(a)) return "nan";
  if (std::isinf(a)) return a < 0 ? "-inf" : "inf";
  char raw[64];
  const auto end = std::to_chars(raw, raw + sizeof raw, std::fabs(a), std::chars_format::scientific);
  const std::string shortest(raw, end.ptr);
  const size_t mark = shortest.find('e');
  std::string digits = shortest.substr(0, 1);
  if (mark > 2) digits += shortest.substr(2, mark - 2);
  const int exponent = std::atoi(shortest.c_str() + mark + 1);
  const int length = static_cast<int>(digits.size());
  std::string result = std::signbit(a) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    char suffix[16];
    std::snprintf(suffix, sizeof suffix, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return result + digits.substr(0, 1) + (length > 1 ? "." + digits.substr(1) : "") + suffix;
  }
  if (exponent < 0) {
    return result + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  if (length <= exponent + 1) {
    return result + digits + std::string(static_cast<size_t>(exponent + 1 - length), '0') + ".0";
  }
  const size_t before = static_cast<size_t>(exponent) + 1;
  return result + digits.substr(0, before) + "." + digits.substr(before);
}

// What format(a, ".2f") gives, and the like with e and %.
inline std::string fixed(double a, int digits, char kind) {
  if (!std::isfinite(a)) return text(a) + (kind == '%' ? "%" : "");
  char raw[800];
  const auto form = kind == 'e' ? std::chars_format::scientific : std::chars_format::fixed;
  const double shown = kind == '%' ? a * 100 : a;
  const auto end = std::to_chars(raw, raw + sizeof raw, shown, form, digits);
  return std::string(raw, end.ptr) + (kind == '%' ? "%" : "");
}

}  // namespace dyncc_host
