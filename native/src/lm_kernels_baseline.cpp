// A language model's kernels for any processor: plain loops over a few lanes, which compilers turn
// into what that processor has.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "edgepersona/lm_kernels.h"

#define EP_TARGET
#include "lm_loops.h"
#include "lm_products.h"

namespace edgepersona {
namespace {

float float_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Subnormal halves are not made through subnormal floats, on which processors take a hundred
// times as long, and which a host may have switched off.
inline float widened(std::uint16_t half) {
    const std::uint32_t magnitude = (half & 0x7fffU) << 13;
    const std::uint32_t finite = magnitude + 0x38000000U;  // the exponent's bias, moved
    const std::uint32_t normal = magnitude < 0x0f800000U ? finite : finite + 0x38000000U;
    const std::uint32_t subnormal = bits_of(float_of(magnitude + 0x38800000U) - 0x1p-14F);
    const std::uint32_t sign = (half & 0x8000U) << 16;
    return float_of((magnitude < 0x00800000U ? subnormal : normal) | sign);
}

// To the nearest, ties to even, as the other sets' instructions do.
inline std::uint16_t narrowed(float x) {
    const std::uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
    if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);
    if (magnitude < 0x38800000U) {  // subnormal: the sum's last bits are those wanted
        const std::uint32_t moved = bits_of(float_of(magnitude) + 0.5F) - 0x3f000000U;
        return static_cast<std::uint16_t>(sign | moved);
    }
    const std::uint32_t odd = magnitude >> 13 & 1U;
    return static_cast<std::uint16_t>(sign | ((magnitude + 0x0fffU + odd - 0x38000000U) >> 13));
}

struct Plain {
    static constexpr std::size_t kLanes = 16, kTokens = 4, kScores = 4, kWide = 16, kRows = 4;
    struct Int {
        std::int32_t lanes[kLanes];
    };
    struct Float {
        float lanes[kLanes];
    };
    struct Codes {
        std::uint8_t codes[4 * kLanes];
    };
    using Run = Int;
    static constexpr std::size_t kRun = 1;
    static inline Run begun(Int sum) { return sum; }
    static inline Int ended(Run run, Int) { return run; }
    using Bytes = Codes;

    static inline Int start(std::int32_t offset) {
        Int sum;
        for (std::int32_t& lane : sum.lanes) lane = offset;
        return sum;
    }
    static inline Int none() { return start(0); }
    static inline Bytes bytes(const std::uint8_t* from) {
        Bytes bytes;
        std::memcpy(bytes.codes, from, sizeof bytes.codes);
        return bytes;
    }
    static inline Codes nibbles(const std::uint8_t* from) { return bytes(from); }
    static inline Codes low(Codes both) {
        for (std::uint8_t& code : both.codes) code &= 15;
        return both;
    }
    static inline Codes high(Codes both) {
        for (std::uint8_t& code : both.codes) code = static_cast<std::uint8_t>(code >> 4);
        return both;
    }
    static inline Int dot8(Int sum, const Bytes& weights, const std::int8_t* four) {
        for (std::size_t i = 0; i < kLanes; ++i) {
            for (std::size_t j = 0; j < 4; ++j) {
                sum.lanes[i] += static_cast<std::int32_t>(weights.codes[4 * i + j]) * four[j];
            }
        }
        return sum;
    }
    static inline Int dot4(Int sum, const Codes& weights, const std::int8_t* four) {
        return dot8(sum, weights, four);
    }
    static inline Float zero() { return all(0.0F); }
    static inline Float all(float x) {
        Float same;
        for (float& lane : same.lanes) lane = x;
        return same;
    }
    static inline Float floats(const Int& x) {
        Float to;
        for (std::size_t i = 0; i < kLanes; ++i) to.lanes[i] = static_cast<float>(x.lanes[i]);
        return to;
    }
    static inline Float times(Float a, const Float& b) {
        for (std::size_t i = 0; i < kLanes; ++i) a.lanes[i] *= b.lanes[i];
        return a;
    }
    static inline Float plus(Float a, const Float& b) {
        for (std::size_t i = 0; i < kLanes; ++i) a.lanes[i] += b.lanes[i];
        return a;
    }
    static inline Float fused(const Float& a, const Float& b, Float c) {
        for (std::size_t i = 0; i < kLanes; ++i) c.lanes[i] += a.lanes[i] * b.lanes[i];
        return c;
    }
    // The second where one is not a number.
    static inline Float most(Float a, const Float& b) {
        for (std::size_t i = 0; i < kLanes; ++i) {
            a.lanes[i] = a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i];
        }
        return a;
    }
    // Two to the number that adding 1.5 * 2^23 left in the last bits.
    static inline Float power_of_two(Float shifted) {
        for (float& lane : shifted.lanes) {
            const std::uint32_t power = (bits_of(lane) + 127U) << 23;
            std::memcpy(&lane, &power, sizeof lane);
        }
        return shifted;
    }
    static inline Float load(const float* from) {
        Float x;
        std::memcpy(x.lanes, from, sizeof x.lanes);
        return x;
    }
    static inline void store(float* to, const Float& x) {
        std::memcpy(to, x.lanes, sizeof x.lanes);
    }
    static inline Float halves(const std::uint16_t* from) {
        Float to;
        for (std::size_t i = 0; i < kLanes; ++i) to.lanes[i] = widened(from[i]);
        return to;
    }
    static inline void store_halves(std::uint16_t* to, const Float& x) {
        for (std::size_t i = 0; i < kLanes; ++i) to[i] = narrowed(x.lanes[i]);
    }
    static inline std::uint16_t half_of(float x) { return narrowed(x); }
    static inline void prefetch(const std::uint8_t*) {}
};

}  // namespace

const LmKernels* baseline_lm_kernels() {
    static const LmKernels set = kernels_of<Plain>("baseline");
    return &set;
}

}  // namespace edgepersona
