#include "edgepersona/kv_cache.h"

#include <cstring>
#include <string>

#include "edgepersona/errors.h"

namespace edgepersona {
namespace {

constexpr std::size_t kMost = std::size_t{1} << 24;  // of each size: their product is checked below

// Before any memory is asked for: what is let go is written over, all of it.
std::size_t checked_bytes(std::size_t layers, std::size_t heads, std::size_t head_dim,
                          std::size_t capacity) {
    if (head_dim % 16 != 0) throw InvalidInput("a head's size is a multiple of 16");
    std::size_t total = 1;
    const auto sizes = {layers, heads, head_dim, capacity, 2 * sizeof(std::uint16_t)};
    for (const std::size_t size : sizes) {
        if (size == 0 || size > kMost || total > (std::size_t{1} << 46) / size) {
            throw InvalidInput("a cache has layers, heads and positions, and less than 2^46 bytes");
        }
        total *= size;
    }
    return total;
}

}  // namespace

KvCache::KvCache(std::size_t layers, std::size_t heads, std::size_t head_dim, std::size_t capacity)
    : layers_(layers),
      heads_(heads),
      head_dim_(head_dim),
      capacity_(capacity > kMost ? 0 : (capacity + kBlock - 1) / kBlock * kBlock),
      memory_(checked_bytes(layers, heads, head_dim, capacity_)) {}

void KvCache::check(std::size_t length) const {
    if (length > capacity_) {
        throw InvalidInput(std::to_string(length) + " positions do not fit a cache of " +
                           std::to_string(capacity_));
    }
}

void KvCache::save(std::size_t length, std::uint8_t* to) const {
    check(length);
    if (!length) return;  // `to` may be null
    const std::size_t row = head_dim_ * sizeof(std::uint16_t), whole = length / kBlock * kBlock;
    std::vector<std::uint16_t> key(head_dim_);
    for (std::size_t part = 0; part < layers_ * heads_; ++part) {
        const std::uint16_t* keys = this->keys(0, part);
        std::memcpy(to, keys, whole * row);
        to += whole * row;
        for (std::size_t at = whole; at < length; ++at, to += row) {
            const std::uint16_t* from = keys + whole * head_dim_ + at % kBlock;
            for (std::size_t d = 0; d < head_dim_; ++d) key[d] = from[kBlock * d];
            std::memcpy(to, key.data(), row);
        }
        std::memcpy(to, this->values(0, part), length * row);
        to += length * row;
    }
}

void KvCache::load(std::size_t length, const std::uint8_t* from) {
    check(length);
    if (!length) return;
    const std::size_t row = head_dim_ * sizeof(std::uint16_t), whole = length / kBlock * kBlock;
    std::vector<std::uint16_t> key(head_dim_);
    for (std::size_t part = 0; part < layers_ * heads_; ++part) {
        std::uint16_t* keys = this->keys(0, part);
        std::memcpy(keys, from, whole * row);
        from += whole * row;
        for (std::size_t at = whole; at < length; ++at, from += row) {
            std::uint16_t* to = keys + whole * head_dim_ + at % kBlock;
            std::memcpy(key.data(), from, row);
            for (std::size_t d = 0; d < head_dim_; ++d) to[kBlock * d] = key[d];
        }
        std::memcpy(this->values(0, part), from, length * row);
        from += length * row;
    }
}

}  // namespace edgepersona
