#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "edgepersona/kernels.h"
#include "edgepersona/row_store.h"
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

// The kernel's value of a single half: a row of it and zeros, against a query of 1 and zeros.
double widened(Half half) {
    RowStore rows(1);
    rows.reserve(1);
    Half* row = rows.push_back();
    row[0] = half;
    alignas(kRowAlign) float query[kRowStep] = {1.0F};
    const Half* const list[] = {row};
    float score;
    kernels().dot_rows(list, 1, query, rows.stride(), &score);
    return score;
}

}  // namespace

TEST(every_finite_half_is_widened_exactly) {
    for (unsigned half = 0; half < 65536; ++half) {
        if (is_finite(static_cast<Half>(half))) {
            CHECK(widened(static_cast<Half>(half)) == half_value(static_cast<Half>(half)));
        }
    }
}

TEST(floats_are_rounded_to_the_nearest_half_and_ties_to_even) {
    for (unsigned bits = 0; bits + 1 < 0x7c00; ++bits) {
        const Half low = static_cast<Half>(bits), high = static_cast<Half>(bits + 1);
        const auto middle = static_cast<float>((half_value(low) + half_value(high)) / 2);
        const float inputs[] = {std::nextafter(middle, 0.0F), middle,
                                std::nextafter(middle, 1e9F), -middle};
        Half out[4];
        kernels().to_half(inputs, 4, out);
        const Half even = bits % 2 == 0 ? low : high;
        CHECK(out[0] == low);
        CHECK(out[1] == even);
        CHECK(out[2] == high);
        CHECK(out[3] == (even | 0x8000));
    }
}

TEST(a_row_scores_the_same_wherever_it_stands) {
    const std::size_t ndim = 100;
    RowStore rows(ndim);
    rows.reserve(9);
    const auto values = unit_vectors(1, ndim, 1);
    std::vector<const Half*> list;
    for (int i = 0; i < 9; ++i) {
        Half* row = rows.push_back();
        kernels().to_half(values.data(), ndim, row);
        list.push_back(row);
    }
    alignas(kRowAlign) float query[128] = {};
    std::copy(values.begin(), values.end(), query);
    for (std::size_t count = 1; count <= 9; ++count) {
        std::vector<float> scores(count + 1, -7.0F);
        kernels().dot_rows(list.data(), count, query, rows.stride(), scores.data());
        for (std::size_t i = 0; i < count; ++i) CHECK(scores[i] == scores[0]);
        CHECK(scores[count] == -7.0F);
        CHECK(std::fabs(scores[0] - 1.0F) < 2e-3F);
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
