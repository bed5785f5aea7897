#include "edgepersona/vector_index.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <new>
#include <numeric>
#include <string>
#include <utility>

#include "edgepersona/errors.h"
#include "edgepersona/top_k.h"

namespace edgepersona {
namespace {

using Ids = std::vector<std::int64_t>;

// How wide walks may be, and what is asked of one: measured on kSamples queries made of rows and
// noise, for rows themselves are found too easily: the graph was built from them. A cosine of .5 to
// the row is what a question has to what answers it, and a little harder to walk to than texts that
// are new to the index: where these are found to .975, those are to .98 or more.
// Texts of which there are many near copies take the widest: a narrow view is filled by copies.
constexpr std::size_t kWidths[] = {24,  32,  40,  48,  56,  64,  72,  80,  96,   112,  128, 160,
                                   192, 256, 320, 384, 512, 640, 768, 896, 1024, 1536, 2048};
constexpr std::size_t kSamples = 200, kSampleK = 10;
constexpr double kSampleCosine = 0.5, kWalkRecall = 0.98;
// Picking is measured on the same, which are no harder for it.
constexpr std::size_t kDepths[] = {64,  96,  128, 160, 192, 224, 256, 320,
                                   384, 448, 512, 640, 768, 1024};
constexpr double kPickRecall = 0.985;
constexpr std::size_t kSketchedAtOnce = 64;  // some 100 microseconds that keep searches out
// A row that is walked to takes as long as some that are scanned one after the other.
constexpr std::size_t kRowsPerScored = 4;

// Rows scored at a time: they stay in L2 while every query of a batch passes over them.
constexpr std::size_t kChunk = 256;

bool usable(float value) { return std::fabs(value) <= kHalfMax; }  // false for NaN
bool usable(Half value) { return (value & 0x7c00U) != 0x7c00U; }

template <class T>
void check_values(const char* what, Span<T> vectors, std::size_t ndim) {
    for (std::size_t at = 0; at < vectors.size; at += ndim) {
        bool good = true;  // no early exit within a row, so that the loop can be vectorised
        for (std::size_t i = 0; i < ndim; ++i) good &= usable(vectors[at + i]);
        if (!good) {
            throw InvalidInput(std::string(what) + " " + std::to_string(at / ndim) +
                               " holds a NaN, an infinity or a value beyond 65504: every value "
                               "must be finite and fit a half");
        }
    }
}

bool strictly_increasing(Span<std::int64_t> ids) {
    return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
}

Ids sorted(Span<std::int64_t> ids) {
    Ids copy(ids.begin(), ids.end());
    std::sort(copy.begin(), copy.end());
    return copy;
}

void check_unique(Span<std::int64_t> ids) {
    if (strictly_increasing(ids)) return;
    const Ids copy = sorted(ids);
    const auto twin = std::adjacent_find(copy.begin(), copy.end());
    if (twin != copy.end()) {
        throw InvalidInput("id " + std::to_string(*twin) +
                           " is given more than once: each id may appear once in a call");
    }
}

std::size_t checked_ndim(std::size_t ndim) {
    if (ndim >= 1 && ndim <= VectorIndex::kMaxNdim) return ndim;
    throw InvalidInput("ndim is " + std::to_string(ndim) + ", expected 1 to " +
                       std::to_string(VectorIndex::kMaxNdim));
}

// Adds noise, so that the cosine to what it was is about `cosine`; the same for the same seed.
void add_noise(std::vector<float>& values, double cosine, std::uint64_t seed) {
    double squares = 0;
    for (const float value : values) squares += static_cast<double>(value) * value;
    const double spread = std::sqrt(squares * (1 / (cosine * cosine) - 1) /
                                    static_cast<double>(values.size()));
    std::uint64_t state = seed;
    for (float& value : values) {
        double sum = 0;  // of four uniform numbers: near enough to normal, the same everywhere
        for (int i = 0; i < 4; ++i) {
            state += 0x9e3779b97f4a7c15U;  // SplitMix64
            std::uint64_t x = state;
            x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
            x = (x ^ x >> 27) * 0x94d049bb133111ebU;
            sum += static_cast<double>((x ^ x >> 31) >> 11) * 0x1p-53 - 0.5;
        }
        value += static_cast<float>(spread * sum * 1.7320508);
    }
}

const float* as_floats(const float* from, std::size_t, std::vector<float>&) { return from; }
const float* as_floats(const Half* from, std::size_t ndim, std::vector<float>& room) {
    room.resize(ndim);
    kernels().widen(from, ndim, room.data());
    return room.data();
}

}  // namespace

// The best rows of a query so far, with their exact scores.
class VectorIndex::Best {
  public:
    Best(const VectorIndex& index, std::size_t k) : index_(&index), top_(k) {}

