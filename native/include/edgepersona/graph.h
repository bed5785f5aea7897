// Graph: approximate search by inner product; the one owner of hnswlib.
//
// Not used by VectorIndex yet: it will serve the sizes at which the exact scan is too slow.
// hnswlib is not safe for adding beside searching, so Graph holds its own lock: any thread may
// call anything. It is never handed a saved file; it can always be rebuilt from the rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "edgepersona/span.h"
#include "edgepersona/top_k.h"

namespace edgepersona {

class Graph {
  public:
    struct Options {
        std::size_t links = 16;       // hnswlib's M
        std::size_t build_width = 200;  // ef_construction
        std::size_t search_width = 64;  // ef; k where that is larger
    };

    explicit Graph(std::size_t ndim);
    Graph(std::size_t ndim, Options options);
    ~Graph();

    std::size_t size() const;  // without those marked removed
    void add(std::int64_t id, Span<float> vector);  // an id that is there is replaced
    bool remove(std::int64_t id);  // marked only: its bytes stay until the graph is rebuilt
    std::vector<Scored> search(Span<float> query, std::size_t k) const;  // best first

  private:
    struct State;  // keeps hnswlib's headers out of this one
    std::unique_ptr<State> state_;
};

}  // namespace edgepersona
