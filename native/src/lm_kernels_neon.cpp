// A language model's kernels for Arm's NEON with dot products of bytes (Armv8.2, all since 2018).
#include "edgepersona/lm_kernels.h"

#if defined(__aarch64__) && defined(__ARM_NEON)

#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__clang__)
#define EP_TARGET __attribute__((target("dotprod")))
#else
#define EP_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#include "lm_loops.h"
#include "lm_products.h"

namespace edgepersona {
namespace {

struct Neon {
    using Int = int32x4_t;
    using Bytes = int8x16_t;
    using Codes = int8x16_t;
    using Float = float32x4_t;
    static constexpr std::size_t kLanes = 4, kTokens = 8, kScores = 24, kWide = 16, kRows = 6;
    using Run = Int;
    static constexpr std::size_t kRun = 1;
    EP_TARGET static inline Run begun(Int sum) { return sum; }
    EP_TARGET static inline Int ended(Run run, Int) { return run; }

    EP_TARGET static inline int8x16_t four_of(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return vreinterpretq_s8_s32(vdupq_n_s32(value));
    }
    EP_TARGET static inline Int start(std::int32_t) { return none(); }  // nothing is offset
    EP_TARGET static inline Int none() { return vdupq_n_s32(0); }
    EP_TARGET static inline Bytes bytes(const std::uint8_t* from) {
        return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from), vdupq_n_u8(0x80)));
    }
    EP_TARGET static inline Codes nibbles(const std::uint8_t* from) {
        return vreinterpretq_s8_u8(vld1q_u8(from));
    }
    EP_TARGET static inline Codes low(Codes both) { return vandq_s8(both, vdupq_n_s8(15)); }
    EP_TARGET static inline Codes high(Codes both) {
        return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(both), 4));
    }
    EP_TARGET static inline Int dot8(Int sum, Bytes weights, const std::int8_t* four) {
        return vdotq_s32(sum, weights, four_of(four));
    }
    EP_TARGET static inline Int dot4(Int sum, Codes weights, const std::int8_t* four) {
        return vdotq_s32(sum, weights, four_of(four));
    }
    EP_TARGET static inline Float zero() { return vdupq_n_f32(0.0F); }
    EP_TARGET static inline Float all(float x) { return vdupq_n_f32(x); }
    EP_TARGET static inline Float floats(Int x) { return vcvtq_f32_s32(x); }
    EP_TARGET static inline Float times(Float a, Float b) { return vmulq_f32(a, b); }
    EP_TARGET static inline Float plus(Float a, Float b) { return vaddq_f32(a, b); }
    EP_TARGET static inline Float fused(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
    // The second where one is not a number.
    EP_TARGET static inline Float most(Float a, Float b) {
        return vbslq_f32(vcgtq_f32(a, b), a, b);
    }
    // Two to the number that adding 1.5 * 2^23 left in the last bits.
    EP_TARGET static inline Float power_of_two(Float shifted) {
        const uint32x4_t number = vaddq_u32(vreinterpretq_u32_f32(shifted), vdupq_n_u32(127));
        return vreinterpretq_f32_u32(vshlq_n_u32(number, 23));
    }
    EP_TARGET static inline Float load(const float* from) { return vld1q_f32(from); }
    EP_TARGET static inline void store(float* to, Float x) { vst1q_f32(to, x); }
    EP_TARGET static inline Float halves(const std::uint16_t* from) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
    }
    EP_TARGET static inline void store_halves(std::uint16_t* to, Float x) {
        vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(x)));
    }
    EP_TARGET static inline std::uint16_t half_of(float x) {
        return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
    }
    EP_TARGET static inline void prefetch(const std::uint8_t* at) { __builtin_prefetch(at, 0, 2); }
};

}  // namespace

const LmKernels* neon_lm_kernels() {
    static const LmKernels set = kernels_of<Neon>("neon");
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::LmKernels* edgepersona::neon_lm_kernels() { return nullptr; }

#endif
