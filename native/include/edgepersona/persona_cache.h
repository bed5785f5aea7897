// PersonaCache: persona vectors that were computed before, as many as fit a number of bytes.
//
//     PersonaCache cache(1 << 20);
//     PersonaCache::Key key(query_hash, generation, head_hash);
//     if (!cache.get(key, vector)) cache.put(key, compute());
//
// The one that was not asked for the longest goes first. A vector holds for one generation of the
// profile: old ones are never asked for again and so go by themselves; clear() is for forgetting.
// What goes is overwritten. Any thread may call anything. Throws InvalidInput.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "edgepersona/memory.h"
#include "edgepersona/span.h"

namespace edgepersona {

class PersonaCache {
  public:
    // Of plain bytes, so that two are compared, hashed and overwritten as they lie there.
    class Key {
      public:
        static constexpr std::size_t kMostBytes = 64;  // of a hash

        Key(std::string_view query_hash, std::uint64_t generation, std::string_view head_hash);
        ~Key();
        Key(const Key&) = default;
        Key& operator=(const Key&) = default;
        bool operator==(const Key& other) const { return bytes_ == other.bytes_; }
        std::string_view bytes() const { return {bytes_.data(), bytes_.size()}; }

      private:
        std::array<char, 2 * (1 + kMostBytes) + sizeof(std::uint64_t)> bytes_{};
    };

    struct Counts {
        std::size_t entries, size_bytes;  // the vectors, their keys, and what keeps them in order
        std::uint64_t hits, misses;       // of get, since the cache was made
    };

    explicit PersonaCache(std::size_t capacity_bytes);

    std::size_t capacity_bytes() const { return capacity_bytes_; }
    Counts counts() const;

    // Copies the vector out and returns true, if it is there.
    bool get(const Key& key, std::vector<float>& vector);
    // Keeps a copy, instead of one that is there under this key. One that is larger than the whole
    // cache is not kept.
    void put(const Key& key, Span<float> vector);
    void clear();

  private:
    struct Entry {
        Key key;
        std::size_t count;
        Memory values;
    };
    using Entries = std::list<Entry>;  // the one asked for last comes first
    struct Hash {
        std::size_t operator()(const Key* key) const;
    };
    struct Same {
        bool operator()(const Key* a, const Key* b) const { return *a == *b; }
    };

    static std::size_t bytes_of(std::size_t values);
    void drop(Entries::iterator entry);

    const std::size_t capacity_bytes_;
    mutable std::mutex mutex_;
    Entries entries_;
    std::unordered_map<const Key*, Entries::iterator, Hash, Same> places_;
    std::size_t size_bytes_ = 0;
    std::uint64_t hits_ = 0, misses_ = 0;
};

}  // namespace edgepersona
