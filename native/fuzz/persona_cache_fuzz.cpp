// A PersonaCache holds what was put last under a key, or nothing; and no more than its bytes.
#include "edgepersona/persona_cache.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

std::string hash_of(fuzz::Input& input) {
    std::string hash(input.chance(8) ? input.up_to(80) : input.up_to(2), '\0');
    for (char& byte : hash) byte = static_cast<char>(input.up_to(2));
    return hash;
}

}  // namespace

FUZZ(persona_cache) {
    const std::size_t capacity = input.take<std::uint16_t>();
    PersonaCache cache(capacity);
    std::map<std::tuple<std::string, std::uint64_t, std::string>, std::vector<float>> put;
    std::uint64_t asked = 0;
    while (!input.empty()) {
        const std::string query = hash_of(input), head = hash_of(input);
        const std::uint64_t generation = input.up_to(2);
        const std::size_t most = PersonaCache::Key::kMostBytes;
        const bool good = query.size() <= most && head.size() <= most;
        CHECK(good != check::throws<InvalidInput>(
                          [&] { PersonaCache::Key(query, generation, head); }));
        if (!good) continue;
        const PersonaCache::Key key(query, generation, head);
        switch (input.up_to(8)) {
            case 0:
                cache.clear();
                put.clear();
                CHECK(cache.counts().entries == 0 && cache.counts().size_bytes == 0);
                break;
            case 1:
            case 2:
            case 3: {
                const std::vector<float> vector(input.up_to(255), input.take<float>());
                const bool usable = !vector.empty() && std::isfinite(vector[0]);
                CHECK(usable != check::throws<InvalidInput>(
                                    [&] { cache.put(key, {vector.data(), vector.size()}); }));
                if (!usable) break;
                put[{query, generation, head}] = vector;
                break;
            }
            default: {
                std::vector<float> vector;
                ++asked;
                if (!cache.get(key, vector)) break;
                const auto& expected = put.at({query, generation, head});
                CHECK(vector.size() == expected.size());
                CHECK(vector.empty() || std::memcmp(vector.data(), expected.data(),
                                                    vector.size() * sizeof(float)) == 0);
            }
        }
        const auto counts = cache.counts();
        CHECK(counts.size_bytes <= capacity && counts.entries <= put.size());
        CHECK(counts.hits + counts.misses == asked);
    }
}
