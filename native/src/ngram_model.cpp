#include "edgepersona/ngram_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>

#include "edgepersona/errors.h"
#include "edgepersona/memory.h"
#include "tally.h"

namespace edgepersona {
namespace {

using Token = TokenHistory::Token;
using Position = TokenHistory::Position;
constexpr std::size_t kNewest = NgramModel::kNewest;
constexpr Token kMark = TokenHistory::kMark;

// Positions asked for ahead of use: their tokens lie all over the array.
constexpr std::size_t kAhead = 16;

std::size_t checked_order(std::size_t order) {
    if (order >= NgramModel::kFewestOrder && order <= NgramModel::kMaxOrder) return order;
    throw InvalidInput("order is " + std::to_string(order) + ", expected " +
                       std::to_string(NgramModel::kFewestOrder) + " to " +
                       std::to_string(NgramModel::kMaxOrder));
}

void check_unique(std::vector<std::int64_t> ids) {
    std::sort(ids.begin(), ids.end());
    const auto twin = std::adjacent_find(ids.begin(), ids.end());
    if (twin != ids.end()) {
        throw InvalidInput("id " + std::to_string(*twin) +
                           " is given more than once: each id may appear once in a call");
    }
}

void check_offsets(const std::vector<std::int64_t>& offsets, std::size_t records,
                   std::size_t tokens) {
    if (offsets.size() != records + 1) {
        throw InvalidInput(std::to_string(offsets.size()) + " offsets for " +
                           std::to_string(records) + " ids: expected one more than ids");
    }
    if (!std::is_sorted(offsets.begin(), offsets.end()) || offsets.front() < 0 ||
        static_cast<std::uint64_t>(offsets.back()) > tokens) {
        throw InvalidInput("offsets fall, or leave 0 to " + std::to_string(tokens) +
                           ", the tokens there are");
    }
}

// r(i) for i < kNewest.
const std::array<double, kNewest>& recency() {
    static const auto weights = [] {
        std::array<double, kNewest> made{};
        for (std::size_t i = 0; i < kNewest; ++i) {
            made[i] = std::exp2(-static_cast<double>(i) / NgramModel::kHalfLife);
        }
        return made;
    }();
    return weights;
}

// The newest occurrences, the newest one first.
class Newest {
  public:
    Newest(Span<Position> rising, const Token* tokens)
        : last_(rising.data + rising.size), size_(std::min(rising.size, kNewest)), tokens_(tokens) {
        for (std::size_t i = 0; i < std::min(kAhead, size_); ++i) ask(i);
    }
    std::size_t size() const { return size_; }
    Position operator[](std::size_t i) const { return *(last_ - 1 - i); }
    // Where the next token is, and with it those before; asks for one further on.
    const Token* next(std::size_t i) const {
        if (i + kAhead < size_) ask(i + kAhead);
        return tokens_ + (*this)[i] + 1;
    }

  private:
    void ask(std::size_t i) const { __builtin_prefetch(tokens_ + (*this)[i] + 1); }

