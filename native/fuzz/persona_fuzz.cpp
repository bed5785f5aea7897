// A Persona says what a map of rows says, whatever comes and goes.
#include "edgepersona/persona.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

using Ids = std::vector<std::int64_t>;

struct Row {
    std::int64_t age;
    std::vector<float> key, value;
};

template <class T>
Span<T> span(const std::vector<T>& values) {
    return {values.data(), values.size()};
}

Ids numbers_of(fuzz::Input& input, std::size_t count) {
    Ids numbers(count);
    for (auto& number : numbers) {
        number = input.chance(32) ? input.take<std::int64_t>() : input.take<std::int8_t>() % 40;
    }
    return numbers;
}

std::vector<float> values_of(fuzz::Input& input, std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) {
        const auto byte = input.take<std::int8_t>();
        value = byte == -128 ? input.take<float>() : static_cast<float>(byte) / 64;
    }
    return values;
}

bool usable(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(),
                       [](float value) { return std::fabs(value) <= Persona::kLargest; });
}

std::vector<float> part(const std::vector<float>& all, std::size_t i, std::size_t size) {
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(i * size);
    return {from, from + static_cast<std::ptrdiff_t>(size)};
}

class Pair {
  public:
    Pair(std::size_t keys, std::size_t values, std::size_t window)
        : keys_(keys), values_(values), window_(window), persona_(keys, values, window) {}

    void add(fuzz::Input& input) {
        const std::size_t count = input.up_to(12), odd = input.chance(64) ? 1 : 0;
        const Ids ids = numbers_of(input, count), ages = numbers_of(input, count + odd);
        const auto keys = values_of(input, count * keys_), values = values_of(input, count * values_);
        const bool good = odd == 0 && usable(keys) && usable(values) &&
                          std::set(ids.begin(), ids.end()).size() == count;
        const std::uint64_t before = persona_.generation();
        CHECK(good != check::throws<InvalidInput>(
                          [&] { persona_.add(span(ids), span(ages), span(keys), span(values)); }));
        CHECK((persona_.generation() != before) == (good && count > 0));
        if (!good) return;
        for (std::size_t i = 0; i < count; ++i) {
            rows_[ids[i]] = {ages[i], part(keys, i, keys_), part(values, i, values_)};
        }
    }

    void remove(fuzz::Input& input) {
        const Ids ids = numbers_of(input, input.up_to(20));
        std::size_t expected = 0;
        for (const std::int64_t id : ids) expected += rows_.erase(id);
        CHECK(persona_.remove(span(ids)) == expected);
    }

    void attend(fuzz::Input& input) const {
        const auto query = values_of(input, keys_);
        const float scale = value_scale(input);
        std::vector<float> found;
        const bool good = usable(query) && std::fabs(scale) <= Persona::kLargest;
        CHECK(good != check::throws<InvalidInput>(
                          [&] { found = persona_.attend(span(query), scale); }));
        if (!good) return;
        const auto rows = window();
        const auto most = largest(rows);
        std::vector<std::pair<double, const Row*>> scored;
        double top = 0, slack = 0;
        for (const Row* row : rows) {
            double score = 0;
            for (std::size_t i = 0; i < keys_; ++i) {
                const double term = double{query[i]} * double{row->key[i]} * double{scale};
                score += term;
                slack = std::max(slack, std::fabs(term));
            }
            top = scored.empty() ? score : std::max(top, score);
            scored.push_back({score, row});
        }
        check_within(found, most);
        if (slack * static_cast<double>(keys_) > 100) return;  // a rounding there is all the weight
        double sum = 0;
        std::vector<double> expected(values_);
        for (const auto& [score, row] : scored) {
            sum += std::exp(score - top);
            for (std::size_t i = 0; i < values_; ++i) {
                expected[i] += std::exp(score - top) * double{row->value[i]};
            }
        }
        for (std::size_t i = 0; i < values_; ++i) {
            check_near(found[i], scored.empty() ? 0 : expected[i] / sum, most[i] * 1e-4);
        }
    }

    void check() const {
        CHECK(persona_.size() == rows_.size() && persona_.memory_bytes() > 0);
        const auto mean = persona_.mean();
        const auto rows = window();
        const auto most = largest(rows);
        check_within(mean, most);
        for (std::size_t i = 0; i < values_; ++i) {
            double sum = 0;
            for (const Row* row : rows) sum += double{row->value[i]};
            check_near(mean[i], rows.empty() ? 0 : sum / static_cast<double>(rows.size()),
                       most[i] * 1e-6);
        }
    }

  private:
    static float value_scale(fuzz::Input& input) {
        return input.chance(16) ? input.take<float>() : static_cast<float>(input.up_to(40)) / 8;
    }

    std::vector<const Row*> window() const {
        std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, const Row*>> all;
        for (const auto& [id, row] : rows_) all.push_back({{row.age, id}, &row});
        std::sort(all.rbegin(), all.rend());
        if (window_ != 0 && all.size() > window_) all.resize(window_);
        std::vector<const Row*> rows;
        for (const auto& each : all) rows.push_back(each.second);
        return rows;
    }

    // What is said is a mixture of values: never beyond the largest of them, never none.
    void check_within(const std::vector<float>& found, const std::vector<double>& most) const {
        CHECK(found.size() == values_);
        for (std::size_t i = 0; i < values_; ++i) {
            CHECK(std::isfinite(found[i]));
            CHECK(std::fabs(found[i]) <= most[i] * 1.001 + 1e-6);
        }
    }

    static void check_near(float found, double expected, double tolerance) {
        CHECK(std::abs(found - expected) <= tolerance + 1e-6);
    }

    std::vector<double> largest(const std::vector<const Row*>& rows) const {
        std::vector<double> most(values_);
        for (const Row* row : rows) {
            for (std::size_t i = 0; i < values_; ++i) {
                most[i] = std::max(most[i], std::fabs(double{row->value[i]}));
            }
        }
        return most;
    }

    std::size_t keys_, values_, window_;
    Persona persona_;
    std::map<std::int64_t, Row> rows_;
};

}  // namespace

FUZZ(persona) {
    const std::size_t keys = input.up_to(20) + 1, values = input.up_to(20) + 1;
    Pair pair(keys, values, input.up_to(30));
    while (!input.empty()) {
        switch (input.up_to(3)) {
            case 0:
                pair.add(input);
                break;
            case 1:
                pair.remove(input);
                break;
            default:
                pair.attend(input);
        }
        pair.check();
    }
}
