// One VectorIndex under readers and writers at once: each checks what nobody else changes.
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

constexpr std::size_t kNdim = 24, kSteady = 200, kOwn = 150;
constexpr int kRounds = 12;

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

// Rows that nobody removes are found, by a scan and among chosen ids, whatever happens beside them.
void read(const VectorIndex& index, const Rows& steady) {
    const Hits all = index.search(steady.vectors(), 1);
    for (std::size_t q = 0; q < steady.size(); ++q) CHECK(all.ids[q] == steady.id(q));
    const Span<std::int64_t> only = steady.ids();
    const Hits some = index.search(steady.vector(3), steady.size(), &only);
    CHECK(some.k == steady.size() && some.ids[0] == steady.id(3));
    CHECK(index.size() >= steady.size() && index.memory_bytes() > 0);
}

}  // namespace

TEST(readers_and_writers_of_an_index_do_not_disturb_each_other) {
    VectorIndex index(kNdim);
    const Rows steady(0, kSteady), first(kSteady, kOwn), second(kSteady + kOwn, kOwn);
    index.add(steady.ids(), steady.vectors());
    Crew crew;
    crew.member(kRounds, [&](int) { write(index, first); });
    crew.member(kRounds, [&](int) { write(index, second); });
    crew.meanwhile([&] { read(index, steady); });
    crew.meanwhile([&] { read(index, steady); });
    crew.run();
    CHECK(index.size() == kSteady);
}
