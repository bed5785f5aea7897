// Mixing changes only what it is asked to, to something usable, or nothing at all.
#include "edgepersona/mix.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

float float_of(fuzz::Input& input) {
    const auto byte = input.take<std::int8_t>();
    if (byte == -128) return input.take<float>();
    return byte == -127 ? -INFINITY : static_cast<float>(byte) / 4;
}

}  // namespace

FUZZ(mix) {
    std::vector<float> logits(input.up_to(40));
    for (float& logit : logits) logit = float_of(input);
    std::vector<std::int64_t> ids(input.up_to(12));
    std::vector<float> probs(ids.size() + (input.chance(32) ? 1 : 0));
    for (auto& id : ids) {
        id = input.chance(32) ? input.take<std::int64_t>()
                              : static_cast<std::int64_t>(input.up_to(40));
    }
    for (float& prob : probs) {
        prob = input.chance(16) ? float_of(input) : static_cast<float>(input.up_to(20)) / 256;
    }
    const float weight = input.chance(4) ? float_of(input) : input.take<std::uint8_t>() / 256.0F;
    std::vector<float> mixed = logits;
    const auto same = [&](std::size_t i) {
        return std::memcmp(&mixed[i], &logits[i], sizeof(float)) == 0;
    };
    try {
        mix(mixed.data(), mixed.size(), {ids.data(), ids.size()}, {probs.data(), probs.size()},
            weight);
    } catch (const InvalidInput&) {
        for (std::size_t i = 0; i < mixed.size(); ++i) CHECK(same(i));
        return;
    }
    CHECK(weight >= 0 && weight < 1 && probs.size() == ids.size());
    std::vector<bool> named(mixed.size());
    for (const std::int64_t id : ids) named.at(static_cast<std::size_t>(id)) = true;
    for (std::size_t i = 0; i < mixed.size(); ++i) {
        CHECK(named[i] || same(i));
        CHECK(mixed[i] < INFINITY);  // and no NaN
    }
}
