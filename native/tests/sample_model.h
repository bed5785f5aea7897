// Random language models, small, with the memory that they point into.
#pragma once

#include <cmath>
#include <cstddef>
#include <deque>
#include <random>
#include <utility>
#include <vector>

#include "edgepersona/transformer.h"
#include "sample_matrix.h"

// Starts as a Llama of odd sizes; a test changes what it is about.
class SampleModel {
  public:
    struct Layer {
        bool bias = false, head_norms = false, branch_norms = false;
        std::size_t window = 0, rope = 0;
        unsigned bits = 8;
        std::size_t block = 32;
    };
    struct Shape {
        std::size_t hidden = 72, intermediate = 80, heads = 6, kv_heads = 2, head_dim = 16,
                    vocab = 77, positions = 320;
        std::vector<std::size_t> ropes{16};  // their widths
        std::vector<Layer> layers{{}, {}};
    };

    explicit SampleModel(const Shape& shape, unsigned seed = 1) : random_(seed) {
        edgepersona::TransformerModel& m = model;
        m.hidden = shape.hidden;
        m.intermediate = shape.intermediate;
        m.heads = shape.heads;
        m.kv_heads = shape.kv_heads;
        m.head_dim = shape.head_dim;
        m.vocab = shape.vocab;
        m.positions = shape.positions;
        m.norm_eps = 1e-5F;
        m.attention_scale = 1.0F / std::sqrt(static_cast<float>(m.head_dim));
        m.attention_cap = m.logits_cap = 0.0F;
        m.activation = edgepersona::Activation::kSilu;
        for (const std::size_t width : shape.ropes) add_rope(width);
        for (const Layer& layer : shape.layers) add_layer(layer);
        m.final_norm = norm(m.hidden);
        m.head = matrix(m.vocab, m.hidden, shape.layers.back());
    }

    // With all that relatives of Llama have.
    static SampleModel rich() {
        Shape shape;
        shape.intermediate = 112;
        shape.heads = 10;
        shape.head_dim = 32;
        shape.ropes = {32, 24};
        shape.layers = {{true, true, true, 5, 1, 4, 32},
                        {false, true, true, 0, 0, 8, 128},
                        {true, false, true, 33, 1, 8, 64}};
        SampleModel sample(shape, 2);
        sample.model.attention_scale = 0.3F;
        sample.model.attention_cap = 6.0F;
        sample.model.logits_cap = 4.0F;
        sample.model.activation = edgepersona::Activation::kGelu;
        return sample;
    }

    std::vector<float> embeddings(std::size_t count, unsigned seed) const {
        std::mt19937 random(seed);
        std::normal_distribution<float> draw;
        std::vector<float> values(count * model.hidden);
        for (float& value : values) value = draw(random);
        return values;
    }

    edgepersona::KvCache cache(std::size_t capacity) const {
        return {model.layers.size(), model.kv_heads, model.head_dim, capacity};
    }

    edgepersona::TransformerModel model{};

  private:
    const float* floats(std::size_t count, float mean, float spread) {
        std::normal_distribution<float> draw(mean, spread);
        auto& own = floats_.emplace_back(count);
        for (float& value : own) value = draw(random_);
        return own.data();
    }

    const float* norm(std::size_t count) { return floats(count, 1.0F, 0.3F); }

    edgepersona::PackedMatrix matrix(std::size_t rows, std::size_t columns, const Layer& as) {
        const auto seed = static_cast<unsigned>(random_());
        return matrices_.emplace_back(rows, columns, as.block, as.bits, seed).view();
    }

    void add_rope(std::size_t width) {
        auto& cos = floats_.emplace_back();
        auto& sin = floats_.emplace_back();
        for (std::size_t position = 0; position < model.positions; ++position) {
            for (std::size_t i = 0; i < width / 2; ++i) {
                const double turns = std::pow(100.0, -2.0 * static_cast<double>(i) /
                                                         static_cast<double>(width));
                const double angle = static_cast<double>(position) * turns;
                cos.push_back(static_cast<float>(std::cos(angle)));
                sin.push_back(static_cast<float>(std::sin(angle)));
            }
        }
        model.ropes.push_back({cos.data(), sin.data(), width});
    }

    void add_layer(const Layer& as) {
        const edgepersona::TransformerModel& m = model;
        const std::size_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
        edgepersona::TransformerLayer layer{};
        layer.attention_norm = norm(m.hidden);
        layer.qkv = matrix(query + 2 * key, m.hidden, as);
        if (as.bias) layer.qkv_bias = floats(query + 2 * key, 0.0F, 0.5F);
        if (as.head_norms) {
            layer.query_norm = norm(m.head_dim);
            layer.key_norm = norm(m.head_dim);
        }
        layer.output = matrix(m.hidden, query, as);
        if (as.branch_norms) layer.after_attention = norm(m.hidden);
        layer.mlp_norm = norm(m.hidden);
        layer.gate_up = matrix(2 * m.intermediate, m.hidden, as);
        layer.down = matrix(m.hidden, m.intermediate, as);
        if (as.branch_norms) layer.after_mlp = norm(m.hidden);
        layer.window = as.window;
        layer.rope = as.rope;
        model.layers.push_back(layer);
    }

    std::mt19937 random_;
    std::deque<std::vector<float>> floats_;
    std::deque<SampleMatrix> matrices_;
};
