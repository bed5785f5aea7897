#include "edgepersona/kmeans.h"

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "edgepersona/errors.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

Clusters group(const std::vector<float>& vectors, std::size_t ndim, std::size_t k,
               std::uint64_t seed = 0, std::size_t iterations = 100) {
    return kmeans({vectors.data(), vectors.size()}, ndim, k, seed, iterations);
}

double squared(const float* a, const float* b, std::size_t ndim) {
    double sum = 0;
    for (std::size_t i = 0; i < ndim; ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
    return sum;
}

}  // namespace

TEST(every_vector_is_with_its_nearest_centroid_and_every_centroid_a_mean) {
    for (const std::size_t ndim : {1, 3, 17, 385}) {
        const std::size_t count = 150;
        const auto vectors = unit_vectors(count, ndim, 4);
        for (const std::size_t k : {1, 2, 5, 20}) {
            const Clusters found = group(vectors, ndim, k);
            const std::size_t clusters = found.centroids.size() / ndim;
            CHECK(clusters >= 1 && clusters <= k);
            std::vector<double> sums(clusters * ndim), sizes(clusters);
            for (std::size_t i = 0; i < count; ++i) {
                const auto label = static_cast<std::size_t>(found.labels[i]);
                CHECK(label < clusters);
                const float* vector = vectors.data() + i * ndim;
                const double own = squared(vector, found.centroids.data() + label * ndim, ndim);
                for (std::size_t j = 0; j < clusters; ++j) {
                    CHECK(own <= squared(vector, found.centroids.data() + j * ndim, ndim) + 1e-6);
                }
                ++sizes[label];
                for (std::size_t d = 0; d < ndim; ++d) sums[label * ndim + d] += vector[d];
            }
            for (std::size_t at = 0; at < sums.size(); ++at) {
                CHECK(sizes[at / ndim] > 0);
                CHECK(std::abs(found.centroids[at] - sums[at] / sizes[at / ndim]) < 1e-6);
            }
        }
    }
}

TEST(apart_groups_are_found) {
    std::vector<float> vectors;
    for (int i = 0; i < 60; ++i) vectors.push_back(static_cast<float>(i % 3 * 100 + i / 3 % 5));
    const Clusters found = group(vectors, 1, 3);
    CHECK(found.centroids.size() == 3);
    for (int i = 3; i < 60; ++i) CHECK(found.labels[i] == found.labels[i % 3]);
}

TEST(there_are_no_more_clusters_than_different_vectors) {
    const std::vector<float> vectors{1, 1, 2, 2, 1, 1, 2, 2, 3, 3};
    const Clusters found = group(vectors, 2, 9);
    CHECK(found.centroids.size() == 3 * 2);
    CHECK(found.labels[0] == found.labels[2] && found.labels[1] == found.labels[3]);
    CHECK(group({5, 5, 5}, 1, 2).centroids == std::vector<float>{5});
}

TEST(the_same_seed_gives_the_same_clusters_as_ever) {
    // Written down from a first run: another machine or library must not give others.
    std::vector<float> vectors;
    std::uint32_t state = 1;
    for (int i = 0; i < 80; ++i) {
        state = state * 1664525U + 1013904223U;
        vectors.push_back(static_cast<float>(state >> 16) / 65536.0F);
    }
    std::uint64_t print = 0;
    for (const std::uint64_t seed : {0U, 1U, 2U}) {
        const Clusters found = group(vectors, 2, 6, seed);
        for (const std::int32_t label : found.labels) {
            print = print * 31 + static_cast<std::uint64_t>(label);
        }
        for (const float value : found.centroids) {
            print = print * 31 + static_cast<std::uint64_t>(value * 16777216.0F);
        }
    }
    CHECK(print == 10083870213049643821U);
}

TEST(what_cannot_be_grouped_is_refused) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const float bad : {nan, HUGE_VALF, -HUGE_VALF, 2e38F}) {
        CHECK(check::throws<InvalidInput>([&] { group({1, bad}, 1, 1); }));
    }
    CHECK(check::throws<InvalidInput>([] { group({}, 1, 1); }));
    CHECK(check::throws<InvalidInput>([] { group({1, 2, 3}, 2, 1); }));
    CHECK(check::throws<InvalidInput>([] { group({1, 2}, 0, 1); }));
    CHECK(check::throws<InvalidInput>([] { group({1, 2}, 1, 0); }));
    CHECK(check::throws<InvalidInput>([] { group({1, 2}, 1, 1, 0, 0); }));
    CHECK(group({1e38F, -1e38F, 0}, 1, 3).centroids.size() == 3);
}
