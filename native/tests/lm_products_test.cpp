// Rounded tokens, their products with packed matrices, and those of queries with keys and values.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "edgepersona/lm_kernels.h"
#include "sample_matrix.h"

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

// Room for rounded tokens of exactly its size, so that a sanitizer sees a write too many.
struct Rounded {
    Rounded(std::size_t tokens, std::size_t columns, std::size_t block)
        : block(block),
          blocks((columns + block - 1) / block),
          codes(tokens * blocks * block, 99),
          scales(tokens * blocks, -1.0F),
          sums(tokens * blocks, -1.0F),
          offsets(tokens * blocks, -1) {}

    RoundedTokens view() {
        return {codes.data(), scales.data(), sums.data(), offsets.data(), blocks * block, blocks};
    }
    // After a change of codes or scales.
    void add_up() {
        for (std::size_t b = 0; b < scales.size(); ++b) {
            std::int32_t sum = 0;
            for (std::size_t i = 0; i < block; ++i) sum += codes[b * block + i];
            offsets[b] = -128 * sum;
            sums[b] = scales[b] * static_cast<float>(sum);
        }
    }

    std::size_t block, blocks;
    std::vector<std::int8_t> codes;
    std::vector<float> scales, sums;
    std::vector<std::int32_t> offsets;
};

// `x` holds tokens of `columns` values.
Rounded rounded(const LmKernels& set, const std::vector<float>& x, std::size_t columns,
                std::size_t block) {
    const std::size_t tokens = x.size() / columns;
    Rounded to(tokens, columns, block);
    for (std::size_t t = 0; t < tokens; ++t) {
        set.round(x.data() + t * columns, columns, block, to.view().from(t));
    }
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
        CHECK(to.offsets[b] == -128 * sum);
        check_close(to.sums[b], sum * (largest / 127), std::abs(sum) * largest * 1e-8);
    }
}

struct Sum {
    double value, size;  // size: of its terms
};

Sum product_of(const PackedMatrix& m, std::size_t row, const Rounded& x, std::size_t token) {
    Sum sum{0, 0};
    for (std::size_t column = 0; column < m.columns; ++column) {
        const Place place = place_of(m, row, column);
        const double value = static_cast<double>(x.codes[token * x.blocks * x.block + column]) *
                             static_cast<double>(x.scales[token * x.blocks + column / x.block]);
        sum.value += place.value() * value;
        sum.size += (std::abs(place.code * place.scale) + std::abs(place.minimum)) *
                    std::abs(value);
    }
    return sum;
}

// Multiplies `groups` groups from `first` on and holds all that is written to double, and all that
// is not to what was there.
void check_products(const LmKernels& set, const PackedMatrix& m, Rounded& x, std::size_t tokens,
                    std::size_t first, std::size_t groups, bool add) {
    const std::size_t stride = 16 * groups + 5;
    const std::size_t rows = std::min(16 * groups, m.rows - 16 * first);
    const auto before = normal((tokens - 1) * stride + rows, 77, 3.0F);
    auto out = before;
    set.multiply(m, first, groups, x.view(), tokens, add, out.data(), stride);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::size_t t = i / stride, row = i % stride;
        if (row >= rows) {
            CHECK(out[i] == before[i]);
            continue;
        }
        const Sum sum = product_of(m, 16 * first + row, x, t);
        const double start = add ? before[i] : 0.0;
        check_close(out[i], start + sum.value,
                    (sum.size + std::abs(start)) * 1e-6 + 1e-30);
    }
}

bool same_bits(const float* a, const float* b, std::size_t count) {
    return count == 0 || std::memcmp(a, b, count * sizeof(float)) == 0;
}

std::vector<std::uint16_t> halves_of(const std::vector<float>& values) {
    std::vector<std::uint16_t> halves;
    for (const float value : values) halves.push_back(nearest_half(value));
    return halves;
}

constexpr std::size_t kDims[] = {16, 32, 48, 64, 80, 96, 112, 128, 176, 256, 272};

}  // namespace

