#include "edgepersona/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "edgepersona/errors.h"

namespace edgepersona {
namespace {

// SplitMix64 (Steele, Lea and Flood 2014).
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    double below_one() {
        std::uint64_t x = state_ += 0x9e3779b97f4a7c15U;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
        x = (x ^ x >> 27) * 0x94d049bb133111ebU;
        return static_cast<double>((x ^ x >> 31) >> 11) * 0x1p-53;
    }

  private:
    std::uint64_t state_;
};

// Differences are rounded to floats, so that their squares are exact in a double: a compiler that
// fuses one with the addition changes nothing. The order of the sums is written down here.
double squared_distance(const float* a, const float* b, std::size_t count) {
    double sums[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (std::size_t j = 0; j < 8; ++j) {
            const double difference = a[i + j] - b[i + j];
            sums[j] += difference * difference;
        }
    }
    for (; i < count; ++i) {
        const double difference = a[i] - b[i];
        sums[0] += difference * difference;
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

class Lloyd {
  public:
    Lloyd(Span<float> vectors, std::size_t ndim)
        : vectors_(vectors),
          ndim_(ndim),
          count_(vectors.size / ndim),
          labels_(count_, -1),
          distances_(count_, std::numeric_limits<double>::infinity()) {}

    // Each next centroid is a vector, drawn by the square of its distance to those chosen so far.
    void seed(std::size_t k, std::uint64_t seed) {
        Random random(seed);
        std::size_t next = std::min(
            static_cast<std::size_t>(random.below_one() * static_cast<double>(count_)), count_ - 1);
        for (;;) {
            centroids_.insert(centroids_.end(), vector(next), vector(next) + ndim_);
            sizes_.push_back(0);
            double total = 0.0;
            for (std::size_t i = 0; i < count_; ++i) {
                distances_[i] = std::min(distances_[i], distance(i, sizes_.size() - 1));
                total += distances_[i];
            }
            if (sizes_.size() == k || total == 0.0) return;
            const double mark = random.below_one() * total;
            double passed = 0.0;
            for (std::size_t i = 0; i < count_ && passed <= mark; ++i) {
                if (distances_[i] == 0.0) continue;
                passed += distances_[i];
                next = i;
            }
        }
    }

    // Gives each vector to the nearest centroid; returns whether any moved.
    bool assign() {
        std::fill(sizes_.begin(), sizes_.end(), 0);
        bool moved = false;
        for (std::size_t i = 0; i < count_; ++i) {
            std::size_t nearest = 0;
            distances_[i] = distance(i, 0);
            for (std::size_t j = 1; j < sizes_.size(); ++j) {
                const double other = distance(i, j);
                if (other >= distances_[i]) continue;
                distances_[i] = other;
                nearest = j;
            }
            moved |= labels_[i] != static_cast<std::int32_t>(nearest);
            labels_[i] = static_cast<std::int32_t>(nearest);
            ++sizes_[nearest];
        }
        return moved;
    }

    // An empty cluster gets the vector that lies farthest from its centroid, unless it is alone.
    void fill_empty() {
        for (std::size_t j = 0; j < sizes_.size(); ++j) {
            if (sizes_[j] != 0) continue;
            std::size_t farthest = 0;
            double distance = 0.0;
            for (std::size_t i = 0; i < count_; ++i) {
                if (distances_[i] <= distance || size_of(i) == 1) continue;
                distance = distances_[i];
                farthest = i;
            }
            if (distance == 0.0) return;
            --size_of(farthest);
            labels_[farthest] = static_cast<std::int32_t>(j);
            sizes_[j] = 1;
        }
    }

    void update() {
        std::vector<double> sums(centroids_.size());
        for (std::size_t i = 0; i < count_; ++i) {
            double* const sum = sums.data() + static_cast<std::size_t>(labels_[i]) * ndim_;
            for (std::size_t d = 0; d < ndim_; ++d) sum[d] += vector(i)[d];
        }
        for (std::size_t j = 0; j < sizes_.size(); ++j) {
            if (sizes_[j] == 0) continue;
            for (std::size_t d = j * ndim_; d < (j + 1) * ndim_; ++d) {
                centroids_[d] = static_cast<float>(sums[d] / static_cast<double>(sizes_[j]));
            }
        }
    }

    // Without the clusters that stayed empty.
    Clusters result() {
        std::vector<std::int32_t> numbers(sizes_.size());
        std::int32_t used = 0;
        Clusters clusters;
        for (std::size_t j = 0; j < sizes_.size(); ++j) {
            if (sizes_[j] == 0) continue;
            numbers[j] = used++;
            clusters.centroids.insert(clusters.centroids.end(), centroid(j), centroid(j) + ndim_);
        }
        for (std::int32_t& label : labels_) label = numbers[static_cast<std::size_t>(label)];
        clusters.labels.swap(labels_);
        return clusters;
    }

  private:
    const float* vector(std::size_t i) const { return vectors_.data + i * ndim_; }
    const float* centroid(std::size_t j) const { return centroids_.data() + j * ndim_; }
    std::size_t& size_of(std::size_t i) { return sizes_[static_cast<std::size_t>(labels_[i])]; }
    double distance(std::size_t i, std::size_t j) const {
        return squared_distance(vector(i), centroid(j), ndim_);
    }

    Span<float> vectors_;
    std::size_t ndim_, count_;
    std::vector<std::int32_t> labels_;
    std::vector<double> distances_;  // squared, to the nearest centroid
    std::vector<float> centroids_;
    std::vector<std::size_t> sizes_;
};

// Within it no difference of two is infinite.
constexpr float kLargest = 1e38F;

}  // namespace

Clusters kmeans(Span<float> vectors, std::size_t ndim, std::size_t k, std::uint64_t seed,
                std::size_t iterations) {
    if (ndim == 0 || vectors.size == 0 || vectors.size % ndim != 0) {
        throw InvalidInput(std::to_string(vectors.size) + " values of vectors of " +
                           std::to_string(ndim) + " dimensions: expected one vector or more");
    }
    if (vectors.size / ndim > std::numeric_limits<std::int32_t>::max()) {
        throw InvalidInput("more than 2^31 - 1 vectors");
    }
    if (k == 0) throw InvalidInput("k is 0, expected 1 or more");
    if (iterations == 0) throw InvalidInput("iterations are 0, expected 1 or more");
    const auto bad = std::find_if_not(vectors.begin(), vectors.end(),
                                      [](float x) { return std::fabs(x) <= kLargest; });
    if (bad != vectors.end()) {
        const auto at = static_cast<std::size_t>(bad - vectors.begin()) / ndim;
        throw InvalidInput("vector " + std::to_string(at) +
                           " holds a NaN, an infinity or a value beyond 1e38: every value must be "
                           "finite and within +-1e38");
    }
    Lloyd lloyd(vectors, ndim);
    lloyd.seed(k, seed);
    for (std::size_t round = 0; round < iterations && lloyd.assign(); ++round) {
        lloyd.fill_empty();
        lloyd.update();
    }
    return lloyd.result();
}

}  // namespace edgepersona