    // Whether a row whose score is at most this may be among the best.
    bool may_take(float at_most) const { return at_most >= top_.bar(); }
    void offer(const Query& query, Row row) {
        top_.offer({query.score(index_->rows_, row), index_->ids_[row]});
    }
    bool full() const { return top_.full(); }
    const std::vector<Scored>& sorted() { return top_.sorted(); }

  private:
    const VectorIndex* index_;
    TopK top_;
};

VectorIndex::VectorIndex(std::size_t ndim, std::size_t graph_from)
    : ndim_(checked_ndim(ndim)), graph_from_(graph_from), rows_(ndim_) {}

std::size_t VectorIndex::size() const {
    std::shared_lock lock(mutex_);
    return map_.size();
}

Ids VectorIndex::ids() const {
    std::shared_lock lock(mutex_);
    Ids ids;
    ids.reserve(map_.size());
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        if (!rows_.vacant(row)) ids.push_back(ids_[row]);
    }
    lock.unlock();
    std::sort(ids.begin(), ids.end());
    return ids;
}

std::size_t VectorIndex::scan_bytes() const {
    std::shared_lock lock(mutex_);
    return rows_.memory_bytes() + ids_.capacity() * sizeof(std::int64_t) + map_.memory_bytes();
}

std::size_t VectorIndex::memory_bytes() const {
    const std::size_t scanned = scan_bytes();
    std::shared_lock lock(mutex_);
    const std::size_t lists = (vacant_.capacity() + unlinked_.capacity()) * sizeof(Row);
    return scanned + lists + (graph_ ? graph_->memory_bytes() : 0) +
           (sketch_ ? sketch_->memory_bytes() : 0);
}

void VectorIndex::reserve(std::size_t rows) {
    std::unique_lock lock(mutex_);
    make_room(rows, rows);
}

// Rows may outnumber ids: a graph's vacant ones.
void VectorIndex::make_room(std::size_t rows, std::size_t ids) {
    if (rows >= Graph::kMaxRows) throw InvalidInput("an index holds fewer than 2^31 vectors");
    rows_.reserve(rows);
    if (ids_.capacity() < rows) ids_.reserve(std::max(rows, ids_.capacity() * 2));
    map_.reserve(ids);
}

void VectorIndex::add(Span<std::int64_t> ids, Span<float> vectors) { add_rows(ids, vectors); }
void VectorIndex::add(Span<std::int64_t> ids, Span<Half> vectors) { add_rows(ids, vectors); }

template <class T>
void VectorIndex::add_rows(Span<std::int64_t> given, Span<T> vectors) {
    if (vectors.size % ndim_ != 0 || vectors.size / ndim_ != given.size) {
        throw InvalidInput(std::to_string(vectors.size) + " values for " +
                           std::to_string(given.size) + " ids of " + std::to_string(ndim_) +
                           " dimensions: expected ids times dimensions");
    }
    check_values("vector", vectors, ndim_);
    const Ids ids(given.begin(), given.end());  // ours: the caller's could change while we work
    check_unique({ids.data(), ids.size()});
    std::vector<float> room(ndim_);

    std::unique_lock lock(mutex_);
    std::size_t size = map_.size();
    for (const std::int64_t id : ids) size += map_.find(id) == IdMap::kNone;
    // All that can fail comes first; below, nothing throws.
    const std::size_t rows = std::max(rows_.size(), size);
    make_room(rows, size);
    if (graph_) {
        vacant_.reserve(rows);
        unlinked_.reserve(rows);
        graph_->reserve(rows);
    }
    if (sketch_) sketch_->reserve(rows);
    ++epoch_;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        Row row = map_.find(ids[i]);
        const bool known = row != IdMap::kNone;
        if (!known) {
            row = new_row();
            ids_[row] = ids[i];
            map_.set(ids[i], row);
        }
        if (graph_ && (!known || graph_->linked(row))) {
            graph_->unlink(row);
            unlinked_.push_back(row);
        }
        rows_.write(row, as_floats(vectors.data + i * ndim_, ndim_, room));
        if (sketch_ && row <= sketch_->size()) sketch_->write(row);
    }
}

