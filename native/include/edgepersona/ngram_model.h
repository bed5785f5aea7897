// NgramModel: what comes next in the user's own manner, from token n-grams of their records.
//
//     NgramModel model(5);
//     model.add({ids, n}, {tokens, t}, {offsets, n + 1});
//     Prediction next = model.distribution({context, c}, 512);
//     mix(logits, vocab, {next.ids}, {next.probs}, 0.3F);     // mix.h
//
// A cache language model (Kuhn and De Mori 1990), estimated by interpolated absolute discounting
// (Ney, Essen and Kneser 1994; Chen and Goodman 1998, section 2.6), newer occurrences weighing
// more. For a context h of k tokens, let its occurrences be numbered from the newest, i = 0, 1, …,
// at most kNewest of them; occurrence i weighs r(i) = 2^(-i / kHalfLife). With
//
//     n(w)  the number of occurrences that w follows,  s(w)  the sum of their weights,
//     N     the sum of all weights,                    D     kDiscount,
//     P_k(w) = s(w)/N (1 - D/n(w))  +  sum over v of (s(v)/N D/n(v))  P_{k-1}(w)
//
// and P_k = P_{k-1} where h does not occur. A record's end is counted among the v but never
// predicted: its share, as all that is missing to 1, belongs to the LLM. At the bottom stands
// k = 0, whose occurrences are the newest tokens of the newest kNewest records, and of which only
// kUnigramShare is given out: P_0(w) = kUnigramShare s(w)/N (1 - D/n(w)).
// Measured by likelihood on commit subjects and paper titles, mixed into an LLM's own: D = .75
// beat .5 and .9, a share of .1 beat 0 and .25; Witten-Bell came close, n / (n + 2) did not.
// Over histories of 40 records no half-life made a difference.
//
// Contexts have up to order - 1 tokens. A record's beginning counts as a token: a context that is
// shorter than order - 1 is taken for all that its record has so far, the empty one for none.
// Contexts of 3 tokens and more are looked for among the newest kNewest occurrences of their last
// two, which bounds a token's time; an older occurrence in so common a pair does not count.
//
// Recency is the order of adding; a record that is replaced becomes the newest. After any sequence
// of add and remove every answer is, bit for bit, that of a model made afresh from what is left.
//
// Adding is O(1) a token, 0.13 microseconds in bulk. Removing one is O(occurrences of its contexts)
// at worst, a move of memory; removing many in one call takes one pass over each list for tens of
// thousands of positions. A history of which more than half is removed is built anew at once: the
// one call in so many that takes as long as opening. Memory: 4 bytes a token, about 10 for the two
// lists it is on, and 20 to 25 a distinct pair: 18 to 27 bytes a token of 100,000 records.
// It owns what it is handed as a copy. Any thread may call anything: readers side by side, add and
// remove alone. A call that throws changed nothing. Throws InvalidInput for what cannot be used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <vector>

#include "edgepersona/span.h"
#include "edgepersona/token_history.h"

namespace edgepersona {

struct Prediction {
    std::vector<std::int32_t> ids;  // rising, each once
    std::vector<float> probs;       // more than 0 each; their sum is at most 1
};

class NgramModel {
  public:
    using Token = TokenHistory::Token;
    static constexpr std::size_t kFewestOrder = 2, kMaxOrder = 5;
    static constexpr std::size_t kNewest = 1024;
    static constexpr double kHalfLife = 512;
    static constexpr double kDiscount = 0.75;
    static constexpr double kUnigramShare = 0.1;

    explicit NgramModel(std::size_t order = kMaxOrder);

    std::size_t order() const { return order_; }
    std::size_t size() const;    // records
    std::size_t tokens() const;  // of all records
    std::size_t memory_bytes() const;

    // Adds ids.size records; record i is tokens[offsets[i]] to tokens[offsets[i + 1]], the last
    // excluded, and newer than record i - 1. A record whose id is there already is replaced.
    void add(Span<std::int64_t> ids, Span<Token> tokens, Span<std::int64_t> offsets);

    // Removes the records of these ids, overwriting them; returns how many were there.
    std::size_t remove(Span<std::int64_t> ids);

    // The `limit` most probable next tokens, equal ones by smaller id. Contexts of fewer than
    // `least` tokens say nothing, unless they are all that their record has so far: the formula's
    // sum then ends above them, and what they would get belongs to the LLM.
    Prediction distribution(Span<Token> context, std::size_t limit, std::size_t least = 0) const;

    // For each of `ids` whether it stands in two records at least behind the longest end of the
    // context that it stands behind at all.
    std::vector<std::uint8_t> shared(Span<Token> context, Span<Token> ids) const;

    // At most `n` tokens that are likely to come next, for drafts: from the occurrences of the
    // longest context that occurs, two tokens at least, always on with those that had the token of
    // most weight next, until that is a record's end. Empty where no such context occurs.
    std::vector<std::int32_t> continuations(Span<Token> context, std::size_t n) const;

  private:
    struct Unigram {
        Token token;
        double prob;
    };
    struct Context;

    Context last_of(Span<Token> context) const;
    void recount_unigrams() noexcept;
    bool is_shared(const Context& context, Token next) const;

    const std::size_t order_;
    mutable std::shared_mutex mutex_;
    TokenHistory history_;
    WipedVector<Unigram> unigrams_;  // P_0, at most kNewest: the same for every context
};

}  // namespace edgepersona
