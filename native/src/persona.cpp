#include "edgepersona/persona.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <new>
#include <string>

#include "edgepersona/errors.h"

namespace edgepersona {
namespace {

// Rows whose scores are taken before their values are read: each change from keys to values, and
// back, makes a processor find its streams anew. With 64, Zen 5 read a sixth less; an Intel Xeon was
// measured alike with 16 to 128. Sums over so few are exact enough in floats.
constexpr std::size_t kBlock = 256;

std::size_t checked_ndim(const char* what, std::size_t ndim) {
    if (ndim >= 1 && ndim <= Persona::kMaxNdim) return ndim;
    throw InvalidInput(std::string(what) + " is " + std::to_string(ndim) + ", expected 1 to " +
                       std::to_string(Persona::kMaxNdim));
}

bool usable(float value) { return std::fabs(value) <= Persona::kLargest; }  // false for NaN

void check_values(const char* what, Span<float> rows, std::size_t ndim) {
    for (std::size_t at = 0; at < rows.size; at += ndim) {
        bool good = true;  // no early exit within a row, so that the loop can be vectorised
        for (std::size_t i = 0; i < ndim; ++i) good &= usable(rows[at + i]);
        if (!good) {
            throw InvalidInput(std::string(what) + " " + std::to_string(at / ndim) +
                               " holds a NaN, an infinity or a value beyond 1e9: every value must "
                               "be finite and within +-1e9");
        }
    }
}

void check_rows(const char* what, Span<float> rows, std::size_t ndim, std::size_t count) {
    if (rows.size % ndim != 0 || rows.size / ndim != count) {
        throw InvalidInput(std::to_string(rows.size) + " values of " + what + "s for " +
                           std::to_string(count) + " ids of " + std::to_string(ndim) +
                           " dimensions: expected ids times dimensions");
    }
    check_values(what, rows, ndim);
}

struct Newcomer {
    RowHeap::Entry entry;
    std::size_t from;
};

// Newest first.
std::vector<Newcomer> newcomers(Span<std::int64_t> ids, Span<std::int64_t> ages) {
    std::vector<Newcomer> all(ids.size);
    for (std::size_t i = 0; i < ids.size; ++i) all[i] = {{ages[i], ids[i], 0}, i};
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a.entry.id < b.entry.id; });
    const auto twin = std::adjacent_find(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.entry.id == b.entry.id;
    });
    if (twin != all.end()) {
        throw InvalidInput("id " + std::to_string(twin->entry.id) +
                           " is given more than once: each id may appear once in a call");
    }
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return b.entry.older_than(a.entry); });
    return all;
}

RunningSums thirds(const Memory& memory, std::size_t stride) {
    auto* const first = memory.at<double>();
    return {first, first + stride, first + 2 * stride};
}

// What attend works on: the scaled query, padded as the rows are, and sums.
struct Workspace {
    Workspace(std::size_t key_stride, std::size_t value_stride)
        : memory(key_stride * sizeof(float) + value_stride * (sizeof(double) + sizeof(float))),
          total(memory.at<double>()),
          part(reinterpret_cast<float*>(total + value_stride)),
          query(part + value_stride) {}

    Memory memory;
    double* total;
    float* part;
    float* query;
};

}  // namespace

Persona::Persona(std::size_t key_ndim, std::size_t value_ndim, std::size_t window)
    : key_ndim_(checked_ndim("key_ndim", key_ndim)),
      value_ndim_(checked_ndim("value_ndim", value_ndim)),
      window_(window),
      limit_(window == 0 ? std::numeric_limits<std::size_t>::max() : window),
      inside_(key_ndim_, value_ndim_, RowHeap::Top::oldest),
      outside_(key_ndim_, value_ndim_, RowHeap::Top::newest),
      sums_memory_(3 * inside_.values.stride() * sizeof(double)),
      sums_(thirds(sums_memory_, inside_.values.stride())) {}

std::size_t Persona::size() const {
    std::shared_lock lock(mutex_);
    return inside_.size() + outside_.size();
}

std::uint64_t Persona::generation() const {
    std::shared_lock lock(mutex_);
    return generation_;
}

std::size_t Persona::memory_bytes() const {
    std::shared_lock lock(mutex_);
    return inside_.memory_bytes() + outside_.memory_bytes() + sums_memory_.size_bytes();
}

void Persona::add(Span<std::int64_t> ids, Span<std::int64_t> ages, Span<float> keys,
                  Span<float> values) {
    if (ages.size != ids.size) {
        throw InvalidInput(std::to_string(ages.size) + " ages for " + std::to_string(ids.size) +
                           " ids: expected one each");
    }
    check_rows("key", keys, key_ndim_, ids.size);
    check_rows("value", values, value_ndim_, ids.size);
    const std::vector<Newcomer> all = newcomers(ids, ages);
    if (all.empty()) return;

    std::unique_lock lock(mutex_);
    std::size_t size = inside_.size() + outside_.size();
    for (const Newcomer& one : all) {
        size += inside_.rows.find(one.entry.id) == IdMap::kNone &&
                outside_.rows.find(one.entry.id) == IdMap::kNone;
    }
    if (size >= IdMap::kNone) throw InvalidInput("a persona holds fewer than 2^32 - 1 rows");
    // All that can fail comes first; below, nothing throws.
    inside_.reserve(std::min(size, limit_));
    outside_.reserve(size - std::min(size, limit_));

    for (const Newcomer& one : all) take_out(one.entry.id);
    refill();
    // Newest first: a row that enters the window drives out an old one, never one of its own call.
    for (const Newcomer& one : all) {
        const float* const key = keys.data + one.from * key_ndim_;
        const float* const value = values.data + one.from * value_ndim_;
        const bool full = inside_.size() == limit_;
        if (full && one.entry.older_than(inside_.order.top())) {
            outside_.push(one.entry.age, one.entry.id, key, value);
            continue;
        }
        if (full) leave(inside_.order.top().row);
        enter(one.entry.age, one.entry.id, key, value);
    }
    outside_.shrink();  // replaced rows may have moved to the window
    ++generation_;
}

