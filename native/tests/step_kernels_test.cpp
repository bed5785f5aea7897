#include "edgepersona/step_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "step_sets.h"

using namespace edgepersona;

namespace {

std::vector<float> normal(std::size_t count, unsigned seed, float size = 1.0F) {
    std::mt19937 random(seed);
    std::normal_distribution<float> draw(0.0F, size);
    std::vector<float> values(count);
    for (float& value : values) value = draw(random);
    return values;
}

// Room for a rounded vector of exactly its size, so that a sanitizer sees a write too many.
struct Rounded {
    Rounded(std::size_t blocks, std::size_t block)
        : codes(blocks * block, 99), scales(blocks, -1.0F), shifts(blocks, -1) {}

    RoundedVector view() { return {codes.data(), scales.data(), shifts.data()}; }

    std::vector<std::int8_t> codes;
    std::vector<float> scales;
    std::vector<std::int32_t> shifts;
};

Rounded rounded(const StepKernels& set, const std::vector<float>& x, std::size_t block) {
    Rounded to((x.size() + block - 1) / block, block);
    set.round(x.data(), x.size(), block, to.view());
    return to;
}

void check_close(double found, double expected, double tolerance) {
    CHECK(std::abs(found - expected) <= tolerance);
}

void check_rounded(const Rounded& to, const std::vector<float>& x, std::size_t block) {
    for (std::size_t b = 0; b < to.scales.size(); ++b) {
        const std::size_t filled = std::min(block, x.size() - b * block);
        double largest = 0;
        for (std::size_t i = 0; i < filled; ++i) {
            largest = std::max(largest, std::abs(static_cast<double>(x[b * block + i])));
        }
        check_close(to.scales[b], largest / 127, largest * 1e-7);
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < block; ++i) {
            const std::int8_t code = to.codes[b * block + i];
            sum += code;
            const double value = i < filled ? x[b * block + i] : 0.0;
            // Half a step away at most, a hair more where the division itself was rounded.
            check_close(code * (largest / 127), value, largest / 127 * 0.5001);
            CHECK(code >= -127);
        }
        CHECK(to.shifts[b] == -128 * sum);
    }
}

void check_products(const StepKernels& set, const std::vector<std::uint8_t>& codes,
                    const std::vector<float>& scales, Rounded& x, std::size_t blocks,
                    std::size_t block, std::size_t rows) {
    const BlockRows matrix{codes.data(), scales.data(), blocks, block};
    const std::size_t first = 2;
    std::vector<float> out(rows);
    set.multiply(matrix, first, rows, x.view(), out.data());
    for (std::size_t i = 0; i < rows; ++i) {
        double expected = 0, size = 0;
        for (std::size_t j = 0; j < blocks * block; ++j) {
            const std::size_t b = j / block;
            const double term = (codes[(first + i) * blocks * block + j] - 128.0) * x.codes[j] *
                                scales[(first + i) * blocks + b] * x.scales[b];
            expected += term;
            size += std::abs(term);
        }
        check_close(out[i], expected, size * 1e-6 + 1e-30);
    }
}

void fix_shifts(Rounded& x, std::size_t block) {
    for (std::size_t b = 0; b < x.shifts.size(); ++b) {
        x.shifts[b] = 0;
        for (std::size_t j = 0; j < block; ++j) x.shifts[b] -= 128 * x.codes[b * block + j];
    }
}

}  // namespace

TEST(a_vector_is_rounded_to_the_nearest_of_255_steps_in_each_block) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t block : {64, 128}) {
            for (const std::size_t count : {1, 2, 31, 63, 64, 65, 127, 128, 129, 200, 577}) {
                const auto x = normal(count, static_cast<unsigned>(count), 3.0F);
                check_rounded(rounded(*set, x, block), x, block);
            }
        }
    }
}

TEST(a_block_of_zeros_is_rounded_to_zeros_beside_one_that_is_not) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t block : {64, 128}) {
            std::vector<float> x(3 * block, 0.0F);
            x[block] = -2.5F;
            const Rounded to = rounded(*set, x, block);
            check_rounded(to, x, block);
            CHECK(to.codes[block] == -127);
            CHECK(to.scales[0] == 0.0F && to.scales[2] == 0.0F);
        }
    }
}

TEST(values_too_small_to_divide_by_are_rounded_to_zero) {
    for (const StepKernels* set : step_sets()) {
        for (const float tiny : {1e-37F, 1e-38F, std::numeric_limits<float>::denorm_min()}) {
            std::vector<float> x(64, -tiny);
            x[7] = 0.0F;
            const Rounded to = rounded(*set, x, 64);
            std::int32_t sum = 0;
            for (const std::int8_t code : to.codes) sum += code;
            CHECK(to.shifts[0] == -128 * sum);
            CHECK(to.codes[7] == 0);
            CHECK(to.scales[0] >= 0.0F && to.scales[0] < 1e-38F);
        }
    }
}

