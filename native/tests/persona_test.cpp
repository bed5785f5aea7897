#include "edgepersona/persona.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "edgepersona/errors.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::size_t kKeys = 17, kValues = 5;

template <class T>
Span<T> span(const std::vector<T>& values) {
    return {values.data(), values.size()};
}

Ids range(std::int64_t first, std::size_t count) {
    Ids ids(count);
    std::iota(ids.begin(), ids.end(), first);
    return ids;
}

struct Row {
    std::int64_t age;
    std::vector<float> key, value;
};
using Model = std::map<std::int64_t, Row>;

Row some_row(std::int64_t age, unsigned seed) {
    return {age, unit_vectors(1, kKeys, seed), unit_vectors(1, kValues, seed + 1)};
}

void add(Persona& persona, Model& model, std::int64_t id, const Row& row) {
    persona.add(span(Ids{id}), span(Ids{row.age}), span(row.key), span(row.value));
    model[id] = row;
}

std::vector<const Row*> window_of(const Model& model, std::size_t window) {
    std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, const Row*>> rows;
    for (const auto& [id, row] : model) rows.push_back({{row.age, id}, &row});
    std::sort(rows.rbegin(), rows.rend());
    if (window != 0 && rows.size() > window) rows.resize(window);
    std::vector<const Row*> found;
    for (const auto& row : rows) found.push_back(row.second);
    return found;
}

void check_same(const Persona& persona, const Model& model, std::size_t window, float scale) {
    const auto rows = window_of(model, window);
    const std::vector<float> query = unit_vectors(1, kKeys, 99);
    std::vector<double> weights;
    for (const Row* row : rows) {
        double score = 0;
        for (std::size_t i = 0; i < kKeys; ++i) score += double{query[i]} * double{row->key[i]};
        weights.push_back(std::exp(score * scale));
    }
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    const std::vector<float> attended = persona.attend(span(query), scale), mean = persona.mean();
    CHECK(persona.size() == model.size());
    CHECK(attended.size() == kValues && mean.size() == kValues);
    for (std::size_t i = 0; i < kValues; ++i) {
        double weighted = 0, plain = 0;
        for (std::size_t r = 0; r < rows.size(); ++r) {
            weighted += weights[r] / sum * double{rows[r]->value[i]};
            plain += double{rows[r]->value[i]} / static_cast<double>(rows.size());
        }
        CHECK(std::abs(attended[i] - weighted) < 1e-5);
        CHECK(std::abs(mean[i] - plain) < 1e-6);
    }
}

}  // namespace

TEST(any_sequence_of_changes_leaves_what_a_fresh_persona_would_hold) {
    for (const std::size_t window : {0, 1, 7, 40, 1000}) {
        Persona persona(kKeys, kValues, window);
        Model model;
        std::mt19937 random(6);
        for (unsigned step = 0; step < 1500; ++step) {
            const auto id = static_cast<std::int64_t>(random() % 120);
            if (random() % 100 < (step < 800 ? 75U : 40U)) {
                add(persona, model, id, some_row(static_cast<std::int64_t>(random() % 30), step));
            } else {
                CHECK(persona.remove(span(Ids{id, 500})) == model.erase(id));
            }
            if (step % 20 == 0) check_same(persona, model, window, 8.0F);
        }
        check_same(persona, model, window, 8.0F);
    }
}

TEST(one_call_or_many_and_any_order_say_the_same) {
    const std::size_t count = 300;
    Model model;
    Persona single(kKeys, kValues, 64);
    for (std::size_t i = 0; i < count; ++i) {
        add(single, model, static_cast<std::int64_t>(i * 7 % count),
            some_row(static_cast<std::int64_t>(i * 11 % 50), static_cast<unsigned>(i)));
    }
    Ids ids, ages;
    std::vector<float> keys, values;
    for (const auto& [id, row] : model) {
        ids.push_back(id);
        ages.push_back(row.age);
        keys.insert(keys.end(), row.key.begin(), row.key.end());
        values.insert(values.end(), row.value.begin(), row.value.end());
    }
    Persona bulk(kKeys, kValues, 64);
    bulk.add(span(ids), span(ages), span(keys), span(values));
    check_same(bulk, model, 64, 5.0F);
    CHECK(bulk.mean() == single.mean());  // exactly
    bulk.add(span(ids), span(ages), span(keys), span(values));  // all replaced by themselves
    CHECK(bulk.mean() == single.mean());
    check_same(bulk, model, 64, 5.0F);
}

TEST(an_empty_persona_says_nothing) {
    Persona persona(kKeys, kValues, 4);
    const std::vector<float> zeros(kValues), query = unit_vectors(1, kKeys, 1);
    CHECK(persona.attend(span(query), 1.0F) == zeros);
    CHECK(persona.mean() == zeros);
    CHECK(persona.remove(span(Ids{1, 2})) == 0);
    CHECK(persona.generation() == 0);
    persona.add({}, {}, {}, {});
    CHECK(persona.generation() == 0);
    Model model;
    add(persona, model, 1, some_row(1, 1));
    CHECK(persona.generation() == 1);
    CHECK(persona.remove(span(Ids{1, 1})) == 1);
    CHECK(persona.generation() == 2);
    CHECK(persona.mean() == zeros);
    CHECK(persona.attend(span(query), 1.0F) == zeros);
}

TEST(the_largest_scores_overflow_nothing) {
    Persona persona(2, 2, 0);
    const float most = Persona::kLargest;
    const std::vector<float> keys{most, most, -most, -most, most, most};
    const std::vector<float> values{1, most, 5, 5, 2, -most};
    persona.add(span(range(0, 3)), span(range(0, 3)), span(keys), span(values));
    const std::vector<float> query{most, most};
    CHECK((persona.attend(span(query), most) == std::vector<float>{1.5F, 0.0F}));
    CHECK((persona.attend(span(query), -most) == std::vector<float>{5.0F, 5.0F}));
    CHECK(persona.mean()[0] == static_cast<float>(8.0 / 3));
}

