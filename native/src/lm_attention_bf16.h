// Attention by products of pairs of bfloat16 (AVX512-BF16), twice as many at a time as of floats.
// Keys and values, which are float16, are rounded as they are read, and so are queries and scores;
// sums are float. EP_TARGET names the set of the including file.
//
// As in lm_products.h each sum is taken over dimensions, or positions, in their order, two by two,
// whatever is computed beside it.

namespace edgepersona {
namespace {

constexpr std::size_t kPairedDims = 256;  // scores of larger heads are left to floats

// The lanes of two vectors, rounded: those of the first, then those of the second.
EP_TARGET inline __m512i rounded(__m512 first, __m512 second) {
    return (__m512i)_mm512_maskz_cvtne2ps_pbh(0xffffffffU, second, first);
}

// A register of pairs: of the sixteen lanes of two vectors, the first one's in the lower halves.
EP_TARGET inline __m512i pairs_of(__m512 first, __m512 second) {
    alignas(64) static constexpr std::uint16_t kOrder[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_maskz_permutexvar_epi16(0xffffffffU, _mm512_load_si512(kOrder),
                                          rounded(first, second));
}

EP_TARGET inline __m512 plus_products(__m512 sum, __m512i pairs, std::uint32_t pair) {
    const __m512i everywhere = _mm512_set1_epi32(static_cast<int>(pair));
    return _mm512_dpbf16_ps(sum, (__m512bh)pairs, (__m512bh)everywhere);
}

// Q queries, pairs of dimensions (dim / 2, kQueries), times kBlocks blocks of keys.
template <std::size_t Q, std::size_t kBlocks>
EP_TARGET inline void score_pairs_part(const std::uint32_t* queries, const std::uint16_t* keys,
                                       std::size_t dim, float* scores, std::size_t stride) {
    __m512 sums[kBlocks * Q];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    for (std::size_t d = 0; d < dim; d += 2, queries += kQueries) {
        __m512i key[kBlocks];
        for (std::size_t b = 0; b < kBlocks; ++b) {
            const std::uint16_t* const from = keys + 16 * (b * dim + d);
            Avx512::prefetch(reinterpret_cast<const std::uint8_t*>(from) + kAhead);
            key[b] = pairs_of(Avx512::halves(from), Avx512::halves(from + 16));
        }
        for (std::size_t q = 0; q < Q; ++q) {
            for (std::size_t b = 0; b < kBlocks; ++b) {
                sums[b * Q + q] = plus_products(sums[b * Q + q], key[b], queries[q]);
            }
        }
    }
    for (std::size_t b = 0; b < kBlocks; ++b) {
        for (std::size_t q = 0; q < Q; ++q) {
            _mm512_storeu_ps(scores + q * stride + 16 * b, sums[b * Q + q]);
        }
    }
}

// `count` queries, Q at most.
template <std::size_t Q>
EP_TARGET inline void score_pairs_by(const std::uint32_t* queries, std::size_t count,
                                     const std::uint16_t* keys, std::size_t blocks,
                                     std::size_t dim, float* scores, std::size_t stride) {
    if constexpr (Q > 1) {
        if (count < Q) {
            score_pairs_by<Q - 1>(queries, count, keys, blocks, dim, scores, stride);
            return;
        }
    }
    constexpr std::size_t kBlocks = Q > 6 ? 2 : 4;  // few queries: as in lm_products.h
    std::size_t b = 0;
    for (; b + kBlocks <= blocks; b += kBlocks) {
        score_pairs_part<Q, kBlocks>(queries, keys + 16 * dim * b, dim, scores + 16 * b, stride);
    }
    for (; b < blocks; ++b) {
        score_pairs_part<Q, 1>(queries, keys + 16 * dim * b, dim, scores + 16 * b, stride);
    }
}

EP_TARGET void score_pairs(const float* queries, std::size_t count, const std::uint16_t* keys,
                           std::size_t blocks, std::size_t dim, float* scores,
                           std::size_t stride) {
    static_assert(kQueries <= 16, "a register holds a dimension of all queries");
    if (dim > kPairedDims) {
        score<Avx512>(queries, count, keys, blocks, dim, scores, stride);
        return;
    }
    std::uint32_t pairs[kPairedDims / 2 * kQueries];
    for (std::size_t first = 0; first < count; first += kQueries, scores += kQueries * stride) {
        const std::size_t some = std::min(count - first, kQueries);
        const auto there = static_cast<__mmask16>((1U << some) - 1);
        for (std::size_t d = 0; d < dim; d += 2) {
            const float* const from = queries + d * count + first;
            _mm512_mask_storeu_epi32(pairs + d / 2 * kQueries, there,
                                     pairs_of(_mm512_maskz_loadu_ps(there, from),
                                              _mm512_maskz_loadu_ps(there, from + count)));
        }
        score_pairs_by<kQueries>(pairs, some, keys, blocks, dim, scores, stride);
    }
}

// A row's scores of the positions from `begin` on, up to `end`, in pairs, 32 positions at a time;
// zeros for those that its span has not.
EP_TARGET inline void round_scores(const SeenPositions& span, const float* scores,
                                   std::size_t begin, std::size_t end, std::uint32_t* pairs) {
    for (std::size_t at = begin; at < end; at += 32, pairs += 16) {
        std::uint64_t seen = 0xffffffffU;
        if (at < span.from || at + 32 > span.end) {
            const std::size_t last = std::clamp(span.end, at, at + 32) - at;
            const std::size_t first = std::min(std::clamp(span.from, at, at + 32) - at, last);
            seen = (std::uint64_t{1} << last) - (std::uint64_t{1} << first);
        }
        const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(seen), scores + at);
        const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(seen >> 16),
                                                  scores + at + 16);
        _mm512_storeu_si512(pairs, rounded(low, high));
    }
}

constexpr std::size_t kPairs = 64;  // of positions whose scores are rounded at a time

// Adds kVectors * 16 dimensions of the values, times Q rows of rounded scores, (Q, kPairs), to
// `out`: of `pairs` pairs of positions that all rows see.
template <std::size_t Q, std::size_t kVectors>
EP_TARGET inline void mix_whole_pairs(const std::uint32_t* weights, std::size_t pairs,
                                      const std::uint16_t* values, std::size_t dim, float* out) {
    __m512 sums[Q * kVectors];
    for (std::size_t q = 0; q < Q; ++q) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[q * kVectors + v] = _mm512_loadu_ps(out + q * dim + 16 * v);
        }
    }
    for (std::size_t i = 0; i < pairs; ++i, ++weights, values += 2 * dim) {
        __m512i value[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v) {
            const std::uint16_t* const from = values + 16 * v;
            Avx512::prefetch(reinterpret_cast<const std::uint8_t*>(from) + kAhead);
            value[v] = pairs_of(Avx512::halves(from), Avx512::halves(from + dim));
        }
        for (std::size_t q = 0; q < Q; ++q) {
            for (std::size_t v = 0; v < kVectors; ++v) {
                sums[q * kVectors + v] =
                    plus_products(sums[q * kVectors + v], value[v], weights[q * kPairs]);
            }
        }
    }
    for (std::size_t q = 0; q < Q; ++q) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            _mm512_storeu_ps(out + q * dim + 16 * v, sums[q * kVectors + v]);
        }
    }
}

