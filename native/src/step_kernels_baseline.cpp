// A decoding step's kernels for any processor, Arm's NEON included: plain loops of 8-bit products
// that compilers turn into that processor's own instructions.
#include <algorithm>
#include <cmath>

#include "edgepersona/step_kernels.h"

#define EP_TARGET
#include "step_loops.h"

namespace edgepersona {
namespace {

void multiply(const BlockRows& rows, std::size_t first, std::size_t count, const RoundedVector& x,
              float* out) {
    const std::size_t width = rows.blocks * rows.block;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* codes = rows.codes + (first + i) * width;
        const float* scales = rows.scales + (first + i) * rows.blocks;
        float sum = 0.0F;
        for (std::size_t b = 0; b < rows.blocks; ++b) {
            std::int32_t product = x.shifts[b];
            for (std::size_t j = b * rows.block; j < (b + 1) * rows.block; ++j) {
                product += static_cast<std::int32_t>(codes[j]) * x.codes[j];
            }
            sum += static_cast<float>(product) * (scales[b] * x.scales[b]);
        }
        out[i] = sum;
    }
}

}  // namespace

const StepKernels* baseline_step_kernels() {
    static const StepKernels set{"baseline",      round_blocks, multiply,   rms_norm,  gate_up,
                                 softmax_in_place, log_sum_exp,  score_keys, mix_values};
    return &set;
}

}  // namespace edgepersona
