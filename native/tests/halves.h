// float16, and bfloat16, by their definitions: what the kernels' conversions are held to.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

inline double value_of_half(std::uint16_t half) {
    const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
    const int digits = exponent == 0 ? fraction : 1024 + fraction;
    return sign * std::ldexp(digits, std::max(exponent, 1) - 25);
}

// Ties to even. Whatever is not a number becomes one of those that are none.
inline std::uint16_t nearest_half(double x) {
    const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000 : 0);
    if (std::isnan(x)) return static_cast<std::uint16_t>(sign | 0x7e00);
    if (std::abs(x) >= 65536) return static_cast<std::uint16_t>(sign | 0x7c00);
    int exponent = 0;
    if (std::frexp(x, &exponent) == 0.0) exponent = -13;
    exponent = std::max(exponent, -13);  // subnormal ones have the steps of the smallest normal
    const double steps = std::nearbyint(std::ldexp(std::abs(x), 11 - exponent));
    const int bits = ((exponent + 14) << 10) + static_cast<int>(steps) - 1024;
    return static_cast<std::uint16_t>(sign | std::min(bits, 0x7c00));
}

// The bfloat16 next to a float, ties to even; subnormal ones become zero.
inline double nearest_bf16(double x) {
    int exponent = 0;
    const double digits = std::frexp(x, &exponent);  // from 1/2 up to 1
    if (exponent < -125) return std::copysign(0.0, x);
    return std::isfinite(x) ? std::ldexp(std::nearbyint(std::ldexp(digits, 8)), exponent - 8) : x;
}
