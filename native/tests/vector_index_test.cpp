#include "edgepersona/vector_index.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>

#include "check.h"
#include "edgepersona/errors.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

using Ids = std::vector<std::int64_t>;

template <class T>
Span<T> span(const std::vector<T>& values) {
    return {values.data(), values.size()};
}

Ids range(std::size_t count) {
    Ids ids(count);
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
}

}  // namespace

TEST(the_nearest_of_stored_vectors_is_itself) {
    const std::size_t ndim = 48;
    for (const std::size_t count : {1, 3, 4, 255, 256, 257, 3000}) {
        VectorIndex index(ndim);
        const auto vectors = unit_vectors(count, ndim, 5);
        index.add(span(range(count)), span(vectors));
        const Hits hits = index.search(span(vectors), 1);
        CHECK(hits.queries == count && hits.k == 1);
        CHECK(hits.ids == range(count));
    }
}

TEST(equal_vectors_come_by_rising_id) {
    VectorIndex index(5);
    const Ids ids{9, 2, 7, 4, 5, 1};
    index.add(span(ids), span(std::vector<float>(30, 0.25F)));
    const Hits hits = index.search(span(std::vector<float>(5, 1.0F)), 4);
    CHECK((hits.ids == Ids{1, 2, 4, 5}));
}

TEST(a_filter_names_ids_in_any_order_even_twice_and_unknown_ones) {
    VectorIndex index(1);
    index.add(span(Ids{1, 2, 3}), span(std::vector<float>{1, 2, 3}));
    const Ids only{3, 1, 99, 1};
    const Span<std::int64_t> chosen = span(only);
    const Hits hits = index.search(span(std::vector<float>{1}), 10, &chosen);
    CHECK((hits.ids == Ids{3, 1}));
    const Ids none;
    const Span<std::int64_t> nothing = span(none);
    CHECK(index.search(span(std::vector<float>{1}), 10, &nothing).k == 0);
}

TEST(a_refused_add_changes_nothing) {
    VectorIndex index(2);
    index.add(span(Ids{1}), span(std::vector<float>{1, 0}));
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float inf = std::numeric_limits<float>::infinity();
    for (const float bad : {nan, inf, -inf, 65505.0F}) {
        const std::vector<float> vectors{5, 5, 6, bad};
        CHECK(check::throws<InvalidInput>([&] { index.add(span(Ids{1, 2}), span(vectors)); }));
    }
    const std::vector<Half> halves{0, 0x7c00};
    CHECK(check::throws<InvalidInput>([&] { index.add(span(Ids{1}), span(halves)); }));
    const std::vector<float> two{1, 1, 2, 2};
    CHECK(check::throws<InvalidInput>([&] { index.add(span(Ids{3, 3}), span(two)); }));
    CHECK(check::throws<InvalidInput>([&] { index.add(span(Ids{3}), span(two)); }));
    CHECK(check::throws<InvalidInput>(
        [&] { index.add(span(Ids{3}), span(std::vector<float>{1})); }));
    CHECK(index.size() == 1);
    CHECK(std::fabs(index.search(span(std::vector<float>{1, 1}), 1).scores[0] - 1.0F) < 1e-6F);
}

TEST(queries_are_checked) {
    VectorIndex index(2);
    const std::vector<float> query{1, 1};
    CHECK(check::throws<InvalidInput>([&] { index.search(span(query), 0); }));
    CHECK(check::throws<InvalidInput>([&] { index.search({query.data(), 1}, 1); }));
    const std::vector<float> bad{1, std::numeric_limits<float>::quiet_NaN()};
    CHECK(check::throws<InvalidInput>([&] { index.search(span(bad), 1); }));
    CHECK(index.search(span(query), 3).k == 0);
    CHECK(check::throws<InvalidInput>([] { VectorIndex none(0); }));
    CHECK(check::throws<InvalidInput>([] { VectorIndex wide(VectorIndex::kMaxNdim + 1); }));
}

TEST(an_emptied_index_gives_its_memory_back) {
    VectorIndex index(384);
    const std::size_t empty = index.memory_bytes();
    index.add(span(range(2000)), span(unit_vectors(2000, 384, 6)));
    CHECK(index.memory_bytes() > 2000 * 384 * sizeof(Half));
    CHECK(index.remove(span(range(5000))) == 2000);
    CHECK(index.size() == 0);
    CHECK(index.memory_bytes() < empty + 4096);
}

TEST(rows_within_what_was_reserved_cost_no_more_memory) {
    VectorIndex index(384);
    index.reserve(2000);
    const std::size_t reserved = index.memory_bytes();
    CHECK(reserved >= 2000 * 384 * sizeof(Half));
    for (std::int64_t i = 0; i < 2000; i += 100) {
        Ids ids;
        for (std::int64_t id = i; id < i + 100; ++id) ids.push_back(id);
        index.add(span(ids), span(unit_vectors(100, 384, static_cast<unsigned>(i))));
        index.reserve(10);  // less than there is room for: nothing is given up
        CHECK(index.memory_bytes() == reserved);
    }
    CHECK(index.size() == 2000);
    CHECK(check::throws<InvalidInput>([&] { index.reserve(std::size_t{1} << 31); }));
    CHECK(index.memory_bytes() == reserved);
}

