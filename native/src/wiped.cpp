#include "edgepersona/wiped.h"

#include <new>

#include "edgepersona/memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace edgepersona {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::align_val_t alignment(std::size_t size_bytes) {
    return std::align_val_t{size_bytes >= kHugePage ? kHugePage : std::size_t{64}};
}

}  // namespace

void* allocate_pages(std::size_t size_bytes) {
    void* const memory = ::operator new(size_bytes, alignment(size_bytes));
#if defined(__linux__)
    if (size_bytes >= kHugePage) {  // a wish
        madvise(memory, size_bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
    }
#endif
    return memory;
}

void wipe_and_free(void* memory, std::size_t size_bytes) noexcept {
    wipe(memory, size_bytes);
    ::operator delete(memory, alignment(size_bytes));
}

}  // namespace edgepersona
