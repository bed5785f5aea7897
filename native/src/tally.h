// Adds up what follows one context after another, from the longest to the shortest.
//
// A table of tokens in open addressing, kept by each thread (about 260 KB): a token's time leaves
// room for a few thousand of them, and none for asking for memory. It is left empty, so that no
// token outlives its record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/ngram_model.h"

namespace edgepersona {

class Tally {
  public:
    using Token = TokenHistory::Token;
    struct Entry {
        Token token = TokenHistory::kMark;  // kMark: a free entry
        std::uint32_t count = 0;            // of the context at hand
        double weight = 0;                  // of the context at hand
        double value = 0;                   // probability from all contexts closed so far
    };

    Tally() : entries_(kEntries) {
        used_.reserve(kEntries / 2);
        level_.reserve(kEntries / 2);
    }

    // One per thread.
    static Tally& of_thread() {
        thread_local Tally tally;
        return tally;
    }

    // An occurrence of the context at hand that `next` follows; kMark is a record's end.
    void see(Token next, double weight) noexcept {
        total_ += weight;
        if (next == TokenHistory::kMark) {
            ++ends_;
            end_weight_ += weight;
            return;
        }
        Entry& entry = entry_of(next);
        if (entry.count++ == 0) level_.push_back(&entry);
        entry.weight += weight;
    }

    // Ends the context at hand, which has `share` of the probability to give; returns what is left
    // of that for shorter contexts.
    double close(double share) noexcept {
        if (total_ == 0) return share;
        const double scale = share / total_;
        double left = ends_ == 0 ? 0 : end_weight_ * NgramModel::kDiscount / ends_;
        for (Entry* const entry : level_) {
            const double discount = entry->weight * NgramModel::kDiscount / entry->count;
            entry->value += scale * (entry->weight - discount);
            left += discount;
        }
        restart();
        return scale * left;
    }

    void add(Token token, double value) noexcept { entry_of(token).value += value; }

    // The token of most weight after the context at hand, among equals the one seen first; kMark
    // where a record's end weighs more. Ends the context.
    Token most_seen() noexcept {
        const Entry* best = nullptr;
        for (const Entry* const entry : level_) {
            if (best == nullptr || entry->weight > best->weight) best = entry;
        }
        const Token found =
            best == nullptr || end_weight_ > best->weight ? TokenHistory::kMark : best->token;
        restart();
        return found;
    }

    const std::vector<Entry*>& used() const noexcept { return used_; }

    void clear() noexcept {
        for (Entry* const entry : used_) *entry = Entry{};
        used_.clear();
    }

  private:
    // Three walks of kNewest at most lead to as many tokens: less than half of the entries.
    static constexpr std::size_t kEntries = 8 * NgramModel::kNewest;
    static_assert((kEntries & (kEntries - 1)) == 0, "a power of two");

    Entry& entry_of(Token token) noexcept {
        std::size_t at = token * 0x9e3779b1U >> 7 & (kEntries - 1);
        while (entries_[at].token != token) {
            if (entries_[at].token == TokenHistory::kMark) {
                entries_[at].token = token;
                used_.push_back(&entries_[at]);
                break;
            }
            at = (at + 1) & (kEntries - 1);
        }
        return entries_[at];
    }

    void restart() noexcept {
        for (Entry* const entry : level_) {
            entry->count = 0;
            entry->weight = 0;
        }
        level_.clear();
        total_ = end_weight_ = 0;
        ends_ = 0;
    }

    std::vector<Entry> entries_;
    std::vector<Entry*> used_, level_;
    double total_ = 0, end_weight_ = 0;
    std::uint32_t ends_ = 0;
};

}  // namespace edgepersona
