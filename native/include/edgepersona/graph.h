// Graph: links between near rows of a RowStore, walked to find the nearest of very many.
//
// A navigable small world (Malkov et al., Information Systems 45, 2014) with the choice of diverse
// neighbours of HNSW (Malkov and Yashunin, TPAMI 2020, algorithm 4) and without its upper layers:
// in hundreds of dimensions a sample of rows to start from does as well (Munyampirwa et al.,
// arXiv 2412.01940). It holds no vector: it reads the rows' upper halves, and scores by them are
// near, not exact; the owner rescores.
//
// Linking is planned first, which only reads, and then applied, which is a few copies: so the owner
// need not keep searches out meanwhile. Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/id_map.h"
#include "edgepersona/memory.h"
#include "edgepersona/row_store.h"

namespace edgepersona {

class Graph {
  public:
    using Row = IdMap::Row;
    static constexpr Row kNone = IdMap::kNone;
    static constexpr std::size_t kWidth = 32;  // links of a row, at most
    static constexpr Row kMaxRows = Row{1} << 31;

    struct Links {
        Row to[kWidth];  // kNone after the last
    };
    struct Near {
        float score;  // of the upper halves, up to a factor that is the query's
        Row row;
    };
    struct Change {
        Row row;
        Links links;
    };
    // What linking a row will write; without `changes`, nothing is linked yet.
    struct Plan {
        Row row;
        std::vector<Change> changes;
    };

    explicit Graph(const RowStore& rows) : rows_(rows) {}

    std::size_t size() const { return size_; }  // rows linked
    bool linked(std::size_t row) const { return row < linked_.size() && linked_[row]; }
    const Links& links(std::size_t row) const {
        return blocks_[row / kBlock].template at<Links>()[row % kBlock];
    }
    std::size_t memory_bytes() const;

    // Makes room for this many rows.
    void reserve(std::size_t rows);

    Plan plan(Row row) const;
    void apply(const Plan& plan);
    // Takes a row out; its neighbours are linked to each other where that serves.
    void unlink(Row row) noexcept;
    // As saved. Links to rows that are not linked are to be left out.
    void restore(Row row, const Links& links);

    // The best `width` rows found, best first; returns how many rows were scored.
    std::size_t search(const std::int16_t* query, std::size_t width,
                       std::vector<Near>& found) const;

  private:
    static constexpr std::size_t kBlock = 16384;

    Links& at(std::size_t row) { return const_cast<Links&>(links(row)); }
    void mark(Row row, bool linked);
    void choose(std::vector<Near>& candidates, std::size_t count) const;
    void score(const std::int16_t* query, const std::vector<Row>& rows,
               std::vector<Near>& scored) const;
    Links with(Row row, Row added) const;
    Links best_of(Row row, const std::vector<Row>& candidates) const;
    Links links_around(Row near, const Links& gone) const;

    const RowStore& rows_;
    std::vector<Memory> blocks_;  // of Links
    std::vector<bool> linked_;
    std::vector<Row> entries_;  // where a search starts
    std::size_t size_ = 0;
};

}  // namespace edgepersona
