// Orders tokens by logit, highest first, equal ones by smaller id.
#pragma once

#include <cstdint>

struct ByLogit {
    const float* logits;
    bool operator()(std::int32_t a, std::int32_t b) const {
        return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
    }
};
