// Passes of sampling over a whole vocabulary: plain loops, compiled for several instruction sets.
//
// The set is chosen by the loader, once. Every set computes the same bits: sums have their order,
// and no product is contracted with a sum (setup.py says so to the compiler).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

// One version where the loader cannot choose, or would before a sanitizer is ready.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12 && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EDGEPERSONA_EACH_SET \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EDGEPERSONA_EACH_SET
#endif

// Sets the largest value; false where one is NaN.
EDGEPERSONA_EACH_SET
static bool best_of(const float* values, std::size_t size, float* best) {
    constexpr std::size_t kLanes = 32;
    float lanes[kLanes];
    std::int32_t strange[kLanes] = {};
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] = -std::numeric_limits<float>::infinity();
    std::size_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
        for (std::size_t j = 0; j < kLanes; ++j) {
            const float value = values[i + j];
            lanes[j] = value > lanes[j] ? value : lanes[j];
            strange[j] |= value != value;
        }
    }
    for (; i < size; ++i) {
        lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
        strange[0] |= values[i] != values[i];
    }
    *best = lanes[0];
    for (std::size_t j = 0; j < kLanes; ++j) {
        *best = lanes[j] > *best ? lanes[j] : *best;
        strange[0] |= strange[j];
    }
    return strange[0] == 0;
}

// Writes the numbers of the values that are at least `least`, rising, to `found`, which has room
// for all; returns how many. Few values are: most blocks are passed over at once.
EDGEPERSONA_EACH_SET
static std::size_t at_least(const float* values, std::size_t size, float least,
                            std::int32_t* found) {
    constexpr std::size_t kBlock = 64;
    std::size_t count = 0, i = 0;
    for (; i + kBlock <= size; i += kBlock) {
        std::int32_t any = 0;
        for (std::size_t j = 0; j < kBlock; ++j) any |= values[i + j] >= least;
        if (any == 0) continue;
        for (std::size_t j = 0; j < kBlock; ++j) {
            found[count] = static_cast<std::int32_t>(i + j);
            count += values[i + j] >= least;
        }
    }
    for (; i < size; ++i) {
        found[count] = static_cast<std::int32_t>(i);
        count += values[i] >= least;
    }
    return count;
}

// exp(x) for x <= 0, to about 2 units in the last place; 0 below -87, where floats end.
static inline float exp_of_negative(float x) {
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
EDGEPERSONA_EACH_SET
static void weigh_all(const float* logits, std::size_t count, float best, float slope,
                      float* weights) {
    for (std::size_t i = 0; i < count; ++i) {
        weights[i] = exp_of_negative((logits[i] - best) * slope);
    }
}

// In lanes, so that the additions need not wait for each other.
EDGEPERSONA_EACH_SET
static double sum_of(const float* values, std::size_t count) {
    constexpr std::size_t kLanes = 16;
    double lanes[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += values[i + j];
    }
    for (; i < count; ++i) lanes[0] += values[i];
    for (std::size_t j = 1; j < kLanes; ++j) lanes[0] += lanes[j];
    return lanes[0];
}
