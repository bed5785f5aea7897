// A decoding step's kernels for AVX-512 with VNNI: 64 products of 8 bits in one instruction.
#include "edgepersona/step_kernels.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own header leaves registers undefined on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#define EP_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")))
#include "step_loops.h"

namespace edgepersona {
namespace {

// Bytes that are asked for ahead of use, measured: across the page's end, where the processor's own
// prefetching stops, and into its second cache, since the first is small.
constexpr std::size_t kAhead = 4096;

// Row by row, in the order of memory: several rows at once would be several streams in one page,
// which the processor does not follow.
EP_TARGET void multiply(const BlockRows& rows, std::size_t first, std::size_t count,
                        const RoundedVector& x, float* out) {
    const std::size_t width = rows.blocks * rows.block;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* codes = rows.codes + (first + i) * width;
        const float* scales = rows.scales + (first + i) * rows.blocks;
        __m512 sum = _mm512_setzero_ps();
        for (std::size_t b = 0; b < rows.blocks; ++b) {
            __m512i product = _mm512_maskz_loadu_epi32(1, x.shifts + b);
            for (std::size_t j = b * rows.block; j < (b + 1) * rows.block; j += 64) {
                _mm_prefetch(reinterpret_cast<const char*>(codes + j + kAhead), _MM_HINT_T1);
                product = _mm512_dpbusd_epi32(product, _mm512_loadu_si512(codes + j),
                                              _mm512_loadu_si512(x.codes + j));
            }
            const __m512 scale = _mm512_set1_ps(scales[b] * x.scales[b]);
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), scale, sum);
        }
        out[i] = _mm512_reduce_add_ps(sum);
    }
}

}  // namespace

const StepKernels* avx512_step_kernels() {
    static const StepKernels set{"avx512",      round_blocks, multiply,   rms_norm,  gate_up,
                                 softmax_in_place, log_sum_exp,  score_keys, mix_values};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::StepKernels* edgepersona::avx512_step_kernels() { return nullptr; }

#endif