    const Position* last_;
    std::size_t size_;
    const Token* tokens_;
};

struct Cleared {  // whatever is thrown: the tally is empty afterwards
    Tally& tally;
    ~Cleared() { tally.clear(); }
};

// A token and the number of its entry, as they are sorted: by token.
using Numbered = std::uint64_t;

Numbered numbered(Token token, std::size_t number) { return Numbered{token} << 32 | number; }

// By the token, a byte at a time: a third of the time of comparisons.
void sort_by_token(std::vector<Numbered>& found) {
    std::vector<Numbered> other(found.size());
    Numbered differing = 0;
    for (const Numbered one : found) differing |= one ^ found.front();
    for (unsigned shift = 32; shift < 64; shift += 8) {
        if ((differing >> shift & 255) == 0) continue;
        std::array<std::uint32_t, 257> starts{};
        for (const Numbered one : found) ++starts[(one >> shift & 255) + 1];
        std::partial_sum(starts.begin(), starts.end(), starts.begin());
        for (const Numbered one : found) other[starts[one >> shift & 255]++] = one;
        found.swap(other);
    }
}

// The upper bits of a probability, which rise with it: 32 steps from one power of two to the next.
std::size_t step_of(double value) {
    constexpr std::uint64_t kLeast = std::uint64_t{1023 - 64} << 5;  // all that is below 2^-64
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint64_t step = bits >> 47;
    return step > kLeast ? step - kLeast : 0;
}

// Numbers of the `limit` most probable entries, equal ones by smaller token, where there are more.
// Counted by steps of probability: only those of the last step are compared.
std::vector<Numbered> most_probable(Span<Tally::Entry> entries, std::size_t limit) {
    std::array<std::uint16_t, 65 << 5> counts{};
    for (const Tally::Entry& entry : entries) ++counts[step_of(entry.value)];
    std::size_t last = counts.size() - 1, left = limit;
    while (counts[last] <= left && last != 0) left -= counts[last--];
    std::vector<Numbered> found;
    std::vector<const Tally::Entry*> even;
    found.reserve(limit);
    for (const Tally::Entry& entry : entries) {
        const std::size_t step = step_of(entry.value);
        const auto number = static_cast<std::size_t>(&entry - entries.data);
        if (step > last) found.push_back(numbered(entry.token, number));
        if (step == last) even.push_back(&entry);
    }
    std::sort(even.begin(), even.end(), [](const auto* a, const auto* b) {
        return a->value != b->value ? a->value > b->value : a->token < b->token;
    });
    for (std::size_t i = 0; i < std::min(left, even.size()); ++i) {
        found.push_back(numbered(even[i]->token, static_cast<std::size_t>(even[i] - entries.data)));
    }
    return found;
}

// To a float that is no larger, so that the sum stays at most 1.
float rounded_down(double value) {
    const auto prob = static_cast<float>(value);
    if (prob <= value) return prob;
    std::uint32_t bits;
    std::memcpy(&bits, &prob, sizeof bits);
    --bits;
    float below;
    std::memcpy(&below, &bits, sizeof below);
    return below;
}

// The most probable of a tally, at most `limit`.
Prediction best_of(const Tally& tally, std::size_t limit) {
    const Span<Tally::Entry> entries = tally.used();
    std::vector<Numbered> found;
    if (entries.size > limit) {
        found = most_probable(entries, limit);
    } else {
        found.reserve(entries.size);
        for (std::size_t i = 0; i < entries.size; ++i) {
            found.push_back(numbered(entries[i].token, i));
        }
    }
    sort_by_token(found);
    Prediction prediction;
    prediction.ids.reserve(found.size());
    prediction.probs.reserve(found.size());
    for (const Numbered one : found) {
        const Tally::Entry& entry = entries[one & 0xffffffffU];
        prediction.ids.push_back(static_cast<std::int32_t>(entry.token));
        prediction.probs.push_back(rounded_down(entry.value));
    }
    return prediction;
}

}  // namespace

// The last order - 1 tokens of a context, the record's beginning among them; the last comes last.
struct NgramModel::Context {
    std::array<Token, kMaxOrder - 1> tokens;
    std::size_t size = 0;

    Token back(std::size_t i) const { return tokens[size - 1 - i]; }

