// A VectorIndex does what a plain map does, whatever is asked of it.
#include "edgepersona/vector_index.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "edgepersona/errors.h"
#include "edgepersona/top_k.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

using Ids = std::vector<std::int64_t>;
using Rows = std::map<std::int64_t, std::vector<float>>;

std::int64_t id_of(fuzz::Input& input) {
    const auto byte = input.take<std::uint8_t>();
    if (byte == 255) return std::numeric_limits<std::int64_t>::max();
    if (byte == 254) return std::numeric_limits<std::int64_t>::min();
    return byte == 253 ? input.take<std::int64_t>() : byte % 64 - 20;
}

Ids ids_of(fuzz::Input& input, std::size_t most) {
    Ids ids(input.up_to(most));
    for (auto& id : ids) id = id_of(input);
    return ids;
}

// Small multiples of 1/8, whose products and sums are exact in any order; rarely something else.
float value_of(fuzz::Input& input) {
    const auto byte = input.take<std::int8_t>();
    return byte == -128 ? input.take<float>() : static_cast<float>(byte % 32) / 8;
}

std::vector<float> values_of(fuzz::Input& input, std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = value_of(input);
    return values;
}

bool usable(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(),
                       [](float value) { return std::fabs(value) <= kHalfMax; });
}

// Whether scores are exact: what was taken as it came may be rounded.
bool is_exact(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float value) {
        return std::fabs(value) <= 4 && value * 8 == std::floor(value * 8);
    });
}

class Pair {
  public:
    explicit Pair(std::size_t ndim) : ndim_(ndim), index_(ndim) {}

    void add(fuzz::Input& input) {
        const Ids ids = ids_of(input, 40);
        const std::size_t odd = input.chance(32) ? 1 : 0;
        const auto values = values_of(input, ids.size() * ndim_ + odd);
        const bool good = usable(values) && std::set(ids.begin(), ids.end()).size() == ids.size() &&
                          values.size() == ids.size() * ndim_;
        const auto add = [&] {
            index_.add(Span<std::int64_t>{ids.data(), ids.size()},
                       Span<float>{values.data(), values.size()});
        };
        CHECK(check::throws<InvalidInput>(add) != good);
        if (!good) return;
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const auto from = values.begin() + static_cast<std::ptrdiff_t>(i * ndim_);
            rows_[ids[i]].assign(from, from + static_cast<std::ptrdiff_t>(ndim_));
        }
    }

    void remove(fuzz::Input& input) {
        const Ids ids = ids_of(input, 60);
        std::size_t expected = 0;
        for (const std::int64_t id : ids) expected += rows_.erase(id);
        CHECK(index_.remove({ids.data(), ids.size()}) == expected);
    }

    void search(fuzz::Input& input) const {
        const std::size_t queries = input.up_to(3), k = input.up_to(50);
        const std::size_t odd = ndim_ > 1 && input.chance(32) ? 1 : 0;
        const auto values = values_of(input, queries * ndim_ + odd);
        const bool filtered = input.chance(2);
        const Ids only = filtered ? ids_of(input, 60) : Ids{};
        const Span<std::int64_t> chosen{only.data(), only.size()};
        Hits hits;
        const bool good = k >= 1 && usable(values) && values.size() == queries * ndim_;
        CHECK(good != check::throws<InvalidInput>([&] {
                  hits = index_.search({values.data(), values.size()}, k,
                                       filtered ? &chosen : nullptr);
              }));
        if (!good) return;
        const std::set<std::int64_t> named(only.begin(), only.end());
        CHECK(hits.queries == queries);
        CHECK(hits.ids.size() == queries * hits.k && hits.scores.size() == hits.ids.size());
        for (std::size_t q = 0; q < queries; ++q) {
            check_hits(hits, q, {values.data() + q * ndim_, ndim_}, k, filtered ? &named : nullptr);
        }
    }

    void check_size() const {
        CHECK(index_.size() == rows_.size());
        CHECK(index_.memory_bytes() >= rows_.size() * ndim_ * sizeof(Half));
    }

  private:
    void check_hits(const Hits& hits, std::size_t q, Span<float> query, std::size_t k,
                    const std::set<std::int64_t>* only) const {
        std::vector<Scored> expected;
        bool exact = is_exact({query.begin(), query.end()});
        for (const auto& [id, row] : rows_) {
            if (only != nullptr && only->count(id) == 0) continue;
            float score = 0;
            for (std::size_t i = 0; i < ndim_; ++i) score += query[i] * row[i];
            exact &= is_exact(row);
            expected.push_back({score, id});
        }
        CHECK(hits.k == std::min(k, expected.size()));
        std::set<std::int64_t> found;
        for (std::size_t i = 0; i < hits.k; ++i) {
            const std::int64_t id = hits.ids[q * hits.k + i];
            CHECK(found.insert(id).second && rows_.count(id) == 1);
            CHECK(only == nullptr || only->count(id) == 1);
            CHECK(i == 0 || hits.scores[q * hits.k + i] <= hits.scores[q * hits.k + i - 1]);
        }
        if (!exact) return;
        std::sort(expected.begin(), expected.end(), [](const Scored& a, const Scored& b) {
            return a.score > b.score || (a.score == b.score && a.id < b.id);
        });
        for (std::size_t i = 0; i < hits.k; ++i) {
            CHECK(hits.ids[q * hits.k + i] == expected[i].id);
            CHECK(hits.scores[q * hits.k + i] == expected[i].score);
        }
    }

    std::size_t ndim_;
    VectorIndex index_;
    Rows rows_;
};

}  // namespace

FUZZ(vector_index) {
    Pair pair(input.up_to(40) + 1);
    while (!input.empty()) {
        switch (input.up_to(3)) {
            case 0:
                pair.add(input);
                break;
            case 1:
                pair.remove(input);
                break;
            default:
                pair.search(input);
        }
        pair.check_size();
    }
}
