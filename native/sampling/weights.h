// The exponentials of sampling, over a whole vocabulary: plain loops that compilers vectorise.
//
// libm's exp takes one value at a time and would cost as much as a tenth of a token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// exp(x) for x <= 0, to about 2 units in the last place; 0 below -87, where floats end.
inline float exp_of_negative(float x) {
    const float clamped = x > -87.0F ? x : -87.0F;
    // exp(x) = 2^n exp(r), n the nearest whole number of x / ln 2, |r| <= ln 2 / 2. Adding
    // 1.5 * 2^23 rounds, and leaves n in the last bits.
    const float shifted = clamped * 1.44269504F + 12582912.0F;
    const float n = shifted - 12582912.0F;
    const float r = clamped - n * 0.693359375F + n * 2.12194440e-4F;  // ln 2 in two parts
    float p = 1.9875691500e-4F;  // Cephes' expf
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    std::uint32_t exponent, bits;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    std::memcpy(&bits, &p, sizeof bits);
    bits += exponent << 23;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return x > -87.0F ? result : 0.0F;
}

// weights[i] = exp((logits[i] - best) * slope)
inline void weigh_all(const float* logits, std::size_t count, float best, float slope,
                      float* weights) {
    for (std::size_t i = 0; i < count; ++i) {
        weights[i] = exp_of_negative((logits[i] - best) * slope);
    }
}

// In lanes, so that the additions need not wait for each other.
inline double sum_of(const float* values, std::size_t count) {
    double lanes[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (std::size_t j = 0; j < 8; ++j) lanes[j] += values[i + j];
    }
    for (; i < count; ++i) lanes[0] += values[i];
    for (std::size_t j = 1; j < 8; ++j) lanes[0] += lanes[j];
    return lanes[0];
}
