#include "edgepersona/memory.h"

#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace edgepersona {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kHuge = std::size_t{2} << 20;

std::align_val_t alignment(std::size_t size_bytes) {
    return std::align_val_t{size_bytes >= kHuge ? kHuge : kLine};
}

void* (*const volatile overwrite)(void*, int, std::size_t) = std::memset;

}  // namespace

void wipe(void* bytes, std::size_t size) noexcept {
    if (size > 0) overwrite(bytes, 0, size);
}

Memory::Memory(std::size_t size_bytes) : size_bytes_(size_bytes) {
    if (size_bytes == 0) return;
    bytes_ = ::operator new(size_bytes, alignment(size_bytes));
#if defined(__linux__)
    if (size_bytes >= kHuge) madvise(bytes_, size_bytes / kHuge * kHuge, MADV_HUGEPAGE);  // a wish
#endif
    std::memset(bytes_, 0, size_bytes);
}

Memory::~Memory() {
    if (bytes_ == nullptr) return;
    wipe(bytes_, size_bytes_);
    ::operator delete(bytes_, alignment(size_bytes_));
}

}  // namespace edgepersona
