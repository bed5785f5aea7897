// Loops that the compiler vectorises well by itself, for each instruction set that includes this.
// EP_TARGET names the set. What is written by hand for each is in lm_products.h.

#include "fast_exp.h"

namespace edgepersona {
namespace {

inline std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

EP_TARGET void round_blocks(const float* x, std::size_t count, std::size_t block,
                            const RoundedTokens& to) {
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
        to.sums[b] = to.scales[b] * static_cast<float>(sum);
        to.offsets[b] = -128 * sum;
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

EP_TARGET inline float sum_of(const float* x, std::size_t count, float less, bool squared) {
    float sums[16] = {};  // so many sums at once: in one, each addition waits for the last
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        for (std::size_t j = 0; j < 16; ++j) {
            const float value = x[i + j] - less;
            sums[j] += squared ? value * value : value;
        }
    }
    float sum = 0.0F;
    for (; i < count; ++i) sum += squared ? (x[i] - less) * (x[i] - less) : x[i] - less;
    for (const float part : sums) sum += part;
    return sum;
}

EP_TARGET void layer_norm_in_place(float* x, const float* added, const float* weight,
                                   const float* bias, std::size_t count, float eps) {
    if (added != nullptr) {
        for (std::size_t i = 0; i < count; ++i) x[i] += added[i];
    }
    const auto n = static_cast<float>(count);
    const float mean = sum_of(x, count, 0.0F, false) / n;
    const float inverse = 1.0F / std::sqrt(sum_of(x, count, mean, true) / n + eps);
    for (std::size_t i = 0; i < count; ++i) x[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
}

// x/2 (1 + erf(x / sqrt 2)), erf by an odd polynomial fitted to the least error of the product.
EP_TARGET void biased_gelu_in_place(float* x, const float* bias, std::size_t count) {
    constexpr std::size_t kPart = 64;
    constexpr float kEnd = 4.4F;  // beyond it erf is 1
    float held[kPart];
    for (std::size_t from = 0; from < count; from += kPart, x += kPart, bias += kPart) {
        const std::size_t some = std::min(kPart, count - from);
        for (std::size_t i = 0; i < some; ++i) {
            x[i] += bias[i];
            held[i] = x[i] < -kEnd ? -kEnd : x[i];
        }
        for (std::size_t i = 0; i < some; ++i) held[i] = held[i] > kEnd ? kEnd : held[i];
        for (std::size_t i = 0; i < some; ++i) {
            const float u = held[i] * held[i];
            float p = 7.145278119e-11F;
            p = p * u - 7.513276223e-9F;
            p = p * u + 3.483422404e-7F;
            p = p * u - 9.452816812e-6F;
            p = p * u + 1.686176693e-4F;
            p = p * u - 2.110172762e-3F;
            p = p * u + 1.928666607e-2F;
            p = p * u - 1.321538091e-1F;
            p = p * u + 7.975237370e-1F;
            x[i] = 0.5F * x[i] * (1.0F + held[i] * p);
        }
    }
}

EP_TARGET void silu_times(float* gate, const float* up, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        gate[i] = gate[i] / (1.0F + fast_exp(-gate[i])) * up[i];
    }
}

// x/2 (1 + tanh u) is x sigmoid(2u).
EP_TARGET void gelu_times(float* gate, const float* up, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const float x = gate[i];
        const float twice_u = 1.5957691216F * (x + 0.044715F * x * x * x);
        gate[i] = x / (1.0F + fast_exp(-twice_u)) * up[i];
    }
}

EP_TARGET void cap_in_place(float* x, std::size_t count, float cap) {
    const float scale = 2.0F / cap;
    for (std::size_t i = 0; i < count; ++i) {
        x[i] = cap * (1.0F - 2.0F / (fast_exp(x[i] * scale) + 1.0F));
    }
}

}  // namespace
}  // namespace edgepersona