    // How many tokens of it end at a position whose last two are known to be its last two.
    std::size_t match(const Token* at) const {
        std::size_t length = 2;
        while (length < size && *(at - length) == back(length)) ++length;
        return length;
    }
};

NgramModel::NgramModel(std::size_t order)
    : order_(checked_order(order)), history_(order > kFewestOrder) {
    unigrams_.reserve(kNewest);
    recency();
}

std::size_t NgramModel::size() const {
    std::shared_lock lock(mutex_);
    return history_.size();
}

std::size_t NgramModel::tokens() const {
    std::shared_lock lock(mutex_);
    return history_.tokens();
}

std::size_t NgramModel::memory_bytes() const {
    std::shared_lock lock(mutex_);
    return history_.memory_bytes() + unigrams_.capacity() * sizeof(Unigram);
}

void NgramModel::add(Span<std::int64_t> given, Span<Token> tokens,
                     Span<std::int64_t> given_offsets) {
    // Ours: the caller's could change while we work.
    const std::vector<std::int64_t> ids(given.begin(), given.end());
    const std::vector<std::int64_t> offsets(given_offsets.begin(), given_offsets.end());
    check_unique(ids);
    check_offsets(offsets, ids.size(), tokens.size);
    Tally::of_thread();  // made now: below, nothing may throw once records are added
    std::unique_lock lock(mutex_);
    history_.add({ids.data(), ids.size()}, tokens, {offsets.data(), offsets.size()});
    recount_unigrams();
}

std::size_t NgramModel::remove(Span<std::int64_t> ids) {
    Tally::of_thread();
    std::unique_lock lock(mutex_);
    const std::size_t removed = history_.remove(ids);
    if (removed != 0) recount_unigrams();
    return removed;
}

void NgramModel::recount_unigrams() noexcept {
    Tally& tally = Tally::of_thread();
    const Cleared cleared{tally};
    const Newest begins(history_.find(kMark), history_.data());
    std::size_t seen = 0;
    for (std::size_t i = 0; i < begins.size() && seen < kNewest; ++i) {
        const Token* const first = begins.next(i);
        const Token* end = first;
        while (*end != kMark) ++end;
        while (end != first && seen < kNewest) tally.see(*--end, recency()[seen++]);
    }
    tally.close(kUnigramShare);
    wipe(unigrams_.data(), unigrams_.size() * sizeof(Unigram));
    unigrams_.clear();
    for (const Tally::Entry& entry : tally.used()) unigrams_.push_back({entry.token, entry.value});
}

NgramModel::Context NgramModel::last_of(Span<Token> context) const {
    Context last;
    if (context.size < order_ - 1) last.tokens[last.size++] = kMark;
    for (std::size_t i = context.size - std::min(context.size, order_ - 1); i < context.size; ++i) {
        if (context[i] > TokenHistory::kMaxToken) {
            throw InvalidInput("the context's token " + std::to_string(i) +
                               " is negative or beyond 2147483647: no token id");
        }
        last.tokens[last.size++] = context[i];
    }
    return last;
}

Prediction NgramModel::distribution(Span<Token> given, std::size_t limit,
                                    std::size_t least) const {
    if (limit < 1) throw InvalidInput("limit is 0, expected 1 or more");
    const Context context = last_of(given);
    const auto counts = [&](std::size_t length) {
        return length >= least || (length == context.size && context.tokens[0] == kMark);
    };
    const auto& weights = recency();
    Tally& tally = Tally::of_thread();
    const Cleared cleared{tally};

    std::shared_lock lock(mutex_);
    double share = 1;
    if (context.size >= 2) {
        const Newest pairs(history_.find(context.back(1), context.back(0)), history_.data());
        std::array<Token, kNewest> next;
        std::array<std::uint8_t, kNewest> matches;  // how long each is
        for (std::size_t i = 0; i < pairs.size(); ++i) {
            const Token* const at = pairs.next(i);
            next[i] = *at;
            matches[i] = static_cast<std::uint8_t>(context.match(at - 1));
        }
        for (std::size_t length = context.size; length >= 2; --length) {
            if (!counts(length)) continue;
            std::size_t seen = 0;
            for (std::size_t i = 0; i < pairs.size(); ++i) {
                if (matches[i] >= length) tally.see(next[i], weights[seen++]);
            }
            share = tally.close(share);
        }
    }
    if (counts(1)) {
        const Newest singles(history_.find(context.back(0)), history_.data());
        for (std::size_t i = 0; i < singles.size(); ++i) tally.see(*singles.next(i), weights[i]);
        share = tally.close(share);
    }
    if (least == 0) {
        for (const Unigram& unigram : unigrams_) tally.add(unigram.token, share * unigram.prob);
    }
    lock.unlock();
    return best_of(tally, limit);
}

std::vector<std::uint8_t> NgramModel::shared(Span<Token> given, Span<Token> ids) const {
    const Context context = last_of(given);
    std::vector<std::uint8_t> found(ids.size);
    std::shared_lock lock(mutex_);
    for (std::size_t i = 0; i < ids.size; ++i) found[i] = is_shared(context, ids[i]);
    return found;
}

bool NgramModel::is_shared(const Context& context, Token next) const {
    const Token* const tokens = history_.data();
    if (next > TokenHistory::kMaxToken) return false;
    std::size_t longest = 0;  // the match of those looked at last
    Position last = 0;        // the oldest of them so far
    bool found = false, several = false;
    const auto look = [&](Position at, std::size_t length) {  // at the newest first
        if (found && length < longest) return;
        if (!found || length > longest) {
            found = true;
            several = false;
            longest = length;
        } else if (!several) {
            several = std::find(tokens + at + 1, tokens + last + 1, kMark) != tokens + last + 1;
        }
        last = at;
    };
    if (context.size >= 2) {
        const Newest pairs(history_.find(context.back(1), context.back(0)), tokens);
        for (std::size_t i = 0; i < pairs.size(); ++i) {
            const Token* const at = pairs.next(i);
            if (*at == next) look(pairs[i], context.match(at - 1));
        }
    }
    if (!found) {
        const Newest singles(history_.find(context.back(0)), tokens);
        for (std::size_t i = 0; i < singles.size() && !several; ++i) {
            if (*singles.next(i) == next) look(singles[i], 1);
        }
    }
    if (!found) {
        const Newest alone(history_.find(next), tokens);
        for (std::size_t i = 0; i < alone.size() && !several; ++i) look(alone[i], 0);
    }
    return several;
}

std::vector<std::int32_t> NgramModel::continuations(Span<Token> given, std::size_t n) const {
    const Context context = last_of(given);
    std::vector<std::int32_t> found;
    if (context.size < 2 || n == 0) return found;
    const auto& weights = recency();
    Tally& tally = Tally::of_thread();
    const Cleared cleared{tally};

    std::shared_lock lock(mutex_);
    const Newest pairs(history_.find(context.back(1), context.back(0)), history_.data());
    std::array<const Token*, kNewest> live;  // where those that agree so far go on
    std::size_t count = 0, longest = 2;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const Token* const at = pairs.next(i);
        const std::size_t length = context.match(at - 1);
        if (length > longest) {
            longest = length;
            count = 0;
        }
        if (length == longest) live[count++] = at;
    }
    while (found.size() < n && count != 0) {
        for (std::size_t i = 0; i < count; ++i) tally.see(*live[i], weights[i]);
        const Token chosen = tally.most_seen();
        if (chosen == kMark) break;
        found.push_back(static_cast<std::int32_t>(chosen));
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (*live[i] == chosen) live[kept++] = live[i] + 1;
        }
        count = kept;
    }
    return found;
}

}  // namespace edgepersona
