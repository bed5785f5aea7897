// A VectorIndex does what a plain map does, whatever is asked of it.
#include "edgepersona/vector_index.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <random>
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

float value_of(fuzz::Input& input) {
    const auto byte = input.take<std::int8_t>();
    return byte == -128 ? input.take<float>() : static_cast<float>(byte) / 8;
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

float largest_of(Span<float> values) {
    float largest = 0;
    for (const float value : values) largest = std::max(largest, std::fabs(value));
    return largest;
}

class Pair {
  public:
    Pair(std::size_t ndim, std::size_t graph_from) : ndim_(ndim), index_(ndim, graph_from) {}

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
        keep(ids, values);
    }

    // More rows than an input could spell out: some that a walk pays for.
    void add_many(fuzz::Input& input) {
        if (rows_.size() > 1000) return;
        std::mt19937 random(input.take<std::uint8_t>());
        Ids ids(4 * input.up_to(255));
        std::iota(ids.begin(), ids.end(), 64 * input.up_to(255));
        std::vector<float> values(ids.size() * ndim_);
        for (float& value : values) value = static_cast<float>(random() % 255) - 127;
        index_.add(Span<std::int64_t>{ids.data(), ids.size()},
                   Span<float>{values.data(), values.size()});
        keep(ids, values);
    }

    void link(fuzz::Input& input) {
        const std::size_t left = index_.link(input.up_to(255));
        CHECK(left <= rows_.size());
    }

    // A graph as it would be saved is one that can be loaded.
    void save() {
        Ids ids;
        for (const auto& row : rows_) ids.push_back(row.first);
        CHECK(index_.ids() == ids);
        const SavedGraph saved = index_.graph();
        CHECK(saved.links.size() == saved.ids.size() * Graph::kWidth);
        CHECK(saved.ids.size() <= rows_.size());
        CHECK(std::is_sorted(saved.ids.begin(), saved.ids.end()));
        for (const std::uint32_t to : saved.links) {
            CHECK(to == Graph::kNone || to < saved.ids.size());
        }
        if (saved.search_width != 0) {
            index_.load_graph({saved.ids.data(), saved.ids.size()},
                              {saved.links.data(), saved.links.size()}, saved.search_width);
        }
    }

    // Any numbers as a graph.
    void load(fuzz::Input& input) {
        Ids ids;
        if (input.chance(4)) {
            ids = ids_of(input, 60);
        } else {
            for (const auto& row : rows_) ids.push_back(row.first);
        }
        std::vector<std::uint32_t> links(ids.size() * Graph::kWidth, Graph::kNone);
        std::mt19937 random(input.take<std::uint8_t>());
        const std::size_t most = ids.size() + (input.chance(16) ? 1 : 0);
        const std::size_t each = input.up_to(Graph::kWidth);
        for (std::size_t i = 0; i < links.size(); ++i) {
            if (i % Graph::kWidth < each) links[i] = static_cast<std::uint32_t>(random() % most);
        }
        for (std::size_t i = input.up_to(4); i > 0 && !links.empty(); --i) {
            links[input.take<std::uint16_t>() % links.size()] = input.take<std::uint32_t>();
        }
        if (!links.empty() && input.chance(32)) links.pop_back();
        try {
            index_.load_graph({ids.data(), ids.size()}, {links.data(), links.size()},
                              input.up_to(3) == 0 ? input.take<std::uint16_t>() : 64);
        } catch (const InvalidInput&) {
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
        const bool filtered = input.chance(2), exact = input.chance(2);
        const Ids only = filtered ? ids_of(input, 60) : Ids{};
        const Span<std::int64_t> chosen{only.data(), only.size()};
        Hits hits;
        const bool good = k >= 1 && usable(values) && values.size() == queries * ndim_;
        CHECK(good != check::throws<InvalidInput>([&] {
                  hits = index_.search({values.data(), values.size()}, k,
                                       filtered ? &chosen : nullptr, exact);
              }));
        if (!good) return;
        const std::set<std::int64_t> named(only.begin(), only.end());
        CHECK(hits.queries == queries);
        CHECK(hits.ids.size() == queries * hits.k && hits.scores.size() == hits.ids.size());
        for (std::size_t q = 0; q < queries; ++q) {
            check_hits(hits, q, {values.data() + q * ndim_, ndim_}, k, filtered ? &named : nullptr,
                       exact);
        }
    }

    void check_size() const {
        CHECK(index_.size() == rows_.size());
        CHECK(index_.scan_bytes() >= rows_.size() * ndim_ * sizeof(Half));
        CHECK(index_.memory_bytes() >= index_.scan_bytes());
    }

  private:
    void keep(const Ids& ids, const std::vector<float>& values) {
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const auto from = values.begin() + static_cast<std::ptrdiff_t>(i * ndim_);
            rows_[ids[i]].assign(from, from + static_cast<std::ptrdiff_t>(ndim_));
        }
    }

    // Scores are those of the rows as they are kept; an exact search gives the best of all scores.
    void check_hits(const Hits& hits, std::size_t q, Span<float> query, std::size_t k,
                    const std::set<std::int64_t>* only, bool exact) const {
        const Hits every = index_.search(query, std::max<std::size_t>(rows_.size(), 1), nullptr,
                                         true);
        CHECK(every.ids.size() == rows_.size());
        std::map<std::int64_t, float> scores;
        std::vector<Scored> expected;
        for (std::size_t i = 0; i < every.ids.size(); ++i) {
            check_score(query, every.ids[i], every.scores[i]);
            scores[every.ids[i]] = every.scores[i];
            if (only != nullptr && only->count(every.ids[i]) == 0) continue;
            expected.push_back({every.scores[i], every.ids[i]});
        }
        CHECK(scores.size() == rows_.size());
        CHECK(hits.k == std::min(k, expected.size()));
        std::set<std::int64_t> found;
        for (std::size_t i = 0; i < hits.k; ++i) {
            const std::int64_t id = hits.ids[q * hits.k + i];
            const float score = hits.scores[q * hits.k + i];
            CHECK(found.insert(id).second && scores.count(id) == 1 && scores[id] == score);
            CHECK(i == 0 || score <= hits.scores[q * hits.k + i - 1]);
            if (exact || only != nullptr) {
                CHECK(id == expected[i].id && score == expected[i].score);
            }
        }
    }

    void check_score(Span<float> query, std::int64_t id, float score) const {
        const auto& row = rows_.at(id);
        double expected = 0;
        for (std::size_t i = 0; i < ndim_; ++i) expected += double{query[i]} * double{row[i]};
        const double size = double{largest_of(query)} * double{largest_of({row.data(), ndim_})};
        CHECK(std::abs(score - expected) <= static_cast<double>(ndim_) * size * 3e-5 + 1e-25);
    }

    std::size_t ndim_;
    VectorIndex index_;
    Rows rows_;
};

}  // namespace

FUZZ(vector_index) {
    const std::size_t ndim = input.up_to(40) + 1;
    Pair pair(ndim, input.up_to(255) + 1);
    while (!input.empty()) {
        switch (input.up_to(15)) {
            case 0:
            case 1:
            case 2:
                pair.add(input);
                break;
            case 3:
                pair.add_many(input);
                break;
            case 4:
            case 5:
                pair.remove(input);
                break;
            case 6:
            case 7:
                pair.link(input);
                break;
            case 8:
                pair.save();
                break;
            case 9:
                pair.load(input);
                break;
            default:
                pair.search(input);
        }
        pair.check_size();
    }
}
