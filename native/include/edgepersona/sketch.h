// Sketch: two bits a value of every row, from which to pick the rows worth scoring.
//
// For vectors that no graph helps to find: then all rows are read, but a quarter of what a scan
// reads. A value is one of the four levels that suit a normal distribution best (Max 1960), and two
// neighbouring ones are a number of 4 bits, looked up in a table of the query's, 64 rows at a time
// (as in André et al., VLDB 2015). A row's estimates are made to agree with its own length, as
// RaBitQ does it (Gao and Long, SIGMOD 2024).
//
// It holds rows 0 to size - 1 of a RowStore. Not thread-safe; the owner locks. Only where
// `kernels().sketch` is there: looking up is slow without shuffles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/id_map.h"
#include "edgepersona/memory.h"
#include "edgepersona/row_store.h"

namespace edgepersona {

class Sketch {
  public:
    using Row = IdMap::Row;
    static constexpr std::size_t kMaxNdim = 2048;  // beyond, a sum would not fit 16 bits

    explicit Sketch(const RowStore& rows);

    std::size_t size() const { return size_; }
    std::size_t memory_bytes() const;

    // Makes room, so that writing rows below `rows` cannot fail.
    void reserve(std::size_t rows);
    // Reads a row of the store anew; the first row after the last is added so.
    void write(std::size_t row) noexcept;
    // Drops the last row and overwrites it.
    void pop_back() noexcept;

    // The `count` rows whose estimates are the best, in no order.
    void pick(const float* query, std::size_t count, std::vector<Row>& picked) const;

  private:
    static constexpr std::size_t kBlock = 64;          // rows looked up at a time
    static constexpr std::size_t kBlocksPerPart = 512;  // allocated at once

    std::uint8_t* codes(std::size_t block) const;
    float* gains(std::size_t block) const;
    void clear(std::size_t row) noexcept;

    const RowStore& rows_;
    std::size_t quads_;        // of values, four a byte of each row
    std::size_t block_bytes_;  // codes, then a gain a row
    std::vector<Memory> parts_;
    std::vector<float> values_;  // of the row being written
    std::size_t size_ = 0;
};

}  // namespace edgepersona
