#include "edgepersona/mix.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "edgepersona/errors.h"
#include "edgepersona/lm_kernels.h"

namespace edgepersona {
namespace {

double sum(Span<float> probs) { return std::accumulate(probs.begin(), probs.end(), 0.0); }

void check(std::size_t vocab, Span<std::int64_t> ids, Span<float> probs, float weight) {
    if (!(weight >= 0.0F && weight < 1.0F)) {
        throw InvalidInput("weight is " + std::to_string(weight) + ", expected 0 to less than 1");
    }
    if (ids.size != probs.size) {
        throw InvalidInput(std::to_string(ids.size) + " ids for " + std::to_string(probs.size) +
                           " probs: expected one each");
    }
    for (const std::int64_t id : ids) {
        if (id < 0 || static_cast<std::uint64_t>(id) >= vocab) {
            throw InvalidInput("id " + std::to_string(id) + " is outside of the " +
                               std::to_string(vocab) + " logits");
        }
    }
    for (const float prob : probs) {
        if (!(prob >= 0.0F && prob <= 1.0F)) {
            throw InvalidInput("a prob is " + std::to_string(prob) + ", expected 0 to 1");
        }
    }
    if (sum(probs) > 1.001) {
        throw InvalidInput("probs sum to " + std::to_string(sum(probs)) + ", expected at most 1");
    }
}

}  // namespace

float log_sum_exp(Span<float> logits) {
    return lm_kernels().log_sum_exp(logits.data, logits.size);
}

void mix(float* logits, std::size_t vocab, Span<std::int64_t> ids, Span<float> probs,
         float weight) {
    check(vocab, ids, probs, weight);
    const float total = log_sum_exp({logits, vocab});
    if (!std::isfinite(total)) {
        throw InvalidInput("logits are no distribution: one is NaN or infinite, or all are -inf");
    }
    const double given = weight * std::min(sum(probs), 1.0);
    const auto odds = static_cast<float>(weight / (1.0 - given));
    for (std::size_t i = 0; i < ids.size; ++i) {
        const float added = odds * probs[i];
        if (added == 0.0F) continue;
        float& logit = logits[ids[i]];
        logit = total + std::log(std::exp(logit - total) + added);
    }
}

}  // namespace edgepersona
