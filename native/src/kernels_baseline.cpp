// Kernels for any processor: plain loops that compilers turn into what the target surely has.
#include <cstring>

#include "edgepersona/kernels.h"

#define EP_TARGET

#include "kernel_loops.h"

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

// Subnormal halves are not made through subnormal floats, on which processors take a hundred
// times as long, and which a host may have switched off.
float widen_one(Half half) {
    const std::uint32_t magnitude = (half & 0x7fffU) << 13;
    const std::uint32_t normal = magnitude + 0x38000000U;  // the exponent's bias, moved
    const std::uint32_t subnormal = bits_of(float_of(magnitude + 0x38800000U) - 0x1p-14F);
    const std::uint32_t sign = (half & 0x8000U) << 16;
    return float_of((magnitude < 0x00800000U ? subnormal : normal) | sign);
}

float sum(float* lanes) {
    for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
        for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    return lanes[0];
}

void dot_codes(const std::int8_t* const* rows, std::size_t count, const std::int16_t* query,
               std::size_t stride, std::int32_t* sums) {
    for (std::size_t r = 0; r < count; ++r) {
        const std::int8_t* row = rows[r];
        std::int32_t total = 0;
        for (std::size_t i = 0; i < stride; ++i) total += row[i] * query[i];
        sums[r] = total;
    }
}

float dot_whole(const std::int8_t* high, const std::int8_t* low, const float* query,
                std::size_t stride) {
    float lanes[kLanes] = {};
    for (std::size_t i = 0; i < stride; i += kLanes) {
        for (std::size_t j = 0; j < kLanes; ++j) {
            const std::int32_t whole = high[i + j] * 256 + low[i + j];
            lanes[j] += static_cast<float>(whole) * query[i + j];
        }
    }
    return sum(lanes);
}

void widen(const Half* from, std::size_t count, float* to) {
    for (std::size_t i = 0; i < count; ++i) to[i] = widen_one(from[i]);
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
    static const Kernels set{"baseline", dot_codes, dot_whole, largest_magnitude, split_values,
                             join_codes, widen, nullptr, dot};
    return &set;
}

}  // namespace edgepersona
