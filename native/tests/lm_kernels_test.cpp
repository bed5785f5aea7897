// What a language model does to one vector at a time, and which instruction set does it.
#include "edgepersona/lm_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "halves.h"

using namespace edgepersona;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = HUGE_VALF;

std::vector<float> normal(std::size_t count, unsigned seed, float size = 1.0F) {
    std::mt19937 random(seed);
    std::normal_distribution<float> draw(0.0F, size);
    std::vector<float> values(count);
    for (float& value : values) value = draw(random);
    return values;
}

void check_close(double found, double expected, double tolerance) {
    CHECK(std::abs(found - expected) <= tolerance);
}

bool all_nan(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return std::isnan(v); });
}

// `gate` by the kernel beside `expected(x) * up`, also far from zero.
template <class F>
void check_gate(void (*gate)(float*, const float*, std::size_t), F expected) {
    for (const std::size_t count : {1, 7, 16, 32, 33}) {
        auto x = normal(count, 3, 4.0F);
        if (count == 33) {
            const float far[] = {-1e30F, -1e4F, -100.0F, -88.0F, -10.0F, -1e-3F, -1e-30F,
                                 0.0F,   1e-3F, 10.0F,   88.0F,  100.0F, 1e4F,   1e30F};
            std::copy(std::begin(far), std::end(far), x.begin());
        }
        const auto up = normal(count, 4), before = x;
        gate(x.data(), up.data(), count);
        for (std::size_t i = 0; i < count; ++i) {
            const double value = expected(before[i]) * up[i];
            // The exponential ends at 88: beyond it a gate is 1e-38 of its input, not 0. Near that
            // end the rounding of its exponent counts.
            const double rest = std::abs(static_cast<double>(before[i]) * up[i]) * 1e-12;
            check_close(x[i], value, std::abs(value) * 2e-6 + rest + 1e-37);
        }
    }
    for (const std::size_t at : {0, 5, 18}) {
        auto x = normal(19, 5);
        x[at] = kNan;
        gate(x.data(), normal(19, 6).data(), 19);
        for (std::size_t i = 0; i < 19; ++i) CHECK(std::isnan(x[i]) == (i == at));
    }
}

std::uint16_t half_of(const LmKernels& set, float x) {
    std::uint16_t half = 0;
    set.to_halves(&x, 1, &half);
    return half;
}

bool same_half(std::uint16_t found, std::uint16_t expected) {
    const bool none = (expected & 0x7fff) > 0x7c00;
    return none ? (found & 0x7fff) > 0x7c00 : found == expected;
}

}  // namespace

TEST(norm_divides_by_the_root_of_the_mean_square) {
    for (const LmKernels* set : usable_lm_kernels()) {
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
            auto in_place = x;
            set->norm(in_place.data(), weight.data(), count, 1e-5F, in_place.data());
            CHECK(in_place == to);
        }
        const std::vector<float> zeros(20, 0.0F), ones(20, 1.0F);
        std::vector<float> to(20, 5.0F);
        set->norm(zeros.data(), ones.data(), 20, 1e-5F, to.data());
        CHECK(to == zeros);
        for (const std::size_t at : {0, 5, 18}) {
            auto x = normal(19, 13);
            x[at] = kNan;
            to.resize(19);
            set->norm(x.data(), normal(19, 14).data(), 19, 1e-5F, to.data());
            CHECK(all_nan(to));
        }
    }
}

TEST(layer_norm_takes_the_mean_away_and_divides_by_the_deviation) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t count : {1, 15, 16, 17, 96, 577}) {
            const auto before = normal(count, 21, 3.0F), added = normal(count, 22);
            const auto weight = normal(count, 23), bias = normal(count, 24);
            for (const float* more : {static_cast<const float*>(nullptr), added.data()}) {
                auto x = before;
                set->layer_norm(x.data(), more, weight.data(), bias.data(), count, 1e-5F);
                const auto value = [&](std::size_t i) {
                    return before[i] + (more != nullptr ? static_cast<double>(more[i]) : 0.0);
                };
                double mean = 0, squares = 0;
                for (std::size_t i = 0; i < count; ++i) mean += value(i);
                mean /= static_cast<double>(count);
                for (std::size_t i = 0; i < count; ++i) {
                    squares += (value(i) - mean) * (value(i) - mean);
                }
                const double inverse = 1 / std::sqrt(squares / static_cast<double>(count) + 1e-5);
                for (std::size_t i = 0; i < count; ++i) {
                    check_close(x[i], (value(i) - mean) * inverse * weight[i] + bias[i], 2e-5);
                }
            }
        }
        auto x = normal(19, 25);
        x[7] = kNan;
        const auto weight = normal(19, 26);
        set->layer_norm(x.data(), nullptr, weight.data(), weight.data(), 19, 1e-5F);
        CHECK(all_nan(x));
    }
}