VectorIndex::Row VectorIndex::new_row() noexcept {
    if (vacant_.empty()) {
        ids_.push_back(0);
        return static_cast<Row>(rows_.push_back());
    }
    const Row row = vacant_.back();
    vacant_.pop_back();
    return row;
}

std::size_t VectorIndex::remove(Span<std::int64_t> given) {
    const Ids ids(given.begin(), given.end());
    std::unique_lock lock(mutex_);
    std::vector<Row> rows = rows_of({ids.data(), ids.size()});
    if (rows.empty()) return 0;
    ++epoch_;
    leave_graph_if_worn(rows.size());
    if (graph_) {
        for (const Row row : rows) {
            graph_->unlink(row);
            map_.erase(ids_[row]);
            ids_[row] = 0;
            rows_.vacate(row);
            vacant_.push_back(row);
        }
        unlinked_.erase(std::remove_if(unlinked_.begin(), unlinked_.end(),
                                       [&](Row row) { return rows_.vacant(row); }),
                        unlinked_.end());
    } else {
        // Without a graph the last row takes the place of one that goes; so the last go first.
        rows = rows_of({ids.data(), ids.size()});  // other numbers, where vacant rows were closed
        std::sort(rows.begin(), rows.end(), std::greater<>());
        for (const Row row : rows) {
            map_.erase(ids_[row]);
            remove_row(row);
        }
    }
    if (ids_.capacity() > 16 + 4 * ids_.size()) {
        try {
            ids_.shrink_to_fit();
            map_.shrink();
        } catch (const std::bad_alloc&) {  // no room for the smaller copy: the larger one serves
        }
    }
    return rows.size();
}

void VectorIndex::remove_row(Row row) noexcept {
    const auto last = static_cast<Row>(rows_.size() - 1);
    if (row != last) {
        ids_[row] = ids_[last];
        map_.set(ids_[row], row);
    }
    rows_.replace_by_last(row);
    ids_.pop_back();
    if (sketch_) {
        if (last < sketch_->size()) sketch_->pop_back();
        if (row < sketch_->size()) sketch_->write(row);
    }
}

// A graph that loses a quarter of its rows is not mended but linked anew, without vacant rows.
void VectorIndex::leave_graph_if_worn(std::size_t leaving) {
    const std::size_t kept = map_.size() - leaving;
    if (graph_ && (kept < graph_from_ / 2 || vacant_.size() + leaving > rows_.size() / 4)) {
        drop_graph();
    }
    if (no_walk_pays_ && kept < graph_from_ / 2) {
        no_walk_pays_ = false;
        sketch_.reset();
        search_depth_ = tuned_at_ = 0;
    }
}

void VectorIndex::drop_graph() {
    graph_.reset();
    search_width_ = tuned_at_ = 0;
    std::vector<Row>().swap(unlinked_);
    std::sort(vacant_.begin(), vacant_.end(), std::greater<>());
    for (const Row row : vacant_) remove_row(row);
    std::vector<Row>().swap(vacant_);
}