TEST(a_token_is_rounded_to_the_nearest_of_255_steps_in_each_block) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t block : {32, 64, 128}) {
            for (const std::size_t count : {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 577}) {
                const auto x = normal(count, static_cast<unsigned>(count), 3.0F);
                check_rounded(rounded(*set, x, count, block), x, block);
            }
        }
    }
}

TEST(a_tie_between_two_steps_goes_to_the_even_one) {
    for (const LmKernels* set : usable_lm_kernels()) {
        std::vector<float> x(32);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 15.5F;
        x[0] = 127.0F;
        const Rounded to = rounded(*set, x, 32, 32);
        for (std::size_t i = 1; i < x.size(); ++i) {
            CHECK(to.codes[i] == static_cast<std::int8_t>(std::nearbyint(x[i])));
        }
    }
}

TEST(a_block_of_zeros_is_rounded_to_zeros_beside_one_that_is_not) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t block : {32, 64, 128}) {
            std::vector<float> x(3 * block, 0.0F);
            x[block] = -2.5F;
            const Rounded to = rounded(*set, x, x.size(), block);
            check_rounded(to, x, block);
            CHECK(to.codes[block] == -127);
            CHECK(to.scales[0] == 0.0F && to.scales[2] == 0.0F);
        }
    }
}

TEST(values_too_small_to_divide_by_are_rounded_to_zero) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const float tiny : {1e-37F, 1e-38F, std::numeric_limits<float>::denorm_min()}) {
            const Rounded to = rounded(*set, std::vector<float>(64, -tiny), 64, 64);
            CHECK(to.codes == std::vector<std::int8_t>(64));
            CHECK(to.offsets[0] == 0 && to.sums[0] == 0.0F);
            CHECK(to.scales[0] >= 0.0F && to.scales[0] < 1e-38F);
        }
        const std::vector<float> large(64, -std::numeric_limits<float>::max());
        CHECK(rounded(*set, large, 64, 64).codes == std::vector<std::int8_t>(64, -127));
    }
}

TEST(what_is_not_finite_stays_so_in_its_block_and_spoils_no_other) {
    float odd;  // any bits may come in
    constexpr std::uint32_t kOdd = 0xff8000f3U;
    std::memcpy(&odd, &kOdd, sizeof odd);
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const float bad : {kNan, kInf, -kInf, odd}) {
            for (const std::size_t at : {64, 70, 127}) {
                auto x = normal(3 * 64, 12);
                const Rounded whole = rounded(*set, x, 192, 64);
                x[at] = bad;
                Rounded to = rounded(*set, x, 192, 64);
                CHECK(!std::isfinite(to.scales[1]) && std::isnan(to.sums[1]));
                for (const std::size_t b : {0, 2}) {
                    CHECK(to.scales[b] == whole.scales[b] && to.sums[b] == whole.sums[b] &&
                          to.offsets[b] == whole.offsets[b]);
                }
                for (const unsigned bits : {4, 8}) {
                    SampleMatrix matrix(19, 192, 64, bits, 1);
                    std::fill(matrix.scales().begin(), matrix.scales().end(), 0);
                    std::vector<float> out(19, 0.0F);
                    set->multiply(matrix.view(), 0, 2, to.view(), 1, true, out.data(), 19);
                    for (const float value : out) CHECK(std::isnan(value));
                }
            }
        }
    }
}

TEST(products_equal_those_in_double) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const unsigned bits : {4, 8}) {
            for (const std::size_t block : {32, 64, 128}) {
                for (const std::size_t columns : {1, 31, 32, 33, 200}) {
                    for (const std::size_t rows : {1, 7, 8, 9, 16, 17, 25, 48}) {
                        const auto seed = static_cast<unsigned>(columns * 100 + rows);
                        const SampleMatrix matrix(rows, columns, block, bits, seed);
                        Rounded x = rounded(*set, normal(3 * columns, seed), columns, block);
                        const PackedMatrix m = matrix.view();
                        check_products(*set, m, x, 3, 0, m.groups(), rows % 2 == 0);
                    }
                }
            }
        }
    }
}

