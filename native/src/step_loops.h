// Loops that the compiler vectorises well by itself, for each instruction set that includes this.
// EP_TARGET names the set. Only the block product is written by hand, in the including file.

#include "fast_exp.h"

namespace edgepersona {
namespace {

inline std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

EP_TARGET void round_blocks(const float* x, std::size_t count, std::size_t block,
                            RoundedVector to) {
    constexpr float kRound = 12582912.0F;  // adding it leaves the nearest whole number
    for (std::size_t b = 0; b * block < count; ++b) {
        const float* from = x + b * block;
        std::int8_t* codes = to.codes + b * block;
        const std::size_t filled = std::min(block, count - b * block);
        // The sizes as bits, which are ordered as they are, and what is not a number above all.
        std::int32_t most = 0;
        for (std::size_t i = 0; i < filled; ++i) {
            const auto size = static_cast<std::int32_t>(bits_of(from[i]) & 0x7fffffffU);
            most = size > most ? size : most;
        }
        float largest;
        __builtin_memcpy(&largest, &most, sizeof largest);
        // Smaller still, and the quotient would be infinite.
        const float inverse = largest > 1e-36F ? 127.0F / largest : 0.0F;
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < filled; ++i) {
            // In the sum's last bits: read there, since no integer is what is not a number.
            codes[i] = static_cast<std::int8_t>(bits_of(from[i] * inverse + kRound));
            sum += codes[i];
        }
        for (std::size_t i = filled; i < block; ++i) codes[i] = 0;
        to.scales[b] = largest / 127.0F;
        to.shifts[b] = -128 * sum;
    }
}

EP_TARGET void rms_norm(const float* x, const float* weight, std::size_t count, float eps,
                        float* to) {
    float sums[16] = {};  // so many sums at once: in one, each addition waits for the last
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        for (std::size_t j = 0; j < 16; ++j) sums[j] += x[i + j] * x[i + j];
    }
    float sum = 0.0F;
    for (; i < count; ++i) sum += x[i] * x[i];
    for (const float part : sums) sum += part;
    const float inverse = 1.0F / std::sqrt(sum / static_cast<float>(count) + eps);
    for (i = 0; i < count; ++i) to[i] = x[i] * inverse * weight[i];
}

EP_TARGET void gate_up(float* gate, const float* up, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        gate[i] = gate[i] / (1.0F + fast_exp(-gate[i])) * up[i];
    }
}

EP_TARGET void softmax_in_place(float* scores, std::size_t count) {
    float largest = scores[0];
    for (std::size_t i = 1; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
    for (std::size_t i = 0; i < count; ++i) scores[i] = fast_exp(scores[i] - largest);
    float sum = 0.0F;
    for (std::size_t i = 0; i < count; ++i) sum += scores[i];
    const float inverse = 1.0F / sum;
    for (std::size_t i = 0; i < count; ++i) scores[i] *= inverse;
}

EP_TARGET float log_sum_exp(const float* x, std::size_t count) {
    constexpr std::size_t kLanes = 64;  // so many at once: in one, each waits for the last
    constexpr std::size_t kPart = 512;  // summed in float, the parts in double
    float lanes[kLanes];
    std::int32_t odd[kLanes] = {};
    for (float& lane : lanes) lane = -HUGE_VALF;
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        for (std::size_t l = 0; l < kLanes; ++l) {
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
            odd[l] |= x[i + l] != x[i + l] ? 1 : 0;
        }
    }
    for (; i < count; ++i) {
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
        odd[0] |= x[i] != x[i] ? 1 : 0;
    }
    float largest = lanes[0];
    for (const float lane : lanes) largest = lane > largest ? lane : largest;
    for (const std::int32_t one : odd) {
        if (one != 0) return NAN;
    }
    if (largest == HUGE_VALF || largest == -HUGE_VALF) return largest;
    double sum = 0.0;
    float part[kPart];
    for (i = 0; i < count; i += kPart) {
        const std::size_t filled = std::min(kPart, count - i);
        for (std::size_t j = 0; j < filled; ++j) {
            const float below = x[i + j] - largest;
            part[j] = below < -87.0F ? -87.0F : below;
        }
        for (std::size_t j = filled; j < kPart; ++j) part[j] = -87.0F;
        for (float& power : part) power = exp_within(power);
        for (float& lane : lanes) lane = 0.0F;
        for (std::size_t j = 0; j < kPart; j += kLanes) {
            for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += part[j + l];
        }
        for (const float lane : lanes) sum += static_cast<double>(lane);
    }
    return largest + static_cast<float>(std::log(sum));
}

// scores[j] = query . keys[j]; dim is a multiple of 16.
EP_TARGET void score_keys(const float* query, const float* keys, std::size_t count,
                          std::size_t dim, float* scores) {
    for (std::size_t j = 0; j < count; ++j) {
        float sums[16] = {};
        for (std::size_t d = 0; d < dim; d += 16) {
            for (std::size_t l = 0; l < 16; ++l) sums[l] += query[d + l] * keys[j * dim + d + l];
        }
        for (std::size_t width = 8; width > 0; width /= 2) {
            for (std::size_t l = 0; l < width; ++l) sums[l] += sums[l + width];
        }
        scores[j] = sums[0];
    }
}

template <std::size_t Width>
EP_TARGET inline void mix_part(const float* scores, const float* values, std::size_t count,
                               std::size_t dim, float* to) {
    float sums[Width] = {};  // in registers: a value is read once, a sum never written back
    for (std::size_t j = 0; j < count; ++j) {
        for (std::size_t l = 0; l < Width; ++l) sums[l] += scores[j] * values[j * dim + l];
    }
    for (std::size_t l = 0; l < Width; ++l) to[l] += sums[l];
}

// to += the sum of scores[j] * values[j]; dim is a multiple of 16.
EP_TARGET void mix_values(const float* scores, const float* values, std::size_t count,
                          std::size_t dim, float* to) {
    std::size_t d = 0;
    for (; d + 64 <= dim; d += 64) mix_part<64>(scores, values + d, count, dim, to + d);
    for (; d < dim; d += 16) mix_part<16>(scores, values + d, count, dim, to + d);
}

}  // namespace
}  // namespace edgepersona