std::vector<VectorIndex::Row> VectorIndex::rows_of(Span<std::int64_t> ids) const {
    Ids unique;
    if (!strictly_increasing(ids)) {  // each id may be returned once only
        unique = sorted(ids);
        unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
        ids = {unique.data(), unique.size()};
    }
    std::vector<Row> rows;
    rows.reserve(std::min(ids.size, map_.size()));
    for (const std::int64_t id : ids) {
        const Row row = map_.find(id);
        if (row != IdMap::kNone) rows.push_back(row);
    }
    return rows;
}

Hits VectorIndex::search(Span<float> given, std::size_t k, const Span<std::int64_t>* only,
                         bool exact) const {
    if (given.size % ndim_ != 0) {
        throw InvalidInput(std::to_string(given.size) + " values are no whole queries of " +
                           std::to_string(ndim_) + " dimensions");
    }
    if (k < 1) throw InvalidInput("k is 0, expected 1 or more");
    check_values("query", given, ndim_);
    std::vector<Query> queries;
    for (std::size_t at = 0; at < given.size; at += ndim_) {
        queries.emplace_back(given.data + at, rows_);
    }

    std::shared_lock lock(mutex_);
    std::vector<Row> chosen;
    if (only != nullptr) chosen = rows_of(*only);
    Hits hits;
    hits.queries = queries.size();
    hits.k = std::min(k, only != nullptr ? chosen.size() : map_.size());
    if (hits.k == 0) return hits;
    std::vector<Best> best(queries.size(), Best(*this, hits.k));
    const Span<Query> all{queries.data(), queries.size()};
    if (only != nullptr) {
        scan(all, chosen.data(), chosen.size(), best.data());
    } else if (exact || hits.k > map_.size() / 64 || !(walks() || picks())) {
        scan(all, nullptr, rows_.size(), best.data());
    } else if (picks()) {
        static thread_local std::vector<Row> picked;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            const std::size_t depth = search_depth_ * ((hits.k + 9) / 10);
            sketch_->pick(queries[q].values(), depth, picked);
            scan({&queries[q], 1}, picked.data(), picked.size(), &best[q]);
        }
    } else {
        // Measured at 10 results: more of them need a wider walk.
        const std::size_t width = search_width_ + (hits.k > 10 ? 2 * (hits.k - 10) : 0);
        for (std::size_t q = 0; q < queries.size(); ++q) walk(queries[q], width, best[q]);
        scan(all, unlinked_.data(), unlinked_.size(), best.data());
        if (!std::all_of(best.begin(), best.end(), [](const Best& one) { return one.full(); })) {
            best.assign(queries.size(), Best(*this, hits.k));  // a graph with a part cut off
            scan(all, nullptr, rows_.size(), best.data());
        }
    }

    hits.ids.reserve(hits.queries * hits.k);
    hits.scores.reserve(hits.queries * hits.k);
    for (Best& one : best) {
        for (const Scored& hit : one.sorted()) {
            hits.ids.push_back(hit.id);
            hits.scores.push_back(hit.score);
        }
    }
    return hits;
}

// Scans `count` rows: those listed, or without a list the first ones.
void VectorIndex::scan(Span<Query> queries, const Row* rows, std::size_t count,
                       Best* best) const {
    const auto dot_codes = kernels().dot_codes;
    Row numbers[kChunk];
    const std::int8_t* codes[kChunk];
    float steps[kChunk], slacks[kChunk];
    std::int32_t sums[kChunk];
    float at_most[kChunk];
    for (std::size_t start = 0; start < count; start += kChunk) {
        const std::size_t size = std::min(kChunk, count - start);
        for (std::size_t i = 0; i < size; ++i) {
            numbers[i] = rows != nullptr ? rows[start + i] : static_cast<Row>(start + i);
            codes[i] = rows_.high(numbers[i]);
            steps[i] = rows_.step(numbers[i]);
            slacks[i] = rows_.slack(numbers[i]);
        }
        for (std::size_t q = 0; q < queries.size; ++q) {
            const Query& query = queries[q];
            dot_codes(codes, size, query.codes(), rows_.stride(), sums);
            for (std::size_t i = 0; i < size; ++i) {
                at_most[i] = query.at_most(sums[i], steps[i], slacks[i]);
            }
            for (std::size_t i = 0; i < size; ++i) {
                if (best[q].may_take(at_most[i]) && slacks[i] >= 0) {
                    best[q].offer(query, numbers[i]);
                }
            }
        }
    }
}