// The same of one pair, at position `from`, that not all rows see, or not all of.
template <std::size_t Q, std::size_t kVectors>
EP_TARGET inline void mix_seen_of_pair(const std::uint32_t* weights, const SeenPositions* seen,
                                       std::size_t from, const std::uint16_t* values,
                                       std::size_t dim, float* out) {
    for (std::size_t q = 0; q < Q; ++q) {
        const bool first = from >= seen[q].from && from < seen[q].end;
        const bool second = from + 1 >= seen[q].from && from + 1 < seen[q].end;
        if (!first && !second) continue;
        for (std::size_t v = 0; v < kVectors; ++v) {
            const __m512 none = _mm512_setzero_ps();
            const __m512i value = pairs_of(first ? Avx512::halves(values + 16 * v) : none,
                                           second ? Avx512::halves(values + dim + 16 * v) : none);
            float* const to = out + q * dim + 16 * v;
            _mm512_storeu_ps(to, plus_products(_mm512_loadu_ps(to), value, weights[q * kPairs]));
        }
    }
}

// The positions from `begin` on, an even one, up to `end`, at most kPairs pairs.
template <std::size_t Q, std::size_t kVectors>
EP_TARGET void mix_pairs_part(const std::uint32_t* weights, const SeenPositions* seen,
                              const SeenPositions& all, std::size_t begin, std::size_t end,
                              const std::uint16_t* values, std::size_t dim, float* out) {
    for (std::size_t j = begin; j < end;) {
        const std::uint32_t* const own = weights + (j - begin) / 2;
        const std::size_t last = std::min(all.end, end);
        const std::size_t whole = j >= all.from && j < last ? (last - j) / 2 : 0;
        if (whole != 0) {
            mix_whole_pairs<Q, kVectors>(own, whole, values + j * dim, dim, out);
        } else {
            mix_seen_of_pair<Q, kVectors>(own, seen, j, values + j * dim, dim, out);
        }
        j += 2 * std::max<std::size_t>(whole, 1);
    }
}

