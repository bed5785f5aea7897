#include "edgepersona/row_store.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace edgepersona {
namespace {

constexpr std::size_t kSlabBytes = std::size_t{4} << 20;  // at least: some huge pages
constexpr std::size_t kFewestRows = 64;  // a small profile stays small: the last slab grows

// The smallest shift with unit << shift >= size.
unsigned shift_for(std::size_t unit, std::size_t size) {
    unsigned shift = 0;
    while (unit << shift < size) ++shift;
    return shift;
}

// Below, 1 / step would not be finite; no half is as small.
constexpr float kTiny = 1e-30F;

}  // namespace

RowStore::Slab::Slab(std::size_t count, std::size_t stride)
    : rows(count),
      memory(count * (2 * stride + 2 * sizeof(float))),
      high(memory.at<std::int8_t>()),
      low(memory.at<std::int8_t>(count * stride)),
      steps(memory.at<float>(2 * count * stride)),
      slacks(steps + count) {}

RowStore::RowStore(std::size_t ndim)
    : ndim_(ndim),
      stride_((ndim + kRowStep - 1) / kRowStep * kRowStep),
      slab_shift_(shift_for(2 * stride_, kSlabBytes)) {}

std::size_t RowStore::memory_bytes() const {
    std::size_t bytes = slabs_.capacity() * sizeof(Slab);
    for (const Slab& slab : slabs_) bytes += slab.memory.size_bytes();
    return bytes;
}

void RowStore::reserve(std::size_t rows) {
    for (std::size_t slab = 0; slab << slab_shift_ < rows; ++slab) {
        const std::size_t wanted = std::min(rows - (slab << slab_shift_), rows_per_slab());
        if (slab == slabs_.size()) slabs_.emplace_back(room_for(wanted), stride_);
        if (slabs_[slab].rows < wanted) enlarge(slabs_[slab], room_for(wanted));
    }
}

std::size_t RowStore::room_for(std::size_t rows) const {
    return std::min(rows_per_slab(), kFewestRows << shift_for(kFewestRows, rows));
}

void RowStore::enlarge(Slab& slab, std::size_t rows) {
    Slab larger(rows, stride_);
    std::memcpy(larger.high, slab.high, slab.rows * stride_);
    std::memcpy(larger.low, slab.low, slab.rows * stride_);
    std::copy_n(slab.steps, slab.rows, larger.steps);
    std::copy_n(slab.slacks, slab.rows, larger.slacks);
    slab = std::move(larger);
}

void RowStore::write(std::size_t row, const float* values) noexcept {
    const float largest = kernels().largest(values, ndim_);
    const Slab& to = slab(row);
    const std::size_t i = within(row);
    if (largest < kTiny) {
        clear(row);
        return;
    }
    const float step = largest / static_cast<float>(kLargestWhole);
    const std::int32_t squares =
        kernels().split(values, ndim_, static_cast<float>(kLargestWhole) / largest,
                        to.high + i * stride_, to.low + i * stride_);
    to.steps[i] = step;
    to.slacks[i] = step * static_cast<float>(std::sqrt(squares) * (1 + 1e-6));
}

void RowStore::read(std::size_t row, float* values) const noexcept {
    for (std::size_t i = 0; i < ndim_; ++i) {
        values[i] = step(row) * static_cast<float>(high(row)[i] * 256 + low(row)[i]);
    }
}

std::int32_t RowStore::largest_code() const {
    return static_cast<std::int32_t>(std::min<std::size_t>(INT16_MAX, INT32_MAX / (127 * stride_)));
}

void RowStore::codes(std::size_t row, std::int16_t* to) const noexcept {
    int shift = 0;
    while (kLargestWhole + 128 > largest_code() << shift) ++shift;
    kernels().join(high(row), low(row), stride_, shift, to);
}

void RowStore::vacate(std::size_t row) noexcept {
    clear(row);
    slab(row).slacks[within(row)] = -std::numeric_limits<float>::infinity();
}

void RowStore::replace_by_last(std::size_t row) noexcept {
    const std::size_t last = size_ - 1;
    if (row != last) copy(last, row);
    clear(last);
    --size_;
    // One empty slab stays, so that adding and removing at an edge does not allocate each time.
    const std::size_t used = (size_ + rows_per_slab() - 1) >> slab_shift_;
    while (slabs_.size() > used + 1 || (size_ == 0 && !slabs_.empty())) slabs_.pop_back();
}

void RowStore::copy(std::size_t from, std::size_t to) noexcept {
    const Slab &source = slab(from), &target = slab(to);
    const std::size_t i = within(from), j = within(to);
    std::memcpy(target.high + j * stride_, source.high + i * stride_, stride_);
    std::memcpy(target.low + j * stride_, source.low + i * stride_, stride_);
    target.steps[j] = source.steps[i];
    target.slacks[j] = source.slacks[i];
}

void RowStore::clear(std::size_t row) noexcept {
    const Slab& from = slab(row);
    const std::size_t i = within(row);
    wipe(from.high + i * stride_, stride_);
    wipe(from.low + i * stride_, stride_);
    from.steps[i] = from.slacks[i] = 0.0F;
}

}  // namespace edgepersona
