// Kernels for NEON, which every 64-bit Arm processor has.
#include "edgepersona/kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>

#define EP_TARGET

#include "kernel_loops.h"

namespace edgepersona {
namespace {

constexpr std::size_t kAhead = 8;  // rows fetched ahead

inline std::int32_t dot_row(const std::int8_t* row, const std::int8_t* ahead,
                            const std::int16_t* query, std::size_t stride) {
    int32x4_t low = vdupq_n_s32(0), high = low;
    for (std::size_t line = 0; line < stride; line += kRowStep) {
        __builtin_prefetch(ahead + line);
        for (std::size_t i = line; i < line + kRowStep; i += 8) {
            const int16x8_t codes = vmovl_s8(vld1_s8(row + i));
            const int16x8_t q = vld1q_s16(query + i);
            low = vmlal_s16(low, vget_low_s16(codes), vget_low_s16(q));
            high = vmlal_high_s16(high, codes, q);
        }
    }
    return vaddvq_s32(vaddq_s32(low, high));
}

void dot_codes(const std::int8_t* const* rows, std::size_t count, const std::int16_t* query,
               std::size_t stride, std::int32_t* sums) {
    for (std::size_t i = 0; i < count; ++i) {
        sums[i] = dot_row(rows[i], rows[std::min(i + kAhead, count - 1)], query, stride);
    }
}

float dot_whole(const std::int8_t* high, const std::int8_t* low, const float* query,
                std::size_t stride) {
    float32x4_t even = vdupq_n_f32(0.0F), odd = even;
    for (std::size_t i = 0; i < stride; i += 8) {
        const int16x8_t whole =
            vaddw_s8(vshlq_n_s16(vmovl_s8(vld1_s8(high + i)), 8), vld1_s8(low + i));
        even = vfmaq_f32(even, vcvtq_f32_s32(vmovl_s16(vget_low_s16(whole))), vld1q_f32(query + i));
        odd = vfmaq_f32(odd, vcvtq_f32_s32(vmovl_high_s16(whole)), vld1q_f32(query + i + 4));
    }
    return vaddvq_f32(vaddq_f32(even, odd));
}

void widen(const Half* from, std::size_t count, float* to) {
    const auto four = [](const Half* in, float* out) {
        vst1q_f32(out, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in))));
    };
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) four(from + i, to + i);
    Half in[4] = {};
    float out[4];
    std::copy(from + i, from + count, in);
    four(in, out);
    std::copy(out, out + (count - i), to + i);
}

float dot(const float* a, const float* b, std::size_t count) {
    float32x4_t low = vdupq_n_f32(0.0F), high = low;
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        low = vfmaq_f32(low, vld1q_f32(a + i), vld1q_f32(b + i));
        high = vfmaq_f32(high, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
    }
    float rest = 0.0F;
    for (; i < count; ++i) rest += a[i] * b[i];
    return vaddvq_f32(vaddq_f32(low, high)) + rest;
}

}  // namespace

const Kernels* neon_kernels() {
    static const Kernels set{"neon", dot_codes, dot_whole, largest_magnitude, split_values,
                             join_codes, widen, nullptr, dot};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::Kernels* edgepersona::neon_kernels() { return nullptr; }

#endif
