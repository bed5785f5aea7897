// A vector whose memory is overwritten before it is let go: what it held was the user's words.
//
// On Linux large ones ask for huge pages: what reads them all over would else spend a part of its
// time on looking up addresses.
#pragma once

#include <cstddef>
#include <vector>

namespace edgepersona {

void* allocate_pages(std::size_t size_bytes);  // throws std::bad_alloc
void wipe_and_free(void* memory, std::size_t size_bytes) noexcept;

template <class T>
struct WipingAllocator {
    using value_type = T;

    WipingAllocator() = default;
    template <class U>
    WipingAllocator(const WipingAllocator<U>&) noexcept {}

    T* allocate(std::size_t count) {  // at most what a vector checked: no overflow
        return static_cast<T*>(allocate_pages(count * sizeof(T)));
    }
    void deallocate(T* memory, std::size_t count) noexcept {
        wipe_and_free(memory, count * sizeof(T));
    }
    friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
    friend bool operator!=(const WipingAllocator&, const WipingAllocator&) { return false; }
};

template <class T>
using WipedVector = std::vector<T, WipingAllocator<T>>;

// Makes room for `size` values by a quarter more at least: few copies, little that lies unused.
template <class T>
void reserve_more(WipedVector<T>& values, std::size_t size) {
    const std::size_t room = values.capacity();
    if (room < size) values.reserve(size > room + room / 4 ? size : room + room / 4);
}

}  // namespace edgepersona
