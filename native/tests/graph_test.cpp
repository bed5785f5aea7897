#include "edgepersona/graph.h"

#include <algorithm>
#include <limits>
#include <set>

#include "check.h"
#include "edgepersona/errors.h"
#include "edgepersona/kernels.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

constexpr std::size_t kNdim = 24, kCount = 1500;  // more than the graph's first room

const std::vector<float>& vectors() {
    static const auto values = unit_vectors(kCount, kNdim, 8);
    return values;
}

Span<float> vector(std::size_t i) { return {vectors().data() + i * kNdim, kNdim}; }

// The share of the ten nearest that the graph finds, among ids from `first` on.
double recall(const Graph& graph, std::size_t first) {
    const auto queries = unit_vectors(40, kNdim, 9);
    std::size_t found = 0;
    for (std::size_t q = 0; q < 40; ++q) {
        const Span<float> query{queries.data() + q * kNdim, kNdim};
        TopK exact(10);
        for (std::size_t i = first; i < kCount; ++i) {
            exact.offer({kernels().dot(query.data, vector(i).data, kNdim),
                         static_cast<std::int64_t>(i)});
        }
        std::set<std::int64_t> nearest;
        for (const Scored& hit : exact.sorted()) nearest.insert(hit.id);
        for (const Scored& hit : graph.search(query, 10)) found += nearest.count(hit.id);
    }
    return static_cast<double>(found) / 400;
}

}  // namespace

TEST(a_graph_finds_nearly_all_neighbours_also_after_removals) {
    Graph graph(kNdim);
    for (std::size_t i = 0; i < kCount; ++i) graph.add(static_cast<std::int64_t>(i), vector(i));
    CHECK(graph.size() == kCount);
    CHECK(recall(graph, 0) > 0.95);
    for (std::int64_t id = 0; id < 700; ++id) CHECK(graph.remove(id));
    CHECK(!graph.remove(0) && !graph.remove(123456));
    CHECK(graph.size() == kCount - 700);
    CHECK(recall(graph, 700) > 0.9);
    graph.add(3, vector(3));
    CHECK(graph.search(vector(3), 1)[0].id == 3);
}

TEST(a_graph_answers_best_first_and_with_what_it_has) {
    Graph graph(kNdim);
    CHECK(graph.search(vector(0), 5).empty());
    for (std::size_t i = 0; i < 3; ++i) graph.add(-static_cast<std::int64_t>(i), vector(i));
    const auto hits = graph.search(vector(2), 5);
    CHECK(hits.size() == 3 && hits[0].id == -2);
    CHECK(hits[0].score >= hits[1].score && hits[1].score >= hits[2].score);
}

TEST(a_graph_refuses_what_is_no_vector_of_its_size) {
    Graph graph(2);
    const float bad[] = {1.0F, std::numeric_limits<float>::quiet_NaN()};
    CHECK(check::throws<InvalidInput>([&] { graph.add(1, {bad, 2}); }));
    CHECK(check::throws<InvalidInput>([&] { graph.add(1, {bad, 1}); }));
    CHECK(check::throws<InvalidInput>([&] { graph.search({bad, 2}, 1); }));
    CHECK(graph.size() == 0);
}
