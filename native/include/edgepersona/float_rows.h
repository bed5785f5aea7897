// Rows of floats, read from first to last: in large blocks, so that reading seldom starts anew.
//
// A row is `stride` long: ndim, padded with zeros to whole cache lines, aligned to one. Rows are
// numbered 0..size-1 without gaps. The first block grows with the rows, the others are whole: few
// rows take little memory, and many are never copied. Rows that go are overwritten.
// Not thread-safe; the owner locks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "edgepersona/memory.h"

namespace edgepersona {

class FloatRows {
  public:
    // Neighbours in memory, `stride` apart.
    struct Run {
        const float* rows;
        std::size_t count;
    };

    explicit FloatRows(std::size_t ndim);

    std::size_t ndim() const { return ndim_; }
    std::size_t stride() const { return stride_; }
    std::size_t size() const { return size_; }
    std::size_t rows_per_block() const { return rows_per_block_; }
    std::size_t memory_bytes() const;

    const float* row(std::size_t index) const { return const_cast<FloatRows*>(this)->at(index); }
    // The rows from `first` on, up to `most`, or to the end of a block.
    Run run(std::size_t first, std::size_t most) const {
        return {row(first), std::min(most, rows_per_block_ - first % rows_per_block_)};
    }

    // Makes room, so that the next push_back calls up to `rows` in all cannot fail.
    void reserve(std::size_t rows);
    // Appends a copy of the ndim values of a row, within what was reserved.
    void push_back(const float* values) noexcept;
    // Overwrites the row at `index` with the last one, and the last one with zeros.
    void remove(std::size_t index) noexcept;
    // Lets go of memory that was for many more rows.
    void shrink() noexcept;

  private:
    float* at(std::size_t index) {
        return blocks_[index / rows_per_block_].at<float>() + index % rows_per_block_ * stride_;
    }
    std::size_t rows_in_first() const;
    std::size_t block_bytes(std::size_t rows) const;
    void replace_first(std::size_t rows);

    std::size_t ndim_, stride_, rows_per_block_;
    std::size_t size_ = 0;
    std::vector<Memory> blocks_;
};

}  // namespace edgepersona
