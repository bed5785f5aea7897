#include "edgepersona/memory_block.h"

#include <cstdint>
#include <cstring>
#include <new>

#include "edgepersona/row_store.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace edgepersona {
namespace {

constexpr std::size_t kLine = 64;

#if defined(__linux__)

bool is_mapped(std::size_t size_bytes) {
    return size_bytes >= MemoryBlock::kHugePage && size_bytes % MemoryBlock::kHugePage == 0;
}

// A mapping that starts on a huge page: one page more than asked for, then the ends cut off.
void* map(std::size_t size_bytes) {
    const std::size_t page = MemoryBlock::kHugePage;
    void* const whole = mmap(nullptr, size_bytes + page, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) throw std::bad_alloc();
    char* const start = static_cast<char*>(whole);
    const std::size_t before = (page - reinterpret_cast<std::uintptr_t>(start) % page) % page;
    if (before != 0) munmap(start, before);
    munmap(start + before + size_bytes, page - before);
    madvise(start + before, size_bytes, MADV_HUGEPAGE);  // advice: refused, small pages serve
    return start + before;
}

#endif

}  // namespace

MemoryBlock::MemoryBlock(std::size_t size_bytes) : size_bytes_(size_bytes) {
    if (size_bytes == 0) return;
#if defined(__linux__)
    if (is_mapped(size_bytes)) {
        bytes_ = map(size_bytes);
        return;
    }
#endif
    bytes_ = ::operator new(size_bytes, std::align_val_t{kLine});
    std::memset(bytes_, 0, size_bytes);
}

MemoryBlock::~MemoryBlock() {
    if (bytes_ == nullptr) return;
    wipe(bytes_, size_bytes_);
#if defined(__linux__)
    if (is_mapped(size_bytes_)) {
        munmap(bytes_, size_bytes_);
        return;
    }
#endif
    ::operator delete(bytes_, std::align_val_t{kLine});
}

}  // namespace edgepersona