TEST(searches_run_beside_writers) {
    const std::size_t ndim = 16, count = 600;
    VectorIndex index(ndim);
    const auto vectors = unit_vectors(count, ndim, 7);
    const Ids first = range(100);  // never removed: a search must always find them
    index.add(span(first), {vectors.data(), 100 * ndim});
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2; ++reader) {
        readers.emplace_back([&] {
            while (!done) {
                const Hits hits = index.search({vectors.data(), 100 * ndim}, 1);
                for (std::size_t q = 0; q < 100; ++q) wrong += hits.ids[q] != first[q];
            }
        });
    }
    for (int round = 0; round < 20; ++round) {
        Ids others(count - 100);
        std::iota(others.begin(), others.end(), 100);
        index.add(span(others), {vectors.data() + 100 * ndim, others.size() * ndim});
        CHECK(index.remove(span(others)) == others.size());
    }
    done = true;
    for (auto& reader : readers) reader.join();
    CHECK(wrong == 0);
}

namespace {

constexpr std::size_t kNdim = 8, kMany = 6000;

struct Linked {
    Linked() : index(kNdim, 4000), vectors(unit_vectors(kMany, kNdim, 12)) {
        index.add(span(range(kMany)), span(vectors));
    }
    void link() {
        while (index.link(100) > 0) {
        }
    }
    double recall(std::size_t k = 10) const {
        const auto queries = unit_vectors(50, kNdim, 13);
        const Hits exact = index.search(span(queries), k, nullptr, true);
        const Hits walked = index.search(span(queries), k);
        CHECK(exact.k == walked.k);
        std::size_t found = 0;
        for (std::size_t q = 0; q < 50; ++q) {
            const auto at = exact.ids.begin() + static_cast<std::ptrdiff_t>(q * exact.k);
            for (std::size_t i = 0; i < exact.k; ++i) {
                found += std::find(at, at + static_cast<std::ptrdiff_t>(exact.k),
                                   walked.ids[q * exact.k + i]) !=
                         at + static_cast<std::ptrdiff_t>(exact.k);
            }
        }
        return static_cast<double>(found) / static_cast<double>(50 * exact.k);
    }
    VectorIndex index;
    std::vector<float> vectors;
};

}  // namespace

TEST(few_rows_are_not_linked) {
    VectorIndex index(kNdim, 1000);
    index.add(span(range(999)), span(unit_vectors(999, kNdim, 14)));
    CHECK(index.link(10) == 0);
    CHECK(index.search_width() == 0 && index.graph().ids.empty());
}

TEST(many_rows_are_linked_step_by_step_and_then_walked) {
    Linked many;
    CHECK(many.index.link(0) == kMany);
    CHECK(many.index.graph().ids.empty());
    std::size_t left = many.index.link(100), before = kMany;
    while (left > 0) {
        CHECK(left <= before);
        before = left;
        left = many.index.link(100);
    }
    CHECK(many.index.search_width() > 0);
    CHECK(many.index.memory_bytes() > many.index.scan_bytes());
    CHECK(many.recall() > 0.97);
    CHECK(many.recall(50) > 0.97);
    CHECK(many.recall(kMany + 5) == 1.0);
}

TEST(rows_changed_after_linking_are_found_at_once) {
    Linked many;
    many.link();
    const auto fresh = unit_vectors(20, kNdim, 15);
    Ids ids(20);
    std::iota(ids.begin(), ids.end(), 5990);  // half of them replace a row
    many.index.add(span(ids), span(fresh));
    for (int round = 0; round < 2; ++round) {
        CHECK(many.index.search(span(fresh), 1).ids == ids);
        CHECK(many.recall() > 0.97);
        many.link();
    }
    CHECK(many.index.remove(span(ids)) == 20);
    for (const std::int64_t found : many.index.search(span(fresh), 5).ids) CHECK(found < 5990);
    CHECK(many.index.size() == kMany - 10 && many.index.ids() == range(kMany - 10));
}

TEST(a_graph_is_mended_after_some_removals_and_left_after_many) {
    Linked many;
    many.link();
    Ids some;
    for (std::int64_t id = 0; id < 1200; id += 2) some.push_back(id);
    CHECK(many.index.remove(span(some)) == 600);
    CHECK(many.index.search_width() > 0);
    CHECK(many.recall() > 0.97);
    Ids third;
    for (std::int64_t id = 1; id < 3000; id += 2) third.push_back(id);
    CHECK(many.index.remove(span(third)) == 1500);
    CHECK(many.index.search_width() == 0 && many.recall() == 1.0);
    CHECK(many.index.size() == kMany - 2100);
    many.index.add(span(third), {many.vectors.data(), third.size() * kNdim});
    many.link();
    CHECK(many.index.search_width() > 0 && many.recall() > 0.97);
    CHECK(many.index.remove(span(range(kMany))) == kMany - 600);
    CHECK(many.index.memory_bytes() < 8192);
}

