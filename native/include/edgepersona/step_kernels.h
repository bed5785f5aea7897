// The inner loops of a decoding step, compiled for several instruction sets, chosen at first use.
//
// Safe to call from any thread. Sets differ from each other in the last bits only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgepersona {

// A vector rounded to 8 bits in blocks: value = codes[i] * scales[i / block].
struct RoundedVector {
    std::int8_t* codes;
    float* scales;
    std::int32_t* shifts;  // -128 * the sum of a block's codes: takes the weights' offset off
};

// Rows of a weight in blocks of 8 bits: value = (codes[i] - 128) * scales[i / block].
// Codes are offset by 128, the layout of ONNX Runtime's MatMulNBits with 8 bits and no zero point.
struct BlockRows {
    const std::uint8_t* codes;
    const float* scales;
    std::size_t blocks;  // in a row
    std::size_t block;   // values in a block: 64 or a multiple of it
};

struct StepKernels {
    const char* name;
    // Rounds `count` values, the last block padded with zeros.
    void (*round)(const float* x, std::size_t count, std::size_t block, RoundedVector to);
    // out[i] = rows[first + i] . x for i < count.
    void (*multiply)(const BlockRows& rows, std::size_t first, std::size_t count,
                     const RoundedVector& x, float* out);
    // to = x / rms(x) * weight (Zhang and Sennrich 2019).
    void (*norm)(const float* x, const float* weight, std::size_t count, float eps, float* to);
    // gate = gate * sigmoid(gate) * up.
    void (*gate)(float* gate, const float* up, std::size_t count);
    // scores = softmax(scores).
    void (*softmax)(float* scores, std::size_t count);
    // log(sum(exp(x))); NaN where x holds one, infinity where it does, -infinity of nothing else.
    float (*log_sum_exp)(const float* x, std::size_t count);
    // scores[j] = query . keys[j] for j < count; dim is a multiple of 16.
    void (*score)(const float* query, const float* keys, std::size_t count, std::size_t dim,
                  float* scores);
    // to += the sum of scores[j] * values[j]; dim is a multiple of 16.
    void (*mix)(const float* scores, const float* values, std::size_t count, std::size_t dim,
                float* to);
};

// The set in use: the best this processor has, or the one EDGEPERSONA_SIMD names if it has that.
const StepKernels& step_kernels();

// One function a set; null where the build is for another architecture.
const StepKernels* avx512_step_kernels();  // with VNNI
const StepKernels* avx2_step_kernels();
const StepKernels* baseline_step_kernels();

}  // namespace edgepersona
