// A KvCache holds at each place what was written there or loaded into it, and refuses what does not
// fit without a change.
#include "edgepersona/kv_cache.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

using Bytes = std::vector<std::uint8_t>;

// Mostly small; else so large that no memory would do. Nothing between: it might be had.
std::size_t size_of(fuzz::Input& input, std::size_t most) {
    if (!input.chance(64)) return input.up_to(most);
    return (std::size_t{1} << (47 + input.up_to(16))) + input.up_to(64);
}

// What a cache holds.
class Plain {
  public:
    Plain(std::size_t heads, std::size_t dim, std::size_t positions)
        : dim_(dim), position_(heads * 2 * dim), halves_(positions * position_) {}

    std::uint16_t& at(std::size_t position, std::size_t head, bool value, std::size_t d) {
        return halves_[position * position_ + (2 * head + (value ? 1 : 0)) * dim_ + d];
    }
    Bytes saved(std::size_t length) const {
        Bytes bytes(2 * length * position_);
        each_saved(length, [&, next = bytes.data()](std::size_t at) mutable {
            std::memcpy(next, &halves_[at], 2);
            next += 2;
        });
        return bytes;
    }
    void load(std::size_t length, const Bytes& bytes) {
        each_saved(length, [&, next = bytes.data()](std::size_t at) mutable {
            std::memcpy(&halves_[at], next, 2);
            next += 2;
        });
    }

  private:
    // f(the place in halves_) in the order of what is saved.
    template <class F>
    void each_saved(std::size_t length, F f) const {
        const std::size_t whole = length / 16 * 16;
        for (std::size_t keys = 0; keys < position_; keys += 2 * dim_) {
            for (std::size_t i = 0; i < whole * dim_; ++i) {
                const std::size_t block = i / (16 * dim_);
                f((block * 16 + i % 16) * position_ + keys + i / 16 % dim_);
            }
            for (std::size_t i = whole * dim_; i < length * dim_; ++i) {
                f(i / dim_ * position_ + keys + i % dim_);
            }
            for (std::size_t i = 0; i < length * dim_; ++i) {
                f(i / dim_ * position_ + keys + dim_ + i % dim_);
            }
        }
    }

    std::size_t dim_, position_;
    std::vector<std::uint16_t> halves_;
};

}  // namespace

FUZZ(kv_cache) {
    const std::size_t layers = size_of(input, 3), heads = size_of(input, 3);
    const std::size_t dim = 16 * size_of(input, 3) + (input.chance(16) ? input.up_to(15) : 0);
    const std::size_t wanted = size_of(input, 50);
    const bool usable = layers != 0 && layers < 4 && heads != 0 && heads < 4 && dim != 0 &&
                        dim < 64 && dim % 16 == 0 && wanted != 0 && wanted < 51;
    CHECK(usable != check::throws<InvalidInput>([&] { KvCache(layers, heads, dim, wanted); }));
    if (!usable) return;
    KvCache cache(layers, heads, dim, wanted);
    const std::size_t capacity = cache.capacity();
    CHECK(capacity >= wanted && capacity < wanted + 16 && capacity % 16 == 0);
    Plain plain(layers * heads, dim, capacity);
    Bytes kept;
    while (!input.empty()) {
        const std::size_t length = input.chance(16) ? size_of(input, 80) : input.up_to(capacity);
        switch (input.up_to(2)) {
            case 0: {
                const std::size_t at = input.up_to(capacity - 1), d = input.up_to(dim - 1);
                const std::size_t layer = input.up_to(layers - 1), head = input.up_to(heads - 1);
                const bool value = input.chance(2);
                std::uint16_t* half = value ? cache.values(layer, head) + at * dim + d
                                            : cache.keys(layer, head) +
                                                  (at / 16 * dim + d) * 16 + at % 16;
                std::uint16_t& expected = plain.at(at, layer * heads + head, value, d);
                CHECK(*half == expected);
                *half = expected = input.take<std::uint16_t>();
                break;
            }
            case 1: {
                Bytes bytes(length <= capacity ? length * cache.position_bytes() : 0);
                CHECK((length > capacity) == check::throws<InvalidInput>([&] {
                          cache.save(length, bytes.data());
                      }));
                if (length > capacity) break;
                CHECK(bytes == plain.saved(length));
                kept = bytes;
                break;
            }
            default: {
                const std::size_t step = cache.position_bytes();
                if (length > capacity) {
                    CHECK(check::throws<InvalidInput>([&] { cache.load(length, kept.data()); }));
                    break;
                }
                kept.resize(length * step, input.take<std::uint8_t>());
                cache.load(length, kept.data());
                plain.load(length, kept);
            }
        }
    }
    Bytes all(capacity * cache.position_bytes());
    cache.save(capacity, all.data());
    CHECK(all == plain.saved(capacity));
}
