#include "edgepersona/token_history.h"

#include <algorithm>
#include <memory>
#include <new>
#include <string>

#include "edgepersona/errors.h"
#include "edgepersona/memory.h"

namespace edgepersona {
namespace {

// Positions that a key's slot is asked for ahead of use, measured: slots lie all over memory.
constexpr std::size_t kAhead = 16;

}  // namespace

// Collects what leaves the lists: sorted, a long list is passed over once for many positions.
class TokenHistory::Unlinking {
  public:
    Unlinking(Postings& postings, std::size_t positions) noexcept
        : postings_(postings), room_(std::min(2 * positions, kMany)) {
        if (room_ > kFew) many_.reset(new (std::nothrow) Postings::Link[room_]);
        if (!many_) room_ = kFew;
    }
    Unlinking(const Unlinking&) = delete;
    Unlinking& operator=(const Unlinking&) = delete;
    ~Unlinking() {
        flush();
        wipe(links(), most_ * sizeof(Postings::Link));
    }
    void take(Postings::Key key, Position position) noexcept {
        if (size_ == room_) flush();
        links()[size_++] = {key, position};
        most_ = std::max(most_, size_);
    }

  private:
    static constexpr std::size_t kFew = 256, kMany = std::size_t{1} << 16;

    Postings::Link* links() noexcept { return many_ ? many_.get() : few_; }
    void flush() noexcept {
        postings_.remove(links(), size_);
        size_ = 0;
    }

    Postings& postings_;
    std::size_t room_, size_ = 0, most_ = 0;
    std::unique_ptr<Postings::Link[]> many_;
    Postings::Link few_[kFew];
};

TokenHistory::TokenHistory(bool pairs) : pairs_(pairs), tokens_(1, kMark) {}

std::size_t TokenHistory::memory_bytes() const {
    return tokens_.capacity() * sizeof(Token) + records_.capacity() * sizeof(Record) +
           map_.memory_bytes() + postings_.memory_bytes();
}

// The contexts that end at a position.
template <class F>
void TokenHistory::each_key(Position position, F&& f) const {
    const Token token = tokens_[position];
    f(alone(token));
    if (pairs_ && token != kMark) f(pair(tokens_[position - 1], token));
}

void TokenHistory::add(Span<std::int64_t> ids, Span<Token> tokens, Span<std::int64_t> offsets) {
    const std::size_t positions = tokens_.size(), records = records_.size();
    const auto given = static_cast<std::size_t>(offsets[ids.size] - offsets[0]) + ids.size;
    if (positions + given > kMaxPositions) {
        throw InvalidInput("more than " + std::to_string(kMaxPositions) +
                           " tokens: add fewer records to one model");
    }
    reserve_more(tokens_, positions + given);
    reserve_more(records_, records + ids.size);
    map_.reserve(map_.size() + ids.size);
    const auto start = static_cast<Position>(positions - 1);
    try {
        for (std::size_t i = 0; i < ids.size; ++i) {
            append(ids[i], {tokens.data + offsets[i],
                            static_cast<std::size_t>(offsets[i + 1] - offsets[i])});
        }
        link(start);
    } catch (...) {
        std::fill(tokens_.begin() + start, tokens_.end(), kMark);
        tokens_.resize(positions);
        records_.resize(records, Record{});
        throw;
    }
    {
        Unlinking unlinking(postings_, given);
        for (std::size_t i = 0; i < ids.size; ++i) {
            const IdMap::Row before = map_.find(ids[i]);
            if (before != IdMap::kNone) forget(before, unlinking);
            map_.set(ids[i], static_cast<IdMap::Row>(records + i));
        }
    }
    close_gaps();
}

std::size_t TokenHistory::remove(Span<std::int64_t> ids) noexcept {
    const std::size_t before = size();
    {
        Unlinking unlinking(postings_, ids.size * 64);
        for (const std::int64_t id : ids) {
            const IdMap::Row row = map_.find(id);
            if (row == IdMap::kNone) continue;
            forget(row, unlinking);
            map_.erase(id);
        }
    }
    close_gaps();
    return before - size();
}

// Within what was reserved; links nothing yet.
void TokenHistory::append(std::int64_t id, Span<Token> tokens) {
    const std::size_t start = tokens_.size();
    records_.push_back({id, static_cast<Position>(start - 1)});
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    // On our copy, after which no one can change them.
    const auto copied = tokens_.begin() + static_cast<std::ptrdiff_t>(start);
    if (std::any_of(copied, tokens_.end(), [](Token token) { return token > kMaxToken; })) {
        throw InvalidInput("the tokens of record " + std::to_string(id) +
                           " hold one that is negative or beyond 2147483647: no token id");
    }
    tokens_.push_back(kMark);
}

// Puts every position from `from` on under its contexts. Where it throws it changed nothing.
void TokenHistory::link(Position from) {
    const auto end = static_cast<Position>(tokens_.size() - 1);
    Position at = from;
    std::size_t done = 0;  // keys of the position at hand
    try {
        for (; at < end; ++at, done = 0) {
            if (at + kAhead < end) {
                each_key(at + kAhead, [&](auto key) { postings_.prefetch(key); });
            }
            each_key(at, [&](auto key) {
                postings_.append(key, at);
                ++done;
            });
        }
    } catch (...) {
        Unlinking unlinking(postings_, at - from + 1);
        for (Position linked = from; linked < at; ++linked) {
            each_key(linked, [&](auto key) { unlinking.take(key, linked); });
        }
        if (done == 1) unlinking.take(alone(tokens_[at]), at);
        throw;
    }
}

void TokenHistory::forget(IdMap::Row row, Unlinking& unlinking) noexcept {
    Position& start = records_[row].start;
    Position end = start;
    do {
        each_key(end, [&](auto key) { unlinking.take(key, end); });
    } while (tokens_[++end] != kMark);
    std::fill(tokens_.begin() + start, tokens_.begin() + end, kMark);
    gaps_ += end - start;
    start = kGone;
}

void TokenHistory::close_gaps() noexcept {
    if (gaps_ * 2 <= tokens_.size()) return;
    try {
        TokenHistory fresh(pairs_);
        fresh.tokens_.reserve(tokens_.size() - gaps_);
        fresh.records_.reserve(size());
        fresh.map_.reserve(size());
        for (const Record& record : records_) {
            if (record.start == kGone) continue;
            const auto first = tokens_.cbegin() + record.start + 1;
            const auto end = std::find(first, tokens_.cend(), kMark);
            fresh.append(record.id, {&*first, static_cast<std::size_t>(end - first)});
            fresh.map_.set(record.id, static_cast<IdMap::Row>(fresh.records_.size() - 1));
        }
        fresh.link(0);
        *this = std::move(fresh);
    } catch (const std::bad_alloc&) {  // no room for the smaller copy: the larger one serves
    }
}

}  // namespace edgepersona