void VectorIndex::walk(const Query& query, std::size_t width, Best& best) const {
    static thread_local std::vector<Graph::Near> found;
    graph_->search(query.codes(), width, found);
    for (const Graph::Near& near : found) {
        if (best.may_take(query.at_most(near.score, rows_, near.row))) best.offer(query, near.row);
    }
}

bool VectorIndex::walks() const {
    return search_width_ > 0 && unlinked_.size() <= rows_.size() / 8;
}

bool VectorIndex::picks() const { return search_depth_ > 0 && sketch_->size() == rows_.size(); }

bool VectorIndex::wants_links() const { return map_.size() >= graph_from_ && !no_walk_pays_; }

std::size_t VectorIndex::search_width() const {
    std::shared_lock lock(mutex_);
    return search_width_;
}

std::size_t VectorIndex::search_depth() const {
    std::shared_lock lock(mutex_);
    return search_depth_;
}

std::size_t VectorIndex::link(std::size_t count) {
    if (count > 0) {
        std::lock_guard only_one(linking_);
        for (; count > 0; --count) {
            if (!link_one()) return 0;
        }
    }
    std::shared_lock lock(mutex_);
    return left_to_link();
}

// Rows that graph or sketch lack; measuring counts as one.
std::size_t VectorIndex::left_to_link() const {
    if (graph_) {
        const bool measure = grew_since_tuned(graph_->size(), unlinked_.empty());
        return std::max<std::size_t>(unlinked_.size(), measure ? 1 : 0);
    }
    if (sketch_) {
        const std::size_t left = rows_.size() - sketch_->size();
        const bool measure = left == 0 && grew_since_tuned(sketch_->size(), true);
        return std::max<std::size_t>(left, measure ? 1 : 0);
    }
    return wants_links() ? map_.size() : 0;
}

// At each doubling, to know early where no walk pays; and with all rows, if many came since.
bool VectorIndex::grew_since_tuned(std::size_t size, bool whole) const {
    return size >= 2 * tuned_at_ || (whole && size > tuned_at_ + tuned_at_ / 8);
}

// Takes one step; false where there is none to take.
bool VectorIndex::link_one() {
    std::shared_lock reading(mutex_);
    if (left_to_link() == 0) return false;
    if (sketch_) {
        reading.unlock();
        return sketch_some();
    }
    if (!graph_) {
        reading.unlock();
        return start_graph();
    }
    if (grew_since_tuned(graph_->size(), unlinked_.empty())) {
        reading.unlock();
        if (!sample_more()) tune_graph();
        return true;
    }
    const std::uint64_t epoch = epoch_;
    const Graph::Plan plan = graph_->plan(unlinked_.back());
    reading.unlock();
    std::unique_lock lock(mutex_);
    if (epoch_ != epoch) return true;  // the next call plans anew
    graph_->apply(plan);
    unlinked_.pop_back();
    return true;
}

bool VectorIndex::start_graph() {
    std::unique_lock lock(mutex_);
    if (graph_ || !wants_links()) return true;
    sample_ = Sample();
    auto graph = std::make_unique<Graph>(rows_);
    graph->reserve(rows_.size());
    vacant_.reserve(rows_.size());
    std::vector<Row> all(rows_.size());
    std::iota(all.rbegin(), all.rend(), 0);  // taken from the end
    unlinked_ = std::move(all);
    graph_ = std::move(graph);
    tuned_at_ = std::max<std::size_t>(graph_from_ / 4, 64);
    return true;
}

bool VectorIndex::sketch_some() {
    std::unique_lock lock(mutex_);
    if (!sketch_) return true;
    sketch_->reserve(rows_.size());
    const std::size_t end = std::min(rows_.size(), sketch_->size() + kSketchedAtOnce);
    while (sketch_->size() < end) sketch_->write(sketch_->size());
    const bool measure = end == rows_.size() && grew_since_tuned(end, true);
    lock.unlock();
    if (measure && !sample_more()) tune_sketch();
    return true;
}