std::size_t Persona::remove(Span<std::int64_t> ids) {
    std::unique_lock lock(mutex_);
    std::size_t removed = 0;
    for (const std::int64_t id : ids) removed += take_out(id);
    if (removed == 0) return 0;
    refill();
    inside_.shrink();
    outside_.shrink();
    ++generation_;
    return removed;
}

std::vector<float> Persona::attend(Span<float> query, float scale) const {
    if (query.size != key_ndim_) {
        throw InvalidInput("a query of " + std::to_string(query.size) +
                           " dimensions for keys of " + std::to_string(key_ndim_));
    }
    check_values("query", query, key_ndim_);
    if (!usable(scale)) {
        throw InvalidInput("scale is " + std::to_string(scale) +
                           ", expected a finite number within +-1e9");
    }
    const PersonaKernels& kernels = persona_kernels();
    const std::size_t stride = inside_.values.stride();
    const Workspace work(inside_.keys.stride(), stride);
    for (std::size_t i = 0; i < key_ndim_; ++i) work.query[i] = query[i] * scale;
    std::vector<float> result(value_ndim_);
    float scores[kBlock];
    float top = -std::numeric_limits<float>::infinity();
    double sum = 0.0;

    std::shared_lock lock(mutex_);
    const std::size_t rows = inside_.size();
    if (rows == 0) return result;
    for (std::size_t row = 0; row < rows;) {
        const FloatRows::Run keys = inside_.keys.run(row, std::min(kBlock, rows - row));
        const FloatRows::Run values = inside_.values.run(row, keys.count);
        kernels.score(work.query, keys.rows, values.count, inside_.keys.stride(), scores);
        const float best = *std::max_element(scores, scores + values.count);
        double factor = 1.0;  // on what was summed up under a smaller maximum
        if (best > top) {
            factor = std::exp(static_cast<double>(top) - best);
            top = best;
        }
        sum = sum * factor + kernels.weigh(scores, values.count, top);
        kernels.mix(scores, values.rows, values.count, stride, work.part);
        kernels.fold(work.total, factor, work.part, stride);
        row += values.count;
    }
    const double inverse = 1.0 / sum;
    for (std::size_t i = 0; i < value_ndim_; ++i) {
        result[i] = static_cast<float>(work.total[i] * inverse);
    }
    return result;
}

std::vector<float> Persona::mean() const {
    std::vector<float> result(value_ndim_);
    std::shared_lock lock(mutex_);
    if (inside_.size() == 0) return result;
    const auto rows = static_cast<double>(inside_.size());
    for (std::size_t i = 0; i < value_ndim_; ++i) {
        result[i] = static_cast<float>((sums_.coarse[i] + sums_.middle[i] + sums_.fine[i]) / rows);
    }
    return result;
}

void Persona::enter(std::int64_t age, std::int64_t id, const float* key,
                    const float* value) noexcept {
    inside_.push(age, id, key, value);
    persona_kernels().tally(sums_, inside_.values.row(inside_.size() - 1),
                            inside_.values.stride(), 1.0);
}

// A row of the window becomes one outside of it.
void Persona::leave(IdMap::Row row) noexcept {
    const RowHeap::Entry entry = inside_.order.at(row);
    outside_.push(entry.age, entry.id, inside_.keys.row(row), inside_.values.row(row));
    take_out_of_window(row);
}

// Returns whether it was there. The window is not refilled.
bool Persona::take_out(std::int64_t id) noexcept {
    const IdMap::Row row = inside_.rows.find(id);
    if (row != IdMap::kNone) {
        take_out_of_window(row);
        return true;
    }
    const IdMap::Row other = outside_.rows.find(id);
    if (other == IdMap::kNone) return false;
    outside_.remove(other);
    return true;
}

void Persona::take_out_of_window(IdMap::Row row) noexcept {
    persona_kernels().tally(sums_, inside_.values.row(row), inside_.values.stride(), -1.0);
    inside_.remove(row);
}

void Persona::refill() noexcept {
    while (inside_.size() < limit_ && outside_.size() != 0) {
        const RowHeap::Entry newest = outside_.order.top();
        enter(newest.age, newest.id, outside_.keys.row(newest.row),
              outside_.values.row(newest.row));
        outside_.remove(newest.row);
    }
}

std::size_t Persona::Part::memory_bytes() const {
    return keys.memory_bytes() + values.memory_bytes() + order.memory_bytes() +
           rows.memory_bytes();
}

void Persona::Part::reserve(std::size_t count) {
    keys.reserve(count);
    values.reserve(count);
    order.reserve(count);
    rows.reserve(count);
}

void Persona::Part::push(std::int64_t age, std::int64_t id, const float* key,
                         const float* value) noexcept {
    rows.set(id, static_cast<IdMap::Row>(size()));
    keys.push_back(key);
    values.push_back(value);
    order.push(age, id);
}

void Persona::Part::remove(IdMap::Row row) noexcept {
    const std::int64_t id = order.at(row).id, last = order.at(size() - 1).id;
    keys.remove(row);
    values.remove(row);
    order.remove(row);
    if (id != last) rows.set(last, row);
    rows.erase(id);
}

void Persona::Part::shrink() noexcept {
    keys.shrink();
    values.shrink();
    try {
        order.shrink();
        rows.shrink();
    } catch (const std::bad_alloc&) {  // no room for the smaller copy: the larger one serves
    }
}

}  // namespace edgepersona
