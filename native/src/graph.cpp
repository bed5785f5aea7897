#include "edgepersona/graph.h"

#include <algorithm>
#include <utility>

namespace edgepersona {
namespace {

using Row = Graph::Row;
using Near = Graph::Near;

constexpr std::size_t kBuildWidth = 128;  // candidates for the links of a new row
constexpr std::size_t kOwnLinks = 16;     // chosen of them; others' links fill the rest
constexpr std::size_t kFewestLinks = 8;   // however alike: equal rows must lead to each other
constexpr std::ptrdiff_t kEntries = 256;     // rows a search looks at first, at most
constexpr std::uint32_t kEntryShare = UINT32_MAX / 64;  // and of how many rows one is such
constexpr std::size_t kStarts = 8;        // of which it starts from the best

// Of equal rows the newer ones: so each is linked from the next, and none is left out.
bool better(const Near& a, const Near& b) {
    return a.score > b.score || (a.score == b.score && a.row > b.row);
}

// A spread of the row numbers that does not depend on the order of linking.
std::uint32_t mixed(Row row) {
    std::uint32_t x = row;
    x = (x ^ x >> 16) * 0x7feb352dU;
    x = (x ^ x >> 15) * 0x846ca68bU;
    return x ^ x >> 16;
}

// Which rows a search has met: a bit each, cleared by undoing.
class Met {
  public:
    void begin(std::size_t rows) {
        if (bits_.size() < (rows + 63) / 64) bits_.resize((rows + 63) / 64);
    }
    bool add(Row row) {
        std::uint64_t& word = bits_[row / 64];
        const std::uint64_t bit = std::uint64_t{1} << row % 64;
        if (word & bit) return false;
        if (word == 0) touched_.push_back(row / 64);
        word |= bit;
        return true;
    }
    void end() {
        for (const std::uint32_t word : touched_) bits_[word] = 0;
        touched_.clear();
    }

  private:
    std::vector<std::uint64_t> bits_;
    std::vector<std::uint32_t> touched_;
};

// The best rows so far, best first, each with whether its links were followed.
class Beam {
  public:
    void begin(std::size_t width) {
        width_ = width;
        rows_.clear();
        rows_.reserve(width + 1);
        next_ = 0;
    }
    // No score below this can still enter.
    float bar() const { return rows_.size() < width_ ? -kFar : rows_.back().score; }
    void offer(Near near) {
        if (rows_.size() == width_) {
            if (!better(near, {rows_.back().score, rows_.back().row & ~kFollowed})) return;
            rows_.pop_back();
        }
        const auto place = std::upper_bound(
            rows_.begin(), rows_.end(), near,
            [](const Near& a, const Near& b) { return a.score > b.score; });
        next_ = std::min(next_, static_cast<std::size_t>(place - rows_.begin()));
        rows_.insert(place, near);
    }
    // The best row whose links were not followed yet, or kNone.
    Row follow() {
        while (next_ < rows_.size() && rows_[next_].row & kFollowed) ++next_;
        if (next_ == rows_.size()) return Graph::kNone;
        const Row row = rows_[next_].row;
        rows_[next_++].row |= kFollowed;
        return row;
    }
    // The row that is likely to be followed next, or kNone.
    Row upcoming() const {
        return next_ < rows_.size() && !(rows_[next_].row & kFollowed) ? rows_[next_].row
                                                                       : Graph::kNone;
    }
    void end(std::vector<Near>& found) {
        found.clear();
        for (const Near& near : rows_) found.push_back({near.score, near.row & ~kFollowed});
    }

  private:
    static constexpr Row kFollowed = Graph::kMaxRows;
    static constexpr float kFar = 3e38F;