TEST(what_is_not_finite_stays_so_in_its_block_and_spoils_no_other) {
    const float inf = std::numeric_limits<float>::infinity();
    for (const StepKernels* set : step_sets()) {
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), inf, -inf}) {
            for (const std::size_t at : {64, 70, 127}) {
                auto x = normal(3 * 64, 12);
                const Rounded whole = rounded(*set, x, 64);
                x[at] = bad;
                const Rounded to = rounded(*set, x, 64);
                CHECK(!std::isfinite(to.scales[1]));
                for (const std::size_t b : {0, 2}) {
                    CHECK(to.scales[b] == whole.scales[b] && to.shifts[b] == whole.shifts[b]);
                }
            }
        }
    }
}

TEST(what_is_not_a_number_is_none_after_any_kernel) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto all_nan = [](const std::vector<float>& values) {
        return std::all_of(values.begin(), values.end(), [](float v) { return std::isnan(v); });
    };
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t at : {0, 5, 18}) {
            auto x = normal(19, 13);
            x[at] = nan;
            std::vector<float> to(19);
            set->norm(x.data(), normal(19, 14).data(), 19, 1e-5F, to.data());
            CHECK(all_nan(to));
            auto gate = x;
            set->gate(gate.data(), normal(19, 15).data(), 19);
            CHECK(std::isnan(gate[at]) && std::isfinite(gate[at == 0 ? 1 : 0]));
            set->softmax(x.data(), 19);
            CHECK(all_nan(x));
        }
    }
}

TEST(products_of_8_bits_equal_those_in_double) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t block : {64, 128, 192}) {
            for (const std::size_t blocks : {1, 5, 9}) {
                for (const std::size_t rows : {1, 3, 33}) {
                    const auto seed = static_cast<unsigned>(blocks * 100 + rows);
                    std::mt19937 random(seed);
                    std::vector<std::uint8_t> codes((rows + 2) * blocks * block);
                    for (auto& code : codes) code = static_cast<std::uint8_t>(random());
                    auto scales = normal((rows + 2) * blocks, seed + 1);
                    Rounded x = rounded(*set, normal(blocks * block - 3, seed + 2), block);
                    check_products(*set, codes, scales, x, blocks, block, rows);
                }
            }
        }
    }
}

TEST(the_largest_codes_of_both_sides_do_not_saturate) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t block : {64, 128}) {
            for (const int weight : {0, 1, 128, 255}) {
                for (const int other : {0, 1, 255}) {
                    for (const int sign : {-1, 0, 1}) {  // 0: alternating
                        const std::size_t blocks = 5, rows = 3;
                        std::vector<std::uint8_t> codes((rows + 2) * blocks * block);
                        Rounded x(blocks, block);
                        for (std::size_t i = 0; i < codes.size(); ++i) {
                            codes[i] = static_cast<std::uint8_t>(i % 4 < 2 ? weight : other);
                        }
                        for (std::size_t i = 0; i < x.codes.size(); ++i) {
                            const int own = sign != 0 ? sign : i % 4 < 2 ? 1 : -1;
                            x.codes[i] = static_cast<std::int8_t>(127 * own);
                        }
                        std::fill(x.scales.begin(), x.scales.end(), 0.25F);
                        fix_shifts(x, block);
                        const std::vector<float> scales((rows + 2) * blocks, 0.5F);
                        check_products(*set, codes, scales, x, blocks, block, rows);
                    }
                }
            }
        }
    }
}

TEST(norm_divides_by_the_root_of_the_mean_square) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t count : {1, 15, 16, 17, 96, 577}) {
            const auto x = normal(count, 1), weight = normal(count, 2);
            std::vector<float> to(count);
            set->norm(x.data(), weight.data(), count, 1e-5F, to.data());
            double squares = 0;
            for (const float value : x) squares += static_cast<double>(value) * value;
            const double inverse = 1 / std::sqrt(squares / static_cast<double>(count) + 1e-5);
            for (std::size_t i = 0; i < count; ++i) {
                const double expected = x[i] * inverse * weight[i];
                check_close(to[i], expected, std::abs(expected) * 1e-6);
            }
        }
        const std::vector<float> zeros(20, 0.0F), ones(20, 1.0F);
        std::vector<float> to(20, 5.0F);
        set->norm(zeros.data(), ones.data(), 20, 1e-5F, to.data());
        CHECK(to == zeros);
    }
}

