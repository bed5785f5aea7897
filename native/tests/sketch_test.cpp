#include "edgepersona/sketch.h"

#include <algorithm>
#include <numeric>

#include "check.h"
#include "edgepersona/query.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

struct Sketched {
    Sketched(std::size_t count, std::size_t ndim) : rows(ndim), sketch(rows) {
        const auto values = unit_vectors(count, ndim, 21);
        rows.reserve(count);
        sketch.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
            rows.write(rows.push_back(), values.data() + i * ndim);
            sketch.write(i);
        }
    }
    // The share of the ten best rows among `depth` picked ones.
    double recall(std::size_t depth) const {
        const auto values = unit_vectors(50, rows.ndim(), 22);
        std::size_t found = 0;
        for (std::size_t q = 0; q < 50; ++q) {
            const Query query(values.data() + q * rows.ndim(), rows);
            std::vector<Sketch::Row> all(sketch.size()), picked;
            std::iota(all.begin(), all.end(), 0);
            std::partial_sort(all.begin(), all.begin() + 10, all.end(), [&](auto a, auto b) {
                return query.score(rows, a) > query.score(rows, b);
            });
            sketch.pick(query.values(), depth, picked);
            CHECK(picked.size() == std::min(depth, sketch.size()));
            CHECK(std::adjacent_find(picked.begin(), picked.end(), std::greater_equal<>()) ==
                  picked.end());
            CHECK(picked.empty() || picked.back() < sketch.size());
            for (std::size_t i = 0; i < 10; ++i) {
                found += std::binary_search(picked.begin(), picked.end(), all[i]);
            }
        }
        return static_cast<double>(found) / 500;
    }
    RowStore rows;
    Sketch sketch;
};

}  // namespace

TEST(a_sketch_picks_nearly_all_of_the_best_rows_at_any_size) {
    if (kernels().sketch == nullptr) return;
    for (const std::size_t ndim : {31, 64, 100, 384}) {
        for (const std::size_t count : {63, 64, 65, 1000}) {
            const Sketched all(count, ndim);
            CHECK(all.recall(count) == 1.0);
            CHECK(all.recall(count + 1) == 1.0);
            CHECK(all.recall(std::max<std::size_t>(10, count / 5)) > (count > 100 ? 0.9 : 0.5));
        }
    }
}

TEST(a_sketch_follows_rows_that_change_and_go) {
    if (kernels().sketch == nullptr) return;
    Sketched all(500, 64);
    const auto values = unit_vectors(1, 64, 23);
    std::vector<Sketch::Row> picked;
    for (const std::size_t row : {0, 31, 32, 63, 64, 499}) {
        all.rows.write(row, values.data());
        all.sketch.write(row);
        all.sketch.pick(values.data(), 1, picked);
        CHECK(picked.size() == 1 && picked[0] == row);
        all.rows.write(row, std::vector<float>(64, 0.0F).data());
        all.sketch.write(row);
    }
    while (all.sketch.size() > 0) all.sketch.pop_back();
    all.sketch.pick(values.data(), 5, picked);
    CHECK(picked.empty());
}
