#include "edgepersona/graph.h"

// Without hnswlib's own SIMD: its prefetching reads past the end of a node's links, and the
// distance is ours anyway.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "edgepersona/errors.h"
#include "edgepersona/kernels.h"

namespace edgepersona {
namespace {

// hnswlib's own inner product is fixed when it is compiled; ours is chosen at load.
class InnerProduct : public hnswlib::SpaceInterface<float> {
  public:
    explicit InnerProduct(std::size_t ndim) : ndim_(ndim) {}
    std::size_t get_data_size() override { return ndim_ * sizeof(float); }
    void* get_dist_func_param() override { return &ndim_; }
    hnswlib::DISTFUNC<float> get_dist_func() override {
        return [](const void* a, const void* b, const void* ndim) {
            return 1.0F - kernels().dot(static_cast<const float*>(a), static_cast<const float*>(b),
                                        *static_cast<const std::size_t*>(ndim));
        };
    }

  private:
    std::size_t ndim_;
};

constexpr std::size_t kFirstRoom = 1024;  // points; doubled when full

}  // namespace

struct Graph::State {
    State(std::size_t n, Options o)
        : ndim(n), space(n), points(&space, kFirstRoom, o.links, o.build_width) {
        points.setEf(o.search_width);
    }

    void check(Span<float> vector) const {
        const auto usable = [](float v) { return v >= -kHalfMax && v <= kHalfMax; };
        if (vector.size != ndim || !std::all_of(vector.begin(), vector.end(), usable)) {
            throw InvalidInput("expected " + std::to_string(ndim) + " finite values, got " +
                               std::to_string(vector.size) + " or one that is not finite");
        }
    }

    std::size_t ndim;
    InnerProduct space;
    hnswlib::HierarchicalNSW<float> points;
    mutable std::shared_mutex mutex;
};

Graph::Graph(std::size_t ndim) : Graph(ndim, Options()) {}
Graph::Graph(std::size_t ndim, Options options) : state_(new State(ndim, options)) {}
Graph::~Graph() = default;

std::size_t Graph::size() const {
    std::shared_lock lock(state_->mutex);
    return state_->points.getCurrentElementCount() - state_->points.getDeletedCount();
}

void Graph::add(std::int64_t id, Span<float> vector) {
    state_->check(vector);
    std::unique_lock lock(state_->mutex);
    auto& points = state_->points;
    if (points.getCurrentElementCount() == points.getMaxElements()) {
        points.resizeIndex(points.getMaxElements() * 2);
    }
    points.addPoint(vector.data, static_cast<hnswlib::labeltype>(id));
}

bool Graph::remove(std::int64_t id) {
    std::unique_lock lock(state_->mutex);
    const auto found = state_->points.label_lookup_.find(static_cast<hnswlib::labeltype>(id));
    if (found == state_->points.label_lookup_.end()) return false;
    if (state_->points.isMarkedDeleted(found->second)) return false;
    state_->points.markDelete(found->first);
    return true;
}

std::vector<Scored> Graph::search(Span<float> query, std::size_t k) const {
    state_->check(query);
    std::shared_lock lock(state_->mutex);
    std::vector<Scored> hits;
    for (auto found = state_->points.searchKnn(query.data, k); !found.empty(); found.pop()) {
        hits.push_back({1.0F - found.top().first, static_cast<std::int64_t>(found.top().second)});
    }
    std::reverse(hits.begin(), hits.end());
    return hits;
}

}  // namespace edgepersona