TEST(gate_is_silu_times_up_also_far_from_zero) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t count : {1, 7, 32, 33}) {
            auto gate = normal(count, 3, 4.0F);
            if (count == 33) {
                const float far[] = {-1e4F, -100.0F, -88.0F, -87.0F, 0.0F, 87.0F, 100.0F, 1e4F};
                std::copy(std::begin(far), std::end(far), gate.begin());
            }
            const auto up = normal(count, 4), before = gate;
            set->gate(gate.data(), up.data(), count);
            for (std::size_t i = 0; i < count; ++i) {
                const double x = before[i], expected = x / (1 + std::exp(-x)) * up[i];
                // The exponential ends at 88: beyond it the gate is 1e-34 of its input, not 0.
                check_close(gate[i], expected, std::abs(expected) * 1e-6 + 1e-30);
            }
        }
    }
}

TEST(softmax_sums_to_one_and_forgets_what_is_far_below) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t count : {1, 2, 17, 300}) {
            auto scores = normal(count, 5, 6.0F);
            if (count > 2) {
                scores[1] = -1e30F;
                scores[2] = -200.0F;
                scores[3] = -std::numeric_limits<float>::infinity();
            }
            const auto before = scores;
            set->softmax(scores.data(), count);
            const double largest = *std::max_element(before.begin(), before.end());
            double sum = 0, total = 0;
            for (const float value : before) sum += std::exp(value - largest);
            for (std::size_t i = 0; i < count; ++i) {
                const double expected = std::exp(before[i] - largest) / sum;
                check_close(scores[i], expected, expected * 2e-6 + 1e-37);
                total += scores[i];
            }
            check_close(total, 1, 1e-5);
        }
        float one = -1e30F;
        set->softmax(&one, 1);
        CHECK(one == 1.0F);
        std::vector<float> equal(4, -1e30F);  // no overflow where all are as low
        set->softmax(equal.data(), 4);
        CHECK(equal == std::vector<float>(4, 0.25F));
    }
}

TEST(log_sum_exp_agrees_with_double_and_tells_what_is_not_finite) {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t count : {1, 2, 63, 64, 65, 511, 512, 513, 5000}) {
            auto x = normal(count, 12, 9.0F);
            if (count > 2) x[1] = -inf, x[2] = -1e30F;
            double sum = 0;
            for (const float value : x) sum += std::exp(static_cast<double>(value));
            check_close(set->log_sum_exp(x.data(), count), std::log(sum), 5e-6);
            for (float& value : x) value += 3e4F;  // no overflow
            CHECK(std::isfinite(set->log_sum_exp(x.data(), count)));
            x[count - 1] = inf;
            CHECK(set->log_sum_exp(x.data(), count) == inf);
            x[count / 2] = nan;
            CHECK(std::isnan(set->log_sum_exp(x.data(), count)));
        }
        const std::vector<float> none(70, -inf);
        CHECK(set->log_sum_exp(none.data(), 70) == -inf);
        CHECK(set->log_sum_exp(none.data(), 0) == -inf);
    }
}

TEST(scores_are_the_querys_products_with_each_key) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t dim : {16, 48, 64, 80, 128}) {
            for (const std::size_t count : {0, 1, 2, 37}) {
                const auto query = normal(dim, 6), keys = normal(count * dim, 7);
                std::vector<float> scores(count + 1, 42.0F);
                set->score(query.data(), keys.data(), count, dim, scores.data());
                for (std::size_t j = 0; j < count; ++j) {
                    double expected = 0;
                    for (std::size_t d = 0; d < dim; ++d) {
                        expected += static_cast<double>(query[d]) * keys[j * dim + d];
                    }
                    check_close(scores[j], expected, 1e-4);
                }
                CHECK(scores[count] == 42.0F);
            }
        }
    }
}

TEST(mix_adds_the_weighted_values_to_what_is_there) {
    for (const StepKernels* set : step_sets()) {
        for (const std::size_t dim : {16, 48, 64, 80, 128}) {
            for (const std::size_t count : {0, 1, 2, 37}) {
                const auto scores = normal(count, 8), values = normal(count * dim, 9);
                const auto before = normal(dim, 10);
                auto to = before;
                set->mix(scores.data(), values.data(), count, dim, to.data());
                for (std::size_t d = 0; d < dim; ++d) {
                    double expected = before[d];
                    for (std::size_t j = 0; j < count; ++j) {
                        expected += static_cast<double>(scores[j]) * values[j * dim + d];
                    }
                    check_close(to[d], expected, 1e-4);
                }
            }
        }
    }
}

TEST(the_set_in_use_is_one_that_this_processor_runs) {
    const auto all = step_sets();
    CHECK(std::find(all.begin(), all.end(), &step_kernels()) != all.end());
    if (std::getenv("EDGEPERSONA_SIMD") == nullptr) CHECK(&step_kernels() == all.back());
}
