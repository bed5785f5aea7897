#include "edgepersona/graph.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "check.h"
#include "edgepersona/query.h"
#include "failing_new.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

constexpr std::size_t kNdim = 24, kCount = 2000;

struct Fixture {
    Fixture() : rows(kNdim), graph(rows) {
        const auto values = unit_vectors(kCount, kNdim, 8);
        rows.reserve(kCount);
        graph.reserve(kCount);
        for (std::size_t i = 0; i < kCount; ++i) {
            rows.write(rows.push_back(), values.data() + i * kNdim);
        }
    }
    void link(Graph::Row first, Graph::Row last) {
        for (Graph::Row row = first; row < last; ++row) graph.apply(graph.plan(row));
    }
    // The share of the ten nearest linked rows that the graph finds.
    double recall(std::size_t width) const {
        const auto values = unit_vectors(40, kNdim, 9);
        std::size_t found = 0;
        for (std::size_t q = 0; q < 40; ++q) {
            const Query query(values.data() + q * kNdim, rows);
            std::vector<Graph::Row> all;
            for (Graph::Row row = 0; row < kCount; ++row) {
                if (graph.linked(row)) all.push_back(row);
            }
            std::partial_sort(all.begin(), all.begin() + 10, all.end(),
                              [&](Graph::Row a, Graph::Row b) {
                                  return query.score(rows, a) > query.score(rows, b);
                              });
            const std::set<Graph::Row> nearest(all.begin(), all.begin() + 10);
            std::vector<Graph::Near> hits;
            graph.search(query.codes(), width, hits);
            for (const auto& hit : hits) {
                CHECK(graph.linked(hit.row));
                found += nearest.count(hit.row);
            }
        }
        return static_cast<double>(found) / 400;
    }
    RowStore rows;
    Graph graph;
};

}  // namespace

TEST(a_graph_finds_nearly_all_neighbours_also_after_removals_and_returns) {
    Fixture all;
    all.link(0, kCount);
    CHECK(all.graph.size() == kCount);
    CHECK(all.recall(64) > 0.97);
    for (Graph::Row row = 0; row < 700; ++row) {
        all.graph.unlink(row);
        all.graph.unlink(row);  // twice does no harm
        all.rows.vacate(row);
    }
    CHECK(all.graph.size() == kCount - 700);
    CHECK(all.recall(64) > 0.95);
    const auto others = unit_vectors(700, kNdim, 10);
    for (Graph::Row row = 0; row < 700; ++row) {
        all.rows.write(row, others.data() + row * kNdim);
        all.graph.apply(all.graph.plan(row));
    }
    CHECK(all.graph.size() == kCount);
    CHECK(all.recall(64) > 0.95);
}

TEST(a_row_is_unlinked_also_where_memory_runs_out) {
    Fixture all;
    all.link(0, kCount);
    for (Graph::Row row = 0; row < 300; ++row) {
        const FailingNew failing(row % 7);
        all.graph.unlink(row);
    }
    CHECK(all.graph.size() == kCount - 300);
    for (Graph::Row row = 0; row < 300; ++row) {
        for (const Graph::Row near : all.graph.links(row).to) CHECK(near == Graph::kNone);
        all.rows.vacate(row);
    }
    CHECK(all.recall(64) > 0.9);
}

TEST(a_wider_walk_finds_more_best_first_and_scores_more_rows) {
    Fixture all;
    all.link(0, kCount);
    const auto values = unit_vectors(1, kNdim, 11);
    const Query query(values.data(), all.rows);
    std::vector<Graph::Near> hits;
    std::size_t scored = 0;
    for (const std::size_t width : {1, 10, 100, 1000, 5000}) {
        const std::size_t now = all.graph.search(query.codes(), width, hits);
        CHECK(now >= scored);
        scored = now;
        CHECK(hits.size() >= std::min(width, kCount - kCount / 200));  // few are linked from none
        for (std::size_t i = 1; i < hits.size(); ++i) CHECK(hits[i - 1].score >= hits[i].score);
    }
}

TEST(a_graph_of_few_rows_finds_those) {
    Fixture few;
    const auto values = unit_vectors(1, kNdim, 11);
    const Query query(values.data(), few.rows);
    std::vector<Graph::Near> hits;
    CHECK(few.graph.search(query.codes(), 5, hits) == 0 && hits.empty());
    few.link(7, 10);
    few.graph.search(query.codes(), 5, hits);
    CHECK(hits.size() == 3);
    for (Graph::Row row = 7; row < 10; ++row) few.graph.unlink(row);
    CHECK(few.graph.search(query.codes(), 5, hits) == 0 && hits.empty());
}

TEST(links_lead_to_other_rows_each_once) {
    Fixture all;
    all.link(0, kCount);
    for (Graph::Row row = 0; row < 100; ++row) all.graph.unlink(row);
    for (Graph::Row row = 100; row < kCount; ++row) {
        const auto& links = all.graph.links(row).to;
        std::size_t count = 0;
        while (count < Graph::kWidth && links[count] != Graph::kNone) ++count;
        CHECK(count > 0);
        const std::set<Graph::Row> distinct(links, links + count);
        CHECK(distinct.size() == count && distinct.count(row) == 0);
        CHECK(std::all_of(links + count, links + Graph::kWidth,
                          [](Graph::Row to) { return to == Graph::kNone; }));
    }
}

TEST(a_row_that_returns_makes_no_link_twice) {
    Fixture few;
    Graph::Links none;
    std::fill_n(none.to, Graph::kWidth, Graph::kNone);
    Graph::Links stale = none;  // to rows that left, and one that did not
    stale.to[0] = 1;
    stale.to[1] = 2;
    stale.to[2] = 3;
    few.graph.restore(0, stale);
    few.graph.restore(2, none);
    few.link(3, 4);
    const auto& links = few.graph.links(0).to;
    CHECK(std::count(links, links + Graph::kWidth, 2U) == 1);
    CHECK(std::count(links, links + Graph::kWidth, 3U) == 1);
}

TEST(equal_rows_can_all_be_found) {
    RowStore rows(3);
    Graph graph(rows);
    rows.reserve(300);
    graph.reserve(300);
    const float value[] = {0.6F, 0.0F, 0.8F};
    for (Graph::Row row = 0; row < 300; ++row) {
        rows.write(rows.push_back(), value);
        graph.apply(graph.plan(row));
    }
    const Query query(value, rows);
    std::vector<Graph::Near> hits;
    graph.search(query.codes(), 300, hits);
    CHECK(hits.size() >= 200);
}
