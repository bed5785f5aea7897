// Under each 64-bit key a rising list of positions, in one run of memory.
//
// One run, not a linked chain: its reads do not wait for each other, so that walking a thousand
// occurrences takes microseconds. A single position needs no memory but its key's slot; longer
// lists lie in blocks of 2, 4, 6, 8, 12, 16, 24 … cells of one pool, the smallest that holds them.
// Keys lie in open addressing in the order of their hashes, so that growing is one pass forward.
// Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edgepersona/span.h"
#include "edgepersona/wiped.h"

namespace edgepersona {

class Postings {
  public:
    using Key = std::uint64_t;
    using Position = std::uint32_t;
    struct Link {
        Key key;
        Position position;
    };

    Postings();

    std::size_t keys() const { return keys_; }
    std::size_t memory_bytes() const;

    // The positions under a key, rising; none if it is not there. Valid until the next change.
    Span<Position> find(Key key) const noexcept;

    // Appends to a key's list; `position` is beyond its last. Where it throws it changed nothing.
    void append(Key key, Position position);

    // Removes links that are there, sorting them in place: many of one list take one pass over it.
    void remove(Link* links, std::size_t count) noexcept;

    // Asks the processor for the slot that `append` will want.
    void prefetch(Key key) const noexcept;

  private:
    struct Slot {
        Key key = 0;
        std::uint32_t count = 0;  // 0: a free slot
        std::uint32_t at = 0;     // of one position itself, of more where they begin in the pool
    };
    static constexpr std::size_t kClasses = 64;
    static constexpr std::uint32_t kNil = UINT32_MAX;

    std::size_t home(Key key) const noexcept;
    std::size_t slot_of(Key key) const noexcept;  // where it is, or where it would go
    void grow();
    void erase(std::size_t hole) noexcept;
    void remove_run(const Link* links, std::size_t count) noexcept;

    std::uint32_t allocate(unsigned size_class);
    void release(std::uint32_t at, unsigned size_class) noexcept;
    void trim(std::uint32_t at, unsigned from, unsigned to) noexcept;

    WipedVector<Slot> slots_;
    std::size_t keys_ = 0;
    WipedVector<Position> pool_;
    std::uint32_t free_[kClasses];  // the first free block of a class; its first cell: the next
    std::uint64_t has_free_ = 0;    // a bit a class
};

}  // namespace edgepersona
