#include "edgepersona/kernels.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "check.h"
#include "edgepersona/memory.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

double half_value(Half half) {
    const int exponent = half >> 10 & 31;
    const double fraction = half & 1023;
    const double value = exponent == 0 ? std::ldexp(fraction, -24)
                                       : std::ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -value : value;
}

bool is_finite(Half half) { return (half & 0x7c00) != 0x7c00; }

struct Codes {
    Codes(std::size_t stride, unsigned seed)
        : bytes(stride * 8), high(bytes.at<std::int8_t>()), low(high + stride),
          query(bytes.at<std::int16_t>(2 * stride)), values(bytes.at<float>(4 * stride)) {
        std::mt19937 random(seed);
        for (std::size_t i = 0; i < stride; ++i) {
            high[i] = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
            low[i] = static_cast<std::int8_t>(static_cast<int>(random() % 256) - 128);
            query[i] = static_cast<std::int16_t>(static_cast<int>(random() % 65535) - 32767);
            values[i] = static_cast<float>(random() % 2001) / 1000 - 1;
        }
    }
    Memory bytes;
    std::int8_t *high, *low;
    std::int16_t* query;
    float* values;
};

}  // namespace

TEST(every_finite_half_is_widened_exactly) {
    std::vector<Half> halves;
    for (unsigned half = 0; half < 65536; ++half) {
        if (is_finite(static_cast<Half>(half))) halves.push_back(static_cast<Half>(half));
    }
    for (const std::size_t count : {halves.size(), halves.size() - 13}) {
        std::vector<float> wide(count + 1, -7.0F);
        kernels().widen(halves.data(), count, wide.data());
        for (std::size_t i = 0; i < count; ++i) CHECK(wide[i] == half_value(halves[i]));
        CHECK(wide[count] == -7.0F);
    }
}

TEST(products_of_codes_are_exact_wherever_a_row_stands) {
    for (std::size_t stride = kRowStep; stride <= 5 * kRowStep; stride += kRowStep) {
        std::vector<Codes> all;
        for (unsigned seed = 0; seed < 20; ++seed) all.emplace_back(stride, seed);
        std::vector<const std::int8_t*> rows;
        for (const Codes& one : all) rows.push_back(one.high);
        for (std::size_t count = 1; count <= rows.size(); ++count) {
            std::vector<std::int32_t> sums(count + 1, -7);
            kernels().dot_codes(rows.data(), count, all[0].query, stride, sums.data());
            for (std::size_t r = 0; r < count; ++r) {
                std::int64_t expected = 0;
                for (std::size_t i = 0; i < stride; ++i) expected += rows[r][i] * all[0].query[i];
                CHECK(sums[r] == expected);
            }
            CHECK(sums[count] == -7);
        }
    }
}

TEST(the_product_of_both_halves_is_that_of_the_whole_numbers) {
    for (std::size_t stride = kRowStep; stride <= 6 * kRowStep; stride += kRowStep) {
        const Codes one(stride, 1);
        double expected = 0;
        for (std::size_t i = 0; i < stride; ++i) {
            expected += (one.high[i] * 256 + one.low[i]) * double(one.values[i]);
        }
        const float found = kernels().dot_whole(one.high, one.low, one.values, stride);
        CHECK(std::fabs(found - expected) < 32640.0 * stride * 1e-6);
    }
}

TEST(values_are_split_to_the_nearest_whole_number_and_joined_again) {
    for (std::size_t count = 0; count < 130; ++count) {
        auto values = unit_vectors(1, count + 1, 5);
        const float inverse = 20000.0F;
        std::vector<std::int8_t> high(count + 1, 77), low(count + 1, 77);
        std::vector<std::int16_t> joined(count), shifted(count);
        const std::int32_t squares =
            kernels().split(values.data(), count, inverse, high.data(), low.data());
        CHECK(squares == std::inner_product(low.begin(), low.end() - 1, low.begin(), 0));
        kernels().join(high.data(), low.data(), count, 0, joined.data());
        kernels().join(high.data(), low.data(), count, 3, shifted.data());
        for (std::size_t i = 0; i < count; ++i) {
            CHECK(std::fabs(values[i] * inverse - joined[i]) <= 0.502F);
            CHECK(joined[i] == high[i] * 256 + low[i]);
            CHECK(shifted[i] == joined[i] >> 3);
        }
        CHECK(high[count] == 77 && low[count] == 77);
    }
    const float edges[] = {1.0F, -1.0F, 0.0F};
    std::int8_t high[3], low[3];
    kernels().split(edges, 3, kLargestWhole, high, low);
    CHECK(high[0] == 127 && low[0] == 0 && high[1] == -127 && low[1] == 0);
    CHECK(high[2] == 0 && low[2] == 0);
}

TEST(the_largest_magnitude_is_found_at_any_place) {
    for (std::size_t count = 0; count < 70; ++count) {
        std::vector<float> values(count + 1, -0.25F);
        values[count] = 9.0F;  // beyond the end
        CHECK(kernels().largest(values.data(), count) == (count == 0 ? 0.0F : 0.25F));
        for (std::size_t i = 0; i < count; ++i) {
            values[i] = -3.5F;
            CHECK(kernels().largest(values.data(), count) == 3.5F);
            values[i] = 1e-44F;
        }
    }
}

TEST(the_float_product_takes_any_length) {
    for (std::size_t count = 0; count < 70; ++count) {
        const auto a = unit_vectors(1, count + 1, 2), b = unit_vectors(1, count + 1, 3);
        double expected = 0;
        for (std::size_t i = 0; i < count; ++i) expected += double(a[i]) * b[i];
        CHECK(std::fabs(kernels().dot(a.data(), b.data(), count) - expected) < 1e-6);
    }
}

TEST(the_chosen_set_is_one_of_those_compiled) {
    bool found = false;
    for (const auto& name : compiled_kernels()) found |= name == kernels().name;
    CHECK(found);
    CHECK(compiled_kernels().back() == "baseline");
}
