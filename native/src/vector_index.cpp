#include "edgepersona/vector_index.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "edgepersona/errors.h"
#include "edgepersona/top_k.h"

namespace edgepersona {
namespace {

using Ids = std::vector<std::int64_t>;

// Rows scored at a time: they stay in L2 while every query of a batch passes over them.
constexpr std::size_t kChunk = 256;

bool usable(float value) { return std::fabs(value) <= kHalfMax; }  // false for NaN
bool usable(Half value) { return (value & 0x7c00U) != 0x7c00U; }

template <class T>
void check_values(const char* what, Span<T> vectors, std::size_t ndim) {
    for (std::size_t at = 0; at < vectors.size; at += ndim) {
        bool good = true;  // no early exit within a row, so that the loop can be vectorised
        for (std::size_t i = 0; i < ndim; ++i) good &= usable(vectors[at + i]);
        if (!good) {
            throw InvalidInput(std::string(what) + " " + std::to_string(at / ndim) +
                               " holds a NaN, an infinity or a value beyond 65504: every value "
                               "must be finite and fit a half");
        }
    }
}

bool strictly_increasing(Span<std::int64_t> ids) {
    return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
}

Ids sorted(Span<std::int64_t> ids) {
    Ids copy(ids.begin(), ids.end());
    std::sort(copy.begin(), copy.end());
    return copy;
}

void check_unique(Span<std::int64_t> ids) {
    if (strictly_increasing(ids)) return;
    const Ids copy = sorted(ids);
    const auto twin = std::adjacent_find(copy.begin(), copy.end());
    if (twin != copy.end()) {
        throw InvalidInput("id " + std::to_string(*twin) +
                           " is given more than once: each id may appear once in a call");
    }
}

void write(const float* from, std::size_t ndim, Half* to) { kernels().to_half(from, ndim, to); }
void write(const Half* from, std::size_t ndim, Half* to) { std::copy(from, from + ndim, to); }

std::size_t checked_ndim(std::size_t ndim) {
    if (ndim >= 1 && ndim <= VectorIndex::kMaxNdim) return ndim;
    throw InvalidInput("ndim is " + std::to_string(ndim) + ", expected 1 to " +
                       std::to_string(VectorIndex::kMaxNdim));
}

// The queries, padded with zeros as the rows are.
class Padded {
  public:
    Padded(Span<float> queries, std::size_t ndim, std::size_t stride)
        : stride_(stride), memory_(queries.size / ndim * stride + kRowAlign / sizeof(float)) {
        void* start = memory_.data();
        std::size_t space = memory_.size() * sizeof(float);
        data_ = static_cast<float*>(std::align(kRowAlign, 1, start, space));
        for (std::size_t q = 0; q < queries.size / ndim; ++q) {
            std::copy_n(queries.data + q * ndim, ndim, data_ + q * stride);
        }
    }
    const float* operator[](std::size_t query) const { return data_ + query * stride_; }

