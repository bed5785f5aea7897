// A decoding step's kernels for AVX2 + FMA.
#include "edgepersona/step_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#define EP_TARGET __attribute__((target("avx2,fma")))
#include "step_loops.h"

namespace edgepersona {
namespace {

EP_TARGET inline __m256i load(const void* from) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

EP_TARGET inline float sum_of(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

// Bytes that are asked for ahead of use: see the AVX-512 kernel.
constexpr std::size_t kAhead = 4096;

EP_TARGET void multiply(const BlockRows& rows, std::size_t first, std::size_t count,
                        const RoundedVector& x, float* out) {
    const std::size_t width = rows.blocks * rows.block;
    const __m256i offset = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* codes = rows.codes + (first + i) * width;
        const float* scales = rows.scales + (first + i) * rows.blocks;
        __m256 sum = _mm256_setzero_ps();
        for (std::size_t b = 0; b < rows.blocks; ++b) {
            __m256i product = _mm256_setzero_si256();
            for (std::size_t j = b * rows.block; j < (b + 1) * rows.block; j += 32) {
                _mm_prefetch(reinterpret_cast<const char*>(codes + j + kAhead), _MM_HINT_T1);
                // Signs go to the vector's side: |weight| * value fits, where weight + 128 would
                // overflow the 16 bits that two products are added in.
                const __m256i weight = _mm256_xor_si256(load(codes + j), offset);
                const __m256i pairs = _mm256_maddubs_epi16(
                    _mm256_abs_epi8(weight), _mm256_sign_epi8(load(x.codes + j), weight));
                product = _mm256_add_epi32(product, _mm256_madd_epi16(pairs, ones));
            }
            const __m256 scale = _mm256_set1_ps(scales[b] * x.scales[b]);
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), scale, sum);
        }
        out[i] = sum_of(sum);
    }
}

}  // namespace

const StepKernels* avx2_step_kernels() {
    static const StepKernels set{"avx2",      round_blocks, multiply,   rms_norm,  gate_up,
                                 softmax_in_place, log_sum_exp,  score_keys, mix_values};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::StepKernels* edgepersona::avx2_step_kernels() { return nullptr; }

#endif