// Finds the narrowest walk that finds what a scan finds, or nearly. Where that would read about as
// much as the scan, the graph goes, and rows are sketched.
void VectorIndex::tune_graph() {
    const Sample sample = std::move(sample_);
    sample_ = Sample();
    std::size_t width = 0;
    for (const std::size_t candidate : kWidths) {
        const Walked walked = try_width(sample, candidate);
        if (walked.scored * kRowsPerScored > sample.rows) break;
        if (walked.recall >= kWalkRecall) {
            width = candidate;
            break;
        }
    }
    std::unique_lock lock(mutex_);
    if (!graph_) return;
    if (width > 0) {
        search_width_ = width;
        tuned_at_ = graph_->size();
        return;
    }
    drop_graph();
    no_walk_pays_ = true;
    if (kernels().sketch != nullptr && ndim_ <= Sketch::kMaxNdim) {
        sketch_ = std::make_unique<Sketch>(rows_);
    }
}

// Finds how many rows picked by their sketches hold what a scan finds, or nearly.
void VectorIndex::tune_sketch() {
    const Sample sample = std::move(sample_);
    sample_ = Sample();
    std::size_t depth = 0;
    for (const std::size_t candidate : kDepths) {
        if (candidate * kRowsPerScored > sample.rows) break;
        if (try_depth(sample, candidate) >= kPickRecall) {
            depth = candidate;
            break;
        }
    }
    std::unique_lock lock(mutex_);
    if (!sketch_) return;
    search_depth_ = depth;
    tuned_at_ = sketch_->size();
    if (depth == 0) sketch_.reset();
}

// Adds a query, and what a scan finds for it among the rows of graph or sketch; false once there
// are enough.
bool VectorIndex::sample_more() {
    const std::size_t number = sample_.queries.size();
    if (number == kSamples) return false;
    std::shared_lock lock(mutex_);
    std::vector<Row> rows;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        const bool counts = graph_ ? graph_->linked(row) : !rows_.vacant(row);
        if (counts) rows.push_back(static_cast<Row>(row));
    }
    if (rows.empty()) return false;
    std::vector<float> values(ndim_);
    rows_.read(rows[number * 0x9e3779b97f4a7c15U % rows.size()], values.data());
    add_noise(values, kSampleCosine, number);
    sample_.queries.emplace_back(values.data(), rows_);
    Best best(*this, std::min(kSampleK, rows.size()));
    scan({&sample_.queries.back(), 1}, rows.data(), rows.size(), &best);
    sample_.truth.emplace_back();
    for (const Scored& hit : best.sorted()) sample_.truth.back().push_back(hit.id);
    sample_.rows = rows.size();
    return true;
}

VectorIndex::Walked VectorIndex::try_width(const Sample& sample, std::size_t width) const {
    Walked walked;
    std::size_t found = 0, wanted = 0, scored = 0;
    std::vector<Graph::Near> near;
    for (std::size_t i = 0; i < sample.queries.size(); ++i) {
        std::shared_lock lock(mutex_);
        if (!graph_) return walked;
        scored += graph_->search(sample.queries[i].codes(), width, near);
        for (const Graph::Near& hit : near) {
            const Ids& truth = sample.truth[i];
            found += std::find(truth.begin(), truth.end(), ids_[hit.row]) != truth.end();
        }
        wanted += sample.truth[i].size();
    }
    if (wanted == 0) return walked;
    walked.recall = static_cast<double>(found) / static_cast<double>(wanted);
    walked.scored = scored / sample.queries.size();
    return walked;
}

