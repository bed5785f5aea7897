#include "edgepersona/postings.h"

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "check.h"

using namespace edgepersona;

namespace {

using Model = std::map<Postings::Key, std::vector<Postings::Position>>;

bool same(const Postings& postings, const Model& model) {
    if (postings.keys() != model.size()) return false;
    return std::all_of(model.begin(), model.end(), [&](const auto& item) {
        const auto found = postings.find(item.first);
        return std::equal(found.begin(), found.end(), item.second.begin(), item.second.end());
    });
}

// Some of the links of a model, in no order; they leave it.
std::vector<Postings::Link> take(Model& model, double share, std::mt19937& random) {
    std::vector<Postings::Link> links;
    std::uniform_real_distribution<> draw;
    for (auto item = model.begin(); item != model.end();) {
        auto& positions = item->second;
        const auto kept = std::partition(positions.begin(), positions.end(),
                                         [&](Postings::Position) { return draw(random) >= share; });
        for (auto gone = kept; gone != positions.end(); ++gone) {
            links.push_back({item->first, *gone});
        }
        positions.erase(kept, positions.end());
        std::sort(positions.begin(), positions.end());
        item = positions.empty() ? model.erase(item) : std::next(item);
    }
    std::shuffle(links.begin(), links.end(), random);
    return links;
}

}  // namespace

TEST(posting_lists_agree_with_a_map_of_vectors) {
    std::mt19937 random(1);
    Postings postings;
    Model model;
    Postings::Position next = 0;
    for (int round = 0; round < 60; ++round) {
        for (int i = 0; i < 500; ++i) {
            // A few long lists, many short ones, keys of both halves and none.
            const Postings::Key key =
                random() % 2 ? random() % 3 : (Postings::Key{random() % 400} << 32) + random() % 2;
            next += 1 + random() % 3;
            postings.append(key, next);
            model[key].push_back(next);
        }
        CHECK(same(postings, model));
        auto links = take(model, round % 5 == 4 ? 0.95 : 0.3, random);
        postings.remove(links.data(), links.size());
        CHECK(same(postings, model));
    }
    auto links = take(model, 1.0, random);
    postings.remove(links.data(), links.size());
    CHECK(postings.keys() == 0 && postings.find(0).size == 0);
}

TEST(freed_blocks_are_used_again) {
    Postings postings;
    for (Postings::Position p = 0; p < 10000; ++p) postings.append(1, p);
    const std::size_t full = postings.memory_bytes();
    for (int round = 0; round < 10; ++round) {
        std::vector<Postings::Link> links;
        for (Postings::Position p = 0; p < 10000; ++p) {
            links.push_back({static_cast<Postings::Key>(round + 1), p});
        }
        postings.remove(links.data(), links.size());
        for (Postings::Position p = 0; p < 10000; ++p) {
            postings.append(static_cast<Postings::Key>(round + 2), p);
        }
    }
    CHECK(postings.memory_bytes() <= full * 2);
}

TEST(a_list_shrinks_one_position_at_a_time_to_nothing) {
    for (const Postings::Position count : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 9U, 12U, 13U, 17U, 100U}) {
        Postings postings;
        for (Postings::Position p = 0; p < count; ++p) postings.append(7, p);
        for (Postings::Position p = 0; p < count; ++p) {
            const auto found = postings.find(7);
            CHECK(found.size == count - p && found[0] == p && found[found.size - 1] == count - 1);
            Postings::Link link{7, p};
            postings.remove(&link, 1);
        }
        CHECK(postings.keys() == 0);
    }
}
