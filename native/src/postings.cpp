#include "edgepersona/postings.h"

#include <algorithm>
#include <new>
#include <utility>

namespace edgepersona {
namespace {

constexpr std::size_t kFewest = 16;

// Blocks of class 0, 1, 2 … hold 2, 4, 6, 8, 12, 16, 24 … cells; what one has more than the one
// before it is a block itself, so that a block is made smaller where it lies.
std::uint32_t cells_of(unsigned size_class) {
    if (size_class == 0) return 2;
    return size_class % 2 == 1 ? 4U << size_class / 2 : 3U << size_class / 2;
}

// The smallest class for `count` positions, 2 or more.
unsigned class_of(std::uint32_t count) {
    if (count <= 2) return 0;
    const unsigned log2 = 31 - static_cast<unsigned>(__builtin_clz(count - 1));
    return log2 > 1 && count <= 3U << (log2 - 1) ? 2 * log2 - 2 : 2 * log2 - 1;
}

bool by_key_and_position(const Postings::Link& a, const Postings::Link& b) {
    return a.key != b.key ? a.key < b.key : a.position < b.position;
}

}  // namespace

Postings::Postings() : slots_(kFewest) { std::fill(std::begin(free_), std::end(free_), kNil); }

std::size_t Postings::memory_bytes() const {
    return slots_.capacity() * sizeof(Slot) + pool_.capacity() * sizeof(Position);
}

// The end of SplitMix64, then its upper half as a share of the slots: any number of slots will do.
std::size_t Postings::home(Key key) const noexcept {
    std::uint64_t x = key;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    x ^= x >> 31;
    return static_cast<std::size_t>((x >> 32) * slots_.size() >> 32);
}

std::size_t Postings::slot_of(Key key) const noexcept {
    std::size_t at = home(key);
    while (slots_[at].count != 0 && slots_[at].key != key) {
        if (++at == slots_.size()) at = 0;
    }
    return at;
}

Span<Postings::Position> Postings::find(Key key) const noexcept {
    const Slot& slot = slots_[slot_of(key)];
    if (slot.count == 0) return {};
    return {slot.count == 1 ? &slot.at : pool_.data() + slot.at, slot.count};
}

void Postings::prefetch(Key key) const noexcept {
    __builtin_prefetch(slots_.data() + home(key), 1);
}

void Postings::append(Key key, Position position) {
    std::size_t at = slot_of(key);
    if (slots_[at].count == 0) {
        if ((keys_ + 1) * 5 > slots_.size() * 4) {
            grow();
            at = slot_of(key);
        }
        slots_[at] = Slot{key, 1, position};
        ++keys_;
        return;
    }
    Slot& slot = slots_[at];
    if (slot.count == 1) {
        const std::uint32_t block = allocate(0);
        pool_[block] = slot.at;
        slot.at = block;
    } else if (const unsigned held = class_of(slot.count); slot.count == cells_of(held)) {
        const std::uint32_t block = allocate(held + 1);
        std::copy_n(pool_.begin() + slot.at, slot.count, pool_.begin() + block);
        release(slot.at, held);
        slot.at = block;
    }
    pool_[slot.at + slot.count++] = position;
}

void Postings::remove(Link* links, std::size_t count) noexcept {
    std::sort(links, links + count, by_key_and_position);
    for (std::size_t start = 0, end = 0; start < count; start = end) {
        while (end < count && links[end].key == links[start].key) ++end;
        remove_run(links + start, end - start);
    }
}

void Postings::remove_run(const Link* links, std::size_t count) noexcept {
    const std::size_t found = slot_of(links[0].key);
    Slot& slot = slots_[found];
    if (slot.count == count) {
        if (count > 1) release(slot.at, class_of(slot.count));
        erase(found);
        return;
    }
    Position* const first = pool_.data() + slot.at;
    Position* const last = first + slot.count;
    Position* to = std::lower_bound(first, last, links[0].position);
    std::size_t gone = 0;
    for (const Position* from = to; from != last; ++from) {
        if (gone < count && *from == links[gone].position) {
            ++gone;
        } else {
            *to++ = *from;
        }
    }
    const unsigned held = class_of(slot.count);
    slot.count -= static_cast<std::uint32_t>(count);
    if (slot.count == 1) {
        const Position alone = *first;
        release(slot.at, held);
        slot.at = alone;
    } else {
        trim(slot.at, held, class_of(slot.count));
    }
}

void Postings::erase(std::size_t hole) noexcept {
    const std::size_t slots = slots_.size();
    const auto distance = [slots](std::size_t from, std::size_t to) {
        return to >= from ? to - from : to + slots - from;
    };
    // Close the gap: a later slot moves into it unless its home lies after the gap.
    for (std::size_t at = hole;;) {
        if (++at == slots) at = 0;
        if (slots_[at].count == 0) break;
        if (distance(home(slots_[at].key), at) >= distance(hole, at)) {
            slots_[hole] = slots_[at];
            hole = at;
        }
    }
    slots_[hole] = Slot{};
    --keys_;
}

void Postings::grow() {
    WipedVector<Slot> old(slots_.size() + slots_.size() / 4);
    old.swap(slots_);
    for (const Slot& slot : old) {
        if (slot.count != 0) slots_[slot_of(slot.key)] = slot;
    }
}

std::uint32_t Postings::allocate(unsigned size_class) {
    if (const std::uint64_t larger = has_free_ >> size_class; larger != 0) {
        const unsigned found = size_class + static_cast<unsigned>(__builtin_ctzll(larger));
        const std::uint32_t at = free_[found];
        free_[found] = pool_[at];
        if (free_[found] == kNil) has_free_ &= ~(std::uint64_t{1} << found);
        trim(at, found, size_class);
        return at;
    }
    const std::size_t at = pool_.size(), end = at + cells_of(size_class);
    if (end >= kNil) throw std::bad_alloc();
    reserve_more(pool_, end);
    pool_.resize(end);
    return static_cast<std::uint32_t>(at);
}

void Postings::release(std::uint32_t at, unsigned size_class) noexcept {
    pool_[at] = free_[size_class];
    free_[size_class] = at;
    has_free_ |= std::uint64_t{1} << size_class;
}

// Makes a block smaller, class by class: each time its end becomes a free block.
void Postings::trim(std::uint32_t at, unsigned from, unsigned to) noexcept {
    for (unsigned held = from; held > to; --held) {
        const std::uint32_t kept = cells_of(held - 1);
        release(at + kept, class_of(cells_of(held) - kept));
    }
}

}  // namespace edgepersona
