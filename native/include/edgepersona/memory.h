// Memory: bytes of one's own, zeroed, aligned to cache lines, overwritten before they are let go.
//
// Those of a huge page and more come straight from the system, start on one, ask for them (Linux),
// and go straight back: a scan of small pages takes about a fifth longer, and a walk to random rows
// misses the address cache at each.
#pragma once

#include <cstddef>
#include <utility>

namespace edgepersona {

// Overwrites with zeros in a way the compiler may not drop.
void wipe(void* bytes, std::size_t size) noexcept;

class Memory {
  public:
    static constexpr std::size_t kHugePage = std::size_t{2} << 20;

    Memory() = default;
    explicit Memory(std::size_t size_bytes);  // throws std::bad_alloc
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        Memory(std::move(other)).swap(*this);
        return *this;
    }
    ~Memory();

    std::size_t size_bytes() const { return size_bytes_; }

    template <class T>
    T* at(std::size_t offset_bytes = 0) const {
        return reinterpret_cast<T*>(static_cast<char*>(bytes_) + offset_bytes);
    }

  private:
    void swap(Memory& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(size_bytes_, other.size_bytes_);
    }

    void* bytes_ = nullptr;
    std::size_t size_bytes_ = 0;
};

}  // namespace edgepersona
