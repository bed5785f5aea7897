// From an id to its row: open addressing, so that inserting after `reserve` cannot fail.
//
// That lets VectorIndex::add do everything that may throw before it changes anything.
// Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgepersona {

class IdMap {
  public:
    using Row = std::uint32_t;
    static constexpr Row kNone = UINT32_MAX;

    IdMap() : slots_(kFewest) {}

    std::size_t size() const { return size_; }
    std::size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

    Row find(std::int64_t id) const noexcept;  // kNone if absent
    void set(std::int64_t id, Row row) noexcept;  // within what was reserved
    bool erase(std::int64_t id) noexcept;
    void reserve(std::size_t ids);
    void shrink();

  private:
    struct Slot {
        std::int64_t id = 0;
        Row row = kNone;
    };
    static constexpr std::size_t kFewest = 16;

    std::size_t home(std::int64_t id) const noexcept;
    std::size_t slot_of(std::int64_t id) const noexcept;  // where it is, or where it would go
    void rebuild(std::size_t slots);

    std::vector<Slot> slots_;  // a power of two, at most half full
    std::size_t size_ = 0;
};

}  // namespace edgepersona
