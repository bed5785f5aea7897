#include <algorithm>
#include <cstdint>

#include "check.h"
#include "edgepersona/row_store.h"

using namespace edgepersona;

namespace {

void append(RowStore& rows, Half value) {
    rows.reserve(rows.size() + 1);
    std::fill_n(rows.push_back(), 3, value);
}

}  // namespace

TEST(rows_start_on_cache_lines) {
    for (const std::size_t ndim : {1, 31, 32, 33, 384}) {
        RowStore rows(ndim);
        rows.reserve(3);
        for (int i = 0; i < 3; ++i) {
            CHECK(reinterpret_cast<std::uintptr_t>(rows.push_back()) % kRowAlign == 0);
        }
        CHECK(rows.stride() >= ndim && rows.stride() < ndim + kRowStep);
    }
}

TEST(a_removed_row_leaves_no_bytes_behind) {
    RowStore rows(3);
    for (Half value = 1; value <= 4; ++value) append(rows, value);
    const Half* last = rows.row(3);
    rows.remove(1);
    CHECK(rows.size() == 3);
    CHECK(rows.row(1)[0] == 4);
    CHECK(std::all_of(last, last + rows.stride(), [](Half half) { return half == 0; }));
    rows.remove(2);
    CHECK(std::all_of(rows.row(2), rows.row(2) + rows.stride(), [](Half h) { return h == 0; }));
}

TEST(a_row_added_after_a_removal_starts_as_zeros) {
    RowStore rows(3);
    append(rows, 9);
    append(rows, 9);
    rows.remove(0);
    rows.reserve(2);
    CHECK(rows.push_back()[2] == 0);
}

TEST(storage_shrinks_when_rows_go) {
    RowStore rows(3);
    const std::size_t many = 4 * rows.rows_per_block() + 1;
    for (std::size_t i = 0; i < many; ++i) append(rows, 1);
    const std::size_t full = rows.memory_bytes();
    while (rows.size() > 1) rows.remove(0);
    CHECK(rows.memory_bytes() < full / 2);
    rows.remove(0);
    CHECK(rows.memory_bytes() < 4096);
}

TEST(rows_keep_their_place_while_others_are_added) {
    RowStore rows(3);
    append(rows, 5);
    const Half* first = rows.row(0);
    for (std::size_t i = 0; i < 3 * rows.rows_per_block(); ++i) append(rows, 6);
    CHECK(rows.row(0) == first && first[0] == 5);
}