TEST(a_saved_graph_serves_another_index_of_the_same_rows) {
    Linked many;
    many.link();
    const SavedGraph saved = many.index.graph();
    CHECK(saved.ids == range(kMany));
    Linked other;
    other.index.remove(span(Ids{5, 6, 7}));
    other.index.add(span(Ids{100000}), {other.vectors.data(), kNdim});
    other.index.load_graph(span(saved.ids), span(saved.links), saved.search_width);
    CHECK(other.index.search_width() == saved.search_width);
    CHECK(other.recall() > 0.97);
    CHECK(other.index.search({other.vectors.data(), kNdim}, 2).ids == (Ids{0, 100000}));
    other.link();
    CHECK(other.index.graph().ids.size() == kMany - 2);
}

TEST(what_is_no_graph_is_refused) {
    Linked many;
    many.link();
    const SavedGraph saved = many.index.graph();
    const auto refused = [&](SavedGraph graph) {
        Linked other;
        return check::throws<InvalidInput>([&] {
            other.index.load_graph(span(graph.ids), span(graph.links), graph.search_width);
        }) && other.index.search_width() == 0;
    };
    SavedGraph bad = saved;
    bad.links[77] = kMany;
    CHECK(refused(bad));
    bad = saved;
    bad.ids[3] = bad.ids[4];
    CHECK(refused(bad));
    bad = saved;
    bad.links.pop_back();
    CHECK(refused(bad));
    bad = saved;
    bad.search_width = 0;
    CHECK(refused(bad));
    bad.search_width = std::size_t{1} << 60;
    CHECK(refused(bad));
    CHECK(!refused(saved));
}

TEST(a_graph_without_links_is_scanned_instead) {
    Linked many;
    const std::vector<std::uint32_t> links(kMany * Graph::kWidth, Graph::kNone);
    many.index.load_graph(span(range(kMany)), span(links), 24);
    CHECK(many.recall() == 1.0);
    CHECK(many.recall(100) == 1.0);
}

TEST(where_no_walk_pays_rows_are_picked_by_sketches_or_scanned) {
    const std::size_t ndim = 128, count = 4000;
    VectorIndex index(ndim, 2000);
    const auto vectors = unit_vectors(count, ndim, 16);
    index.add(span(range(count)), span(vectors));
    while (index.link(50) > 0) {
    }
    CHECK(index.search_width() == 0 && index.graph().ids.empty());
    const bool sketched = kernels().sketch != nullptr;
    CHECK((index.search_depth() > 0) == sketched);
    CHECK(sketched == (index.memory_bytes() > index.scan_bytes() + 8192));
    CHECK(index.link(1) == 0);

    const auto fresh = unit_vectors(200, ndim, 17);
    Ids ids(200);
    std::iota(ids.begin(), ids.end(), 3900);  // half of them replace a row
    index.add(span(ids), span(fresh));
    CHECK(index.search(span(fresh), 1).ids == ids);
    CHECK(index.remove(span(range(1000))) == 1000);
    CHECK(index.search(span(fresh), 1).ids == ids);
    const auto queries = unit_vectors(100, ndim, 18);
    for (const std::size_t k : {std::size_t{10}, std::size_t{30}}) {
        const Hits exact = index.search(span(queries), k, nullptr, true);
        const Hits picked = index.search(span(queries), k);
        std::size_t found = 0;
        for (std::size_t q = 0; q < 100; ++q) {
            const auto at = exact.ids.begin() + static_cast<std::ptrdiff_t>(q * k);
            for (std::size_t i = 0; i < k; ++i) {
                found += static_cast<std::size_t>(
                    std::count(at, at + static_cast<std::ptrdiff_t>(k), picked.ids[q * k + i]));
            }
        }
        CHECK(found >= 97 * k);
    }
    CHECK(index.remove(span(range(count))) == count - 1000);
    CHECK(index.search_depth() == 0);
    CHECK(index.memory_bytes() == index.scan_bytes());
}

TEST(searches_and_writers_run_beside_linking) {
    Linked many;
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::thread linker([&] {
        while (!done) many.index.link(20);
    });
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2; ++reader) {
        readers.emplace_back([&] {
            while (!done) {
                const Hits hits = many.index.search({many.vectors.data(), 20 * kNdim}, 1);
                for (std::size_t q = 0; q < 20; ++q) {
                    wrong += hits.scores[q] < 0.999F;
                }
            }
        });
    }
    for (std::int64_t round = 0; round < 30; ++round) {
        Ids others(60);
        std::iota(others.begin(), others.end(), 100 + 60 * round);
        CHECK(many.index.remove(span(others)) == 60);
        many.index.add(span(others), {many.vectors.data() + 100 * kNdim, 60 * kNdim});
        many.index.graph();
    }
    done = true;
    linker.join();
    for (auto& reader : readers) reader.join();
    CHECK(wrong == 0);
}