    std::size_t width_ = 0, next_ = 0;
    std::vector<Near> rows_;
};

struct Scratch {
    Met met;
    Beam beam;
    std::vector<Row> batch;
    std::vector<Near> scored;
    std::vector<const std::int8_t*> codes;
    std::vector<std::int32_t> sums;
    std::vector<Near> kept, passed_over;
    Memory row;  // as a query
};

Scratch& scratch() {
    static thread_local Scratch own;
    return own;
}

// A row as a query, until the next call.
const std::int16_t* as_query(const RowStore& rows, Row row) {
    Memory& room = scratch().row;
    const std::size_t size_bytes = rows.stride() * sizeof(std::int16_t);
    if (room.size_bytes() < size_bytes) room = Memory(size_bytes);
    rows.codes(row, room.at<std::int16_t>());
    return room.at<std::int16_t>();
}

}  // namespace

std::size_t Graph::memory_bytes() const {
    std::size_t bytes = blocks_.capacity() * sizeof(Memory) + linked_.capacity() / 8 +
                        entries_.capacity() * sizeof(Row);
    for (const Memory& block : blocks_) bytes += block.size_bytes();
    return bytes;
}

void Graph::reserve(std::size_t rows) {
    blocks_.reserve((rows + kBlock - 1) / kBlock);
    while (blocks_.size() * kBlock < rows) {
        Memory block(kBlock * sizeof(Links));
        std::fill_n(block.at<Row>(), kBlock * kWidth, kNone);
        blocks_.push_back(std::move(block));
    }
    if (linked_.size() < rows) linked_.resize(std::max(rows, linked_.size() * 2));
    entries_.reserve(kEntries + 1);
}

void Graph::mark(Row row, bool linked) {
    if (linked_[row] == linked) return;
    linked_[row] = linked;
    size_ += linked ? 1 : std::size_t(-1);
    // The rows whose mixed numbers are the smallest: a sample of those linked, whatever came when.
    const auto before = [](Row a, Row b) { return mixed(a) < mixed(b); };
    const auto place = std::lower_bound(entries_.begin(), entries_.end(), row, before);
    if (!linked) {
        if (place != entries_.end() && *place == row) entries_.erase(place);
        const auto other = std::find(linked_.begin(), linked_.end(), true);
        if (entries_.empty() && other != linked_.end()) {
            entries_.push_back(static_cast<Row>(other - linked_.begin()));
        }
    } else if (entries_.empty() ||
               (mixed(row) <= kEntryShare && place - entries_.begin() < kEntries)) {
        entries_.insert(place, row);
        if (static_cast<std::ptrdiff_t>(entries_.size()) > kEntries) entries_.pop_back();
    }
}

void Graph::score(const std::int16_t* query, const std::vector<Row>& rows,
                  std::vector<Near>& scored) const {
    Scratch& own = scratch();
    own.codes.clear();
    for (const Row row : rows) own.codes.push_back(rows_.high(row));
    own.sums.resize(rows.size());
    kernels().dot_codes(own.codes.data(), rows.size(), query, rows_.stride(), own.sums.data());
    scored.clear();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        scored.push_back({rows_.step(rows[i]) * static_cast<float>(own.sums[i]), rows[i]});
    }
}

std::size_t Graph::search(const std::int16_t* query, std::size_t width,
                          std::vector<Near>& found) const {
    Scratch& own = scratch();
    own.met.begin(linked_.size());
    own.beam.begin(width);
    score(query, entries_, own.scored);
    std::size_t scored = own.scored.size();
    const std::size_t starts = std::min(kStarts, scored);
    std::partial_sort(own.scored.begin(), own.scored.begin() + starts, own.scored.end(), better);
    for (std::size_t i = 0; i < starts; ++i) {
        own.met.add(own.scored[i].row);  // the others may be met again, and then count
        own.beam.offer(own.scored[i]);
    }

    for (Row row = own.beam.follow(); row != kNone; row = own.beam.follow()) {
        own.batch.clear();
        for (const Row to : links(row).to) {
            if (to == kNone) break;
            if (linked_[to] && own.met.add(to)) {
                own.batch.push_back(to);
                const std::int8_t* codes = rows_.high(to);
                for (std::size_t i = 0; i < rows_.stride(); i += kRowAlign) {
                    __builtin_prefetch(codes + i);
                }
                __builtin_prefetch(&rows_.step(to));
            }
        }
        if (const Row upcoming = own.beam.upcoming(); upcoming != kNone) {
            __builtin_prefetch(&links(upcoming).to[0]);
            __builtin_prefetch(&links(upcoming).to[kWidth / 2]);
        }
        score(query, own.batch, own.scored);
        scored += own.scored.size();
        float bar = own.beam.bar();
        for (const Near& near : own.scored) {
            if (near.score < bar) continue;
            own.beam.offer(near);
            bar = own.beam.bar();
        }
    }
    own.beam.end(found);
    own.met.end();
    return scored;
}

