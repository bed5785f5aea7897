// A Graph stays one: links lead to other rows, each once, whatever is linked, unlinked or changed.
#include "edgepersona/graph.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "edgepersona/query.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

class Linked {
  public:
    Linked(std::size_t ndim, std::size_t rows, fuzz::Input& input) : rows_(ndim), graph_(rows_) {
        rows_.reserve(rows);
        graph_.reserve(rows);
        for (std::size_t row = 0; row < rows; ++row) write(rows_.push_back(), input);
    }

    void step(fuzz::Input& input) {
        const auto row = static_cast<Graph::Row>(input.up_to(rows_.size() - 1));
        switch (input.up_to(3)) {
            case 0:
            case 1:
                if (!graph_.linked(row)) graph_.apply(graph_.plan(row));
                linked_.insert(row);
                break;
            case 2:
                graph_.unlink(row);
                linked_.erase(row);
                if (input.chance(2)) write(row, input);
                break;
            default:
                search(input);
        }
    }

    void check() const {
        CHECK(graph_.size() == linked_.size());
        for (Graph::Row row = 0; row < rows_.size(); ++row) {
            CHECK(graph_.linked(row) == (linked_.count(row) == 1));
            const auto& to = graph_.links(row).to;
            const auto end = std::find(to, to + Graph::kWidth, Graph::kNone);
            CHECK(std::all_of(end, to + Graph::kWidth, [](auto i) { return i == Graph::kNone; }));
            const std::set<Graph::Row> distinct(to, end);
            CHECK(distinct.size() == static_cast<std::size_t>(end - to));
            CHECK(distinct.count(row) == 0);
            CHECK(distinct.empty() || *distinct.rbegin() < rows_.size());
        }
    }

  private:
    void write(std::size_t row, fuzz::Input& input) {
        std::vector<float> values(rows_.ndim());
        for (float& value : values) value = input.take<std::int8_t>() % 8;
        rows_.write(row, values.data());
    }

    void search(fuzz::Input& input) const {
        std::vector<float> values(rows_.ndim());
        for (float& value : values) value = input.take<std::int8_t>();
        const std::size_t width = input.up_to(60) + 1;
        std::vector<Graph::Near> found;
        graph_.search(Query(values.data(), rows_).codes(), width, found);
        CHECK(found.size() <= width && found.empty() == linked_.empty());
        std::set<Graph::Row> distinct;
        for (std::size_t i = 0; i < found.size(); ++i) {
            CHECK(linked_.count(found[i].row) == 1 && distinct.insert(found[i].row).second);
            CHECK(i == 0 || found[i].score <= found[i - 1].score);
        }
    }

    RowStore rows_;
    Graph graph_;
    std::set<Graph::Row> linked_;
};

}  // namespace

FUZZ(graph) {
    const std::size_t ndim = input.up_to(20) + 1, rows = input.up_to(120) + 1;
    Linked linked(ndim, rows, input);
    while (!input.empty()) {
        linked.step(input);
        linked.check();
    }
}
