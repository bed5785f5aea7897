// Kernels for any processor: plain loops that compilers turn into what the target surely has.
#include <cstring>

#include "edgepersona/kernels.h"

namespace edgepersona {
namespace {

constexpr std::size_t kLanes = 16;

float float_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Exact for every finite half. Subnormal ones are not made through subnormal floats, on which
// processors take a hundred times as long, and which a host may have switched off.
float widen(Half half) {
    const std::uint32_t magnitude = (half & 0x7fffU) << 13;
    const std::uint32_t normal = magnitude + 0x38000000U;  // the exponent's bias, moved
    const std::uint32_t subnormal = bits_of(float_of(magnitude + 0x38800000U) - 0x1p-14F);
    const std::uint32_t sign = (half & 0x8000U) << 16;
    // By mask and signed comparison: what SSE2 has, so that the loop below is vectorised.
    const auto is_subnormal =
        static_cast<std::uint32_t>(-static_cast<std::int32_t>(
            static_cast<std::int32_t>(magnitude) < 0x00800000));
    return float_of((subnormal & is_subnormal) | (normal & ~is_subnormal) | sign);
}

float sum(float* lanes) {
    for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
        for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    return lanes[0];
}

void dot_rows(const Half* const* rows, std::size_t count, const float* query, std::size_t stride,
              float* scores) {
    for (std::size_t r = 0; r < count; ++r) {
        const Half* row = rows[r];
        float lanes[kLanes] = {};
        for (std::size_t i = 0; i < stride; i += kLanes) {
            for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += widen(row[i + j]) * query[i + j];
        }
        scores[r] = sum(lanes);
    }
}

Half narrow(float value) {
    std::uint32_t bits = bits_of(value);
    const std::uint32_t sign = bits >> 16 & 0x8000U;
    bits &= 0x7fffffffU;
    if (bits < 0x38800000U) {  // below 2^-14: adding 0.5 rounds at a subnormal half's last bit
        return static_cast<Half>(sign | (bits_of(float_of(bits) + 0.5F) - 0x3f000000U));
    }
    bits += 0xc8000fffU + (bits >> 13 & 1U);  // new bias, and round to nearest even
    return static_cast<Half>(sign | bits >> 13);
}

void to_half(const float* from, std::size_t count, Half* to) {
    for (std::size_t i = 0; i < count; ++i) to[i] = narrow(from[i]);
}

float dot(const float* a, const float* b, std::size_t count) {
    float lanes[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += a[i + j] * b[i + j];
    }
    for (std::size_t j = 0; i + j < count; ++j) lanes[j] += a[i + j] * b[i + j];
    return sum(lanes);
}

}  // namespace

const Kernels* baseline_kernels() {
    static const Kernels set{"baseline", dot_rows, to_half, dot};
    return &set;
}

}  // namespace edgepersona
