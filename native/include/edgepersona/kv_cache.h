// The keys and values of one sequence, float16, in the order that attention reads them.
//
// For each layer and head: keys in blocks of 16 positions, (positions/16, head_dim, 16), so that
// one query meets sixteen keys without a sum across lanes; values (positions, head_dim). Memory is
// the system's until a position is written. Overwritten when it goes. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/memory.h"

namespace edgepersona {

class KvCache {
  public:
    static constexpr std::size_t kBlock = 16;

    // Throws InvalidInput where a size is 0 or head_dim no multiple of 16.
    KvCache(std::size_t layers, std::size_t heads, std::size_t head_dim, std::size_t capacity);

    std::size_t layers() const { return layers_; }
    std::size_t heads() const { return heads_; }
    std::size_t head_dim() const { return head_dim_; }
    std::size_t capacity() const { return capacity_; }  // a multiple of kBlock

    std::uint16_t* keys(std::size_t layer, std::size_t head) const {
        return memory_.at<std::uint16_t>() + (layer * heads_ + head) * 2 * head_size();
    }
    std::uint16_t* values(std::size_t layer, std::size_t head) const {
        return keys(layer, head) + head_size();
    }

    // Bytes of one saved position.
    std::size_t position_bytes() const { return layers_ * heads_ * head_dim_ * 2 * 2; }
    // The first `length` positions. Of each layer and head: the keys of whole blocks as they lie
    // here, the other keys one after the other, then the values. Throws InvalidInput beyond the
    // capacity. Nothing (null) is read or written where `length` is 0.
    void save(std::size_t length, std::uint8_t* to) const;
    void load(std::size_t length, const std::uint8_t* from);

  private:
    std::size_t head_size() const { return capacity_ * head_dim_; }
    void check(std::size_t length) const;

    std::size_t layers_, heads_, head_dim_, capacity_;
    Memory memory_;
};

}  // namespace edgepersona
