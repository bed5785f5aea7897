#include "edgepersona/row_heap.h"

#include <algorithm>
#include <random>
#include <vector>

#include "check.h"

using namespace edgepersona;

namespace {

struct Aged {
    std::int64_t age, id;
    bool operator<(const Aged& other) const {
        return age != other.age ? age < other.age : id < other.id;
    }
};

void check_same(const RowHeap& heap, const std::vector<Aged>& rows, RowHeap::Top top) {
    CHECK(heap.size() == rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        CHECK(heap.at(row).row == row);
        CHECK(heap.at(row).id == rows[row].id && heap.at(row).age == rows[row].age);
    }
    if (rows.empty()) return;
    const auto expected = top == RowHeap::Top::oldest ? std::min_element(rows.begin(), rows.end())
                                                      : std::max_element(rows.begin(), rows.end());
    CHECK(heap.top().id == expected->id);
}

}  // namespace

TEST(a_heap_of_rows_agrees_with_a_list) {
    for (const auto top : {RowHeap::Top::oldest, RowHeap::Top::newest}) {
        RowHeap heap(top);
        std::vector<Aged> rows;
        std::mt19937 random(5);
        for (std::int64_t id = 0; id < 4000; ++id) {
            // Grows for a while, then shrinks; few ages, so that many are equal.
            if (rows.empty() || random() % 100 < (id < 2000 ? 60U : 40U)) {
                rows.push_back({static_cast<std::int64_t>(random() % 50) - 25, id});
                heap.reserve(rows.size());
                heap.push(rows.back().age, id);
            } else {
                const std::size_t row = random() % rows.size();
                rows[row] = rows.back();
                rows.pop_back();
                heap.remove(row);
            }
            if (id % 100 == 0) heap.shrink();
            check_same(heap, rows, top);
        }
    }
}
