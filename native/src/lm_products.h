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
            for (std::size_t i = 0; i < lines; i += S::kRun) {
                typename S::Run run[T];
                for (std::size_t t = 0; t < T; ++t) run[t] = S::begun(parts[t]);
                for (std::size_t j = 0; j < S::kRun; ++j, codes += line, own += 8) {
                    S::prefetch(codes + kAhead);
                    const typename S::Codes both = S::nibbles(codes);
                    const typename S::Codes low = S::low(both), high = S::high(both);
                    for (std::size_t t = 0; t < T; ++t) {
                        run[t] = S::dot4(run[t], low, own + t * x.width);
                        run[t] = S::dot4(run[t], high, own + t * x.width + 4);
                    }
                }
                for (std::size_t t = 0; t < T; ++t) parts[t] = S::ended(run[t], parts[t]);
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

// Q queries times kBlocks blocks of keys.
template <class S, std::size_t Q, std::size_t kBlocks>
EP_TARGET inline void score_part(const float* queries, std::size_t count,
                                 const std::uint16_t* keys, std::size_t dim, float* scores,
                                 std::size_t stride) {
    for (std::size_t lane = 0; lane < 16; lane += S::kLanes) {
        typename S::Float sums[kBlocks * Q];
        for (std::size_t i = 0; i < kBlocks * Q; ++i) sums[i] = S::zero();
        for (std::size_t d = 0; d < dim; ++d) {
            typename S::Float key[kBlocks];
            for (std::size_t b = 0; b < kBlocks; ++b) {
                const std::uint16_t* const from = keys + 16 * (b * dim + d);
                S::prefetch(reinterpret_cast<const std::uint8_t*>(from) + kAhead);
                key[b] = S::halves(from + lane);
            }
            for (std::size_t q = 0; q < Q; ++q) {
                const typename S::Float query = S::all(queries[d * count + q]);
                for (std::size_t b = 0; b < kBlocks; ++b) {
                    sums[b * Q + q] = S::fused(key[b], query, sums[b * Q + q]);
                }
            }
        }
        for (std::size_t b = 0; b < kBlocks; ++b) {
            for (std::size_t q = 0; q < Q; ++q) {
                S::store(scores + q * stride + 16 * b + lane, sums[b * Q + q]);
            }
        }
    }
}

// Few queries meet several blocks at once: with few sums, each addition waits for the last.
template <class S, std::size_t Q>
EP_TARGET void score_queries(const float* queries, std::size_t count, const std::uint16_t* keys,
                             std::size_t blocks, std::size_t dim, float* scores,
                             std::size_t stride) {
    constexpr std::size_t kBlocks = S::kScores >= 4 * Q ? 4 : S::kScores >= 2 * Q ? 2 : 1;
    std::size_t b = 0;
    for (; b + kBlocks <= blocks; b += kBlocks) {
        score_part<S, Q, kBlocks>(queries, count, keys + 16 * dim * b, dim, scores + 16 * b,
                                  stride);
    }
    for (; b < blocks; ++b) {
        score_part<S, Q, 1>(queries, count, keys + 16 * dim * b, dim, scores + 16 * b, stride);
    }
}

// As many queries at a time as the registers hold: Q where so many are left, else fewer.
template <class S, std::size_t Q>
EP_TARGET inline void score_by(const float* queries, std::size_t left, std::size_t count,
                               const std::uint16_t* keys, std::size_t blocks, std::size_t dim,
                               float* scores, std::size_t stride) {
    for (; left >= Q; left -= Q, queries += Q, scores += Q * stride) {
        score_queries<S, Q>(queries, count, keys, blocks, dim, scores, stride);
    }
    if constexpr (Q > 1) {
        if (left != 0) {
            score_by<S, Q - 1>(queries, left, count, keys, blocks, dim, scores, stride);
        }
    }
}

template <class S>
EP_TARGET void score(const float* queries, std::size_t count, const std::uint16_t* keys,
                     std::size_t blocks, std::size_t dim, float* scores, std::size_t stride) {
    constexpr std::size_t kMost = std::min(S::kScores, kQueries);
    score_by<S, kMost>(queries, count, count, keys, blocks, dim, scores, stride);
}

// Width dimensions of the values, times Q rows of scores: in registers until the end.
template <class S, std::size_t Q, std::size_t Width>
EP_TARGET void mix_part(const float* scores, std::size_t stride, const SeenPositions* seen,
                        const std::uint16_t* values, std::size_t dim, float* out) {
    constexpr std::size_t kVectors = Width / S::kLanes;
    SeenPositions any = seen[0], all = seen[0];  // seen by one of the rows, by each
    for (std::size_t q = 1; q < Q; ++q) {
        any = {std::min(any.from, seen[q].from), std::max(any.end, seen[q].end)};
        all = {std::max(all.from, seen[q].from), std::min(all.end, seen[q].end)};
    }
    typename S::Float sums[Q * kVectors];
    for (std::size_t i = 0; i < Q * kVectors; ++i) sums[i] = S::zero();
    for (std::size_t j = any.from; j < any.end; ++j) {
        const std::uint16_t* const row = values + j * dim;
        if (j >= all.from && j < all.end) {
            for (std::size_t v = 0; v < kVectors; ++v) {
                S::prefetch(reinterpret_cast<const std::uint8_t*>(row + v * S::kLanes) + kAhead);
                const typename S::Float value = S::halves(row + v * S::kLanes);
                for (std::size_t q = 0; q < Q; ++q) {
                    sums[q * kVectors + v] =
                        S::fused(value, S::all(scores[q * stride + j]), sums[q * kVectors + v]);
                }
            }
            continue;
        }
        for (std::size_t q = 0; q < Q; ++q) {
            if (j < seen[q].from || j >= seen[q].end) continue;
            const typename S::Float score = S::all(scores[q * stride + j]);
            for (std::size_t v = 0; v < kVectors; ++v) {
                const typename S::Float value = S::halves(row + v * S::kLanes);
                sums[q * kVectors + v] = S::fused(value, score, sums[q * kVectors + v]);
            }
        }
    }
    for (std::size_t q = 0; q < Q; ++q) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            S::store(out + q * dim + v * S::kLanes, sums[q * kVectors + v]);
        }
    }
}