double VectorIndex::try_depth(const Sample& sample, std::size_t depth) const {
    std::size_t found = 0, wanted = 0;
    std::vector<Row> picked;
    for (std::size_t i = 0; i < sample.queries.size(); ++i) {
        std::shared_lock lock(mutex_);
        if (!sketch_) return 0;
        sketch_->pick(sample.queries[i].values(), depth, picked);
        for (const std::int64_t id : sample.truth[i]) {
            found += std::binary_search(picked.begin(), picked.end(), map_.find(id));
        }
        wanted += sample.truth[i].size();
    }
    return wanted == 0 ? 0 : static_cast<double>(found) / static_cast<double>(wanted);
}

SavedGraph VectorIndex::graph() const {
    SavedGraph saved;
    std::shared_lock lock(mutex_);
    if (!graph_ || search_width_ == 0) return saved;
    std::vector<Row> rows;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        if (graph_->linked(row)) rows.push_back(static_cast<Row>(row));
    }
    std::sort(rows.begin(), rows.end(), [&](Row a, Row b) { return ids_[a] < ids_[b]; });
    std::vector<Row> node(rows_.size(), Graph::kNone);
    for (std::size_t i = 0; i < rows.size(); ++i) node[rows[i]] = static_cast<Row>(i);
    saved.links.reserve(rows.size() * Graph::kWidth);
    for (const Row row : rows) {
        saved.ids.push_back(ids_[row]);
        for (const Row to : graph_->links(row).to) {
            if (to != Graph::kNone && node[to] != Graph::kNone) saved.links.push_back(node[to]);
        }
        saved.links.resize(saved.ids.size() * Graph::kWidth, Graph::kNone);
    }
    saved.search_width = search_width_;
    return saved;
}

void VectorIndex::load_graph(Span<std::int64_t> ids, Span<std::uint32_t> links,
                             std::size_t search_width) {
    if (links.size % Graph::kWidth != 0 || links.size / Graph::kWidth != ids.size) {
        throw InvalidInput(std::to_string(links.size) + " links for " + std::to_string(ids.size) +
                           " ids: expected " + std::to_string(Graph::kWidth) + " each");
    }
    if (search_width < 1 || search_width > kWidths[std::size(kWidths) - 1]) {
        throw InvalidInput("the search width is " + std::to_string(search_width) +
                           ", which no graph has");
    }
    // Ours: what the caller holds could change between the check and the use.
    const std::vector<std::uint32_t> to(links.begin(), links.end());
    const bool good = std::all_of(to.begin(), to.end(), [&](std::uint32_t node) {
        return node < ids.size || node == Graph::kNone;
    });
    if (!good) throw InvalidInput("a link leads to no node of the graph");

    std::unique_lock lock(mutex_);
    if (graph_ || !wants_links()) return;
    std::vector<Row> rows(ids.size);
    std::vector<bool> taken(rows_.size());
    for (std::size_t node = 0; node < rows.size(); ++node) {
        rows[node] = map_.find(ids[node]);
        if (rows[node] == IdMap::kNone) continue;
        if (taken[rows[node]]) {
            throw InvalidInput("id " + std::to_string(ids[node]) + " is in the graph twice");
        }
        taken[rows[node]] = true;
    }
    auto graph = std::make_unique<Graph>(rows_);
    graph->reserve(rows_.size());
    for (std::size_t node = 0; node < rows.size(); ++node) {
        if (rows[node] == IdMap::kNone) continue;
        Graph::Links own;
        std::size_t count = 0;
        for (std::size_t i = 0; i < Graph::kWidth; ++i) {
            const std::uint32_t target = to[node * Graph::kWidth + i];
            if (target == Graph::kNone || rows[target] == IdMap::kNone || target == node) continue;
            own.to[count++] = rows[target];
        }
        std::fill(own.to + count, own.to + Graph::kWidth, Graph::kNone);
        graph->restore(rows[node], own);
    }
    std::vector<Row> unlinked;
    unlinked.reserve(rows_.size());
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        if (!taken[row]) unlinked.push_back(static_cast<Row>(row));
    }
    vacant_.reserve(rows_.size());
    unlinked_ = std::move(unlinked);
    graph_ = std::move(graph);
    search_width_ = search_width;
    tuned_at_ = std::max(graph_->size(), graph_from_ / 4);
}

}  // namespace edgepersona