template <std::size_t Q>
EP_TARGET void mix_pairs_rows(const float* scores, std::size_t stride, const SeenPositions* seen,
                              const std::uint16_t* values, std::size_t dim, float* out) {
    constexpr std::size_t kVectors = Q > 6 ? 2 : 4;
    SeenPositions any = seen[0], all = seen[0];  // seen by one of the rows, by each
    for (std::size_t q = 1; q < Q; ++q) {
        any = {std::min(any.from, seen[q].from), std::max(any.end, seen[q].end)};
        all = {std::max(all.from, seen[q].from), std::min(all.end, seen[q].end)};
    }
    std::fill_n(out, Q * dim, 0.0F);
    std::uint32_t weights[Q * kPairs];
    // Pairs begin at even positions, whatever is seen: a row's sum must not depend on others.
    for (std::size_t begin = any.from / 2 * 2; begin < any.end; begin += 2 * kPairs) {
        const std::size_t end = std::min(begin + 2 * kPairs, any.end);
        for (std::size_t q = 0; q < Q; ++q) {
            round_scores(seen[q], scores + q * stride, begin, end, weights + q * kPairs);
        }
        std::size_t d = 0;
        for (; d + 16 * kVectors <= dim; d += 16 * kVectors) {
            mix_pairs_part<Q, kVectors>(weights, seen, all, begin, end, values + d, dim, out + d);
        }
        for (; d < dim; d += 16) {
            mix_pairs_part<Q, 1>(weights, seen, all, begin, end, values + d, dim, out + d);
        }
    }
}

// As many rows of scores at a time as the registers hold: Q where so many are left, else fewer.
template <std::size_t Q>
EP_TARGET inline void mix_pairs_by(const float* scores, std::size_t stride,
                                   const SeenPositions* seen, std::size_t count,
                                   const std::uint16_t* values, std::size_t dim, float* out) {
    for (; count >= Q; count -= Q, scores += Q * stride, seen += Q, out += Q * dim) {
        mix_pairs_rows<Q>(scores, stride, seen, values, dim, out);
    }
    if constexpr (Q > 1) {
        if (count != 0) mix_pairs_by<Q - 1>(scores, stride, seen, count, values, dim, out);
    }
}

EP_TARGET void mix_pairs(const float* scores, std::size_t stride, const SeenPositions* seen,
                         std::size_t count, const std::uint16_t* values, std::size_t dim,
                         float* out) {
    mix_pairs_by<kQueries>(scores, stride, seen, count, values, dim, out);
}

}  // namespace
}  // namespace edgepersona