TEST(gelu_of_a_biased_value_also_far_from_zero) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t count : {1, 7, 16, 63, 64, 65, 200}) {
            const auto before = normal(count, 27, count == 200 ? 1e4F : 3.0F);
            const auto bias = normal(count, 28);
            auto x = before;
            set->biased_gelu(x.data(), bias.data(), count);
            for (std::size_t i = 0; i < count; ++i) {
                const double value = static_cast<double>(before[i]) + bias[i];
                const double expected = value / 2 * (1 + std::erf(value / std::sqrt(2.0)));
                check_close(x[i], expected, 5e-5 + std::abs(value) * 1e-5);
            }
        }
        for (const std::size_t at : {0, 5, 18}) {
            auto x = normal(19, 29);
            x[at] = kNan;
            set->biased_gelu(x.data(), normal(19, 30).data(), 19);
            for (std::size_t i = 0; i < 19; ++i) CHECK(std::isnan(x[i]) == (i == at));
        }
    }
}

TEST(silu_times_up_also_far_from_zero) {
    for (const LmKernels* set : usable_lm_kernels()) {
        check_gate(set->silu, [](double x) { return x / (1 + std::exp(-x)); });
    }
}

TEST(gelu_times_up_also_far_from_zero) {
    for (const LmKernels* set : usable_lm_kernels()) {
        check_gate(set->gelu, [](double x) {
            // x/2 (1 + tanh u), without the cancellation that it has far below zero.
            const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
            return x / (1 + std::exp(-2 * u));
        });
    }
}

TEST(a_cap_bends_what_is_large_to_itself) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const float cap : {0.5F, 30.0F, 1e4F}) {
            for (const std::size_t count : {1, 15, 16, 40}) {
                auto x = normal(count, 7, cap);
                if (count == 40) x[1] = kInf, x[2] = -kInf, x[3] = 1e30F, x[4] = -1e30F, x[5] = 0;
                const auto before = x;
                set->cap(x.data(), count, cap);
                for (std::size_t i = 0; i < count; ++i) {
                    check_close(x[i], cap * std::tanh(before[i] / static_cast<double>(cap)),
                                cap * 1e-6);
                }
            }
        }
        auto x = normal(19, 8);
        x[11] = kNan;
        set->cap(x.data(), 19, 5.0F);
        for (std::size_t i = 0; i < 19; ++i) CHECK(std::isnan(x[i]) == (i == 11));
    }
}

TEST(softmax_sums_to_one_and_forgets_what_is_far_below) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t count : {1, 2, 15, 16, 17, 300}) {
            auto scores = normal(count, 5, 6.0F);
            if (count > 3) scores[1] = -1e30F, scores[2] = -200.0F, scores[3] = -kInf;
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

TEST(softmax_of_what_is_not_a_number_is_none) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t count : {19, 40}) {
            for (const float bad : {kNan, kInf}) {
                for (const std::size_t at : {std::size_t{0}, std::size_t{5}, count - 1}) {
                    auto x = normal(count, 13);
                    x[at] = bad;
                    set->softmax(x.data(), count);
                    CHECK(std::isnan(x[at]));
                    if (std::isnan(bad)) CHECK(all_nan(x));
                }
            }
            std::vector<float> nothing(count, -kInf);
            set->softmax(nothing.data(), count);
            CHECK(all_nan(nothing));
        }
    }
}

