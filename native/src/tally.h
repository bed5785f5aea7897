// Adds up what follows one context after another, from the longest to the shortest.
//
// Tokens lie one behind the other as they come, found by a table in open addressing that the
// nearest cache holds; both are kept by each thread (about 120 KB): a token's time leaves room for
// a few thousand of them, and none for asking for memory. They are left empty, so that no token
// outlives its record.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/ngram_model.h"

namespace edgepersona {

class Tally {
  public:
    using Token = TokenHistory::Token;
    struct Entry {
        Token token;
        std::uint32_t count;  // of the context at hand
        double weight;        // of the context at hand
        double value;         // probability from all contexts closed so far
    };

    Tally() : places_(kPlaces), entries_(kMost) { level_.reserve(kMost); }

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

    Span<Entry> used() const noexcept { return {entries_.data(), size_}; }

    void clear() noexcept {
        for (std::size_t i = 0; i < size_; ++i) places_[taken_[i]] = 0;
        std::fill_n(entries_.begin(), size_, Entry{});
        std::fill_n(taken_, size_, std::uint16_t{0});
        size_ = 0;
    }

  private:
    // Three walks of kNewest at most lead to as many tokens: less than half of the places.
    static constexpr std::size_t kMost = 3 * NgramModel::kNewest, kPlaces = 8 * NgramModel::kNewest;
    static_assert((kPlaces & (kPlaces - 1)) == 0 && kPlaces <= 65536, "a power of two, in 16 bits");

    Entry& entry_of(Token token) noexcept {
        std::size_t at = token * 0x9e3779b1U >> 7 & (kPlaces - 1);
        while (places_[at] != 0) {
            Entry& found = entries_[places_[at] - 1U];
            if (found.token == token) return found;
            at = (at + 1) & (kPlaces - 1);
        }
        Entry& entry = entries_[size_];
        entry = {token, 0, 0, 0};
        taken_[size_] = static_cast<std::uint16_t>(at);
        places_[at] = static_cast<std::uint16_t>(++size_);
        return entry;
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

    std::vector<std::uint16_t> places_;  // by a token's hash: its entry's number and one, or 0
    std::vector<Entry> entries_;         // of which size_ are used
    std::uint16_t taken_[kMost] = {};    // the place of each
    std::size_t size_ = 0;
    std::vector<Entry*> level_;
    double total_ = 0, end_weight_ = 0;
    std::uint32_t ends_ = 0;
};

}  // namespace edgepersona
