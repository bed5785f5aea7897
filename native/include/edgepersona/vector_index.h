// VectorIndex: vectors under 64-bit ids, searched by inner product.
//
//     VectorIndex index(384);
//     index.add({ids, n}, Span<float>{vectors, n * 384});
//     Hits hits = index.search({query, 384}, 10);
//     while (index.link(1000) > 0) {}   // on a thread of its own, where rows are many
//
// It owns its rows, kept in 16 bits a value (row_store.h); what is handed in is only borrowed for
// the call. Any thread may call anything: searches run side by side, add and remove run alone, and
// `link` keeps searches out for some copies a row only.
//
// A search is an exact scan: over the rows' upper halves, with what their rounding can hide at most
// added, and over both halves where that could be among the best. From `graph_from` rows on, `link`
// builds a graph, and measures how wide a walk finds what a scan finds. Once every row is linked,
// and if such a walk is the shorter way, searches take it. Where it is not, as among random vectors,
// it makes a sketch instead, and measures how many rows picked by that hold what a scan finds.
// Scores are exact in any case. A call that throws changed nothing; InvalidInput for what cannot be
// used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "edgepersona/graph.h"
#include "edgepersona/id_map.h"
#include "edgepersona/kernels.h"
#include "edgepersona/query.h"
#include "edgepersona/row_store.h"
#include "edgepersona/sketch.h"
#include "edgepersona/span.h"

namespace edgepersona {

struct Hits {
    std::size_t queries = 0;
    std::size_t k = 0;               // results a query: fewer than asked for where rows are fewer
    std::vector<std::int64_t> ids;   // queries x k, best first, equal scores by smaller id
    std::vector<float> scores;       // queries x k
};

// A graph as it is saved: links by node, nodes by rising id.
struct SavedGraph {
    std::vector<std::int64_t> ids;
    std::vector<std::uint32_t> links;  // ids x Graph::kWidth node numbers, padded with kNone
    std::size_t search_width = 0;
};

class VectorIndex {
  public:
    static constexpr std::size_t kMaxNdim = 65536;
    // Where a scan of 384 dimensions takes about .4 ms, and a walk a quarter of that.
    static constexpr std::size_t kGraphFrom = 32768;

    explicit VectorIndex(std::size_t ndim, std::size_t graph_from = kGraphFrom);

    std::size_t ndim() const { return ndim_; }
    std::size_t size() const;
    std::vector<std::int64_t> ids() const;  // rising
    std::size_t scan_bytes() const;    // what a scan needs: rows and ids
    std::size_t memory_bytes() const;  // and graph or sketch

    // Makes room for this many rows in all, so that adding them moves none.
    void reserve(std::size_t rows);
    // Adds ids.size rows; the row of an id that is there already is replaced.
    void add(Span<std::int64_t> ids, Span<float> vectors);
    void add(Span<std::int64_t> ids, Span<Half> vectors);

    // Removes the rows of these ids, overwriting them; returns how many were there.
    std::size_t remove(Span<std::int64_t> ids);

    // The k best rows for each query; with `only`, among these ids alone, by a scan.
    Hits search(Span<float> queries, std::size_t k, const Span<std::int64_t>* only = nullptr,
                bool exact = false) const;

    // Links up to `count` rows into the graph, or sketches them, none for 0; returns how many are
    // left, 0 where there is nothing to do. A query measured counts as a row.
    std::size_t link(std::size_t count);
    // The width of a search's walk through the graph; 0: searches do not walk.
    std::size_t search_width() const;
    // How many rows a search picks by the sketch to score; 0: searches do not pick.
    std::size_t search_depth() const;

    // A copy of the graph; empty where searches do not walk.
    SavedGraph graph() const;
    // Takes a saved graph of rows that are here; ids that are not are left out, with their links.
    void load_graph(Span<std::int64_t> ids, Span<std::uint32_t> links, std::size_t search_width);

  private:
    using Row = IdMap::Row;

    void make_room(std::size_t rows, std::size_t ids);
    template <class T>
    void add_rows(Span<std::int64_t> ids, Span<T> vectors);
    Row new_row() noexcept;
    void remove_row(Row row) noexcept;
    void drop_graph();
    void leave_graph_if_worn(std::size_t leaving);
    std::vector<Row> rows_of(Span<std::int64_t> ids) const;
    class Best;
    void scan(Span<Query> queries, const Row* rows, std::size_t count, Best* best) const;
    void walk(const Query& query, std::size_t width, Best& best) const;
    bool walks() const;
    bool picks() const;
    bool wants_links() const;
    struct Sample {
        std::vector<Query> queries;
        std::vector<std::vector<std::int64_t>> truth;  // the ids a scan finds
        std::size_t rows = 0;                          // scanned
    };
    struct Walked {
        double recall = 0;
        std::size_t scored = 0;  // rows, for one query
    };

    std::size_t left_to_link() const;
    bool grew_since_tuned(std::size_t size, bool whole) const;
    bool sample_more();
    Walked try_width(const Sample& sample, std::size_t width) const;
    double try_depth(const Sample& sample, std::size_t depth) const;
    bool link_one();
    bool start_graph();
    bool sketch_some();
    void tune_graph();
    void tune_sketch();

    const std::size_t ndim_;
    const std::size_t graph_from_;
    mutable std::shared_mutex mutex_;
    RowStore rows_;
    std::vector<std::int64_t> ids_;  // by row
    IdMap map_;

    std::mutex linking_;  // one thread links at a time
    Sample sample_;       // of that thread: a query a step, so that no step is long
    std::unique_ptr<Graph> graph_;
    std::vector<Row> vacant_;   // rows to be used again; none without a graph
    std::vector<Row> unlinked_;  // rows that the graph lacks, where there is one
    std::size_t search_width_ = 0;
    std::size_t tuned_at_ = 0;  // rows in graph or sketch when last measured

    bool no_walk_pays_ = false;  // then, with a sketch or without one, never with a graph
    std::unique_ptr<Sketch> sketch_;  // of the first rows, or of all
    std::size_t search_depth_ = 0;
    std::uint64_t epoch_ = 0;   // moves with every change but linking
};

}  // namespace edgepersona
