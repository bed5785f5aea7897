// A language model's kernels stay within their memory, are defined for any floats and sizes, and give
// a token and a query the same whatever stands beside them.
#include "edgepersona/lm_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../tests/sample_matrix.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

// Of exactly its size, so that a sanitizer sees a step beyond it.
std::vector<float> floats_of(fuzz::Input& input, std::size_t count) {
    std::vector<float> values(count);
    const bool any = input.chance(2);
    for (float& value : values) {
        value = any && input.chance(4) ? input.take<float>() : input.take<std::int8_t>();
    }
    return values;
}

std::vector<std::uint16_t> halves_of(fuzz::Input& input, std::size_t count) {
    std::vector<std::uint16_t> halves(count);
    const bool any = input.chance(2);
    for (auto& half : halves) {
        half = any ? input.take<std::uint16_t>() : nearest_half(input.take<std::int8_t>());
    }
    return halves;
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void products(const LmKernels& set, fuzz::Input& input) {
    const unsigned bits = input.chance(2) ? 4 : 8;
    const std::size_t block = 32 * (input.up_to(4) + 1), columns = input.up_to(200) + 1;
    const std::size_t rows = input.up_to(40) + 1, tokens = input.up_to(15) + 1;
    SampleMatrix matrix(rows, columns, block, bits);
    for (auto& code : matrix.codes()) code = input.take<std::uint8_t>();
    matrix.scales() = halves_of(input, matrix.scales().size());
    matrix.minima() = halves_of(input, matrix.minima().size());
    const PackedMatrix m = matrix.view();
    const auto x = floats_of(input, tokens * columns);
    std::vector<std::int8_t> codes(tokens * m.blocks() * block);
    std::vector<float> scales(tokens * m.blocks()), sums(scales);
    std::vector<std::int32_t> offsets(scales.size());
    const RoundedTokens to{codes.data(), scales.data(), sums.data(), offsets.data(),
                           m.blocks() * block, m.blocks()};
    for (std::size_t t = 0; t < tokens; ++t) {
        set.round(x.data() + t * columns, columns, block, to.from(t));
    }
    CHECK(all_finite(scales) == all_finite(x));
    const std::size_t first = input.up_to(m.groups() - 1);
    const std::size_t groups = 1 + input.up_to(m.groups() - first - 1);
    const std::size_t written = std::min(16 * groups, rows - 16 * first);
    const std::size_t stride = written + input.up_to(3);
    const bool add = input.chance(2);
    const auto before = floats_of(input, (tokens - 1) * stride + written);
    auto together = before, alone = before;
    set.multiply(m, first, groups, to, tokens, add, together.data(), stride);
    for (std::size_t t = 0; t < tokens; ++t) {
        set.multiply(m, first, groups, to.from(t), 1, add, alone.data() + t * stride, stride);
    }
    for (std::size_t i = 0; i < before.size(); ++i) {
        CHECK(same(together[i], i % stride < written ? alone[i] : before[i]));
    }
}

void heads(const LmKernels& set, fuzz::Input& input) {
    const std::size_t dim = 16 * (input.up_to(15) + 1), blocks = input.up_to(3);
    const std::size_t count = input.up_to(kQueries - 1) + 1, positions = 16 * blocks;
    const std::size_t stride = positions + input.up_to(3);
    const auto queries = floats_of(input, count * dim);
    const auto keys = halves_of(input, positions * dim);
    std::vector<float> scores(count * stride, 1.0F), alone(positions), query(dim);
    set.score(queries.data(), count, keys.data(), blocks, dim, scores.data(), stride);
    for (std::size_t q = 0; q < count; ++q) {
        for (std::size_t d = 0; d < dim; ++d) query[d] = queries[d * count + q];
        set.score(query.data(), 1, keys.data(), blocks, dim, alone.data(), positions);
        for (std::size_t i = 0; i < stride; ++i) {
            CHECK(same(scores[q * stride + i], i < positions ? alone[i] : 1.0F));
        }
        if (positions != 0) set.softmax(&scores[q * stride], 1 + input.up_to(positions - 1));
    }
    if (positions == 0) return;
    std::vector<float> out(count * dim), own(dim);
    std::vector<SeenPositions> seen(count);
    for (SeenPositions& one : seen) {
        one.from = input.up_to(positions - 1);
        one.end = one.from + 1 + input.up_to(positions - 1 - one.from);
    }
    set.mix(scores.data(), stride, seen.data(), count, keys.data(), dim, out.data());
    for (std::size_t q = 0; q < count; ++q) {
        set.mix(scores.data() + q * stride, stride, &seen[q], 1, keys.data(), dim, own.data());
        for (std::size_t d = 0; d < dim; ++d) CHECK(same(out[q * dim + d], own[d]));
    }
}

void vectors(const LmKernels& set, fuzz::Input& input) {
    const std::size_t count = input.up_to(140) + 1;
    const auto x = floats_of(input, count), weight = floats_of(input, count);
    std::vector<float> to(count);
    set.norm(x.data(), weight.data(), count, 1e-5F, to.data());
    for (auto gate : {set.silu, set.gelu}) {
        to = x;
        gate(to.data(), weight.data(), count);
        for (std::size_t i = 0; i < count; ++i) CHECK(!std::isnan(x[i]) || std::isnan(to[i]));
    }
    to = x;
    const float cap = std::isfinite(weight[0]) && weight[0] > 0.01F ? weight[0] : 30.0F;
    set.cap(to.data(), count, cap);
    for (std::size_t i = 0; i < count; ++i) {
        CHECK(std::isnan(x[i]) ? std::isnan(to[i]) : std::abs(to[i]) <= cap);
    }
    to = x;
    set.softmax(to.data(), count);
    if (all_finite(x)) CHECK(all_finite(to));
    const float total = set.log_sum_exp(x.data(), count);
    CHECK(std::isnan(total) ==
          std::any_of(x.begin(), x.end(), [](float v) { return std::isnan(v); }));
    std::vector<std::uint16_t> halves(count);
    set.to_halves(x.data(), count, halves.data());
    for (std::size_t i = 0; i < count; ++i) {
        CHECK(same(static_cast<float>(value_of_half(halves[i])),
                   static_cast<float>(value_of_half(nearest_half(x[i])))));
    }
}

}  // namespace

FUZZ(lm_kernels) {
    const auto sets = usable_lm_kernels();
    const LmKernels& set = *sets[input.up_to(sets.size() - 1)];
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
