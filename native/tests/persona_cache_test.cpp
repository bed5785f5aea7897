#include "edgepersona/persona_cache.h"

#include <atomic>
#include <cmath>
#include <list>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "edgepersona/errors.h"

using namespace edgepersona;

namespace {

using Key = PersonaCache::Key;

Key key(int query, std::uint64_t generation = 1) {
    return {std::to_string(query), generation, "head"};
}

void put(PersonaCache& cache, const Key& under, const std::vector<float>& vector) {
    cache.put(under, {vector.data(), vector.size()});
}

// What one vector of so many values counts for.
std::size_t cost(std::size_t values) {
    PersonaCache cache(1 << 20);
    put(cache, key(0), std::vector<float>(values, 1.0F));
    return cache.counts().size_bytes;
}

}  // namespace

TEST(a_key_is_its_three_parts) {
    PersonaCache cache(1 << 20);
    put(cache, Key("ab", 1, "c"), {1.0F});
    std::vector<float> vector;
    CHECK(cache.get(Key("ab", 1, "c"), vector) && vector == std::vector<float>{1.0F});
    for (const Key& other : {Key("a", 1, "bc"), Key("ab", 2, "c"), Key("ab", 1, "d"),
                             Key(std::string("ab\0", 3), 1, "c"), Key("", 1, "abc")}) {
        CHECK(!cache.get(other, vector));
    }
    CHECK(cache.counts().hits == 1 && cache.counts().misses == 5);
    const std::string most(Key::kMostBytes, 'x'), more = most + "x";
    put(cache, Key(most, 1, most), {2.0F});
    CHECK(cache.get(Key(most, 1, most), vector) && vector[0] == 2.0F);
    CHECK(check::throws<InvalidInput>([&] { Key(more, 1, ""); }));
    CHECK(check::throws<InvalidInput>([&] { Key("", 1, more); }));
}

TEST(the_one_not_asked_for_the_longest_goes_first) {
    PersonaCache cache(3 * cost(10));
    std::vector<float> vector;
    for (int i = 0; i < 3; ++i) put(cache, key(i), std::vector<float>(10, 1.0F));
    CHECK(cache.get(key(0), vector));
    put(cache, key(3), std::vector<float>(10, 3.0F));
    CHECK(!cache.get(key(1), vector));
    for (const int i : {0, 2, 3}) CHECK(cache.get(key(i), vector));
    CHECK(cache.counts().entries == 3 && cache.counts().size_bytes == 3 * cost(10));
}

TEST(a_cache_agrees_with_a_list) {
    PersonaCache cache(20 * cost(8));
    std::list<std::pair<int, std::vector<float>>> model;  // used last comes first
    std::mt19937 random(3);
    std::vector<float> vector;
    for (int step = 0; step < 20000; ++step) {
        const int name = static_cast<int>(random() % 40);
        const auto at = std::find_if(model.begin(), model.end(),
                                     [&](const auto& entry) { return entry.first == name; });
        if (random() % 2 == 0) {
            const std::vector<float> fresh(1 + random() % 30, static_cast<float>(step));
            put(cache, key(name), fresh);
            if (at != model.end()) model.erase(at);
            model.emplace_front(name, fresh);
            std::size_t size_bytes = 0;
            for (auto entry = model.begin(); entry != model.end();) {
                size_bytes += cost(entry->second.size());
                entry = size_bytes > cache.capacity_bytes() ? model.erase(entry, model.end())
                                                            : std::next(entry);
            }
        } else {
            CHECK(cache.get(key(name), vector) == (at != model.end()));
            if (at != model.end()) {
                CHECK(vector == at->second);
                model.splice(model.begin(), model, at);
            }
        }
        std::size_t size_bytes = 0;
        for (const auto& entry : model) size_bytes += cost(entry.second.size());
        CHECK(cache.counts().entries == model.size());
        CHECK(cache.counts().size_bytes == size_bytes);
    }
}

TEST(what_is_larger_than_the_cache_is_not_kept) {
    PersonaCache cache(cost(10)), nothing(0);
    put(cache, key(0), std::vector<float>(10, 1.0F));
    put(cache, key(1), std::vector<float>(11, 1.0F));
    std::vector<float> vector;
    CHECK(cache.get(key(0), vector) && !cache.get(key(1), vector));
    put(cache, key(0), std::vector<float>(11, 2.0F));  // nor what was there: it holds no more
    CHECK(!cache.get(key(0), vector));
    CHECK(cache.counts().size_bytes == 0);
    put(nothing, key(0), {1.0F});
    CHECK(nothing.counts().entries == 0);
}

TEST(clearing_keeps_the_counts) {
    PersonaCache cache(1 << 20);
    std::vector<float> vector;
    put(cache, key(0), {1.0F});
    CHECK(cache.get(key(0), vector));
    cache.clear();
    CHECK(!cache.get(key(0), vector));
    const auto counts = cache.counts();
    CHECK(counts.entries == 0 && counts.size_bytes == 0 && counts.hits == 1 && counts.misses == 1);
    for (const float bad : {std::nanf(""), HUGE_VALF}) {
        CHECK(check::throws<InvalidInput>([&] { put(cache, key(0), {1.0F, bad}); }));
    }
    CHECK(check::throws<InvalidInput>([&] { put(cache, key(0), {}); }));
}

TEST(a_cache_serves_several_threads) {
    PersonaCache cache(12 * cost(16));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            std::vector<float> vector;
            for (int step = 0; step < 3000; ++step) {
                const int name = static_cast<int>(random() % 30);
                if (cache.get(key(name), vector)) {
                    wrong += vector != std::vector<float>(16, static_cast<float>(name));
                } else {
                    put(cache, key(name), std::vector<float>(16, static_cast<float>(name)));
                }
                if (step % 500 == 499) cache.clear();
                wrong += cache.counts().size_bytes > cache.capacity_bytes();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(cache.counts().hits + cache.counts().misses == 9000);
}
