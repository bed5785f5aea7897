#include "edgepersona/kv_cache.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "check.h"
#include "edgepersona/errors.h"
#include "failing_new.h"

using namespace edgepersona;

namespace {

constexpr std::size_t kLayers = 3, kHeads = 2, kDim = 16, kTen = 10, kMany = std::size_t{1} << 62;

// What position `at` of a head holds at `d`, in its key (0) or its value (1).
std::uint16_t content(std::size_t layer, std::size_t head, std::size_t kind, std::size_t at,
                      std::size_t d) {
    return static_cast<std::uint16_t>(1 + d + 16 * (at + 40 * (kind + 2 * (head + 2 * layer))));
}

template <class F>
void each_half(const KvCache& cache, std::size_t length, F f) {
    for (std::size_t at = 0; at < length; ++at) {
        for (std::size_t layer = 0; layer < cache.layers(); ++layer) {
            for (std::size_t head = 0; head < cache.heads(); ++head) {
                for (std::size_t d = 0; d < cache.head_dim(); ++d) {
                    std::uint16_t* keys = cache.keys(layer, head);
                    f(keys[(at / 16 * cache.head_dim() + d) * 16 + at % 16],
                      content(layer, head, 0, at, d));
                }
                for (std::size_t d = 0; d < cache.head_dim(); ++d) {
                    f(cache.values(layer, head)[at * cache.head_dim() + d],
                      content(layer, head, 1, at, d));
                }
            }
        }
    }
}

KvCache filled(std::size_t capacity) {
    KvCache cache(kLayers, kHeads, kDim, capacity);
    each_half(cache, cache.capacity(),
              [](std::uint16_t& half, std::uint16_t value) { half = value; });
    return cache;
}

std::vector<std::uint8_t> saved(const KvCache& cache, std::size_t length) {
    // Of exactly its size, so that a sanitizer sees a byte too many.
    std::vector<std::uint8_t> bytes(length * cache.position_bytes());
    cache.save(length, bytes.data());
    return bytes;
}

bool refused(std::size_t layers, std::size_t heads, std::size_t head_dim, std::size_t capacity) {
    return check::throws<InvalidInput>([&] { KvCache(layers, heads, head_dim, capacity); });
}

}  // namespace

TEST(a_fresh_cache_is_empty_and_whole_blocks_long) {
    for (const std::size_t capacity : {1, 15, 16, 17, 40}) {
        const KvCache cache(kLayers, kHeads, kDim, capacity);
        CHECK(cache.capacity() == (capacity + 15) / 16 * 16);
        CHECK(cache.position_bytes() == kLayers * kHeads * kDim * 4);
        each_half(cache, cache.capacity(),
                  [](std::uint16_t half, std::uint16_t) { CHECK(half == 0); });
    }
}

TEST(no_two_places_of_a_cache_are_one) {
    const KvCache cache = filled(40);
    each_half(cache, 48, [](std::uint16_t half, std::uint16_t value) { CHECK(half == value); });
}

TEST(a_saved_cache_holds_whole_blocks_as_they_lie_then_keys_and_values_one_by_one) {
    const KvCache cache = filled(40);
    for (const std::size_t length : {0, 1, 15, 16, 17, 40, 48}) {
        const auto bytes = saved(cache, length);
        const std::uint8_t* next = bytes.data();
        const auto check_next = [&next](std::uint16_t expected) {
            CHECK(std::memcmp(next, &expected, 2) == 0);
            next += 2;
        };
        for (std::size_t part = 0; part < kLayers * kHeads; ++part) {
            const std::size_t layer = part / kHeads, head = part % kHeads, whole = length / 16;
            for (std::size_t i = 0; i < whole * 16 * kDim; ++i) {
                const std::size_t at = i / (16 * kDim) * 16 + i % 16;
                check_next(content(layer, head, 0, at, i / 16 % kDim));
            }
            for (std::size_t i = whole * 16 * kDim; i < length * kDim; ++i) {
                check_next(content(layer, head, 0, i / kDim, i % kDim));
            }
            for (std::size_t i = 0; i < length * kDim; ++i) {
                check_next(content(layer, head, 1, i / kDim, i % kDim));
            }
        }
        CHECK(next == bytes.data() + bytes.size());
    }
}

TEST(what_was_saved_is_loaded_into_a_cache_of_any_length_and_nothing_beyond_it) {
    const KvCache cache = filled(40);
    for (const std::size_t length : {0, 1, 16, 17, 32}) {
        for (const std::size_t capacity : {32, 100}) {
            KvCache other(kLayers, kHeads, kDim, capacity);
            other.load(length, saved(cache, length).data());
            CHECK(saved(other, length) == saved(cache, length));
            each_half(other, other.capacity(), [&, at = std::size_t{0}](
                                                   std::uint16_t half, std::uint16_t value) mutable {
                CHECK(half == (at++ < length * 2 * kLayers * kHeads * kDim ? value : 0));
            });
        }
    }
}

TEST(more_positions_than_there_are_are_neither_saved_nor_loaded) {
    KvCache cache = filled(16);
    std::vector<std::uint8_t> bytes(17 * cache.position_bytes(), 7);
    for (const std::size_t length : {std::size_t{17}, kMany, kMany * 4 - 1}) {
        CHECK(check::throws<InvalidInput>([&] { cache.save(length, bytes.data()); }));
        CHECK(check::throws<InvalidInput>([&] { cache.load(length, bytes.data()); }));
    }
    CHECK(bytes == std::vector<std::uint8_t>(bytes.size(), 7));
    CHECK(saved(cache, 16) == saved(filled(16), 16));
}

TEST(sizes_that_no_cache_has_are_refused) {
    CHECK(refused(0, kHeads, kDim, kTen) && refused(kLayers, 0, kDim, kTen));
    CHECK(refused(kLayers, kHeads, 0, kTen) && refused(kLayers, kHeads, kDim, 0));
    for (const std::size_t dim : {1, 8, 15, 17, 24}) CHECK(refused(kLayers, kHeads, dim, kTen));
    // Each alone, and products that are small again in 64 bits.
    CHECK(refused(kMany, kHeads, kDim, kTen) && refused(kLayers, kMany, kDim, kTen));
    CHECK(refused(kLayers, kHeads, kMany, kTen) && refused(kLayers, kHeads, kDim, kMany));
    CHECK(refused(kLayers, kHeads, kDim, ~std::size_t{0}));
    CHECK(refused(1U << 24, 1U << 24, 16, 16) && refused(1U << 22, 1U << 22, 1U << 22, 16));
}

TEST(a_cache_that_finds_no_memory_says_so) {
    CHECK(check::throws<std::bad_alloc>([] {
        const FailingNew failing(0);
        KvCache(kLayers, kHeads, kDim, kTen);
    }));
}
