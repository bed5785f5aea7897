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

#include "kernel_loops.h"

namespace edgepersona {
namespace {

constexpr std::size_t kAhead = 8;  // rows fetched ahead

EP_TARGET inline __m512i widen_codes(const std::int8_t* from) {
    return _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
}

EP_TARGET inline std::int32_t dot_row(const std::int8_t* row, const std::int8_t* ahead,
                                      const std::int16_t* query, std::size_t stride) {
    __m512i low = _mm512_setzero_si512(), high = low;
    for (std::size_t i = 0; i < stride; i += kRowStep) {
        _mm_prefetch(reinterpret_cast<const char*>(ahead + i), _MM_HINT_T0);
        const __m512i q0 = _mm512_load_si512(query + i);
        const __m512i q1 = _mm512_load_si512(query + i + 32);
        low = _mm512_add_epi32(low, _mm512_madd_epi16(widen_codes(row + i), q0));
        high = _mm512_add_epi32(high, _mm512_madd_epi16(widen_codes(row + i + 32), q1));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
}

EP_TARGET void dot_codes(const std::int8_t* const* rows, std::size_t count,
                         const std::int16_t* query, std::size_t stride, std::int32_t* sums) {
    for (std::size_t i = 0; i < count; ++i) {
        sums[i] = dot_row(rows[i], rows[std::min(i + kAhead, count - 1)], query, stride);
    }
}

EP_TARGET inline __m512i widen_to_32(const std::int8_t* from) {
    return _mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

EP_TARGET float dot_whole(const std::int8_t* high, const std::int8_t* low, const float* query,
                          std::size_t stride) {
    __m512 sums[4];
    for (auto& sum : sums) sum = _mm512_setzero_ps();
    for (std::size_t i = 0; i < stride; i += kRowStep) {
        for (std::size_t j = 0; j < 4; ++j) {
            const std::size_t at = i + 16 * j;
            const __m512i whole = _mm512_add_epi32(
                _mm512_slli_epi32(widen_to_32(high + at), 8), widen_to_32(low + at));
            sums[j] =
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_load_ps(query + at), sums[j]);
        }
    }
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

EP_TARGET inline __mmask16 first(std::size_t count) {
    return static_cast<__mmask16>((1U << count) - 1);
}

EP_TARGET void widen(const Half* from, std::size_t count, float* to) {
    for (std::size_t i = 0; i < count; i += 16) {
        const __mmask16 mask = first(std::min<std::size_t>(count - i, 16));
        const __m256i halves = _mm256_maskz_loadu_epi16(mask, from + i);
        _mm512_mask_storeu_ps(to + i, mask, _mm512_cvtph_ps(halves));
    }
}

EP_TARGET inline __m512i table(const std::uint8_t* from) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

EP_TARGET std::uint64_t sketch(const std::uint8_t* codes, const std::uint8_t* tables,
                               std::size_t quads, const float* gains, float step, float offset,
                               float bar, float* scores) {
    const __m512i nibble = _mm512_set1_epi8(15), byte = _mm512_set1_epi16(255);
    __m512i even = _mm512_setzero_si512(), odd = even;
    for (std::size_t i = 0; i < quads; i += 2) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + 64 * (i + 32)), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(codes + 64 * (i + 33)), _MM_HINT_T0);
        const __m512i a = _mm512_load_si512(codes + 64 * i);
        const __m512i b = _mm512_load_si512(codes + 64 * (i + 1));
        const std::uint8_t* four = tables + 32 * i;
        const __m512i sums = _mm512_add_epi8(
            _mm512_add_epi8(
                _mm512_shuffle_epi8(table(four), _mm512_and_si512(a, nibble)),
                _mm512_shuffle_epi8(table(four + 16),
                                    _mm512_and_si512(_mm512_srli_epi16(a, 4), nibble))),
            _mm512_add_epi8(
                _mm512_shuffle_epi8(table(four + 32), _mm512_and_si512(b, nibble)),
                _mm512_shuffle_epi8(table(four + 48),
                                    _mm512_and_si512(_mm512_srli_epi16(b, 4), nibble))));
        even = _mm512_add_epi16(even, _mm512_and_si512(sums, byte));
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(sums, 8));
    }
    const __m256i parts[] = {_mm512_castsi512_si256(even), _mm512_extracti64x4_epi64(even, 1),
                             _mm512_castsi512_si256(odd), _mm512_extracti64x4_epi64(odd, 1)};
    std::uint64_t over = 0;
    for (std::size_t part = 0; part < 4; ++part) {
        const __m512 sums = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(parts[part]));
        const __m512 scored =
            _mm512_mul_ps(_mm512_fmadd_ps(sums, _mm512_set1_ps(step), _mm512_set1_ps(offset)),
                          _mm512_load_ps(gains + 16 * part));
        _mm512_store_ps(scores + 16 * part, scored);
        const __mmask16 mask = _mm512_cmp_ps_mask(scored, _mm512_set1_ps(bar), _CMP_GT_OQ);
        over |= static_cast<std::uint64_t>(mask) << (16 * part);
    }
    return over;
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
    static const Kernels set{"avx512", dot_codes, dot_whole, largest_magnitude, split_values,
                             join_codes, widen, sketch, dot};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::Kernels* edgepersona::avx512_kernels() { return nullptr; }

#endif