TEST(products_of_any_number_of_tokens_equal_those_in_double) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const unsigned bits : {4, 8}) {
            const SampleMatrix matrix(41, 70, 32, bits, 3);
            for (std::size_t tokens = 1; tokens <= 30; ++tokens) {
                Rounded x = rounded(*set, normal(tokens * 70, 4), 70, 32);
                for (const bool add : {false, true}) {
                    check_products(*set, matrix.view(), x, tokens, 1, 1, add);
                    check_products(*set, matrix.view(), x, tokens, 1, 2, add);
                }
            }
        }
    }
}

TEST(a_tokens_product_is_the_same_bits_whatever_stands_beside_it) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const unsigned bits : {4, 8}) {
            for (const std::size_t block : {32, 128}) {
                const std::size_t rows = 37, columns = 300, most = 30;
                const SampleMatrix matrix(rows, columns, block, bits, 5);
                const PackedMatrix m = matrix.view();
                Rounded x = rounded(*set, normal(most * columns, 6), columns, block);
                const auto before = normal(most * rows, 7);
                auto alone = before;
                for (std::size_t t = 0; t < most; ++t) {
                    for (std::size_t g = 0; g < m.groups(); ++g) {
                        set->multiply(m, g, 1, x.view().from(t), 1, true,
                                      alone.data() + t * rows + 16 * g, rows);
                    }
                }
                for (std::size_t tokens = 1; tokens <= most; ++tokens) {
                    auto out = before;
                    set->multiply(m, 0, m.groups(), x.view(), tokens, true, out.data(), rows);
                    CHECK(same_bits(out.data(), alone.data(), tokens * rows));
                }
            }
        }
    }
}

TEST(a_token_that_is_not_a_number_spoils_no_other) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const unsigned bits : {4, 8}) {
            const SampleMatrix matrix(20, 64, 32, bits, 8);
            auto x = normal(14 * 64, 9);
            std::fill(x.begin() + 5 * 64, x.begin() + 6 * 64, kNan);
            Rounded to = rounded(*set, x, 64, 32);
            std::vector<float> out(14 * 20);
            set->multiply(matrix.view(), 0, 2, to.view(), 14, false, out.data(), 20);
            for (std::size_t i = 0; i < out.size(); ++i) {
                CHECK(std::isnan(out[i]) == (i / 20 == 5));
            }
        }
    }
}

TEST(the_largest_codes_of_both_sides_do_not_saturate) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const unsigned bits : {4, 8}) {
            for (const std::size_t block : {std::size_t{64}, std::size_t{1} << 16}) {
                for (const int weight : {0, 1, 128, 255}) {
                    for (const int other : {0, 255}) {
                        for (const int sign : {-1, 0, 1}) {  // 0: alternating
                            SampleMatrix matrix(3, 200, block, bits, 1);
                            Rounded x(1, 200, block);
                            for (std::size_t i = 0; i < matrix.codes().size(); ++i) {
                                matrix.codes()[i] =
                                    static_cast<std::uint8_t>(i % 4 < 2 ? weight : other);
                            }
                            for (std::size_t i = 0; i < x.codes.size(); ++i) {
                                const int own = sign != 0 ? sign : i % 4 < 2 ? 1 : -1;
                                x.codes[i] = static_cast<std::int8_t>(127 * own);
                            }
                            std::fill(x.scales.begin(), x.scales.end(), 0.25F);
                            x.add_up();
                            PackedMatrix m = matrix.view();
                            m.columns = x.codes.size();  // all are full
                            check_products(*set, m, x, 1, 0, 1, false);
                        }
                    }
                }
            }
        }
    }
}

namespace {

double rounded(double x, bool rounds) { return rounds ? nearest_bf16(x) : x; }

}  // namespace

