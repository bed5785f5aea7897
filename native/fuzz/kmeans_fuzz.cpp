// k-means gives every vector a cluster, and every cluster the mean of some, or refuses.
#include "edgepersona/kmeans.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

FUZZ(kmeans) {
    const std::size_t ndim = input.up_to(6), k = input.up_to(12), iterations = input.up_to(20);
    const std::size_t count = input.up_to(60), odd = ndim > 1 && input.chance(32) ? 1 : 0;
    const auto seed = input.take<std::uint8_t>();
    std::vector<float> vectors(count * ndim + odd);
    for (float& value : vectors) {
        const auto byte = input.take<std::int8_t>();
        value = byte == -128 ? input.take<float>() : byte % 16;
    }
    Clusters clusters;
    try {
        clusters = kmeans({vectors.data(), vectors.size()}, ndim, k, seed, iterations);
    } catch (const InvalidInput&) {
        return;
    }
    CHECK(count > 0 && k > 0 && iterations > 0 && clusters.labels.size() == count);
    const std::size_t found = clusters.centroids.size() / ndim;
    CHECK(found >= 1 && found <= std::min(k, count));
    std::vector<std::size_t> members(found);
    for (const std::int32_t label : clusters.labels) {
        CHECK(label >= 0 && static_cast<std::size_t>(label) < found);
        ++members[static_cast<std::size_t>(label)];
    }
    for (const std::size_t size : members) CHECK(size > 0);
    for (const float value : clusters.centroids) CHECK(std::isfinite(value));
}
