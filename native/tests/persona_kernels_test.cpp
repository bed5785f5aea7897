#include "edgepersona/persona_kernels.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"
#include "edgepersona/memory.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

// The sets that this processor runs.
std::vector<const PersonaKernels*> sets() {
    std::vector<const PersonaKernels*> found{baseline_persona_kernels()};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found.push_back(avx2_persona_kernels());
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        found.push_back(avx512_persona_kernels());
        found.push_back(avx512_amd_persona_kernels());
    }
#endif
    return found;
}

// Rows as the kernels want them, in memory of exactly their size, so that a sanitizer sees a read
// too many.
struct Rows {
    Rows(std::size_t count, std::size_t stride, unsigned seed)
        : memory(count * stride * sizeof(float)), data(memory.at<float>()) {
        const std::vector<float> values = unit_vectors(count, stride, seed);
        if (count != 0) std::memcpy(data, values.data(), values.size() * sizeof(float));
    }

    Memory memory;
    float* data;
};

constexpr std::size_t kStrides[] = {16, 32, 48, 64, 80, 384, 400};
constexpr std::size_t kCounts[] = {1, 2, 3, 5, 16, 63, 64, 255, 256};

void check_close(double found, double expected, double tolerance) {
    CHECK(std::abs(found - expected) <= tolerance);
}

}  // namespace

TEST(scores_are_dot_products_with_every_set) {
    for (const PersonaKernels* set : sets()) {
        for (const std::size_t stride : kStrides) {
            for (const std::size_t count : kCounts) {
                const Rows query(1, stride, 1), keys(count, stride, 2);
                std::vector<float> scores(count, 99.0F);
                set->score(query.data, keys.data, count, stride, scores.data());
                for (std::size_t row = 0; row < count; ++row) {
                    double expected = 0;
                    for (std::size_t i = 0; i < stride; ++i) {
                        expected += static_cast<double>(query.data[i]) *
                                    static_cast<double>(keys.data[row * stride + i]);
                    }
                    check_close(scores[row], expected, 1e-6);
                }
            }
        }
    }
}

TEST(weights_are_powers_of_what_scores_lack_to_the_top) {
    for (const PersonaKernels* set : sets()) {
        for (const std::size_t count : kCounts) {
            std::vector<float> scores(count);
            for (std::size_t i = 0; i < count; ++i) scores[i] = 50.0F - static_cast<float>(i * i);
            const std::vector<float> given = scores;
            const float sum = set->weigh(scores.data(), count, 50.0F);
            double expected_sum = 0;
            for (std::size_t i = 0; i < count; ++i) {
                const double expected = std::exp(static_cast<double>(given[i]) - 50.0);
                check_close(scores[i], expected, expected * 4e-7 + 1e-37);
                expected_sum += expected;
            }
            check_close(sum, expected_sum, expected_sum * 1e-6);
        }
    }
}

TEST(mixed_rows_are_weighted_sums_with_every_set) {
    for (const PersonaKernels* set : sets()) {
        for (const std::size_t stride : kStrides) {
            for (const std::size_t count : kCounts) {
                const Rows values(count, stride, 3), to(1, stride, 4);
                const std::vector<float> weights = unit_vectors(1, count, 5);
                set->mix(weights.data(), values.data, count, stride, to.data);
                for (std::size_t i = 0; i < stride; ++i) {
                    double expected = 0;
                    for (std::size_t row = 0; row < count; ++row) {
                        expected += static_cast<double>(weights[row]) *
                                    static_cast<double>(values.data[row * stride + i]);
                    }
                    check_close(to.data[i], expected, 1e-6);
                }
            }
        }
    }
}

TEST(folded_totals_are_scaled_and_added_to) {
    for (const PersonaKernels* set : sets()) {
        std::vector<double> total(48, 3.0);
        const std::vector<float> part(48, 0.5F);
        set->fold(total.data(), 0.25, part.data(), 48);
        for (const double value : total) CHECK(value == 1.25);
    }
}

TEST(running_sums_give_back_exactly_what_they_were_given) {
    const std::vector<float> kept{0.1F, -0.2F, 3e-5F, 1234.5F, 0.0F, -1e-9F, 7.7F, 1e9F,
                                  -1e9F, 1e-20F, 0.5F, 2.5F, -3.5F, 511.0F, 513.0F, 1e-4F};
    std::vector<double> first;
    for (const PersonaKernels* set : sets()) {
        std::vector<double> memory(48);
        const RunningSums sums{memory.data(), memory.data() + 16, memory.data() + 32};
        set->tally(sums, kept.data(), 16, 1.0);
        const std::vector<double> once = memory;
        for (std::size_t i = 0; i < 16; ++i) {
            check_close(sums.coarse[i] + sums.middle[i] + sums.fine[i], kept[i], 1.5e-11);
        }
        std::vector<std::vector<float>> others;
        for (unsigned seed = 0; seed < 1000; ++seed) {
            others.push_back(unit_vectors(1, 16, seed));
            for (float& value : others.back()) value *= seed % 3 == 0 ? 1e9F : 1.0F;
            set->tally(sums, others.back().data(), 16, 1.0);
        }
        for (const auto& other : others) set->tally(sums, other.data(), 16, -1.0);
        CHECK(memory == once);
        if (first.empty()) first = once;
        CHECK(first == once);  // the same with every set
    }
}
