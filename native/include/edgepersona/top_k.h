// The k best of a stream of scored ids, in a bounded heap; equal scores go to the smaller id.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace edgepersona {

struct Scored {
    float score;
    std::int64_t id;
};

class TopK {
  public:
    explicit TopK(std::size_t k) : k_(k) { heap_.reserve(k); }

    // No score below this can still enter: what lets the caller skip most of them.
    float bar() const { return bar_; }

    bool full() const { return heap_.size() == k_; }

    void offer(Scored candidate) {
        if (heap_.size() == k_) {
            if (k_ == 0 || !better(candidate, heap_.front())) return;
            std::pop_heap(heap_.begin(), heap_.end(), better);
            heap_.back() = candidate;
        } else {
            heap_.push_back(candidate);
        }
        std::push_heap(heap_.begin(), heap_.end(), better);
        if (heap_.size() == k_) bar_ = heap_.front().score;
    }

    // Best first. Ends the heap's life.
    const std::vector<Scored>& sorted() {
        std::sort_heap(heap_.begin(), heap_.end(), better);
        return heap_;
    }

  private:
    static bool better(const Scored& a, const Scored& b) {
        return a.score > b.score || (a.score == b.score && a.id < b.id);
    }

    std::size_t k_;
    float bar_ = -std::numeric_limits<float>::infinity();
    std::vector<Scored> heap_;  // the worst of the kept in front
};

}  // namespace edgepersona
