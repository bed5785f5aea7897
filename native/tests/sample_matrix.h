// Random packed matrices, and what is at a place of one by the description in packed_matrix.h.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "edgepersona/packed_matrix.h"
#include "halves.h"

// In memory of exactly its size, so that a sanitizer sees a read too many. What fills up rows and
// columns is as random as the rest: nothing may depend on it.
class SampleMatrix {
  public:
    SampleMatrix(std::size_t rows, std::size_t columns, std::size_t block, unsigned bits)
        : matrix_{nullptr, nullptr, nullptr, rows, columns, block, bits},
          codes_(matrix_.codes_bytes()),
          scales_(matrix_.scale_count()),
          minima_(bits == 4 ? matrix_.scale_count() : 0) {}

    // Weights of about 1 / sqrt(columns), so that a product is as large as its vector.
    SampleMatrix(std::size_t rows, std::size_t columns, std::size_t block, unsigned bits,
                 unsigned seed)
        : SampleMatrix(rows, columns, block, bits) {
        std::mt19937 random(seed);
        for (auto& code : codes_) code = static_cast<std::uint8_t>(random());
        const double step = (bits == 8 ? 0.0135 : 0.217) / std::sqrt(static_cast<double>(columns));
        std::uniform_real_distribution<double> some(0.5, 1.5);
        for (auto& scale : scales_) scale = nearest_half(step * some(random));
        for (auto& minimum : minima_) minimum = nearest_half(-7.5 * step * some(random));
    }

    std::vector<std::uint8_t>& codes() { return codes_; }
    std::vector<std::uint16_t>& scales() { return scales_; }
    std::vector<std::uint16_t>& minima() { return minima_; }

    edgepersona::PackedMatrix view() const {
        edgepersona::PackedMatrix m = matrix_;
        m.codes = codes_.data();
        m.scales = scales_.data();
        m.minima = m.bits == 4 ? minima_.data() : nullptr;
        return m;
    }

  private:
    edgepersona::PackedMatrix matrix_;
    std::vector<std::uint8_t> codes_;
    std::vector<std::uint16_t> scales_, minima_;
};

// Of a block's weights: value = code * scale + minimum.
struct Place {
    double code, scale, minimum;

    double value() const { return code * scale + minimum; }
};

inline Place place_of(const edgepersona::PackedMatrix& m, std::size_t row, std::size_t column) {
    const std::size_t width = m.blocks() * m.block, group = row / 16, lane = row % 16;
    const std::size_t block = (group * m.blocks() + column / m.block) * 16 + lane;
    const double scale = value_of_half(m.scales[block]);
    if (m.bits == 8) {
        const std::size_t line = group * (width / 4) + column / 4;
        return {m.codes[(line * 16 + lane) * 4 + column % 4] - 128.0, scale, 0.0};
    }
    const std::size_t line = group * (width / 8) + column / 8;
    const std::uint8_t both = m.codes[(line * 16 + lane) * 4 + column % 4];
    return {static_cast<double>(column % 8 < 4 ? both & 15 : both >> 4), scale,
            value_of_half(m.minima[block])};
}