// As many rows of scores at a time as the registers hold beside kWide dimensions.
template <class S, std::size_t Q>
EP_TARGET inline void mix_by(const float* scores, std::size_t stride, const SeenPositions* seen,
                             std::size_t count, const std::uint16_t* values, std::size_t dim,
                             float* out) {
    for (; count >= Q; count -= Q, scores += Q * stride, seen += Q, out += Q * dim) {
        std::size_t d = 0;
        for (; d + S::kWide <= dim; d += S::kWide) {
            mix_part<S, Q, S::kWide>(scores, stride, seen, values + d, dim, out + d);
        }
        for (; d < dim; d += 16) {
            mix_part<S, Q, 16>(scores, stride, seen, values + d, dim, out + d);
        }
    }
    if constexpr (Q > 1) {
        if (count != 0) mix_by<S, Q - 1>(scores, stride, seen, count, values, dim, out);
    }
}

template <class S>
EP_TARGET void mix(const float* scores, std::size_t stride, const SeenPositions* seen,
                   std::size_t count, const std::uint16_t* values, std::size_t dim, float* out) {
    mix_by<S, S::kRows>(scores, stride, seen, count, values, dim, out);
}

// As fast_exp.h has it, for numbers of at most 88.
template <class S>
EP_TARGET inline typename S::Float power_of(typename S::Float x) {
    constexpr float kRound = 12582912.0F;
    x = S::most(S::all(-87.0F), x);
    const typename S::Float shifted = S::fused(x, S::all(1.44269504F), S::all(kRound));
    const typename S::Float n = S::plus(shifted, S::all(-kRound));
    const typename S::Float r =
        S::fused(n, S::all(2.12194440e-4F), S::fused(n, S::all(-0.693359375F), x));
    typename S::Float p = S::fused(r, S::all(1.9875691500e-4F), S::all(1.3981999507e-3F));
    for (const float next : {8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F,
                             5.0000001201e-1F, 1.0F, 1.0F}) {
        p = S::fused(p, r, S::all(next));
    }
    return S::times(p, S::power_of_two(shifted));
}

// In halves, so that no addition waits for more than a few others.
template <class S, class F>
EP_TARGET inline float folded(typename S::Float x, F fold) {
    float lanes[S::kLanes];
    S::store(lanes, x);
    for (std::size_t width = S::kLanes / 2; width != 0; width /= 2) {
        for (std::size_t i = 0; i < width; ++i) lanes[i] = fold(lanes[i], lanes[i + width]);
    }
    return lanes[0];
}

