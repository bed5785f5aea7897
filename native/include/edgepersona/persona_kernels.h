// The inner loops of a persona, compiled for several instruction sets, chosen at first use.
//
// Rows are `stride` floats apart, zero-padded and aligned to 64 bytes, a multiple of 16 long; so
// are the vectors beside them. Safe to call from any thread. Sets differ in the last bits of
// attention only: running sums are the same with each.
#pragma once

#include <cstddef>

namespace edgepersona {

// Sums that give back exactly what they were given, so that rows may come and go for ever: each
// value is split into three parts, coarse to fine, and the sums of each part are exact in a double.
// Holds for values within +-kLargest and up to 2^32 rows. What a value has below 2^-36 is dropped.
struct RunningSums {
    static constexpr float kLargest = 1e9F;
    double *coarse, *middle, *fine;
};

struct PersonaKernels {
    const char* name;
    // scores[i] = query . keys[i] for i < count.
    void (*score)(const float* query, const float* keys, std::size_t count, std::size_t stride,
                  float* scores);
    // scores = exp(scores - top); returns their sum. No score is above top.
    float (*weigh)(float* scores, std::size_t count, float top);
    // to = the sum of weights[i] * values[i].
    void (*mix)(const float* weights, const float* values, std::size_t count, std::size_t stride,
                float* to);
    // total = total * factor + part.
    void (*fold)(double* total, double factor, const float* part, std::size_t stride);
    // sums += sign * row; sign is 1 or -1.
    void (*tally)(RunningSums sums, const float* row, std::size_t stride, double sign);
};

// The set in use: the best this processor has, or the one EDGEPERSONA_SIMD names if it has that.
const PersonaKernels& persona_kernels();

// One function a set; null where the build is for another architecture.
const PersonaKernels* avx512_persona_kernels();
const PersonaKernels* avx512_amd_persona_kernels();  // the same instructions in another order
const PersonaKernels* avx2_persona_kernels();
const PersonaKernels* baseline_persona_kernels();

}  // namespace edgepersona
