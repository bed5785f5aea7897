// The inner loops, compiled for several instruction sets and chosen once, at first use.
//
// Every set gives a row the same score wherever it stands and whatever is scored beside it:
// equal vectors tie exactly. Sets may differ from each other in the last bits.
// All functions are safe to call from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace edgepersona {

using Half = std::uint16_t;  // IEEE 754 binary16 as bits: no compiler support is asked for

constexpr float kHalfMax = 65504.0F;     // the largest finite half
constexpr std::size_t kRowAlign = 64;    // bytes; a row starts on a cache line
constexpr std::size_t kRowStep = kRowAlign / sizeof(Half);  // a stride is a multiple of this

struct Kernels {
    const char* name;
    // scores[i] = rows[i] . query, both `stride` long, zero-padded, aligned to kRowAlign.
    void (*dot_rows)(const Half* const* rows, std::size_t count, const float* query,
                     std::size_t stride, float* scores);
    // Rounds to nearest even. Values lie within +-kHalfMax.
    void (*to_half)(const float* from, std::size_t count, Half* to);
    // a . b, any length, any alignment.
    float (*dot)(const float* a, const float* b, std::size_t count);
};

// The set in use: the best this processor has, or the one EDGEPERSONA_SIMD names if it has that.
const Kernels& kernels();

// The sets in this build, best first, whether or not this processor has them.
std::vector<std::string> compiled_kernels();

// One function a set; null where the build is for another architecture.
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_kernels();
const Kernels* baseline_kernels();

}  // namespace edgepersona
