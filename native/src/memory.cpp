#include "edgepersona/memory.h"

#include <cstdint>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace edgepersona {
namespace {

constexpr std::align_val_t kLine{64};

#if defined(__linux__)

bool is_mapped(std::size_t size_bytes) { return size_bytes >= Memory::kHugePage; }

// Whole pages, also where those have 64 KB.
std::size_t mapped_size(std::size_t size_bytes) { return (size_bytes + 65535) / 65536 * 65536; }

// A mapping that starts on a huge page: one page more than asked for, then the ends cut off.
void* map(std::size_t size_bytes) {
    const std::size_t page = Memory::kHugePage, size = mapped_size(size_bytes);
    void* const whole = mmap(nullptr, size + page, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) throw std::bad_alloc();
    char* const start = static_cast<char*>(whole);
    const std::size_t before = (page - reinterpret_cast<std::uintptr_t>(start) % page) % page;
    if (before != 0) munmap(start, before);
    if (before != page) munmap(start + before + size, page - before);
    madvise(start + before, size, MADV_HUGEPAGE);  // advice: refused, small pages serve
    return start + before;
}

#endif

void* (*const volatile overwrite)(void*, int, std::size_t) = std::memset;

}  // namespace

void wipe(void* bytes, std::size_t size) noexcept {
    if (size > 0) overwrite(bytes, 0, size);
}

Memory::Memory(std::size_t size_bytes) : size_bytes_(size_bytes) {
    if (size_bytes == 0) return;
#if defined(__linux__)
    if (is_mapped(size_bytes)) {
        bytes_ = map(size_bytes);
        return;
    }
#endif
    bytes_ = ::operator new(size_bytes, kLine);
    std::memset(bytes_, 0, size_bytes);
}

Memory::~Memory() {
    if (bytes_ == nullptr) return;
    wipe(bytes_, size_bytes_);
#if defined(__linux__)
    if (is_mapped(size_bytes_)) {
        munmap(bytes_, mapped_size(size_bytes_));
        return;
    }
#endif
    ::operator delete(bytes_, kLine);
}

}  // namespace edgepersona
