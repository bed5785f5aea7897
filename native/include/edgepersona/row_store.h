// Rows of halves in fixed blocks: growing copies nothing, and shrinking gives memory back.
//
// A row is `stride` long: ndim, padded with zeros to whole cache lines, aligned to one. Rows are
// numbered 0..size-1 without gaps. Memory that held a row is overwritten before it is let go.
// Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "edgepersona/kernels.h"

namespace edgepersona {

// Overwrites with zeros in a way the compiler may not drop.
void wipe(void* bytes, std::size_t size) noexcept;

class RowStore {
  public:
    explicit RowStore(std::size_t ndim);

    std::size_t stride() const { return stride_; }
    std::size_t size() const { return size_; }
    std::size_t rows_per_block() const { return std::size_t{1} << block_shift_; }
    std::size_t memory_bytes() const;

    const Half* row(std::size_t index) const { return const_cast<RowStore*>(this)->row(index); }
    Half* row(std::size_t index) {
        return blocks_[index >> block_shift_].get() +
               (index & (rows_per_block() - 1)) * stride_;
    }

    // Makes room, so that the next push_back calls up to `rows` in all cannot fail.
    void reserve(std::size_t rows);
    // Appends a row of zeros, within what was reserved.
    Half* push_back() noexcept { return row(size_++); }
    // Overwrites the row at `index` with the last one, and the last one with zeros.
    void remove(std::size_t index) noexcept;

  private:
    struct Free {
        std::size_t size_bytes;
        void operator()(Half* block) const noexcept;
    };

    std::size_t stride_;
    unsigned block_shift_;  // a division for every row would show in a search's time
    std::size_t size_ = 0;
    std::vector<std::unique_ptr<Half, Free>> blocks_;
};

}  // namespace edgepersona
