#include "edgepersona/persona_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "edgepersona/errors.h"

namespace edgepersona {
namespace {

char* append(char* to, const char* what, std::string_view hash) {
    if (hash.size() > PersonaCache::Key::kMostBytes) {
        throw InvalidInput(std::string(what) + " has " + std::to_string(hash.size()) +
                           " bytes, expected up to " +
                           std::to_string(PersonaCache::Key::kMostBytes));
    }
    *to = static_cast<char>(hash.size());
    std::copy(hash.begin(), hash.end(), to + 1);
    return to + 1 + PersonaCache::Key::kMostBytes;
}

}  // namespace

PersonaCache::Key::Key(std::string_view query_hash, std::uint64_t generation,
                       std::string_view head_hash) {
    char* at = append(bytes_.data(), "query_hash", query_hash);
    at = append(at, "head_hash", head_hash);
    std::memcpy(at, &generation, sizeof generation);
}

PersonaCache::Key::~Key() { wipe(bytes_.data(), bytes_.size()); }

std::size_t PersonaCache::Hash::operator()(const Key* key) const {
    return std::hash<std::string_view>()(key->bytes());
}

PersonaCache::PersonaCache(std::size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

// A list node has two pointers beside its entry; a table's has a link, a key, a place and a hash,
// and up to two slots; and an allocator adds a word to each of three pieces.
std::size_t PersonaCache::bytes_of(std::size_t values) {
    return values * sizeof(float) + sizeof(Entry) + 11 * sizeof(void*);
}

PersonaCache::Counts PersonaCache::counts() const {
    std::lock_guard lock(mutex_);
    return {entries_.size(), size_bytes_, hits_, misses_};
}

bool PersonaCache::get(const Key& key, std::vector<float>& vector) {
    std::lock_guard lock(mutex_);
    const auto found = places_.find(&key);
    if (found == places_.end()) {
        ++misses_;
        return false;
    }
    const Entry& entry = *found->second;
    const float* const values = entry.values.at<float>();
    vector.assign(values, values + entry.count);
    ++hits_;
    entries_.splice(entries_.begin(), entries_, found->second);
    return true;
}

void PersonaCache::put(const Key& key, Span<float> vector) {
    if (vector.size == 0) throw InvalidInput("a vector of no values");
    if (!std::all_of(vector.begin(), vector.end(), [](float x) { return std::isfinite(x); })) {
        throw InvalidInput("the vector holds a NaN or an infinity: every value must be finite");
    }
    const std::size_t size_bytes = bytes_of(vector.size);
    Entries fresh;
    if (size_bytes <= capacity_bytes_) {
        fresh.push_back({key, vector.size, Memory(vector.size * sizeof(float))});
        std::memcpy(fresh.front().values.at<float>(), vector.data, vector.size * sizeof(float));
    }

    std::lock_guard lock(mutex_);
    const auto found = places_.find(&key);
    if (fresh.empty()) {
        if (found != places_.end()) drop(found->second);
        return;
    }
    if (found != places_.end()) {  // its node serves the new one: nothing can fail any more
        const Entries::iterator old = found->second;
        size_bytes_ -= bytes_of(old->count);
        old->count = vector.size;
        old->values = std::move(fresh.front().values);
        entries_.splice(entries_.begin(), entries_, old);
    } else {
        places_.emplace(&fresh.front().key, fresh.begin());
        entries_.splice(entries_.begin(), fresh);
    }
    size_bytes_ += size_bytes;
    while (size_bytes_ > capacity_bytes_) drop(std::prev(entries_.end()));
}

void PersonaCache::clear() {
    std::lock_guard lock(mutex_);
    while (!entries_.empty()) drop(entries_.begin());
    places_ = {};
}

void PersonaCache::drop(Entries::iterator entry) {
    size_bytes_ -= bytes_of(entry->count);
    places_.erase(&entry->key);
    entries_.erase(entry);
}

}  // namespace edgepersona