TEST(many_equal_values_attend_to_that_value) {
    const std::size_t count = 50000;
    Persona persona(1, 1, 0);
    const std::vector<float> keys(count, 0.3F), values(count, 0.1F), query{1.0F};
    persona.add(span(range(0, count)), span(range(0, count)), span(keys), span(values));
    CHECK(std::abs(persona.attend(span(query), 1.0F)[0] - 0.1F) < 1e-6);
    CHECK(persona.mean()[0] == 0.1F);
}

TEST(a_mean_does_not_drift_over_a_hundred_thousand_changes) {
    Persona persona(1, 4, 32);
    const std::vector<float> key{0.0F};
    for (std::int64_t i = 0; i < 100000; ++i) {
        std::vector<float> value = unit_vectors(1, 4, static_cast<unsigned>(i));
        if (i % 3 == 0) value[0] *= 1e8F;  // and leaves nothing of itself behind
        persona.add(span(Ids{i % 500}), span(Ids{i}), span(key), span(value));
        if (i % 7 == 0) persona.remove(span(Ids{(i + 13) % 500}));
    }
    for (std::int64_t id = 0; id < 500; ++id) {
        if (id != 42) persona.remove(span(Ids{id}));
    }
    const std::vector<float> last{0.25F, -0.125F, 1e-3F, 0.7F};
    persona.add(span(Ids{42}), span(Ids{0}), span(key), span(last));
    CHECK(persona.size() == 1);
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(persona.mean()[i] - last[i]) < 1e-9);
}

TEST(a_refused_call_changes_nothing) {
    Persona persona(kKeys, kValues, 2);
    Model model;
    for (unsigned i = 0; i < 4; ++i) add(persona, model, i, some_row(i, i));
    const auto generation = persona.generation();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto keys = unit_vectors(2, kKeys, 50), values = unit_vectors(2, kValues, 51);
    const auto refused = [&](const Ids& ids, const Ids& ages, std::vector<float> k,
                             std::vector<float> v) {
        CHECK(check::throws<InvalidInput>(
            [&] { persona.add(span(ids), span(ages), span(k), span(v)); }));
    };
    for (const float bad : {nan, HUGE_VALF, -HUGE_VALF, 2e9F}) {
        auto k = keys;
        k.back() = bad;
        refused({1, 8}, {1, 2}, k, values);
        auto v = values;
        v.back() = bad;
        refused({1, 8}, {1, 2}, keys, v);
        auto query = unit_vectors(1, kKeys, 1);
        CHECK(check::throws<InvalidInput>([&] { persona.attend(span(query), bad); }));
        query[3] = bad;
        CHECK(check::throws<InvalidInput>([&] { persona.attend(span(query), 1.0F); }));
    }
    refused({1, 1}, {1, 2}, keys, values);
    refused({1}, {1, 2}, keys, values);
    refused({1, 2}, {1}, keys, values);
    refused({1, 2}, {1, 2}, values, values);
    refused({1, 2}, {1, 2}, keys, keys);
    CHECK(check::throws<InvalidInput>([&] { persona.attend(span(values), 1.0F); }));
    CHECK(check::throws<InvalidInput>([] { Persona none(0, 1, 1); }));
    CHECK(check::throws<InvalidInput>([] { Persona none(1, 0, 1); }));
    CHECK(check::throws<InvalidInput>([] { Persona wide(1, Persona::kMaxNdim + 1, 1); }));
    CHECK(persona.generation() == generation);
    check_same(persona, model, 2, 3.0F);
}

TEST(an_emptied_persona_gives_its_memory_back) {
    const std::size_t count = 6000;
    for (const std::size_t window : {0, 512}) {
        Persona persona(384, 576, window);
        const std::size_t empty = persona.memory_bytes();
        const std::vector<float> keys(count * 384, 0.5F), values(count * 576, 0.5F);
        persona.add(span(range(0, count)), span(range(0, count)), span(keys), span(values));
        CHECK(persona.memory_bytes() > count * 960 * sizeof(float));
        CHECK(persona.remove(span(range(0, count - 1))) == count - 1);
        CHECK(persona.memory_bytes() < empty + (std::size_t{1} << 20));
        CHECK(persona.remove(span(range(0, count))) == 1);
        CHECK(persona.memory_bytes() < empty + 4096);
    }
}

TEST(attention_runs_beside_writers) {
    // Every value is all ones: whatever the rows, so is what is said.
    Persona persona(kKeys, kValues, 100);
    const std::size_t count = 300;
    const auto keys = unit_vectors(count, kKeys, 8);
    const std::vector<float> values(count * kValues, 1.0F), query = unit_vectors(1, kKeys, 9);
    persona.add(span(range(1000, 3)), span(range(0, 3)), {keys.data(), 3 * kKeys},
                {values.data(), 3 * kValues});
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2; ++reader) {
        readers.emplace_back([&] {
            while (!done) {
                for (const float value : persona.attend(span(query), 3.0F)) {
                    wrong += std::abs(value - 1.0F) > 1e-5F;
                }
                for (const float value : persona.mean()) wrong += value != 1.0F;
                wrong += persona.size() < 3 || persona.memory_bytes() == 0;
            }
        });
    }
    for (int round = 0; round < 30; ++round) {
        persona.add(span(range(0, count)), span(range(round, count)), span(keys), span(values));
        CHECK(persona.remove(span(range(0, count))) == count);
    }
    done = true;
    for (auto& reader : readers) reader.join();
    CHECK(wrong == 0);
    CHECK(persona.generation() == 61);
}