  private:
    std::size_t stride_;
    std::vector<float> memory_;
    float* data_;
};

}  // namespace

VectorIndex::VectorIndex(std::size_t ndim) : ndim_(checked_ndim(ndim)), rows_(ndim_) {}

std::size_t VectorIndex::size() const {
    std::shared_lock lock(mutex_);
    return rows_.size();
}

std::size_t VectorIndex::memory_bytes() const {
    std::shared_lock lock(mutex_);
    return rows_.memory_bytes() + ids_.capacity() * sizeof(std::int64_t) + map_.memory_bytes();
}

void VectorIndex::add(Span<std::int64_t> ids, Span<float> vectors) { add_rows(ids, vectors); }
void VectorIndex::add(Span<std::int64_t> ids, Span<Half> vectors) { add_rows(ids, vectors); }

template <class T>
void VectorIndex::add_rows(Span<std::int64_t> given, Span<T> vectors) {
    if (vectors.size % ndim_ != 0 || vectors.size / ndim_ != given.size) {
        throw InvalidInput(std::to_string(vectors.size) + " values for " +
                           std::to_string(given.size) + " ids of " + std::to_string(ndim_) +
                           " dimensions: expected ids times dimensions");
    }
    check_values("vector", vectors, ndim_);
    const Ids ids(given.begin(), given.end());  // ours: the caller's could change while we work
    check_unique({ids.data(), ids.size()});

    std::unique_lock lock(mutex_);
    std::size_t size = rows_.size();
    for (const std::int64_t id : ids) size += map_.find(id) == IdMap::kNone;
    if (size >= IdMap::kNone) throw InvalidInput("an index holds fewer than 2^32 - 1 vectors");
    // All that can fail comes first; below, nothing throws.
    rows_.reserve(size);
    if (ids_.capacity() < size) ids_.reserve(std::max(size, ids_.capacity() * 2));
    map_.reserve(size);

    for (std::size_t i = 0; i < ids.size(); ++i) {
        IdMap::Row row = map_.find(ids[i]);
        if (row == IdMap::kNone) {
            row = static_cast<IdMap::Row>(rows_.size());
            rows_.push_back();
            ids_.push_back(ids[i]);
            map_.set(ids[i], row);
        }
        write(vectors.data + i * ndim_, ndim_, rows_.row(row));
    }
}

std::size_t VectorIndex::remove(Span<std::int64_t> ids) {
    std::unique_lock lock(mutex_);
    const std::size_t before = rows_.size();
    for (const std::int64_t id : ids) {
        const IdMap::Row row = map_.find(id);
        if (row == IdMap::kNone) continue;
        rows_.remove(row);
        ids_[row] = ids_.back();
        if (ids_[row] != id) map_.set(ids_[row], row);
        ids_.pop_back();
        map_.erase(id);
    }
    if (ids_.capacity() > 16 + 4 * ids_.size()) {
        try {
            ids_.shrink_to_fit();
            map_.shrink();
        } catch (const std::bad_alloc&) {  // no room for the smaller copy: the larger one serves
        }
    }
    return before - rows_.size();
}

std::vector<IdMap::Row> VectorIndex::rows_of(Span<std::int64_t> ids) const {
    Ids unique;
    if (!strictly_increasing(ids)) {  // each id may be returned once only
        unique = sorted(ids);
        unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
        ids = {unique.data(), unique.size()};
    }
    std::vector<IdMap::Row> rows;
    rows.reserve(std::min(ids.size, map_.size()));
    for (const std::int64_t id : ids) {
        const IdMap::Row row = map_.find(id);
        if (row != IdMap::kNone) rows.push_back(row);
    }
    return rows;
}

Hits VectorIndex::search(Span<float> queries, std::size_t k,
                         const Span<std::int64_t>* only) const {
    if (queries.size % ndim_ != 0) {
        throw InvalidInput(std::to_string(queries.size) + " values are no whole queries of " +
                           std::to_string(ndim_) + " dimensions");
    }
    if (k < 1) throw InvalidInput("k is 0, expected 1 or more");
    check_values("query", queries, ndim_);
    const Padded padded(queries, ndim_, rows_.stride());

    std::shared_lock lock(mutex_);
    std::vector<IdMap::Row> chosen;
    if (only != nullptr) chosen = rows_of(*only);
    const std::size_t candidates = only != nullptr ? chosen.size() : rows_.size();

    Hits hits;
    hits.queries = queries.size / ndim_;
    hits.k = std::min(k, candidates);
    if (hits.k == 0) return hits;
    std::vector<TopK> best;
    best.reserve(hits.queries);
    for (std::size_t q = 0; q < hits.queries; ++q) best.emplace_back(hits.k);
    const auto dot_rows = kernels().dot_rows;
    IdMap::Row numbers[kChunk];
    const Half* rows[kChunk];
    float scores[kChunk];
    for (std::size_t start = 0; start < candidates; start += kChunk) {
        const std::size_t count = std::min(kChunk, candidates - start);
        for (std::size_t i = 0; i < count; ++i) {
            numbers[i] = only != nullptr ? chosen[start + i] : static_cast<IdMap::Row>(start + i);
            rows[i] = rows_.row(numbers[i]);
        }
        for (std::size_t q = 0; q < hits.queries; ++q) {
            TopK& top = best[q];
            dot_rows(rows, count, padded[q], rows_.stride(), scores);
            float bar = top.bar();
            for (std::size_t i = 0; i < count; ++i) {
                if (scores[i] < bar) continue;
                top.offer({scores[i], ids_[numbers[i]]});
                bar = top.bar();
            }
        }
    }

    hits.ids.reserve(hits.queries * hits.k);
    hits.scores.reserve(hits.queries * hits.k);
    for (TopK& top : best) {
        for (const Scored& hit : top.sorted()) {
            hits.ids.push_back(hit.id);
            hits.scores.push_back(hit.score);
        }
    }
    return hits;
}

}  // namespace edgepersona
