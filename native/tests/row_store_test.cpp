#include "edgepersona/row_store.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "check.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

void append(RowStore& rows, const std::vector<float>& values) {
    rows.reserve(rows.size() + 1);
    rows.write(rows.push_back(), values.data());
}

bool zeros(const RowStore& rows, std::size_t row) {
    const auto zero = [](std::int8_t code) { return code == 0; };
    return std::all_of(rows.high(row), rows.high(row) + rows.stride(), zero) &&
           std::all_of(rows.low(row), rows.low(row) + rows.stride(), zero);
}

std::vector<float> stored(const RowStore& rows, std::size_t row) {
    std::vector<float> values(rows.ndim());
    rows.read(row, values.data());
    return values;
}

}  // namespace

TEST(rows_start_on_cache_lines) {
    for (const std::size_t ndim : {1, 63, 64, 65, 384}) {
        RowStore rows(ndim);
        for (int i = 0; i < 200; ++i) append(rows, std::vector<float>(ndim, 1));
        for (std::size_t row = 0; row < 200; ++row) {
            CHECK(reinterpret_cast<std::uintptr_t>(rows.high(row)) % kRowAlign == 0);
            CHECK(reinterpret_cast<std::uintptr_t>(rows.low(row)) % kRowAlign == 0);
        }
        CHECK(rows.stride() >= ndim && rows.stride() < ndim + kRowStep);
    }
}

TEST(a_row_is_kept_to_a_32512th_of_its_largest_value_and_the_slack_covers_its_lower_half) {
    for (const float scale : {1.0F, 1e-6F, 30000.0F}) {
        const std::size_t ndim = 100;
        RowStore rows(ndim);
        auto values = unit_vectors(1, ndim, 3);
        for (float& value : values) value *= scale;
        append(rows, values);
        float largest = 0;
        double lower = 0;
        for (std::size_t i = 0; i < ndim; ++i) {
            largest = std::max(largest, std::fabs(values[i]));
            lower += std::pow(rows.step(0) * rows.low(0)[i], 2);
        }
        for (std::size_t i = 0; i < ndim; ++i) {
            CHECK(std::fabs(stored(rows, 0)[i] - values[i]) <= largest / kLargestWhole * 0.51F);
        }
        CHECK(rows.slack(0) >= std::sqrt(lower) * (1 - 1e-6));
        CHECK(rows.slack(0) <= std::sqrt(lower) * (1 + 1e-5));
    }
}

TEST(values_of_any_size_are_stored) {
    RowStore rows(3);
    append(rows, {0, 0, 0});
    append(rows, {1e-44F, 0, 0});
    append(rows, {kHalfMax, -kHalfMax, 1});
    CHECK((stored(rows, 0) == std::vector<float>{0, 0, 0}));
    CHECK((stored(rows, 1) == std::vector<float>{0, 0, 0}));
    CHECK(std::fabs(stored(rows, 2)[1] + kHalfMax) < 0.1F);
}

TEST(a_removed_row_leaves_no_bytes_behind) {
    RowStore rows(3);
    for (float value = 1; value <= 4; ++value) append(rows, {value, 0, 0});
    rows.replace_by_last(1);
    CHECK(rows.size() == 3);
    CHECK(std::fabs(stored(rows, 1)[0] - 4) < 1e-3F);
    CHECK(zeros(rows, 3));
    rows.replace_by_last(2);
    CHECK(zeros(rows, 2));
    rows.vacate(0);
    CHECK(zeros(rows, 0) && rows.vacant(0) && !rows.vacant(1));
}

TEST(a_row_added_after_a_removal_starts_as_zeros) {
    RowStore rows(3);
    append(rows, {9, 9, 9});
    append(rows, {9, 9, 9});
    rows.replace_by_last(0);
    rows.reserve(2);
    CHECK(zeros(rows, rows.push_back()));
}

TEST(storage_follows_the_rows) {
    RowStore rows(3);
    const std::size_t many = 4 * rows.rows_per_slab() + 1;
    rows.reserve(many);
    for (std::size_t i = 0; i < many; ++i) rows.push_back();
    const std::size_t full = rows.memory_bytes();
    CHECK(full < many * 2 * (rows.stride() + sizeof(float)) * 1.01);
    while (rows.size() > 1) rows.replace_by_last(0);
    CHECK(rows.memory_bytes() <= full / 2);
    rows.replace_by_last(0);
    CHECK(rows.memory_bytes() < 4096);
}

TEST(rows_keep_their_values_while_others_are_added) {
    RowStore rows(700);
    const auto values = unit_vectors(1, 700, 4);
    append(rows, values);
    const auto first = stored(rows, 0);
    for (std::size_t i = 0; i < rows.rows_per_slab() + 100; ++i) {
        append(rows, std::vector<float>(700, 6));
        CHECK(i % 97 != 0 || stored(rows, 0) == first);
    }
    CHECK(std::fabs(stored(rows, rows.size() - 1)[699] - 6) < 1e-3F);
}
