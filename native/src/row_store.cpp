#include "edgepersona/row_store.h"

#include <cstring>
#include <new>
#include <utility>

namespace edgepersona {
namespace {

// Small enough that a small profile stays small and a block fits a core's L2 cache.
constexpr std::size_t kBlockBytes = 256 * 1024;

// The largest shift with 2^shift <= value, or 0.
unsigned log2_of(std::size_t value) {
    unsigned shift = 0;
    while (value >> (shift + 1) != 0) ++shift;
    return shift;
}

void* (*const volatile overwrite)(void*, int, std::size_t) = std::memset;

}  // namespace

void wipe(void* bytes, std::size_t size) noexcept { overwrite(bytes, 0, size); }

void RowStore::Free::operator()(Half* block) const noexcept {
    wipe(block, size_bytes);
    ::operator delete(block, std::align_val_t{kRowAlign});
}

RowStore::RowStore(std::size_t ndim)
    : stride_((ndim + kRowStep - 1) / kRowStep * kRowStep),
      block_shift_(log2_of(kBlockBytes / (stride_ * sizeof(Half)))) {}

std::size_t RowStore::memory_bytes() const {
    return blocks_.size() * rows_per_block() * stride_ * sizeof(Half) +
           blocks_.capacity() * sizeof(blocks_[0]);
}

void RowStore::reserve(std::size_t rows) {
    const std::size_t needed = (rows + rows_per_block() - 1) / rows_per_block();
    const std::size_t size_bytes = rows_per_block() * stride_ * sizeof(Half);
    while (blocks_.size() < needed) {
        void* block = ::operator new(size_bytes, std::align_val_t{kRowAlign});
        std::memset(block, 0, size_bytes);
        std::unique_ptr<Half, Free> owned(static_cast<Half*>(block), Free{size_bytes});
        blocks_.push_back(std::move(owned));
    }
}

void RowStore::remove(std::size_t index) noexcept {
    Half* last = row(size_ - 1);
    if (index != size_ - 1) std::memcpy(row(index), last, stride_ * sizeof(Half));
    wipe(last, stride_ * sizeof(Half));
    --size_;
    // One empty block stays, so that adding and removing at an edge does not allocate each time.
    const std::size_t used = (size_ + rows_per_block() - 1) / rows_per_block();
    while (blocks_.size() > used + 1 || (size_ == 0 && !blocks_.empty())) blocks_.pop_back();
}

}  // namespace edgepersona
