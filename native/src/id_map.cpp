#include "edgepersona/id_map.h"

#include <utility>

namespace edgepersona {

// Ids are often 1, 2, 3 …: mixed (the end of SplitMix64), so that they spread.
std::size_t IdMap::home(std::int64_t id) const noexcept {
    auto x = static_cast<std::uint64_t>(id);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return static_cast<std::size_t>(x ^ x >> 31) & (slots_.size() - 1);
}

std::size_t IdMap::slot_of(std::int64_t id) const noexcept {
    std::size_t at = home(id);
    while (slots_[at].row != kNone && slots_[at].id != id) at = (at + 1) & (slots_.size() - 1);
    return at;
}

IdMap::Row IdMap::find(std::int64_t id) const noexcept { return slots_[slot_of(id)].row; }

void IdMap::set(std::int64_t id, Row row) noexcept {
    Slot& slot = slots_[slot_of(id)];
    if (slot.row == kNone) ++size_;
    slot = Slot{id, row};
}

bool IdMap::erase(std::int64_t id) noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t hole = slot_of(id);
    if (slots_[hole].row == kNone) return false;
    // Close the gap: a later slot moves into it unless its home lies after the gap.
    for (std::size_t at = (hole + 1) & mask; slots_[at].row != kNone; at = (at + 1) & mask) {
        if (((at - home(slots_[at].id)) & mask) >= ((at - hole) & mask)) {
            slots_[hole] = slots_[at];
            hole = at;
        }
    }
    slots_[hole] = Slot{};
    --size_;
    return true;
}

void IdMap::reserve(std::size_t ids) {
    std::size_t slots = slots_.size();
    while (slots < ids * 2) slots *= 2;
    if (slots != slots_.size()) rebuild(slots);
}

void IdMap::shrink() {
    std::size_t slots = slots_.size();
    while (slots > kFewest && slots > size_ * 8) slots /= 2;
    if (slots != slots_.size()) rebuild(slots);
}

void IdMap::rebuild(std::size_t slots) {
    std::vector<Slot> old(slots);
    old.swap(slots_);
    for (const Slot& slot : old) {
        if (slot.row != kNone) slots_[slot_of(slot.id)] = slot;
    }
}

}  // namespace edgepersona
