#include "edgepersona/sketch.h"

#include <algorithm>
#include <cmath>

namespace edgepersona {
namespace {

// The four levels with the least squared error for a normal distribution, and the bound between.
constexpr float kLevels[4] = {-1.5104F, -0.4528F, 0.4528F, 1.5104F};
constexpr float kBound = 0.9816F;

unsigned code_of(float value, float spread) {
    const unsigned outer = std::fabs(value) > kBound * spread ? 1 : 0;
    return value < 0 ? 1 - outer : 2 + outer;
}

// Where row r of a block has its byte: so that sums of even bytes and of odd ones come in order.
std::size_t place(std::size_t r) { return r < 32 ? 2 * r : 2 * (r - 32) + 1; }

// A table for each pair of values: what each of its 16 codes adds to the estimate, in 6 bits.
struct Tables {
    Tables(const float* query, std::size_t ndim, std::size_t pairs) : bytes(pairs * 16) {
        const auto at = [&](std::size_t i) { return i < ndim ? query[i] : 0.0F; };
        float widest = 1e-30F;
        for (std::size_t j = 0; j < pairs; ++j) {
            const float size = std::fabs(at(2 * j)) + std::fabs(at(2 * j + 1));
            widest = std::max(widest, 2 * kLevels[3] * size);
        }
        step = widest / 63;
        auto* table = bytes.at<std::uint8_t>();
        double least = 0;
        for (std::size_t j = 0; j < pairs; ++j) {
            const float a = at(2 * j), b = at(2 * j + 1);
            const float low = -kLevels[3] * (std::fabs(a) + std::fabs(b));
            least += low;
            for (unsigned code = 0; code < 16; ++code) {
                const float value = a * kLevels[code % 4] + b * kLevels[code / 4];
                table[16 * j + code] = static_cast<std::uint8_t>((value - low) / step + 0.5F);
            }
        }
        offset = static_cast<float>(least);
    }

    Memory bytes;
    float step;
    float offset;
};

}  // namespace

Sketch::Sketch(const RowStore& rows)
    : rows_(rows),
      // Eight values at a time are summed in bytes: two bytes of a row.
      quads_((rows.ndim() + 7) / 8 * 2),
      block_bytes_(kBlock * (quads_ + sizeof(float))),
      values_(quads_ * 4) {}

std::uint8_t* Sketch::codes(std::size_t block) const {
    return parts_[block / kBlocksPerPart].at<std::uint8_t>(block % kBlocksPerPart * block_bytes_);
}

float* Sketch::gains(std::size_t block) const {
    return reinterpret_cast<float*>(codes(block) + kBlock * quads_);
}

std::size_t Sketch::memory_bytes() const {
    std::size_t bytes = parts_.capacity() * sizeof(Memory);
    for (const Memory& part : parts_) bytes += part.size_bytes();
    return bytes;
}

void Sketch::reserve(std::size_t rows) {
    const std::size_t part = kBlock * kBlocksPerPart;
    while (parts_.size() * part < rows) parts_.emplace_back(kBlocksPerPart * block_bytes_);
}

void Sketch::clear(std::size_t row) noexcept {
    std::uint8_t* code = codes(row / kBlock) + place(row % kBlock);
    for (std::size_t i = 0; i < quads_; ++i) code[i * kBlock] = 0;
    gains(row / kBlock)[row % kBlock] = 0.0F;
}

void Sketch::write(std::size_t row) noexcept {
    size_ = std::max(size_, row + 1);
    rows_.read(row, values_.data());
    double squares = 0;
    for (const float value : values_) squares += static_cast<double>(value) * value;
    const auto spread =
        static_cast<float>(std::sqrt(squares / static_cast<double>(rows_.ndim())));
    std::uint8_t* code = codes(row / kBlock) + place(row % kBlock);
    double along = 0;  // the row by its own levels
    for (std::size_t i = 0; i < quads_; ++i) {
        unsigned byte = 0;
        for (unsigned j = 0; j < 4; ++j) {
            const float value = values_[4 * i + j];
            const unsigned level = code_of(value, spread);
            along += static_cast<double>(value) * kLevels[level];
            byte |= level << 2 * j;
        }
        code[i * kBlock] = static_cast<std::uint8_t>(byte);
    }
    gains(row / kBlock)[row % kBlock] =
        along > 0 ? static_cast<float>(squares / along) : 0.0F;
}

void Sketch::pop_back() noexcept {
    clear(--size_);
    const std::size_t part = kBlock * kBlocksPerPart;
    while (parts_.size() > size_ / part + 1) parts_.pop_back();
}

void Sketch::pick(const float* query, std::size_t count, std::vector<Row>& picked) const {
    struct Estimated {
        float score;
        Row row;
    };
    static thread_local std::vector<Estimated> best;
    const auto better = [](const Estimated& a, const Estimated& b) { return a.score > b.score; };
    const auto keep_best = [&] {
        const auto last = best.begin() + static_cast<std::ptrdiff_t>(count) - 1;
        std::nth_element(best.begin(), last, best.end(), better);
        best.resize(count);
        return last->score;
    };
    const Tables tables(query, rows_.ndim(), quads_ * 2);
    const auto sketch = kernels().sketch;
    best.clear();
    float bar = -3e38F;
    alignas(kRowAlign) float scores[kBlock];
    for (std::size_t start = 0; start < size_; start += kBlock) {
        const std::size_t block = start / kBlock;
        std::uint64_t over = sketch(codes(block), tables.bytes.at<std::uint8_t>(), quads_,
                                    gains(block), tables.step, tables.offset, bar, scores);
        if (size_ - start < kBlock) over &= (std::uint64_t{1} << (size_ - start)) - 1;
        for (; over != 0; over &= over - 1) {
            const auto r = static_cast<std::size_t>(__builtin_ctzll(over));
            best.push_back({scores[r], static_cast<Row>(start + r)});
        }
        if (best.size() >= 4 * count) bar = keep_best();
    }
    if (best.size() > count) keep_best();
    picked.clear();
    for (const Estimated& one : best) picked.push_back(one.row);
    std::sort(picked.begin(), picked.end());
}

}  // namespace edgepersona
