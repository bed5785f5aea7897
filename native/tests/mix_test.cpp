#include "edgepersona/mix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "edgepersona/errors.h"

using namespace edgepersona;

namespace {

using Ids = std::vector<std::int64_t>;
using Floats = std::vector<float>;

void mixed(Floats& logits, const Ids& ids, const Floats& probs, float weight) {
    mix(logits.data(), logits.size(), {ids.data(), ids.size()}, {probs.data(), probs.size()},
        weight);
}

Floats normal(std::size_t count, float size) {
    std::mt19937 random(11);
    std::normal_distribution<float> draw(3.0F, size);
    Floats values(count);
    for (float& value : values) value = draw(random);
    return values;
}

}  // namespace

TEST(mixed_logits_are_those_of_the_mixed_probabilities) {
    for (const std::size_t vocab : {1, 2, 63, 64, 65, 511, 512, 513, 5000}) {
        const Floats before = normal(vocab, 6.0F);
        const Ids ids{0, static_cast<std::int64_t>(vocab - 1)};
        const Floats probs{0.25F, 0.5F};
        Floats logits = before;
        mixed(logits, ids, probs, 0.3F);
        double total = 0;
        for (const float logit : before) total += std::exp(static_cast<double>(logit));
        for (std::size_t i = 0; i < vocab; ++i) {
            double q = 0;
            for (std::size_t j = 0; j < ids.size(); ++j) {
                if (ids[j] == static_cast<std::int64_t>(i)) q += static_cast<double>(probs[j]);
            }
            const double left = 1 - 0.3 * 0.75;
            const double p = left * std::exp(static_cast<double>(before[i])) / total + 0.3 * q;
            const double expected = std::log(p / left * total);
            CHECK(std::abs(static_cast<double>(logits[i]) - expected) < 2e-5);
            CHECK(q > 0 || logits[i] == before[i]);
        }
    }
}

TEST(a_logit_that_is_ruled_out_comes_back_only_with_a_prob) {
    const float none = -std::numeric_limits<float>::infinity();
    Floats logits{0.0F, none, none, -200.0F};
    mixed(logits, {1, 2, 3}, {0.5F, 0.0F, 0.25F}, 0.5F);
    CHECK(std::abs(logits[1] - std::log(0.4F)) < 1e-6F);  // .5 of .5, over the .625 left
    CHECK(logits[0] == 0.0F && logits[2] == none);
    CHECK(std::abs(logits[3] - std::log(0.2F)) < 1e-6F);
}

TEST(what_cannot_be_mixed_is_refused_and_changes_nothing) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float inf = std::numeric_limits<float>::infinity();
    const Floats good{1.0F, 2.0F, 3.0F};
    const auto refused = [](Floats logits, const Ids& ids, const Floats& probs, float weight) {
        const Floats before = logits;
        return check::throws<InvalidInput>([&] { mixed(logits, ids, probs, weight); }) &&
               std::equal(logits.begin(), logits.end(), before.begin(),
                          [](float a, float b) { return a == b || (a != a && b != b); });
    };
    for (const float weight : {-0.1F, 1.0F, 2.0F, nan, inf}) {
        CHECK(refused(good, {0}, {0.5F}, weight));
    }
    for (const float prob : {-0.1F, 1.1F, nan, inf}) {
        CHECK(refused(good, {0, 1}, {0.5F, prob}, 0.5F));
    }
    for (const std::int64_t id : {std::int64_t{-1}, std::int64_t{3}, std::int64_t{1} << 40}) {
        CHECK(refused(good, {0, id}, {0.5F, 0.5F}, 0.5F));
    }
    CHECK(refused(good, {0, 1}, {0.5F}, 0.5F));
    for (const float odd : {nan, inf}) {
        for (std::size_t at = 0; at < 3; ++at) {
            Floats logits = good;
            logits[at] = odd;
            CHECK(refused(logits, {0}, {0.5F}, 0.5F));
        }
    }
    CHECK(refused(Floats(3, -inf), {0}, {0.5F}, 0.5F));
    CHECK(refused({}, {}, {}, 0.5F));
}
