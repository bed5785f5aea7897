#include "edgepersona/float_rows.h"

#include <cstring>
#include <new>
#include <utility>


namespace edgepersona {
namespace {

constexpr std::size_t kBlockBytes = 2 * Memory::kHugePage;
constexpr std::size_t kStep = 64 / sizeof(float);  // a cache line

}  // namespace

FloatRows::FloatRows(std::size_t ndim)
    : ndim_(ndim),
      stride_((ndim + kStep - 1) / kStep * kStep),
      rows_per_block_(std::max<std::size_t>(kBlockBytes / (stride_ * sizeof(float)), 1)) {}

std::size_t FloatRows::memory_bytes() const {
    std::size_t total = blocks_.capacity() * sizeof(Memory);
    for (const Memory& block : blocks_) total += block.size_bytes();
    return total;
}

std::size_t FloatRows::block_bytes(std::size_t rows) const {
    const std::size_t size_bytes = rows * stride_ * sizeof(float);
    const std::size_t page = Memory::kHugePage;
    return size_bytes < page ? size_bytes : (size_bytes + page - 1) / page * page;
}

std::size_t FloatRows::rows_in_first() const {
    if (blocks_.empty()) return 0;
    return std::min(blocks_[0].size_bytes() / (stride_ * sizeof(float)), rows_per_block_);
}

// Only while there is no other block.
void FloatRows::replace_first(std::size_t rows) {
    if (blocks_.empty()) blocks_.reserve(1);
    Memory block(block_bytes(rows));
    if (size_ != 0) std::memcpy(block.at<float>(), row(0), size_ * stride_ * sizeof(float));
    if (blocks_.empty()) blocks_.emplace_back();
    blocks_[0] = std::move(block);
}

void FloatRows::reserve(std::size_t rows) {
    if (rows > rows_in_first() && rows_in_first() < rows_per_block_) {
        replace_first(std::min(rows_per_block_, std::max(rows, 2 * rows_in_first())));
    }
    const std::size_t needed = (rows + rows_per_block_ - 1) / rows_per_block_;
    if (needed > blocks_.capacity()) blocks_.reserve(std::max(needed, 2 * blocks_.capacity()));
    while (blocks_.size() < needed) blocks_.emplace_back(block_bytes(rows_per_block_));
}

void FloatRows::push_back(const float* values) noexcept {
    std::memcpy(at(size_++), values, ndim_ * sizeof(float));
}

void FloatRows::remove(std::size_t index) noexcept {
    float* const last = at(size_ - 1);
    if (index != size_ - 1) std::memcpy(at(index), last, stride_ * sizeof(float));
    wipe(last, stride_ * sizeof(float));
    --size_;
}

void FloatRows::shrink() noexcept {
    if (size_ == 0) {
        std::vector<Memory>().swap(blocks_);
        return;
    }
    // One empty block stays, so that adding and removing at an edge does not allocate each time.
    const std::size_t used = (size_ + rows_per_block_ - 1) / rows_per_block_;
    while (blocks_.size() > used + 1) blocks_.pop_back();
    if (size_ > rows_in_first() / 4) return;
    blocks_.resize(1);
    try {
        replace_first(2 * size_);
    } catch (const std::bad_alloc&) {  // no room for the smaller copy: the larger one serves
    }
}

}  // namespace edgepersona
