// The loops of a persona, for each instruction set that includes this. EP_TARGET names the set,
// EP_REGISTER_BYTES its widest register.
//
// Rows are read at EP_STREAMS places of a block at once, and lines asked for EP_AHEAD floats ahead
// of use (0: none are). What gets the most out of memory differs: an Intel Xeon, measured with
// AVX-512, follows one stream best, with lines asked for; AMD's Zen 3, measured with AVX2, reads a
// quarter less by one stream than by four, and less again where lines are asked for; Zen 5, with
// AVX-512, reads a third more by two than either way, of rows that its third cache nearly holds.

#include <cstddef>

#include "edgepersona/persona_kernels.h"
#include "fast_exp.h"

namespace edgepersona {
namespace {

constexpr std::size_t kLine = 16;     // floats in a cache line: a step of every loop
constexpr std::size_t kStreams = EP_STREAMS;

typedef float Lanes __attribute__((vector_size(EP_REGISTER_BYTES), may_alias));
constexpr std::size_t kWidth = sizeof(Lanes) / sizeof(float);
constexpr std::size_t kParts = kLine / kWidth;  // registers to a cache line

EP_TARGET inline const Lanes& lanes(const float* at) { return *reinterpret_cast<const Lanes*>(at); }
EP_TARGET inline Lanes& lanes(float* at) { return *reinterpret_cast<Lanes*>(at); }

// Into the second cache: the first is small, and the query and the sums live there.
EP_TARGET inline void ask_for(const float* row) {
    if (EP_AHEAD != 0) __builtin_prefetch(row + EP_AHEAD, 0, 2);
}

// The scores of Rows rows, `apart` from each other.
template <std::size_t Rows>
EP_TARGET inline void score_rows(const float* query, const float* keys, std::size_t apart,
                                 std::size_t stride, float* scores) {
    // So many sums at once: in one, each addition waits for the last.
    constexpr std::size_t kLines = Rows == 1 ? 2 : 1, kSums = kLines * kParts;
    Lanes sums[Rows * kSums] = {};
    std::size_t i = 0;
    for (; i + kLines * kLine <= stride; i += kLines * kLine) {
        for (std::size_t row = 0; row < Rows; ++row) {
            const float* const from = keys + row * apart * stride + i;
            for (std::size_t line = 0; line < kLines; ++line) ask_for(from + line * kLine);
            for (std::size_t p = 0; p < kSums; ++p) {
                sums[row * kSums + p] += lanes(query + i + p * kWidth) * lanes(from + p * kWidth);
            }
        }
    }
    if (i < stride) {  // one row's last line
        for (std::size_t p = 0; p < kParts; ++p) {
            sums[p] += lanes(query + i + p * kWidth) * lanes(keys + i + p * kWidth);
        }
    }
    for (std::size_t row = 0; row < Rows; ++row) {
        Lanes* const sum = sums + row * kSums;
        for (std::size_t p = 1; p < kSums; ++p) sum[0] += sum[p];
        float lane[kWidth];
        __builtin_memcpy(lane, sum, sizeof lane);
        for (std::size_t width = kWidth / 2; width > 0; width /= 2) {
            for (std::size_t l = 0; l < width; ++l) lane[l] += lane[l + width];
        }
        scores[row * apart] = lane[0];
    }
}

EP_TARGET void score(const float* query, const float* keys, std::size_t count, std::size_t stride,
                     float* scores) {
    const std::size_t apart = count / kStreams;
    for (std::size_t row = 0; row < apart; ++row) {
        score_rows<kStreams>(query, keys + row * stride, apart, stride, scores + row);
    }
    for (std::size_t row = apart * kStreams; row < count; ++row) {
        score_rows<1>(query, keys + row * stride, 1, stride, scores + row);
    }
}

EP_TARGET float weigh(float* scores, std::size_t count, float top) {
    for (std::size_t i = 0; i < count; ++i) {
        const float below = scores[i] - top;
        scores[i] = below < -87.0F ? -87.0F : below;
    }
    for (std::size_t i = 0; i < count; ++i) scores[i] = exp_within(scores[i]);
    float sum = 0.0F;
    for (std::size_t i = 0; i < count; ++i) sum += scores[i];
    return sum;
}

// Rows a pass over the sums, which are read and written so many times less. With one stream they
// are neighbours, and 4 were measured to be faster in the cache and slower in memory.
constexpr std::size_t kMixed = kStreams == 1 ? 2 : kStreams;

template <std::size_t Rows>
EP_TARGET inline void mix_rows(const float* weights, const float* values, std::size_t apart,
                               std::size_t stride, float* to) {
    for (std::size_t i = 0; i < stride; i += kLine) {
        for (std::size_t row = 0; row < Rows; ++row) ask_for(values + row * apart * stride + i);
        for (std::size_t at = i; at < i + kLine; at += kWidth) {
            Lanes sum = lanes(to + at);
            for (std::size_t row = 0; row < Rows; ++row) {
                sum += weights[row * apart] * lanes(values + row * apart * stride + at);
            }
            lanes(to + at) = sum;
        }
    }
}

EP_TARGET void mix(const float* weights, const float* values, std::size_t count,
                   std::size_t stride, float* to) {
    for (std::size_t i = 0; i < stride; ++i) to[i] = 0.0F;
    const std::size_t turns = count / kMixed;
    const std::size_t apart = kStreams == 1 ? 1 : turns, step = kStreams == 1 ? kMixed : 1;
    for (std::size_t row = 0; row < turns * step; row += step) {
        mix_rows<kMixed>(weights + row, values + row * stride, apart, stride, to);
    }
    for (std::size_t row = turns * kMixed; row < count; ++row) {
        mix_rows<1>(weights + row, values + row * stride, 1, stride, to);
    }
}

EP_TARGET void fold(double* total, double factor, const float* part, std::size_t stride) {
    for (std::size_t i = 0; i < stride; ++i) total[i] = total[i] * factor + part[i];
}

// Adding and taking off 1.5 * 2^(52 + n) rounds to a multiple of 2^n: here of 2^9, 2^-13 and 2^-35.
// With 2^32 rows the parts, up to 2^30, 2^8 and 2^-14, sum up to 2^53 such multiples at most.
EP_TARGET void tally(RunningSums sums, const float* row, std::size_t stride, double sign) {
    constexpr double kCoarse = 0x1.8p61, kMiddle = 0x1.8p39, kFine = 0x1.8p17;
    for (std::size_t i = 0; i < stride; ++i) {
        const double value = row[i];
        const double coarse = (value + kCoarse) - kCoarse;
        const double middle = ((value - coarse) + kMiddle) - kMiddle;
        const double fine = ((value - coarse - middle) + kFine) - kFine;
        sums.coarse[i] += sign * coarse;
        sums.middle[i] += sign * middle;
        sums.fine[i] += sign * fine;
    }
}

}  // namespace
}  // namespace edgepersona