TEST(log_sum_exp_agrees_with_double_and_tells_what_is_not_finite) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t count : {1, 2, 63, 64, 65, 511, 512, 513, 5000}) {
            auto x = normal(count, 12, 9.0F);
            if (count > 2) x[1] = -kInf, x[2] = -1e30F;
            double sum = 0;
            for (const float value : x) sum += std::exp(static_cast<double>(value));
            check_close(set->log_sum_exp(x.data(), count), std::log(sum), 5e-6);
            for (float& value : x) value += 3e4F;  // no overflow
            CHECK(std::isfinite(set->log_sum_exp(x.data(), count)));
            x[count - 1] = kInf;
            CHECK(set->log_sum_exp(x.data(), count) == kInf);
            for (const std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
                auto odd = x;
                odd[at] = kNan;
                CHECK(std::isnan(set->log_sum_exp(odd.data(), count)));
            }
        }
        const std::vector<float> none(70, -kInf);
        CHECK(set->log_sum_exp(none.data(), 70) == -kInf);
        CHECK(set->log_sum_exp(none.data(), 0) == -kInf);
    }
}

TEST(every_half_is_widened_to_its_value) {
    constexpr std::size_t kAll = 65536;
    std::vector<std::uint16_t> all(kAll);
    for (std::size_t i = 0; i < kAll; ++i) all[i] = static_cast<std::uint16_t>(i);
    for (const LmKernels* set : usable_lm_kernels()) {
        // Mixed with a weight of one, and as keys of a query of one.
        const float one = 1.0F, query[16] = {1.0F};
        std::vector<float> mixed(kAll), scores(kAll);
        const SeenPositions first{0, 1};
        set->mix(&one, 1, &first, 1, all.data(), kAll, mixed.data());
        for (std::size_t i = 0; i < kAll; i += 16) {
            std::vector<std::uint16_t> keys(16 * 16);
            std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(i), 16, keys.begin());
            set->score(query, 1, keys.data(), 1, 16, scores.data() + i, 16);
        }
        for (std::size_t i = 0; i < kAll; ++i) {
            const double value = value_of_half(all[i]);
            const double expected = set->rounds_attention ? nearest_bf16(value) : value;
            for (const float found : {mixed[i], scores[i]}) {
                CHECK(std::isnan(expected) ? std::isnan(found) : found == expected);
            }
        }
    }
}

TEST(every_half_comes_back_and_what_lies_between_two_goes_to_the_nearest) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (std::uint32_t i = 0; i < 65536; ++i) {
            const auto half = static_cast<std::uint16_t>(i);
            const auto value = static_cast<float>(value_of_half(half));
            if (std::isnan(value)) {
                CHECK((half_of(*set, value) & 0x7fff) > 0x7c00);
                continue;
            }
            CHECK(half_of(*set, value) == half);
            if ((half & 0x7fff) >= 0x7c00) continue;
            // The middle is a float; beyond the largest half it is where infinity begins.
            const std::uint16_t next_half = static_cast<std::uint16_t>(half + 1);
            const double next = (next_half & 0x7fff) == 0x7c00
                                    ? std::copysign(65536.0, value)
                                    : value_of_half(next_half);
            const auto middle = static_cast<float>((value + next) / 2);
            CHECK(half_of(*set, middle) == (half % 2 == 0 ? half : next_half));
            CHECK(half_of(*set, std::nextafter(middle, 0.0F)) == half);
            CHECK(half_of(*set, std::nextafter(middle, 2 * middle)) == next_half);
        }
    }
}

TEST(any_float_becomes_the_nearest_half_alone_and_among_others) {
    std::mt19937 random(1);
    std::vector<float> x(40007);
    for (float& value : x) {
        const auto bits = static_cast<std::uint32_t>(random());
        std::memcpy(&value, &bits, sizeof value);
        const int exponent = static_cast<int>(random() % 50) - 30;
        if (random() % 2 == 0) value = std::ldexp(std::fmod(value, 1.0F), exponent);
    }
    for (const LmKernels* set : usable_lm_kernels()) {
        std::vector<std::uint16_t> halves(x.size());
        set->to_halves(x.data(), x.size(), halves.data());
        for (std::size_t i = 0; i < x.size(); ++i) {
            CHECK(same_half(halves[i], nearest_half(x[i])));
            CHECK(same_half(half_of(*set, x[i]), halves[i]));
        }
    }
}

TEST(the_language_models_set_is_the_best_that_this_processor_runs) {
    const auto all = usable_lm_kernels();
    CHECK(!all.empty() && all.back() == baseline_lm_kernels());
    CHECK(std::find(all.begin(), all.end(), &lm_kernels()) != all.end());
    if (std::getenv("EDGEPERSONA_SIMD") == nullptr) CHECK(&lm_kernels() == all.front());
}
