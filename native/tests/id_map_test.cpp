#include <limits>
#include <random>
#include <unordered_map>

#include "check.h"
#include "edgepersona/id_map.h"

using namespace edgepersona;

TEST(an_id_map_agrees_with_the_standard_one) {
    IdMap map;
    std::unordered_map<std::int64_t, IdMap::Row> model;
    std::mt19937 random(4);
    for (IdMap::Row step = 0; step < 50000; ++step) {
        // Grows for a while, then shrinks: few ids, so that they meet again.
        const std::int64_t id = static_cast<std::int64_t>(random() % 3000) - 1500;
        if (random() % 100 < (step < 25000 ? 70U : 30U)) {
            map.reserve(map.size() + 1);
            map.set(id, step);
            model[id] = step;
        } else {
            CHECK(map.erase(id) == (model.erase(id) == 1));
        }
        if (step % 1000 == 0) map.shrink();
        CHECK(map.size() == model.size());
        const auto found = model.find(id);
        CHECK(map.find(id) == (found == model.end() ? IdMap::kNone : found->second));
    }
    for (const auto& [id, row] : model) CHECK(map.find(id) == row);
}

TEST(any_64_bit_number_may_be_an_id) {
    IdMap map;
    map.set(std::numeric_limits<std::int64_t>::min(), 1);
    map.set(std::numeric_limits<std::int64_t>::max(), 2);
    map.set(-1, 3);
    map.set(0, 4);
    CHECK(map.find(std::numeric_limits<std::int64_t>::min()) == 1);
    CHECK(map.find(std::numeric_limits<std::int64_t>::max()) == 2);
    CHECK(map.find(-1) == 3);
    CHECK(map.find(0) == 4);
    CHECK(map.find(1) == IdMap::kNone);
}
