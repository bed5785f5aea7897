// Kernels for AVX2 + FMA + F16C. Compiled by function, so the file needs no flags of its own.
#include "edgepersona/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

#define EP_TARGET __attribute__((target("avx2,fma,f16c")))

#include "kernel_loops.h"

namespace edgepersona {
namespace {

constexpr std::size_t kAhead = 8;  // rows fetched ahead

EP_TARGET inline float sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

EP_TARGET inline std::int32_t sum(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(s);
}

EP_TARGET inline __m256i product(const std::int8_t* row, const std::int16_t* query) {
    const __m256i codes =
        _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(row)));
    return _mm256_madd_epi16(codes, _mm256_load_si256(reinterpret_cast<const __m256i*>(query)));
}

EP_TARGET inline std::int32_t dot_row(const std::int8_t* row, const std::int8_t* ahead,
                                      const std::int16_t* query, std::size_t stride) {
    __m256i low = _mm256_setzero_si256(), high = low;
    for (std::size_t i = 0; i < stride; i += kRowStep) {
        _mm_prefetch(reinterpret_cast<const char*>(ahead + i), _MM_HINT_T0);
        low = _mm256_add_epi32(low, product(row + i, query + i));
        high = _mm256_add_epi32(high, product(row + i + 16, query + i + 16));
        low = _mm256_add_epi32(low, product(row + i + 32, query + i + 32));
        high = _mm256_add_epi32(high, product(row + i + 48, query + i + 48));
    }
    return sum(_mm256_add_epi32(low, high));
}

EP_TARGET void dot_codes(const std::int8_t* const* rows, std::size_t count,
                         const std::int16_t* query, std::size_t stride, std::int32_t* sums) {
    for (std::size_t i = 0; i < count; ++i) {
        sums[i] = dot_row(rows[i], rows[std::min(i + kAhead, count - 1)], query, stride);
    }
}

EP_TARGET inline __m256i widen_to_32(const std::int8_t* from) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

EP_TARGET float dot_whole(const std::int8_t* high, const std::int8_t* low, const float* query,
                          std::size_t stride) {
    __m256 sums[4];
    for (auto& part : sums) part = _mm256_setzero_ps();
    for (std::size_t i = 0; i < stride; i += 32) {
        for (std::size_t j = 0; j < 4; ++j) {
            const std::size_t at = i + 8 * j;
            const __m256i whole = _mm256_add_epi32(
                _mm256_slli_epi32(widen_to_32(high + at), 8), widen_to_32(low + at));
            sums[j] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_load_ps(query + at), sums[j]);
        }
    }
    return sum(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
}

EP_TARGET void widen(const Half* from, std::size_t count, float* to) {
    const auto eight = [](const Half* in, float* out) EP_TARGET {
        _mm256_storeu_ps(out,
                         _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))));
    };
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) eight(from + i, to + i);
    Half in[8] = {};
    float out[8];
    std::copy(from + i, from + count, in);
    eight(in, out);
    std::copy(out, out + (count - i), to + i);
}

EP_TARGET inline __m256i table(const std::uint8_t* from) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

// The entries of two bytes of 32 rows, summed in bytes.
EP_TARGET inline __m256i looked_up(__m256i a, __m256i b, const std::uint8_t* four) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const auto high = [&](__m256i v) EP_TARGET {
        return _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
    };
    return _mm256_add_epi8(
        _mm256_add_epi8(_mm256_shuffle_epi8(table(four), _mm256_and_si256(a, nibble)),
                        _mm256_shuffle_epi8(table(four + 16), high(a))),
        _mm256_add_epi8(_mm256_shuffle_epi8(table(four + 32), _mm256_and_si256(b, nibble)),
                        _mm256_shuffle_epi8(table(four + 48), high(b))));
}

EP_TARGET std::uint64_t sketch(const std::uint8_t* codes, const std::uint8_t* tables,
                               std::size_t quads, const float* gains, float step, float offset,
                               float bar, float* scores) {
    const __m256i byte = _mm256_set1_epi16(255);
    __m256i even[2], odd[2];
    for (int h = 0; h < 2; ++h) even[h] = odd[h] = _mm256_setzero_si256();
    for (std::size_t i = 0; i < quads; i += 2) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + 64 * (i + 32)), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(codes + 64 * (i + 33)), _MM_HINT_T0);
        for (std::size_t h = 0; h < 2; ++h) {
            const auto* at = reinterpret_cast<const __m256i*>(codes + 64 * i + 32 * h);
            const __m256i sums =
                looked_up(_mm256_load_si256(at), _mm256_load_si256(at + 2), tables + 32 * i);
            even[h] = _mm256_add_epi16(even[h], _mm256_and_si256(sums, byte));
            odd[h] = _mm256_add_epi16(odd[h], _mm256_srli_epi16(sums, 8));
        }
    }
    alignas(32) std::uint16_t sums[64];
    for (std::size_t h = 0; h < 2; ++h) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 16 * h), even[h]);
        _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 32 + 16 * h), odd[h]);
    }
    std::uint64_t over = 0;
    for (std::size_t r = 0; r < 64; r += 8) {
        const __m256 wide = _mm256_cvtepi32_ps(
            _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(sums + r))));
        const __m256 scored =
            _mm256_mul_ps(_mm256_fmadd_ps(wide, _mm256_set1_ps(step), _mm256_set1_ps(offset)),
                          _mm256_load_ps(gains + r));
        _mm256_store_ps(scores + r, scored);
        const auto mask = static_cast<unsigned>(
            _mm256_movemask_ps(_mm256_cmp_ps(scored, _mm256_set1_ps(bar), _CMP_GT_OQ)));
        over |= static_cast<std::uint64_t>(mask) << r;
    }
    return over;
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
    static const Kernels set{"avx2", dot_codes, dot_whole, largest_magnitude, split_values,
                             join_codes, widen, sketch, dot};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::Kernels* edgepersona::avx2_kernels() { return nullptr; }

#endif
