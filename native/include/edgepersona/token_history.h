// The tokens of records, newest last, and where each context of one or two tokens occurs.
//
// All records lie in one array, a mark before each and one after the last. A mark counts as the
// token that a record begins with, so that the first token has a context like any other; read as
// what comes next, it is a record's end. Positions rise with the order of adding: a context's
// list, read backwards, is its occurrences from the newest on. Longer contexts have no lists: they
// are those occurrences of their last two tokens that have the others before them.
//
// Removing overwrites the tokens with marks and takes their positions off the lists, so that
// nothing tells that they were there. Where more than half of the array is such gaps, all is
// built anew from what is left; likewise memory that is let go is overwritten first.
// Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edgepersona/id_map.h"
#include "edgepersona/postings.h"
#include "edgepersona/span.h"
#include "edgepersona/wiped.h"

namespace edgepersona {

class TokenHistory {
  public:
    using Token = std::uint32_t;
    using Position = Postings::Position;
    static constexpr Token kMark = UINT32_MAX;
    static constexpr Token kMaxToken = INT32_MAX;
    static constexpr std::size_t kMaxPositions = std::size_t{1} << 30;  // tokens, and one a record

    // Without `pairs` only contexts of one token are kept.
    explicit TokenHistory(bool pairs);

    std::size_t size() const { return map_.size(); }  // records
    std::size_t tokens() const { return tokens_.size() - 1 - size() - gaps_; }
    std::size_t memory_bytes() const;

    // Adds records, newest last; one whose id is there goes out, whatever it held. Each id once;
    // offsets rise from 0 or more to tokens.size or less. Where it throws it changed nothing.
    void add(Span<std::int64_t> ids, Span<Token> tokens, Span<std::int64_t> offsets);

    // Removes records; returns how many were there.
    std::size_t remove(Span<std::int64_t> ids) noexcept;

    Token at(Position position) const { return tokens_[position]; }
    const Token* data() const { return tokens_.data(); }

    // Where a token, or a pair of them, occurs: the position of its last token, rising.
    Span<Position> find(Token last) const noexcept { return postings_.find(alone(last)); }
    Span<Position> find(Token before, Token last) const noexcept {
        return postings_.find(pair(before, last));
    }

  private:
    struct Record {
        std::int64_t id;
        Position start;  // of its mark; kGone where the record is removed
    };
    static constexpr Position kGone = UINT32_MAX;
    class Unlinking;

    static Postings::Key pair(Token before, Token last) {
        return std::uint64_t{before} << 32 | last;
    }
    static Postings::Key alone(Token last) { return pair(kMark - 1, last); }

    template <class F>
    void each_key(Position position, F&& f) const;
    void append(std::int64_t id, Span<Token> tokens);
    void link(Position from);
    void forget(IdMap::Row row, Unlinking& unlinking) noexcept;
    void close_gaps() noexcept;

    bool pairs_;
    std::size_t gaps_ = 0;  // positions of removed records
    WipedVector<Token> tokens_;
    WipedVector<Record> records_;  // in the order of adding
    IdMap map_;                    // from an id to its place in records_
    Postings postings_;
};

}  // namespace edgepersona
