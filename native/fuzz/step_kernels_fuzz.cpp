// A decoding step's kernels stay within their memory, and are defined, for any floats and sizes.
#include "edgepersona/step_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../tests/step_sets.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

// Of exactly its size, so that a sanitizer sees a step beyond it.
std::vector<float> floats_of(fuzz::Input& input, std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) {
        value = input.chance(4) ? input.take<float>() : input.take<std::int8_t>();
    }
    return values;
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

void products(const StepKernels& set, fuzz::Input& input) {
    const std::size_t block = 64 * (input.up_to(2) + 1), count = input.up_to(200) + 1;
    const std::size_t blocks = (count + block - 1) / block, rows = input.up_to(5);
    const auto x = floats_of(input, count);
    std::vector<std::int8_t> codes(blocks * block);
    std::vector<float> scales(blocks), out(rows);
    std::vector<std::int32_t> shifts(blocks);
    const RoundedVector to{codes.data(), scales.data(), shifts.data()};
    set.round(x.data(), count, block, to);
    CHECK(all_finite(scales) == all_finite(x));
    std::vector<std::uint8_t> weights(rows * blocks * block);
    for (auto& weight : weights) weight = input.take<std::uint8_t>();
    const auto weight_scales = floats_of(input, rows * blocks);
    set.multiply({weights.data(), weight_scales.data(), blocks, block}, 0, rows, to, out.data());
}

void heads(const StepKernels& set, fuzz::Input& input) {
    const std::size_t dim = 16 * (input.up_to(8) + 1), count = input.up_to(9);
    const auto query = floats_of(input, dim), keys = floats_of(input, count * dim);
    std::vector<float> scores(count);
    set.score(query.data(), keys.data(), count, dim, scores.data());
    if (count != 0) set.softmax(scores.data(), count);
    auto to = floats_of(input, dim);
    set.mix(scores.data(), keys.data(), count, dim, to.data());
}

void vectors(const StepKernels& set, fuzz::Input& input) {
    const std::size_t count = input.up_to(70) + 1;
    const auto x = floats_of(input, count), weight = floats_of(input, count);
    std::vector<float> to(count);
    set.norm(x.data(), weight.data(), count, 1e-5F, to.data());
    auto gate = x;
    set.gate(gate.data(), weight.data(), count);
}

}  // namespace

FUZZ(step_kernels) {
    const auto sets = step_sets();
    const StepKernels& set = *sets[input.up_to(sets.size() - 1)];
    while (!input.empty()) {
        switch (input.up_to(2)) {
            case 0:
                products(set, input);
                break;
            case 1:
                heads(set, input);
                break;
            default:
                vectors(set, input);
        }
    }
}
