// Products of rounded tokens with packed matrices, and of queries with keys and values, written
// once over a Set: the vector registers of one instruction set, which the including file describes.
// EP_TARGET names the set.
//
// Each sum is taken over blocks, positions or dimensions in their order, whatever is computed
// beside it: that is what makes a token's result independent of its neighbours.

namespace edgepersona {
namespace {

// Bytes that are asked for ahead of use: with few tokens, reading is all there is to wait for.
constexpr std::size_t kAhead = 4096;

template <class S>
EP_TARGET inline void keep(typename S::Float sum, bool add, float* to, std::size_t rows) {
    if (rows >= S::kLanes) {
        S::store(to, add ? S::plus(S::load(to), sum) : sum);
        return;
    }
    float lanes[S::kLanes];
    S::store(lanes, sum);
    for (std::size_t i = 0; i < rows; ++i) to[i] = add ? to[i] + lanes[i] : lanes[i];
}

// kLanes rows from `row` on, times T tokens.
template <class S, std::size_t T>
EP_TARGET inline void rows_times_tokens(const PackedMatrix& m, std::size_t row,
                                        const RoundedTokens& x, bool add, float* out,
                                        std::size_t stride) {
    constexpr std::size_t kGroup = PackedMatrix::kGroup;
    const std::size_t blocks = x.blocks, block = m.block, lane = row % kGroup;
    const std::size_t line = 4 * kGroup;  // bytes: four columns, or eight, of a group
    const std::size_t lines = m.bits == 8 ? block / 4 : block / 8;
    const std::uint8_t* codes = m.codes + row / kGroup * blocks * lines * line + 4 * lane;
    const std::size_t scale = row / kGroup * blocks * kGroup + lane;
    typename S::Float sums[T];
    for (std::size_t t = 0; t < T; ++t) sums[t] = S::zero();
    for (std::size_t b = 0; b < blocks; ++b) {
        typename S::Int parts[T];
        const std::int8_t* own = x.codes + b * block;
        if (m.bits == 8) {
            for (std::size_t t = 0; t < T; ++t) parts[t] = S::start(x.offsets[t * blocks + b]);
            for (std::size_t i = 0; i < lines; ++i, codes += line, own += 4) {
                S::prefetch(codes + kAhead);
                const typename S::Bytes weights = S::bytes(codes);
                for (std::size_t t = 0; t < T; ++t) {
                    parts[t] = S::dot8(parts[t], weights, own + t * x.width);
                }
            }
        } else {
            for (std::size_t t = 0; t < T; ++t) parts[t] = S::none();
            for (std::size_t i = 0; i < lines; ++i, codes += line, own += 8) {
                S::prefetch(codes + kAhead);
                const typename S::Codes both = S::nibbles(codes);
                const typename S::Codes low = S::low(both), high = S::high(both);
                for (std::size_t t = 0; t < T; ++t) {
                    parts[t] = S::dot4(parts[t], low, own + t * x.width);
                    parts[t] = S::dot4(parts[t], high, own + t * x.width + 4);
                }
            }
        }
        const typename S::Float scales = S::halves(m.scales + scale + b * kGroup);
        for (std::size_t t = 0; t < T; ++t) {
            const typename S::Float both = S::times(scales, S::all(x.scales[t * blocks + b]));
            sums[t] = S::fused(S::floats(parts[t]), both, sums[t]);
        }
        if (m.bits == 4) {
            const typename S::Float minima = S::halves(m.minima + scale + b * kGroup);
            for (std::size_t t = 0; t < T; ++t) {
                sums[t] = S::fused(minima, S::all(x.sums[t * blocks + b]), sums[t]);
            }
        }
    }
    const std::size_t rows = row < m.rows ? m.rows - row : 0;
    for (std::size_t t = 0; t < T; ++t) keep<S>(sums[t], add, out + t * stride, rows);
}

template <class S, std::size_t T>
EP_TARGET inline void groups_times_tokens(const PackedMatrix& m, std::size_t first,
                                          std::size_t groups, const RoundedTokens& x, bool add,
                                          float* out, std::size_t stride) {
    constexpr std::size_t kGroup = PackedMatrix::kGroup;
    for (std::size_t g = 0; g < groups; ++g, out += kGroup) {
        for (std::size_t lane = 0; lane < kGroup; lane += S::kLanes) {
            const std::size_t row = (first + g) * kGroup + lane;
            if (row < m.rows) rows_times_tokens<S, T>(m, row, x, add, out + lane, stride);
        }
    }
}

// As many tokens at a time as the registers hold, so that a weight is read once for all of them:
// T where so many are left, else the next smaller of 12, 8, 6, 4, 3, 2 and 1.
template <class S, std::size_t T>
EP_TARGET inline void multiply_by(const PackedMatrix& m, std::size_t first, std::size_t groups,
                                  const RoundedTokens& x, std::size_t tokens, bool add, float* out,
                                  std::size_t stride) {
    std::size_t t = 0;
    for (; t + T <= tokens; t += T) {
        groups_times_tokens<S, T>(m, first, groups, x.from(t), add, out + t * stride, stride);
    }
    constexpr std::size_t kNext = T > 8 ? 8 : T > 6 ? 6 : T > 4 ? 4 : T - 1;
    if constexpr (T > 1) {
        if (t == tokens) return;
        multiply_by<S, kNext>(m, first, groups, x.from(t), tokens - t, add, out + t * stride,
                              stride);
    }
}

template <class S>
EP_TARGET void multiply(const PackedMatrix& m, std::size_t first, std::size_t groups,
                        const RoundedTokens& x, std::size_t tokens, bool add, float* out,
                        std::size_t stride) {
    multiply_by<S, S::kTokens>(m, first, groups, x, tokens, add, out, stride);
}

template <class S, std::size_t Q>
EP_TARGET inline void score_queries(const float* queries, const std::uint16_t* keys,
                                    std::size_t blocks, std::size_t dim, float* scores,
                                    std::size_t stride) {
    for (std::size_t b = 0; b < blocks; ++b, keys += 16 * dim) {
        for (std::size_t lane = 0; lane < 16; lane += S::kLanes) {
            typename S::Float sums[Q];
            for (std::size_t q = 0; q < Q; ++q) sums[q] = S::zero();
            for (std::size_t d = 0; d < dim; ++d) {
                const typename S::Float key = S::halves(keys + 16 * d + lane);
                for (std::size_t q = 0; q < Q; ++q) {
                    sums[q] = S::fused(key, S::all(queries[q * dim + d]), sums[q]);
                }
            }
            for (std::size_t q = 0; q < Q; ++q) {
                S::store(scores + q * stride + 16 * b + lane, sums[q]);
            }
        }
    }
}

template <class S>
EP_TARGET void score(const float* queries, std::size_t count, const std::uint16_t* keys,
                     std::size_t blocks, std::size_t dim, float* scores, std::size_t stride) {
    switch (count) {
        case 1: return score_queries<S, 1>(queries, keys, blocks, dim, scores, stride);
        case 2: return score_queries<S, 2>(queries, keys, blocks, dim, scores, stride);
        case 3: return score_queries<S, 3>(queries, keys, blocks, dim, scores, stride);
        default: return score_queries<S, 4>(queries, keys, blocks, dim, scores, stride);
    }
}

// Width dimensions of the values, times Q rows of scores: in registers until the end.
template <class S, std::size_t Q, std::size_t Width>
EP_TARGET inline void mix_part(const float* scores, std::size_t stride,
                               const std::uint16_t* values, std::size_t positions, std::size_t dim,
                               float* out) {
    constexpr std::size_t kVectors = Width / S::kLanes;
    typename S::Float sums[Q * kVectors];
    for (std::size_t i = 0; i < Q * kVectors; ++i) sums[i] = S::zero();
    for (std::size_t j = 0; j < positions; ++j, values += dim) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            const typename S::Float value = S::halves(values + v * S::kLanes);
            for (std::size_t q = 0; q < Q; ++q) {
                sums[q * kVectors + v] =
                    S::fused(value, S::all(scores[q * stride + j]), sums[q * kVectors + v]);
            }
        }
    }
    for (std::size_t q = 0; q < Q; ++q) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            S::store(out + q * dim + v * S::kLanes, sums[q * kVectors + v]);
        }
    }
}