TEST(scores_are_the_queries_products_with_each_key) {
    for (const LmKernels* set : usable_lm_kernels()) {
        for (const std::size_t dim : kDims) {
            const bool rounds = set->rounds_attention && dim <= 256;
            for (const std::size_t blocks : {0, 1, 3}) {
                const auto queries = normal(kQueries * dim, 6);
                const auto keys = halves_of(normal(blocks * dim * 16, 7));
                const std::size_t positions = 16 * blocks, stride = positions + 2;
                std::vector<float> alone;
                for (std::size_t count = 1; count <= kQueries; ++count) {
                    std::vector<float> scores(count * stride, 42.0F), some(dim * count);
                    for (std::size_t i = 0; i < some.size(); ++i) {
                        some[i] = queries[i % count * dim + i / count];
                    }
                    set->score(some.data(), count, keys.data(), blocks, dim, scores.data(),
                               stride);
                    for (std::size_t i = 0; i < scores.size(); ++i) {
                        const std::size_t q = i / stride, j = i % stride;
                        double expected = j < positions ? 0.0 : 42.0;
                        for (std::size_t d = 0; d < dim && j < positions; ++d) {
                            const double key =
                                value_of_half(keys[(j / 16 * dim + d) * 16 + j % 16]);
                            expected += rounded(queries[q * dim + d], rounds) *
                                        rounded(key, rounds);
                        }
                        check_close(scores[i], expected, 2e-5 * std::sqrt(dim));
                    }
                    // The same bits whatever queries stand beside one.
                    CHECK(same_bits(scores.data(), alone.data(), alone.size()));
                    alone = scores;
                }
            }
        }
    }
}

namespace {

// For as many queries as there can be: all positions, and parts that may have nothing in common.
std::vector<SeenPositions> spans_within(std::size_t positions) {
    std::vector<SeenPositions> spans(kQueries, {0, positions});
    for (std::size_t q = 1; q < kQueries && positions != 0; ++q) {
        spans[q].from = 5 * q % positions;
        spans[q].end = std::min(positions, spans[q].from + 1 + 7 * q % 20);
    }
    return spans;
}

}  // namespace

TEST(a_value_that_is_not_a_number_spoils_the_sums_that_see_it_alone) {
    for (const LmKernels* set : usable_lm_kernels()) {
        const auto scores = normal(kQueries * 40, 8);
        const auto seen = spans_within(37);
        for (const std::size_t at : {0, 5, 11, 36}) {
            auto values = halves_of(normal(37 * 64, 9));
            values[at * 64 + 21] = 0x7e00;
            std::vector<float> out(kQueries * 64);
            set->mix(scores.data(), 40, seen.data(), kQueries, values.data(), 64, out.data());
            for (std::size_t i = 0; i < out.size(); ++i) {
                const SeenPositions& span = seen[i / 64];
                const bool sees = at >= span.from && at < span.end;
                CHECK(std::isnan(out[i]) == (sees && i % 64 == 21));
            }
        }
    }
}

TEST(mix_is_the_weighted_sum_of_values) {
    for (const LmKernels* set : usable_lm_kernels()) {
        const bool rounds = set->rounds_attention;
        for (const std::size_t dim : kDims) {
            for (const std::size_t positions : {0, 1, 2, 37}) {
                const std::size_t stride = positions + 3;
                const auto scores = normal(kQueries * stride, 8);
                const auto values = halves_of(normal(positions * dim, 9));
                const auto seen = spans_within(positions);
                std::vector<float> alone;
                for (std::size_t count = 1; count <= kQueries; ++count) {
                    std::vector<float> out(count * dim, 42.0F);
                    set->mix(scores.data(), stride, seen.data(), count, values.data(), dim,
                             out.data());
                    for (std::size_t i = 0; i < out.size(); ++i) {
                        double expected = 0;
                        for (std::size_t j = seen[i / dim].from; j < seen[i / dim].end; ++j) {
                            expected += rounded(scores[i / dim * stride + j], rounds) *
                                        rounded(value_of_half(values[j * dim + i % dim]), rounds);
                        }
                        check_close(out[i], expected, 1e-4);
                    }
                    CHECK(same_bits(out.data(), alone.data(), alone.size()));
                    alone = out;
                }
            }
        }
    }
}

TEST(a_key_that_is_not_a_number_spoils_its_own_score_alone) {
    for (const LmKernels* set : usable_lm_kernels()) {
        const auto query = normal(32, 10);
        auto keys = halves_of(normal(2 * 32 * 16, 11));
        keys[32 * 16 + 5 * 16 + 3] = 0x7e00;  // position 19
        std::vector<float> scores(32);
        set->score(query.data(), 1, keys.data(), 2, 32, scores.data(), 32);
        for (std::size_t j = 0; j < 32; ++j) CHECK(std::isnan(scores[j]) == (j == 19));
    }
}
