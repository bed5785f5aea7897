// VectorIndex: vectors under 64-bit ids, searched exactly by inner product.
//
//     VectorIndex index(384);
//     index.add({ids, n}, Span<float>{vectors, n * 384});
//     Hits hits = index.search({query, 384}, 10);
//
// It owns its rows, kept as halves; what is handed in is only borrowed for the call.
// Any thread may call anything: searches run side by side, add and remove run alone. The scan is
// exact and bound by memory; a graph (graph.h) is to take over where there are too many rows.
// A call that throws changed nothing. Throws InvalidInput for what cannot be used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <vector>

#include "edgepersona/id_map.h"
#include "edgepersona/kernels.h"
#include "edgepersona/row_store.h"
#include "edgepersona/span.h"

namespace edgepersona {

struct Hits {
    std::size_t queries = 0;
    std::size_t k = 0;               // results a query: fewer than asked for where rows are fewer
    std::vector<std::int64_t> ids;   // queries x k, best first, equal scores by smaller id
    std::vector<float> scores;       // queries x k
};

class VectorIndex {
  public:
    static constexpr std::size_t kMaxNdim = 65536;

    explicit VectorIndex(std::size_t ndim);

    std::size_t ndim() const { return ndim_; }
    std::size_t size() const;
    std::size_t memory_bytes() const;

    // Adds ids.size rows; the row of an id that is there already is replaced.
    void add(Span<std::int64_t> ids, Span<float> vectors);
    void add(Span<std::int64_t> ids, Span<Half> vectors);

    // Removes the rows of these ids, overwriting them; returns how many were there.
    std::size_t remove(Span<std::int64_t> ids);

    // The k best rows for each query; with `only`, among these ids alone.
    Hits search(Span<float> queries, std::size_t k, const Span<std::int64_t>* only = nullptr) const;

  private:
    template <class T>
    void add_rows(Span<std::int64_t> ids, Span<T> vectors);
    std::vector<IdMap::Row> rows_of(Span<std::int64_t> ids) const;

    const std::size_t ndim_;
    mutable std::shared_mutex mutex_;
    RowStore rows_;
    std::vector<std::int64_t> ids_;  // by row
    IdMap map_;
};

}  // namespace edgepersona