template <class S>
EP_TARGET void softmax(float* scores, std::size_t count) {
    const std::size_t whole = count / S::kLanes * S::kLanes, rest = count - whole;
    float last[S::kLanes];
    for (float& lane : last) lane = -HUGE_VALF;
    std::copy_n(scores + whole, rest, last);
    typename S::Float most = S::load(last), other = most;
    std::size_t i = 0;
    for (; i + 2 * S::kLanes <= whole; i += 2 * S::kLanes) {
        most = S::most(most, S::load(scores + i));
        other = S::most(other, S::load(scores + i + S::kLanes));
    }
    if (i < whole) most = S::most(most, S::load(scores + i));
    const float largest = folded<S>(S::most(most, other),
                                    [](float a, float b) { return a > b ? a : b; });
    const typename S::Float below = S::all(-largest);
    typename S::Float sum = power_of<S>(S::plus(S::load(last), below));
    S::store(last, sum);
    for (i = 0; i < whole; i += S::kLanes) {
        const typename S::Float power = power_of<S>(S::plus(S::load(scores + i), below));
        S::store(scores + i, power);
        sum = S::plus(sum, power);
    }
    const float inverse = 1.0F / folded<S>(sum, [](float a, float b) { return a + b; });
    for (i = 0; i < whole; ++i) scores[i] *= inverse;
    for (; i < count; ++i) scores[i] = last[i - whole] * inverse;
}

// Four vectors at a time, so that no addition waits for the last; summed in float for a while only.
template <class S>
EP_TARGET float log_sum_exp(const float* x, std::size_t count) {
    constexpr std::size_t kStep = 4 * S::kLanes, kPart = 32 * kStep;
    float last[kStep];  // what a step does not fill, filled up
    const std::size_t whole = count / kStep * kStep;
    for (float& lane : last) lane = -HUGE_VALF;
    std::copy_n(x + whole, count - whole, last);
    typename S::Float most[4];
    for (std::size_t v = 0; v < 4; ++v) most[v] = S::load(last + v * S::kLanes);
    for (std::size_t i = 0; i < whole; i += kStep) {
        for (std::size_t v = 0; v < 4; ++v) {
            most[v] = S::most(S::load(x + i + v * S::kLanes), most[v]);
        }
    }
    const float largest = folded<S>(S::most(S::most(most[0], most[1]), S::most(most[2], most[3])),
                                    [](float a, float b) { return a > b ? a : b; });
    if (!std::isfinite(largest)) {  // beside an infinity the sums would not tell
        const float* const odd =
            std::find_if(x, x + count, [](float value) { return value != value; });
        return odd != x + count ? *odd : largest;
    }
    const typename S::Float below = S::all(-largest);
    typename S::Float sums[4];
    double sum = 0.0;
    const auto add = [](float a, float b) { return a + b; };
    for (std::size_t v = 0; v < 4; ++v) {
        sums[v] = power_of<S>(S::plus(S::load(last + v * S::kLanes), below));
    }
    for (std::size_t i = 0; i < whole;) {
        for (const std::size_t end = std::min(i + kPart, whole); i < end; i += kStep) {
            for (std::size_t v = 0; v < 4; ++v) {
                const typename S::Float power =
                    power_of<S>(S::plus(S::load(x + i + v * S::kLanes), below));
                sums[v] = S::plus(sums[v], power);
            }
        }
        sum += static_cast<double>(
            folded<S>(S::plus(S::plus(sums[0], sums[1]), S::plus(sums[2], sums[3])), add));
        for (typename S::Float& part : sums) part = S::zero();
    }
    sum += static_cast<double>(
        folded<S>(S::plus(S::plus(sums[0], sums[1]), S::plus(sums[2], sums[3])), add));
    return largest + static_cast<float>(std::log(sum));
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
            layer_norm_in_place,
            biased_gelu_in_place,
            silu_times,
            gelu_times,
            cap_in_place,
            softmax<S>,
            log_sum_exp<S>,
            score<S>,
            mix<S>,
            to_halves<S>,
            false};
}

}  // namespace
}  // namespace edgepersona
