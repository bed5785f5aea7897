// Persona: what a history's rows say as one vector, by attention (arXiv 2409.11901) or on average.
//
//     Persona persona(384, 576, 512);
//     persona.add({ids, n}, {ages, n}, {keys, n * 384}, {values, n * 576});
//     std::vector<float> vector = persona.attend({query, 384}, 1.0F);
//
// A row is a key and a value under an id, with an age: a larger one is newer. Both look only at the
// window: the newest rows, equal ages by larger id. So what it says depends on the rows, never on
// the order in which they came. Rows outside the window are kept: removals let them in again.
// It owns its rows; what is handed in is only borrowed for the call. Rows that go are overwritten.
// Any thread may call anything: attend and mean run side by side, add and remove run alone.
// A call that throws changed nothing. Throws InvalidInput for what cannot be used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <vector>

#include "edgepersona/float_rows.h"
#include "edgepersona/id_map.h"
#include "edgepersona/memory.h"
#include "edgepersona/persona_kernels.h"
#include "edgepersona/row_heap.h"
#include "edgepersona/span.h"

namespace edgepersona {

class Persona {
  public:
    static constexpr std::size_t kMaxNdim = 65536;
    static constexpr float kLargest = RunningSums::kLargest;  // of any value, query or scale

    // window 0: all rows.
    Persona(std::size_t key_ndim, std::size_t value_ndim, std::size_t window);

    std::size_t key_ndim() const { return key_ndim_; }
    std::size_t value_ndim() const { return value_ndim_; }
    std::size_t window() const { return window_; }
    std::size_t size() const;           // rows kept, in the window or not
    std::uint64_t generation() const;   // moves with every call that changed something
    std::size_t memory_bytes() const;

    // Adds ids.size rows; the row of an id that is there already is replaced.
    void add(Span<std::int64_t> ids, Span<std::int64_t> ages, Span<float> keys,
             Span<float> values);
    // Removes the rows of these ids, overwriting them; returns how many were there.
    std::size_t remove(Span<std::int64_t> ids);

    // The sum of softmax(scale * query . key) * value; zeros where there are no rows.
    // One pass: a softmax whose maximum moves on the way (Milakov and Gimelshein 2018).
    std::vector<float> attend(Span<float> query, float scale) const;
    // The mean of the values, at the cost of one row; zeros where there are no rows.
    std::vector<float> mean() const;

  private:
    // Some of the rows, and which of them is the oldest or the newest.
    struct Part {
        Part(std::size_t key_ndim, std::size_t value_ndim, RowHeap::Top top)
            : keys(key_ndim), values(value_ndim), order(top) {}

        std::size_t size() const { return order.size(); }
        std::size_t memory_bytes() const;
        void reserve(std::size_t rows);
        void push(std::int64_t age, std::int64_t id, const float* key, const float* value) noexcept;
        void remove(IdMap::Row row) noexcept;
        void shrink() noexcept;

        FloatRows keys, values;
        RowHeap order;
        IdMap rows;
    };

    void enter(std::int64_t age, std::int64_t id, const float* key, const float* value) noexcept;
    void leave(IdMap::Row row) noexcept;
    bool take_out(std::int64_t id) noexcept;
    void take_out_of_window(IdMap::Row row) noexcept;
    void refill() noexcept;

    const std::size_t key_ndim_, value_ndim_, window_, limit_;
    mutable std::shared_mutex mutex_;
    Part inside_, outside_;  // of the window
    Memory sums_memory_;
    const RunningSums sums_;  // over the window
    std::uint64_t generation_ = 0;
};

}  // namespace edgepersona
