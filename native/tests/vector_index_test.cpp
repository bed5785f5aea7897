#include "edgepersona/vector_index.h"

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
    CHECK(index.search(span(std::vector<float>{1, 1}), 1).scores[0] == 1.0F);
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