// Keeps at most `count` of the candidates, which come best first: one that is nearer to a kept one
// than to the row itself is passed over, since it is reached through that.
void Graph::choose(std::vector<Near>& candidates, std::size_t count) const {
    Scratch& own = scratch();
    std::vector<Near>& kept = own.kept;
    std::vector<Near>& scored = own.scored;
    std::vector<Row>& left = own.batch;
    kept.clear();
    own.passed_over.clear();
    while (!candidates.empty() && kept.size() < count) {
        const Near best = candidates.front();
        kept.push_back(best);
        if (kept.size() == count) break;
        left.clear();
        for (std::size_t i = 1; i < candidates.size(); ++i) left.push_back(candidates[i].row);
        score(as_query(rows_, best.row), left, scored);
        const float step = rows_.step(best.row);
        std::size_t stay = 0;
        for (std::size_t i = 0; i < left.size(); ++i) {
            if (scored[i].score * step < candidates[i + 1].score) {
                candidates[stay++] = candidates[i + 1];
            } else {
                own.passed_over.push_back(candidates[i + 1]);
            }
        }
        candidates.resize(stay);
    }
    if (kept.size() < kFewestLinks) {
        std::sort(own.passed_over.begin(), own.passed_over.end(), better);
        for (const Near& near : own.passed_over) {
            if (kept.size() < std::min(count, kFewestLinks)) kept.push_back(near);
        }
    }
    candidates = kept;
}

Graph::Plan Graph::plan(Row row) const {
    Plan plan{row, {}};
    std::vector<Near> near;
    search(as_query(rows_, row), kBuildWidth, near);
    const float step = rows_.step(row);
    for (Near& candidate : near) candidate.score *= step;  // comparable between rows
    choose(near, kOwnLinks);
    plan.changes.push_back({row, {}});
    std::fill_n(plan.changes[0].links.to, kWidth, kNone);
    for (std::size_t i = 0; i < near.size(); ++i) {
        plan.changes[0].links.to[i] = near[i].row;
        plan.changes.push_back({near[i].row, with(near[i].row, row)});
    }
    return plan;
}

// The links of `row` with one more.
Graph::Links Graph::with(Row row, Row added) const {
    Links links = this->links(row);
    if (std::find(links.to, links.to + kWidth, added) != links.to + kWidth) {
        return links;  // from a life before
    }
    std::size_t count = 0;
    for (std::size_t i = 0; i < kWidth && links.to[i] != kNone; ++i) {
        if (linked_[links.to[i]]) links.to[count++] = links.to[i];
    }
    if (count < kWidth) {
        links.to[count++] = added;
        std::fill(links.to + count, links.to + kWidth, kNone);
        return links;
    }
    std::vector<Row> candidates(links.to, links.to + kWidth);
    candidates.push_back(added);
    return best_of(row, candidates);
}

Graph::Links Graph::best_of(Row row, const std::vector<Row>& candidates) const {
    const float step = rows_.step(row);
    std::vector<Near> near;
    score(as_query(rows_, row), candidates, near);
    for (Near& candidate : near) candidate.score *= step;
    std::sort(near.begin(), near.end(), better);
    choose(near, kWidth);
    Links links;
    std::fill_n(links.to, kWidth, kNone);
    for (std::size_t i = 0; i < near.size(); ++i) links.to[i] = near[i].row;
    return links;
}

void Graph::apply(const Plan& plan) {
    mark(plan.row, true);
    for (const Change& change : plan.changes) at(change.row) = change.links;
}

void Graph::unlink(Row row) noexcept {
    if (!linked(row)) return;
    const Links own = links(row);
    mark(row, false);
    std::fill_n(at(row).to, kWidth, kNone);
    for (const Row near : own.to) {
        if (near == kNone || !linked_[near]) continue;
        Row* const to = at(near).to;
        Row* const found = std::find(to, to + kWidth, row);
        if (found == to + kWidth) continue;
        try {
            at(near) = links_around(near, own);
        } catch (const std::bad_alloc&) {  // no room to choose others: it is left with fewer
            std::copy(found + 1, to + kWidth, found);
            to[kWidth - 1] = kNone;
        }
    }
}

// The best of what `near` is linked to and of what a row that goes was linked to.
Graph::Links Graph::links_around(Row near, const Links& gone) const {
    std::vector<Row> candidates;
    const auto add = [&](Row to) {
        if (to != kNone && to != near && linked_[to] &&
            std::find(candidates.begin(), candidates.end(), to) == candidates.end()) {
            candidates.push_back(to);
        }
    };
    for (const Row to : links(near).to) add(to);
    for (const Row to : gone.to) add(to);
    return best_of(near, candidates);
}

void Graph::restore(Row row, const Links& saved) {
    at(row) = saved;
    mark(row, true);
}

}  // namespace edgepersona
