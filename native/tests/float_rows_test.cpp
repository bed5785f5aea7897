#include "edgepersona/float_rows.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "check.h"

using namespace edgepersona;

namespace {

void append(FloatRows& rows, float value) {
    rows.reserve(rows.size() + 1);
    rows.push_back(std::vector<float>(rows.ndim(), value).data());
}

}  // namespace

TEST(rows_of_floats_start_on_cache_lines_and_end_in_zeros) {
    for (const std::size_t ndim : {1, 15, 16, 17, 384, 65536}) {
        FloatRows rows(ndim);
        CHECK(rows.stride() % 16 == 0 && rows.stride() >= ndim && rows.stride() < ndim + 16);
        for (int i = 0; i < 20; ++i) append(rows, 7.0F);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            CHECK(reinterpret_cast<std::uintptr_t>(rows.row(i)) % 64 == 0);
            CHECK(rows.row(i)[ndim - 1] == 7.0F);
            CHECK(std::all_of(rows.row(i) + ndim, rows.row(i) + rows.stride(),
                              [](float x) { return x == 0.0F; }));
        }
    }
}

TEST(rows_of_floats_keep_their_values_while_blocks_grow) {
    FloatRows rows(1000);
    const std::size_t many = 2 * rows.rows_per_block() + 1;
    for (std::size_t i = 0; i < many; ++i) append(rows, static_cast<float>(i));
    for (std::size_t i = 0; i < many; ++i) CHECK(rows.row(i)[999] == static_cast<float>(i));
}

TEST(runs_cover_every_row_once_in_order) {
    FloatRows rows(1000);
    for (std::size_t i = 0; i < 2 * rows.rows_per_block() + 5; ++i) append(rows, 1.0F);
    std::size_t row = 0;
    while (row < rows.size()) {
        const FloatRows::Run run = rows.run(row, std::min<std::size_t>(64, rows.size() - row));
        CHECK(run.count >= 1 && run.count <= 64 && row + run.count <= rows.size());
        CHECK(run.rows == rows.row(row));
        CHECK(run.rows + (run.count - 1) * rows.stride() == rows.row(row + run.count - 1));
        row += run.count;
    }
}

TEST(a_removed_row_of_floats_leaves_no_bytes_behind) {
    FloatRows rows(3);
    rows.reserve(4);
    for (int i = 1; i <= 4; ++i) append(rows, static_cast<float>(i));
    const float* last = rows.row(3);
    rows.remove(1);
    CHECK(rows.size() == 3 && rows.row(1)[0] == 4.0F);
    CHECK(std::all_of(last, last + rows.stride(), [](float x) { return x == 0.0F; }));
}

TEST(few_rows_of_floats_take_little_and_memory_comes_back) {
    FloatRows rows(576);
    append(rows, 1.0F);
    CHECK(rows.memory_bytes() < 8192);
    const std::size_t many = 3 * rows.rows_per_block();
    rows.reserve(many);
    while (rows.size() < many) append(rows, 2.0F);
    const std::size_t full = rows.memory_bytes();
    CHECK(full < many * rows.stride() * 4 * 1.01);
    while (rows.size() > many / 2) rows.remove(1);
    rows.shrink();
    CHECK(rows.memory_bytes() <= full);
    while (rows.size() > 2) rows.remove(1);
    rows.shrink();
    CHECK(rows.memory_bytes() < 16384);
    CHECK(rows.row(0)[575] == 1.0F && rows.row(1)[575] == 2.0F);
    rows.remove(0);
    rows.remove(0);
    rows.shrink();
    CHECK(rows.memory_bytes() == 0);
    append(rows, 3.0F);
    CHECK(rows.row(0)[0] == 3.0F);
}

TEST(adding_one_row_after_another_seldom_allocates) {
    FloatRows rows(16);
    int moves = 0;
    const float* first = nullptr;
    for (int i = 0; i < 10000; ++i) {
        append(rows, 1.0F);
        moves += rows.row(0) != first;
        first = rows.row(0);
    }
    CHECK(moves < 20);
}
