// Which of some rows is the oldest, or the newest, while rows come and go: a binary heap.
//
// Rows are numbered 0..size-1 without gaps, as FloatRows numbers them. The order is that of
// (age, id), so that no two rows are equal. Not thread-safe; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgepersona {

class RowHeap {
  public:
    using Row = std::uint32_t;
    enum class Top { oldest, newest };
    struct Entry {
        std::int64_t age, id;
        Row row;
        bool older_than(const Entry& other) const {
            return age != other.age ? age < other.age : id < other.id;
        }
    };

    explicit RowHeap(Top top) : top_(top) {}

    std::size_t size() const { return entries_.size(); }
    std::size_t memory_bytes() const {
        return entries_.capacity() * sizeof(Entry) + places_.capacity() * sizeof(Row);
    }
    const Entry& top() const { return entries_[0]; }
    const Entry& at(std::size_t row) const { return entries_[places_[row]]; }

    // Makes room, so that the next push calls up to `rows` in all cannot fail.
    void reserve(std::size_t rows);
    // Adds a row, numbered `size`.
    void push(std::int64_t age, std::int64_t id) noexcept;
    // Removes a row; the last row takes its number.
    void remove(std::size_t row) noexcept;
    void shrink();

  private:
    bool above(const Entry& a, const Entry& b) const {
        return top_ == Top::oldest ? a.older_than(b) : b.older_than(a);
    }
    void put(std::size_t place, const Entry& entry) noexcept {
        entries_[place] = entry;
        places_[entry.row] = static_cast<Row>(place);
    }
    void rise(std::size_t place, const Entry& entry) noexcept;  // into `place` or above it
    void sink(std::size_t place, const Entry& entry) noexcept;  // into `place` or below it

    Top top_;
    std::vector<Entry> entries_;
    std::vector<Row> places_;  // by row
};

}  // namespace edgepersona
