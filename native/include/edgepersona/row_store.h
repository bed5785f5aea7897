// Rows of 16-bit numbers in two planes of 8: a scan reads the upper halves, rescoring both.
//
// A row's values are step * (256 * high + low), step its own: the largest value takes 127 in high.
// As precise as halves or better for all but a row's smallest values, in the same room; and the
// high plane alone is an 8-bit code whose error is known: at most `slack` times a query's norm.
//
// A row is `stride` long: ndim, padded with zeros to whole cache lines, aligned to one. Rows are
// numbered from 0; one may be vacant: all zeros, with a slack that no score can reach.
// Kept in slabs: growing copies the last at most, and shrinking gives memory back. What held a row
// is overwritten before it is let go. Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/kernels.h"
#include "edgepersona/memory.h"

namespace edgepersona {

class RowStore {
  public:
    explicit RowStore(std::size_t ndim);

    std::size_t ndim() const { return ndim_; }
    std::size_t stride() const { return stride_; }
    std::size_t size() const { return size_; }
    std::size_t rows_per_slab() const { return std::size_t{1} << slab_shift_; }
    std::size_t memory_bytes() const;

    const std::int8_t* high(std::size_t row) const {
        return slab(row).high + within(row) * stride_;
    }
    const std::int8_t* low(std::size_t row) const { return slab(row).low + within(row) * stride_; }
    const float& step(std::size_t row) const { return slab(row).steps[within(row)]; }
    float slack(std::size_t row) const { return slab(row).slacks[within(row)]; }
    // The largest code of a query with which no sum of products over a row leaves 32 bits.
    std::int32_t largest_code() const;
    bool vacant(std::size_t row) const { return slack(row) < 0; }

    // Makes room, so that the next push_back calls up to `rows` in all cannot fail.
    void reserve(std::size_t rows);
    // Appends a row of zeros, within what was reserved; returns its number.
    std::size_t push_back() noexcept { return size_++; }
    // Stores ndim finite values within +-kHalfMax.
    void write(std::size_t row, const float* values) noexcept;
    // The ndim values, as they were stored.
    void read(std::size_t row, float* values) const noexcept;
    // The row as a query's codes, `stride` of them, up to a factor that all rows share.
    void codes(std::size_t row, std::int16_t* to) const noexcept;
    // Overwrites the row and marks it vacant.
    void vacate(std::size_t row) noexcept;
    // Overwrites `row` with the last one, and drops that.
    void replace_by_last(std::size_t row) noexcept;

  private:
    struct Slab {
        Slab(std::size_t rows, std::size_t stride);

        std::size_t rows;
        Memory memory;
        std::int8_t* high;
        std::int8_t* low;
        float* steps;
        float* slacks;
    };

    const Slab& slab(std::size_t row) const { return slabs_[row >> slab_shift_]; }
    std::size_t within(std::size_t row) const { return row & (rows_per_slab() - 1); }
    std::size_t room_for(std::size_t rows) const;
    void enlarge(Slab& slab, std::size_t rows);
    void copy(std::size_t from, std::size_t to) noexcept;
    void clear(std::size_t row) noexcept;

    std::size_t ndim_;
    std::size_t stride_;
    unsigned slab_shift_;  // a division for every row would show in a search's time
    std::size_t size_ = 0;
    std::vector<Slab> slabs_;
};

}  // namespace edgepersona
