#include "edgepersona/row_heap.h"

#include <algorithm>

namespace edgepersona {

void RowHeap::reserve(std::size_t rows) {
    if (rows > entries_.capacity()) entries_.reserve(std::max(rows, 2 * entries_.capacity()));
    if (rows > places_.capacity()) places_.reserve(std::max(rows, 2 * places_.capacity()));
}

void RowHeap::push(std::int64_t age, std::int64_t id) noexcept {
    const Entry entry{age, id, static_cast<Row>(size())};
    entries_.push_back(entry);
    places_.push_back(entry.row);
    rise(entry.row, entry);
}

void RowHeap::remove(std::size_t row) noexcept {
    const std::size_t hole = places_[row];
    const Row last_row = static_cast<Row>(size() - 1);
    const Entry last = entries_.back();  // the last in the heap, which need not be the last row
    entries_.pop_back();
    if (hole < entries_.size()) {
        if (hole > 0 && above(last, entries_[(hole - 1) / 2])) {
            rise(hole, last);
        } else {
            sink(hole, last);
        }
    }
    if (row != last_row) {
        const Row place = places_[last_row];
        entries_[place].row = static_cast<Row>(row);
        places_[row] = place;
    }
    places_.pop_back();
}

void RowHeap::rise(std::size_t place, const Entry& entry) noexcept {
    while (place > 0 && above(entry, entries_[(place - 1) / 2])) {
        put(place, entries_[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(place, entry);
}

void RowHeap::sink(std::size_t place, const Entry& entry) noexcept {
    for (std::size_t child; (child = 2 * place + 1) < entries_.size(); place = child) {
        if (child + 1 < entries_.size() && above(entries_[child + 1], entries_[child])) ++child;
        if (!above(entries_[child], entry)) break;
        put(place, entries_[child]);
    }
    put(place, entry);
}

void RowHeap::shrink() {
    if (entries_.capacity() <= 16 + 4 * entries_.size()) return;
    entries_.shrink_to_fit();
    places_.shrink_to_fit();
}

}  // namespace edgepersona
