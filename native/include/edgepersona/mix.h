// Mixes a sparse distribution into logits, as a cache language model is mixed with an LLM.
//
// p = (1 - weight s) softmax(logits) + weight q with s = sum(q), written as logits again: what q
// leaves of its share stays the LLM's. Only the logits of q's ids change, since logits mean the
// same with a constant added. With an empty q, or weight 0, nothing changes at all.
// An id that the logits rule out (-infinity) comes back if q has it: rule out after mixing.
// Safe to call from any thread, on logits that no other thread uses.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edgepersona/span.h"

namespace edgepersona {

// ids are within 0 to vocab - 1, probs within 0 to 1 and at most 1 together, weight from 0 to less
// than 1; no logit is NaN or +infinity, and not all are -infinity. Throws InvalidInput, and then
// changed nothing. An id that is given twice gets the sum of its probs.
void mix(float* logits, std::size_t vocab, Span<std::int64_t> ids, Span<float> probs,
         float weight);

// The logarithm of the sum of exp(logits), to about 1e-6: what turns a logit into a log probability.
// NaN or infinite where the logits are no distribution.
float log_sum_exp(Span<float> logits);

}  // namespace edgepersona
