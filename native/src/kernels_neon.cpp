// Kernels for NEON, which every 64-bit Arm processor has.
#include "edgepersona/kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>

namespace edgepersona {
namespace {

// R rows share each load of the query; two sums a row hide the latency of the additions.
template <int R>
inline void dot_group(const Half* const* rows, const Half* const* next, const float* query,
                      std::size_t stride, float* scores) {
    float32x4_t low[R], high[R];
    for (int r = 0; r < R; ++r) low[r] = high[r] = vdupq_n_f32(0.0F);
    for (std::size_t line = 0; line < stride; line += kRowStep) {
        for (int r = 0; r < R; ++r) __builtin_prefetch(next[r] + line);
        for (std::size_t i = line; i < line + kRowStep; i += 8) {
            const float32x4_t q0 = vld1q_f32(query + i);
            const float32x4_t q1 = vld1q_f32(query + i + 4);
            for (int r = 0; r < R; ++r) {
                const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(rows[r] + i));
                low[r] = vfmaq_f32(low[r], vcvt_f32_f16(vget_low_f16(halves)), q0);
                high[r] = vfmaq_f32(high[r], vcvt_high_f32_f16(halves), q1);
            }
        }
    }
    for (int r = 0; r < R; ++r) scores[r] = vaddvq_f32(vaddq_f32(low[r], high[r]));
}

void dot_rows(const Half* const* rows, std::size_t count, const float* query, std::size_t stride,
              float* scores) {
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const std::size_t next = std::min(i + 4, count - 4);
        dot_group<4>(rows + i, rows + next, query, stride, scores + i);
    }
    for (; i < count; ++i) dot_group<1>(rows + i, rows + i, query, stride, scores + i);
}

void narrow(const float* in, Half* out) {
    vst1_u16(out, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in))));
}

void to_half(const float* from, std::size_t count, Half* to) {
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) narrow(from + i, to + i);
    float in[4] = {};
    Half out[4];
    std::copy(from + i, from + count, in);
    narrow(in, out);
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
    static const Kernels set{"neon", dot_rows, to_half, dot};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::Kernels* edgepersona::neon_kernels() { return nullptr; }

#endif
