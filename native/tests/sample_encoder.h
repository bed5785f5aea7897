// Random text encoders, small, with the memory that they point into.
#pragma once

#include <cstddef>
#include <deque>
#include <random>
#include <vector>

#include "edgepersona/encoder.h"
#include "sample_matrix.h"

class SampleEncoder {
  public:
    SampleEncoder(std::size_t heads, std::size_t head_dim, std::size_t intermediate,
                  std::size_t layers, std::size_t block, unsigned bits, unsigned seed = 1)
        : random_(seed), block_(block), bits_(bits) {
        edgepersona::EncoderModel& m = model;
        m.hidden = heads * head_dim;
        m.intermediate = intermediate;
        m.heads = heads;
        m.norm_eps = 1e-5F;
        m.embedding_norm = norm();
        for (std::size_t i = 0; i < layers; ++i) {
            m.layers.push_back({matrix(3 * m.hidden, m.hidden), floats(3 * m.hidden, 0.0F),
                                matrix(m.hidden, m.hidden), floats(m.hidden, 0.0F), norm(),
                                matrix(m.intermediate, m.hidden), floats(m.intermediate, 0.0F),
                                matrix(m.hidden, m.intermediate), floats(m.hidden, 0.0F), norm()});
        }
    }

    std::vector<float> states(std::size_t tokens, unsigned seed) const {
        std::mt19937 random(seed);
        std::normal_distribution<float> draw;
        std::vector<float> values(tokens * model.hidden);
        for (float& value : values) value = draw(random);
        return values;
    }

    edgepersona::EncoderModel model{};

  private:
    const float* floats(std::size_t count, float mean) {
        std::normal_distribution<float> draw(mean, 0.3F);
        auto& own = floats_.emplace_back(count);
        for (float& value : own) value = draw(random_);
        return own.data();
    }

    edgepersona::EncoderNorm norm() {
        return {floats(model.hidden, 1.0F), floats(model.hidden, 0.0F)};
    }

    edgepersona::PackedMatrix matrix(std::size_t rows, std::size_t columns) {
        const auto seed = static_cast<unsigned>(random_());
        return matrices_.emplace_back(rows, columns, block_, bits_, seed).view();
    }

    std::mt19937 random_;
    std::size_t block_;
    unsigned bits_;
    std::deque<std::vector<float>> floats_;
    std::deque<SampleMatrix> matrices_;
};
