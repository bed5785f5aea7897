// Kernels for AVX2 + FMA + F16C. Compiled by function, so the file needs no flags of its own.
#include "edgepersona/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

#define EP_TARGET __attribute__((target("avx2,fma,f16c")))

namespace edgepersona {
namespace {

EP_TARGET inline float sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

EP_TARGET inline __m256 widen(const Half* from) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

// R rows share each load of the query; two sums a row hide the latency of the additions.
template <int R>
EP_TARGET inline void dot_group(const Half* const* rows, const Half* const* next,
                                const float* query, std::size_t stride, float* scores) {
    __m256 low[R], high[R];
    for (int r = 0; r < R; ++r) low[r] = high[r] = _mm256_setzero_ps();
    for (std::size_t line = 0; line < stride; line += kRowStep) {
        for (int r = 0; r < R; ++r) {
            _mm_prefetch(reinterpret_cast<const char*>(next[r] + line), _MM_HINT_T0);
        }
        for (std::size_t i = line; i < line + kRowStep; i += 16) {
            const __m256 q0 = _mm256_load_ps(query + i);
            const __m256 q1 = _mm256_load_ps(query + i + 8);
            for (int r = 0; r < R; ++r) {
                low[r] = _mm256_fmadd_ps(widen(rows[r] + i), q0, low[r]);
                high[r] = _mm256_fmadd_ps(widen(rows[r] + i + 8), q1, high[r]);
            }
        }
    }
    for (int r = 0; r < R; ++r) scores[r] = sum(_mm256_add_ps(low[r], high[r]));
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

EP_TARGET void to_half(const float* from, std::size_t count, Half* to) {
    const auto narrow = [](const float* in, Half* out) EP_TARGET {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT));
    };
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) narrow(from + i, to + i);
    float in[8] = {};
    Half out[8];
    std::copy(from + i, from + count, in);
    narrow(in, out);
    std::copy(out, out + (count - i), to + i);
}

EP_TARGET float dot(const float* a, const float* b, std::size_t count) {
    __m256 low = _mm256_setzero_ps(), high = low;
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        low = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), low);
        high = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), high);
    }
    float rest = 0.0F;
    for (; i < count; ++i) rest += a[i] * b[i];
    return sum(_mm256_add_ps(low, high)) + rest;
}

}  // namespace

const Kernels* avx2_kernels() {
    static const Kernels set{"avx2", dot_rows, to_half, dot};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::Kernels* edgepersona::avx2_kernels() { return nullptr; }

#endif
