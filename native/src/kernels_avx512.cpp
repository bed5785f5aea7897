// Kernels for AVX-512 F + BW + VL. Compiled by function, so the file needs no flags of its own.
#include "edgepersona/kernels.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own header leaves registers undefined on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>

#define EP_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c")))

namespace edgepersona {
namespace {

EP_TARGET inline __m512 widen(const Half* from) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
}

// R rows share each load of the query; two sums a row hide the latency of the additions.
template <int R>
EP_TARGET inline void dot_group(const Half* const* rows, const Half* const* next,
                                const float* query, std::size_t stride, float* scores) {
    __m512 low[R], high[R];
    for (int r = 0; r < R; ++r) low[r] = high[r] = _mm512_setzero_ps();
    for (std::size_t i = 0; i < stride; i += kRowStep) {
        const __m512 q0 = _mm512_load_ps(query + i);
        const __m512 q1 = _mm512_load_ps(query + i + 16);
        for (int r = 0; r < R; ++r) {
            _mm_prefetch(reinterpret_cast<const char*>(next[r] + i), _MM_HINT_T0);
            low[r] = _mm512_fmadd_ps(widen(rows[r] + i), q0, low[r]);
            high[r] = _mm512_fmadd_ps(widen(rows[r] + i + 16), q1, high[r]);
        }
    }
    for (int r = 0; r < R; ++r) scores[r] = _mm512_reduce_add_ps(_mm512_add_ps(low[r], high[r]));
}

EP_TARGET void dot_rows(const Half* const* rows, std::size_t count, const float* query,
                        std::size_t stride, float* scores) {
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const std::size_t next = std::min(i + 4, count - 4);
        dot_group<4>(rows + i, rows + next, query, stride, scores + i);
    }
    for (; i < count; ++i) dot_group<1>(rows + i, rows + i, query, stride, scores + i);
}

EP_TARGET inline __mmask16 first(std::size_t count) {
    return static_cast<__mmask16>((1U << count) - 1);
}

EP_TARGET void to_half(const float* from, std::size_t count, Half* to) {
    for (std::size_t i = 0; i < count; i += 16) {
        const __mmask16 mask = first(std::min<std::size_t>(count - i, 16));
        const __m512 values = _mm512_maskz_loadu_ps(mask, from + i);
        _mm256_mask_storeu_epi16(to + i, mask,
                                 _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
    }
}

EP_TARGET float dot(const float* a, const float* b, std::size_t count) {
    __m512 low = _mm512_setzero_ps(), high = low;
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        low = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), low);
        high = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), high);
    }
    for (; i < count; i += 16) {
        const __mmask16 mask = first(std::min<std::size_t>(count - i, 16));
        low = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i),
                              _mm512_maskz_loadu_ps(mask, b + i), low);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(low, high));
}

}  // namespace

const Kernels* avx512_kernels() {
    static const Kernels set{"avx512", dot_rows, to_half, dot};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::Kernels* edgepersona::avx512_kernels() { return nullptr; }

#endif
