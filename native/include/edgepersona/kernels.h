// The inner loops of the search, compiled for several instruction sets, chosen once, at first use.
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
constexpr std::size_t kRowAlign = 64;    // bytes; rows and queries start on a cache line
constexpr std::size_t kRowStep = 64;     // a stride is a multiple of this many values

// The largest magnitude of a whole row value, 256 * high + low; see RowStore.
constexpr int kLargestWhole = 127 * 256;

struct Kernels {
    const char* name;
    // sums[i] = rows[i] . query in whole numbers, which must fit 32 bits. All `stride` long,
    // zero-padded, aligned to kRowAlign. Rows may lie anywhere; they are fetched ahead.
    void (*dot_codes)(const std::int8_t* const* rows, std::size_t count, const std::int16_t* query,
                      std::size_t stride, std::int32_t* sums);
    // The sum of query[i] * (256 * high[i] + low[i]); stride and alignment as above.
    float (*dot_whole)(const std::int8_t* high, const std::int8_t* low, const float* query,
                       std::size_t stride);
    // The largest magnitude among finite values; 0 of none.
    float (*largest)(const float* values, std::size_t count);
    // 256 * high[i] + low[i] = values[i] * inverse, rounded to nearest; low in [-128, 127].
    // The products lie within +-kLargestWhole. Returns the sum of the squares of low, for up to
    // 65536 values.
    std::int32_t (*split)(const float* values, std::size_t count, float inverse,
                          std::int8_t* high, std::int8_t* low);
    // codes[i] = (256 * high[i] + low[i]) >> shift.
    void (*join)(const std::int8_t* high, const std::int8_t* low, std::size_t count, int shift,
                 std::int16_t* codes);
    // Exact for every finite half.
    void (*widen)(const Half* from, std::size_t count, float* to);
    // For 64 rows of a Sketch: scores = gains * (step * the tables' entries summed + offset); sets
    // the bits of those above `bar`. quads is even, 4 tables of 16 bytes to two of them; entries
    // are at most 63. Null in a set that has no fast way.
    std::uint64_t (*sketch)(const std::uint8_t* codes, const std::uint8_t* tables,
                            std::size_t quads, const float* gains, float step, float offset,
                            float bar, float* scores);
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
