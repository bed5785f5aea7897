// One VectorIndex under readers, writers and a linker at once: each checks what nobody else changes.
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "check.h"
#include "crew.h"
#include "edgepersona/vector_index.h"
#include "sample_data.h"

using namespace edgepersona;

namespace {

constexpr std::size_t kNdim = 8, kSteady = 5000, kOwn = 150, kGraphFrom = 4000;
constexpr int kRounds = 6;

// Rows first..first+count-1 of one set of random unit vectors, under their numbers as ids.
class Rows {
  public:
    Rows(std::size_t first, std::size_t count)
        : ids_(count), vectors_(unit_vectors(first + count, kNdim, 21)) {
        std::iota(ids_.begin(), ids_.end(), static_cast<std::int64_t>(first));
        vectors_.erase(vectors_.begin(),
                       vectors_.begin() + static_cast<std::ptrdiff_t>(first * kNdim));
    }

    std::size_t size() const { return ids_.size(); }
    std::int64_t id(std::size_t i) const { return ids_[i]; }
    Span<std::int64_t> ids() const { return {ids_.data(), ids_.size()}; }
    Span<float> vectors() const { return {vectors_.data(), vectors_.size()}; }
    Span<float> vector(std::size_t i) const { return {vectors_.data() + i * kNdim, kNdim}; }

  private:
    std::vector<std::int64_t> ids_;
    std::vector<float> vectors_;
};

// Adds its rows, finds them, replaces some, removes them, finds none.
void write(VectorIndex& index, const Rows& own) {
    index.add(own.ids(), own.vectors());
    const Span<std::int64_t> only = own.ids();
    const Hits found = index.search(own.vectors(), 1, &only);
    CHECK(std::equal(found.ids.begin(), found.ids.end(), own.ids().begin(), own.ids().end()));
    const std::int64_t turned[] = {own.id(0), own.id(1)};
    std::vector<float> swapped(own.vector(1).begin(), own.vector(1).end());
    swapped.insert(swapped.end(), own.vector(0).begin(), own.vector(0).end());
    index.add({turned, 2}, Span<float>{swapped.data(), swapped.size()});
    CHECK(index.search(own.vector(0), 1, &only).ids[0] == own.id(1));
    CHECK(index.remove(own.ids()) == own.size());
    CHECK(index.search(own.vector(0), 1, &only).k == 0);
}

// Rows that nobody removes are found, by a scan and among chosen ids, whatever happens beside them;
// by a walk too, or as good as they.
void read(const VectorIndex& index, const Rows& steady) {
    const Span<float> queries{steady.vectors().data, 20 * kNdim};
    const Hits all = index.search(queries, 1, nullptr, true), walked = index.search(queries, 1);
    for (std::size_t q = 0; q < 20; ++q) {
        CHECK(all.ids[q] == steady.id(q));
        CHECK(walked.scores[q] > 0.999F);
    }
    const Span<std::int64_t> only = steady.ids();
    const Hits some = index.search(steady.vector(3), 10, &only);
    CHECK(some.k == 10 && some.ids[0] == steady.id(3));
    CHECK(index.size() >= steady.size() && index.memory_bytes() > 0);
}

// Copies of the graph are whole, and another index of the steady rows takes them.
void save(const VectorIndex& index, const Rows& steady) {
    const SavedGraph saved = index.graph();
    CHECK(saved.links.size() == saved.ids.size() * Graph::kWidth);
    CHECK(std::is_sorted(saved.ids.begin(), saved.ids.end()));
    for (const std::uint32_t to : saved.links) CHECK(to == Graph::kNone || to < saved.ids.size());
    CHECK(index.ids().size() >= steady.size());
    if (saved.search_width == 0) return;
    VectorIndex other(kNdim, kGraphFrom);
    other.add(steady.ids(), steady.vectors());
    other.load_graph({saved.ids.data(), saved.ids.size()},
                     {saved.links.data(), saved.links.size()}, saved.search_width);
    other.link(10);
    CHECK(other.search(steady.vector(5), 1).scores[0] > 0.999F);
}

}  // namespace

TEST(readers_writers_and_a_linker_of_an_index_do_not_disturb_each_other) {
    VectorIndex index(kNdim, kGraphFrom);
    const Rows steady(0, kSteady), first(kSteady, kOwn), second(kSteady + kOwn, kOwn);
    index.add(steady.ids(), steady.vectors());
    Crew crew;
    crew.member(kRounds, [&](int) { write(index, first); });
    crew.member(kRounds, [&](int) { write(index, second); });
    crew.member(20, [&](int) { index.link(400); });
    crew.meanwhile([&] { read(index, steady); });
    crew.meanwhile([&] { save(index, steady); });
    crew.run();
    while (index.link(1000) > 0) {
    }
    CHECK(index.search_width() > 0);
    save(index, steady);
    CHECK(index.size() == kSteady);
}
