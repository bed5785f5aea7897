// The inner loops of a language model, compiled for several instruction sets, chosen at first use.
//
// What a kernel computes for a token does not depend, to the last bit, on the tokens beside it: a
// text cut into calls in any way gives the same logits. Safe to call from any thread. Sets differ
// from each other in the last bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/packed_matrix.h"

namespace edgepersona {

// Tokens' values rounded to 8 bits in blocks: value = codes[i] * scales[i / block].
struct RoundedTokens {
    std::int8_t* codes;     // (tokens, width)
    float* scales;          // (tokens, blocks)
    float* sums;            // (tokens, blocks): of a block's rounded values
    std::int32_t* offsets;  // (tokens, blocks): -128 * the sum of a block's codes
    std::size_t width, blocks;

    RoundedTokens from(std::size_t token) const {
        return {codes + token * width, scales + token * blocks, sums + token * blocks,
                offsets + token * blocks, width, blocks};
    }
};

// From `from` up to `end`, at least one.
struct SeenPositions {
    std::size_t from, end;
};

struct LmKernels {
    const char* name;
    // Rounds the `count` values of a token, the last block padded with zeros.
    void (*round)(const float* x, std::size_t count, std::size_t block, const RoundedTokens& to);
    // out[t * stride + i] = row 16 * first + i of the matrix times token t, for 16 * groups rows
    // less those beyond the matrix; with `add` that is added to what is there.
    void (*multiply)(const PackedMatrix& matrix, std::size_t first, std::size_t groups,
                     const RoundedTokens& x, std::size_t tokens, bool add, float* out,
                     std::size_t stride);
    // to = x / rms(x) * weight (Zhang and Sennrich 2019).
    void (*norm)(const float* x, const float* weight, std::size_t count, float eps, float* to);
    // x + added, where that is not null, normed: (x - mean) / deviation * weight + bias
    // (Ba et al. 2016).
    void (*layer_norm)(float* x, const float* added, const float* weight, const float* bias,
                       std::size_t count, float eps);
    // x = GELU(x + bias), to 5e-5.
    void (*biased_gelu)(float* x, const float* bias, std::size_t count);
    // gate = gate * sigmoid(gate) * up.
    void (*silu)(float* gate, const float* up, std::size_t count);
    // gate = GELU(gate) * up, by its approximation with tanh (Hendrycks and Gimpel 2016).
    void (*gelu)(float* gate, const float* up, std::size_t count);
    // x = cap * tanh(x / cap).
    void (*cap)(float* x, std::size_t count, float cap);
    // scores = softmax(scores).
    void (*softmax)(float* scores, std::size_t count);
    // log(sum(exp(x))); NaN where x holds one, infinity where it does, -infinity of nothing else.
    float (*log_sum_exp)(const float* x, std::size_t count);
    // scores[q * stride + j] = query q . key j, for `blocks` blocks of 16 keys, each float16
    // (dim, 16), and `count` queries, (dim, queries).
    void (*score)(const float* queries, std::size_t count, const std::uint16_t* keys,
                  std::size_t blocks, std::size_t dim, float* scores, std::size_t stride);
    // out[q * dim ...] = the sum of scores[q * stride + j] * value j, for j in the span of query q;
    // values are float16 (positions, dim), dim a multiple of 16. No other value is looked at.
    void (*mix)(const float* scores, std::size_t stride, const SeenPositions* seen,
                std::size_t count, const std::uint16_t* values, std::size_t dim, float* out);
    // to = float16 of x.
    void (*to_halves)(const float* x, std::size_t count, std::uint16_t* to);
    // Whether `score` (of at most 256 dimensions) and `mix` round what they multiply to bfloat16.
    bool rounds_attention = false;
};

constexpr std::size_t kQueries = 12;  // that are best given keys and values to read together

// The set in use: the best this processor has, or the one EDGEPERSONA_SIMD names if it has that.
const LmKernels& lm_kernels();
// All that are compiled in and that this processor has, the best first; for tests.
std::vector<const LmKernels*> usable_lm_kernels();

// One function a set; null where the build is for another architecture.
const LmKernels* amx_lm_kernels();         // AVX-512 and tiles
const LmKernels* avx512bf16_lm_kernels();  // AVX-512 with VNNI and products of bfloat16
const LmKernels* avx512_lm_kernels();      // with VNNI
const LmKernels* avxvnni_lm_kernels();     // AVX2 with VNNI
const LmKernels* avx2_lm_kernels();
const LmKernels* neon_lm_kernels();     // with dot products of bytes
const LmKernels* baseline_lm_kernels();

}  // namespace edgepersona
