// What a Transformer computes, written down in double, one token, one head, one sum after the other.
// It rounds what the Transformer rounds (a product's input to 8 bits, keys and values to float16, and
// to bfloat16 all that attention multiplies, with the sets that do) and nothing else.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "edgepersona/transformer.h"
#include "halves.h"
#include "sample_matrix.h"

class PlainTransformer {
  public:
    explicit PlainTransformer(const edgepersona::TransformerModel& model) : model_(model) {}

    // The logits after a token, given the keys and values of all before it.
    std::vector<double> step(const float* embedding, std::size_t position,
                             const edgepersona::KvCache& before) const {
        Vector state(embedding, embedding + model_.hidden);
        for (std::size_t i = 0; i < model_.layers.size(); ++i) {
            run_layer(i, state, position, before);
        }
        Vector logits = product(model_.head, normed(state, model_.final_norm));
        for (double& logit : logits) logit = capped(logit, model_.logits_cap);
        return logits;
    }

  private:
    using Vector = std::vector<double>;

    Vector normed(const Vector& x, const float* weight) const {
        if (weight == nullptr) return x;
        double squares = 0;
        for (const double value : x) squares += value * value;
        const double mean = squares / static_cast<double>(x.size());
        Vector to;
        for (const double value : x) {
            to.push_back(value / std::sqrt(mean + model_.norm_eps) * weight[to.size()]);
        }
        return to;
    }

    static Vector product(const edgepersona::PackedMatrix& m, const Vector& x) {
        Vector rounded(x.size()), to(m.rows);
        for (std::size_t from = 0; from < x.size(); from += m.block) {
            const std::size_t end = std::min(from + m.block, x.size());
            double largest = 0;
            for (std::size_t i = from; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
            for (std::size_t i = from; i < end && largest > 0; ++i) {
                rounded[i] = std::nearbyint(x[i] / largest * 127) * largest / 127;
            }
        }
        for (std::size_t row = 0; row < m.rows; ++row) {
            for (std::size_t i = 0; i < x.size(); ++i) {
                to[row] += place_of(m, row, i).value() * rounded[i];
            }
        }
        return to;
    }

    static double capped(double x, float cap) {
        return cap == 0.0F ? x : cap * std::tanh(x / static_cast<double>(cap));
    }

    Vector head_of(const Vector& row, std::size_t number, const float* norm,
                   const edgepersona::Rope* rope, std::size_t position) const {
        const auto from = row.begin() + static_cast<std::ptrdiff_t>(number * model_.head_dim);
        Vector head = normed({from, from + static_cast<std::ptrdiff_t>(model_.head_dim)}, norm);
        const std::size_t half = rope == nullptr ? 0 : rope->width / 2;
        for (std::size_t i = 0; i < half; ++i) {
            const double cos = rope->cos[position * half + i], sin = rope->sin[position * half + i];
            const double a = head[i], b = head[i + half];
            head[i] = a * cos - b * sin;
            head[i + half] = a * sin + b * cos;
        }
        return head;
    }

    static Vector halved(Vector x) {
        for (double& value : x) value = value_of_half(nearest_half(value));
        return x;
    }

    static double multiplied(double x) {
        return edgepersona::lm_kernels().rounds_attention ? nearest_bf16(x) : x;
    }

    // What a query takes from the values of the positions that it sees.
    Vector attended(const Vector& query, const std::vector<Vector>& keys,
                    const std::vector<Vector>& values, std::size_t window) const {
        const std::size_t end = keys.size();
        const std::size_t from = window != 0 && window < end ? end - window : 0;
        Vector weights, to(query.size());
        double largest = -HUGE_VAL, sum = 0;
        for (std::size_t j = from; j < end; ++j) {
            double score = 0;
            for (std::size_t d = 0; d < query.size(); ++d) {
                const double scaled = query[d] * static_cast<double>(model_.attention_scale);
                score += multiplied(scaled) * multiplied(keys[j][d]);
            }
            weights.push_back(capped(score, model_.attention_cap));
            largest = std::max(largest, weights.back());
        }
        for (double& weight : weights) sum += weight = std::exp(weight - largest);
        for (std::size_t j = from; j < end; ++j) {
            for (std::size_t d = 0; d < to.size(); ++d) {
                to[d] += multiplied(weights[j - from] / sum) * multiplied(values[j][d]);
            }
        }
        return to;
    }

    // Those of the positions before `end`, by the description in kv_cache.h.
    std::vector<Vector> kept(const edgepersona::KvCache& cache, std::size_t layer, std::size_t head,
                             bool values, std::size_t end) const {
        const std::size_t dim = model_.head_dim;
        std::vector<Vector> all(end, Vector(dim));
        for (std::size_t at = 0; at < end; ++at) {
            for (std::size_t d = 0; d < dim; ++d) {
                const std::uint16_t half =
                    values ? cache.values(layer, head)[at * dim + d]
                           : cache.keys(layer, head)[(at / 16 * dim + d) * 16 + at % 16];
                all[at][d] = value_of_half(half);
            }
        }
        return all;
    }

    void run_layer(std::size_t index, Vector& state, std::size_t position,
                   const edgepersona::KvCache& before) const {
        const edgepersona::TransformerLayer& layer = model_.layers[index];
        const edgepersona::Rope* rope = &model_.ropes[layer.rope];
        const std::size_t heads = model_.heads, shared = model_.kv_heads;
        Vector row = product(layer.qkv, normed(state, layer.attention_norm)), all;
        for (std::size_t i = 0; i < row.size() && layer.qkv_bias != nullptr; ++i) {
            row[i] += layer.qkv_bias[i];
        }
        for (std::size_t h = 0; h < heads; ++h) {
            const std::size_t own = h / (heads / shared);
            auto keys = kept(before, index, own, false, position);
            auto values = kept(before, index, own, true, position);
            keys.push_back(halved(head_of(row, heads + own, layer.key_norm, rope, position)));
            values.push_back(halved(head_of(row, heads + shared + own, nullptr, nullptr, 0)));
            const Vector one = attended(head_of(row, h, layer.query_norm, rope, position), keys,
                                        values, layer.window);
            all.insert(all.end(), one.begin(), one.end());
        }
        add(state, normed(product(layer.output, all), layer.after_attention));
        add(state, normed(mlp(layer, normed(state, layer.mlp_norm)), layer.after_mlp));
    }

    Vector mlp(const edgepersona::TransformerLayer& layer, const Vector& x) const {
        const Vector both = product(layer.gate_up, x);
        Vector gated;
        for (std::size_t i = 0; i < model_.intermediate; ++i) {
            const double gate = both[i], cubic = gate + 0.044715 * gate * gate * gate;
            const double power = model_.activation == edgepersona::Activation::kSilu
                                     ? gate
                                     : 2 * std::sqrt(2 / M_PI) * cubic;
            gated.push_back(gate / (1 + std::exp(-power)) * both[model_.intermediate + i]);
        }
        return product(layer.down, gated);
    }

    static void add(Vector& to, const Vector& x) {
        for (std::size_t i = 0; i < to.size(); ++i) to[i] += x[i];
    }

    const edgepersona::TransformerModel& model_;
};