template <class S, std::size_t Q>
EP_TARGET inline void mix_queries(const float* scores, std::size_t stride,
                                  const std::uint16_t* values, std::size_t positions,
                                  std::size_t dim, float* out) {
    std::size_t d = 0;
    for (; d + S::kWide <= dim; d += S::kWide) {
        mix_part<S, Q, S::kWide>(scores, stride, values + d, positions, dim, out + d);
    }
    for (; d < dim; d += 16) {
        mix_part<S, Q, 16>(scores, stride, values + d, positions, dim, out + d);
    }
}

template <class S>
EP_TARGET void mix(const float* scores, std::size_t stride, std::size_t count,
                   const std::uint16_t* values, std::size_t positions, std::size_t dim,
                   float* out) {
    switch (count) {
        case 1: return mix_queries<S, 1>(scores, stride, values, positions, dim, out);
        case 2: return mix_queries<S, 2>(scores, stride, values, positions, dim, out);
        case 3: return mix_queries<S, 3>(scores, stride, values, positions, dim, out);
        default: return mix_queries<S, 4>(scores, stride, values, positions, dim, out);
    }
}

template <class S>
EP_TARGET void to_halves(const float* x, std::size_t count, std::uint16_t* to) {
    std::size_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) S::store_halves(to + i, S::load(x + i));
    for (; i < count; ++i) to[i] = S::half_of(x[i]);
}

template <class S>
LmKernels kernels_of(const char* name) {
    return {name,
            round_blocks,
            multiply<S>,
            rms_norm,
            silu_times,
            gelu_times,
            cap_in_place,
            softmax_in_place,
            log_sum_exp,
            score<S>,
            mix<S>,
            to_halves<S>};
}

}  // namespace
}  // namespace edgepersona
