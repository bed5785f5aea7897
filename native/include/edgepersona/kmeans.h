// k-means (Lloyd 1982) from k-means++ starting points (Arthur and Vassilvitskii 2007).
//
// The same input and seed give the same clusters on every machine: no sum depends on an instruction
// set, and random numbers are the core's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/span.h"

namespace edgepersona {

struct Clusters {
    std::vector<std::int32_t> labels;  // of each vector: the cluster it is in
    std::vector<float> centroids;      // the mean of each cluster's vectors, one after another
};

// Groups vectors of `ndim` values into k clusters; fewer where fewer vectors differ. No cluster is
// empty: one that would be gets the vector that lies farthest from its centroid. Of equal distances
// the first counts. Ends when every vector is with the nearest centroid, or after `iterations`.
// Throws InvalidInput: no vectors, k or iterations 0, a value that is not finite or beyond 1e38.
Clusters kmeans(Span<float> vectors, std::size_t ndim, std::size_t k, std::uint64_t seed,
                std::size_t iterations);

}  // namespace edgepersona
