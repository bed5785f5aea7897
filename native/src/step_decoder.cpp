#include "edgepersona/step_decoder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "edgepersona/errors.h"

namespace edgepersona {
namespace {

constexpr std::size_t kChunk = 32;  // rows taken at a time: a few microseconds of reading
constexpr std::size_t kMost = 1 << 20;  // heads, or values in one: their products do not overflow
constexpr std::size_t kLongestBlock = 1 << 16;  // its sum of 8-bit products fits 32 bits

void check_matrix(const BlockMatrix& matrix, std::size_t rows, std::size_t columns,
                  const char* name) {
    const bool block_fits = matrix.rows.block != 0 && matrix.rows.block % 64 == 0 &&
                            matrix.rows.block <= kLongestBlock;
    const bool columns_fit = block_fits && matrix.rows.blocks == (columns + matrix.rows.block - 1) /
                                                                      matrix.rows.block;
    if (matrix.count == rows && columns_fit) return;
    throw InvalidInput(std::string(name) + " is not a matrix of " + std::to_string(rows) + " by " +
                       std::to_string(columns) + " in blocks of a multiple of 64, at most " +
                       std::to_string(kLongestBlock));
}

// Rotates pairs (i, i + half) of one head (RoFormer, Su et al. 2021).
void rotate(float* head, std::size_t head_dim, const float* cos, const float* sin) {
    const std::size_t half = head_dim / 2;
    for (std::size_t i = 0; i < half; ++i) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cos[i] - b * sin[i];
        head[i + half] = b * cos[i] + a * sin[i];
    }
}

}  // namespace

struct StepDecoder::Scratch {
    std::size_t thread;
    std::vector<float> normed, product, query, key, scores;
    std::vector<std::int8_t> codes;
    std::vector<float> scales;
    std::vector<std::int32_t> shifts;
};

StepDecoder::StepDecoder(StepModel model, std::size_t threads)
    : model_(std::move(model)), kernels_(step_kernels()), team_(std::max<std::size_t>(threads, 1)) {
    const StepModel& m = model_;
    if (m.layers.empty() || std::max({m.heads, m.kv_heads, m.head_dim}) > kMost) {
        throw InvalidInput("a model has layers, and at most " + std::to_string(kMost) +
                           " heads and values in one");
    }
    if (m.kv_heads == 0 || m.heads % m.kv_heads != 0 || m.head_dim == 0 ||
        m.head_dim % 16 != 0) {
        throw InvalidInput("heads must be a multiple of kv_heads, and head_dim of 16");
    }
    const std::size_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
    for (const StepLayer& layer : m.layers) {
        check_matrix(layer.qkv, query + 2 * key, m.hidden, "qkv");
        check_matrix(layer.output, m.hidden, query, "output");
        check_matrix(layer.gate_up, 2 * m.intermediate, m.hidden, "gate_up");
        check_matrix(layer.down, m.hidden, m.intermediate, "down");
    }
    check_matrix(m.head, m.vocab, m.hidden, "head");
    residual_.resize(m.hidden);
    qkv_.resize(query + 2 * key);
    attended_.resize(query);
    gated_.resize(m.intermediate);
    const std::size_t widest = std::max({m.hidden, query, m.intermediate});
    std::size_t longest_block = m.head.rows.block;
    for (const StepLayer& layer : m.layers) {
        for (const BlockMatrix* matrix : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
            longest_block = std::max(longest_block, matrix->rows.block);
        }
    }
    for (std::size_t i = 0; i < team_.size(); ++i) {
        auto own = std::make_unique<Scratch>();
        own->thread = i;
        own->normed.resize(m.hidden);
        own->product.resize(kChunk);
        own->query.resize(m.head_dim);
        own->key.resize(key);
        own->scores.resize(m.positions);
        own->codes.resize(widest + longest_block);
        own->scales.resize(widest / 64 + 1);
        own->shifts.resize(widest / 64 + 1);
        scratch_.push_back(std::move(own));
    }
}

StepDecoder::~StepDecoder() = default;

void StepDecoder::step(const StepCache& cache, const float* embedding, std::size_t position,
                       float* logits) {
    if (cache.keys.size() != model_.layers.size() || cache.values.size() != model_.layers.size()) {
        throw InvalidInput("the cache has not as many layers as the model");
    }
    if (position >= cache.capacity || position >= model_.positions) {
        throw InvalidInput("position " + std::to_string(position) + " is beyond a cache of " +
                           std::to_string(std::min(cache.capacity, model_.positions)));
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    std::copy_n(embedding, model_.hidden, residual_.begin());
    team_.run([&](std::size_t thread) { work(thread, cache, position, logits); });
}

// Every thread runs this. What is cheap (norms, rounding) each does for itself: a barrier would
// take longer than the work it saves.
void StepDecoder::work(std::size_t thread, const StepCache& cache, std::size_t position,
                       float* logits) {
    Scratch& own = *scratch_[thread];
    const float* residual = residual_.data();
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
        const StepLayer& layer = model_.layers[i];
        kernels_.norm(residual, layer.attention_norm, model_.hidden, model_.norm_eps,
                      own.normed.data());
        const RoundedVector x = rounded(own, own.normed.data(), model_.hidden, layer.qkv);
        multiply_all(layer.qkv, x, qkv_.data(), own);
        team_.barrier();
        attend(own, i, cache, position);
        if (thread == 0) write_cache(own, i, cache, position);
        team_.barrier();
        add_product(layer.output,
                    rounded(own, attended_.data(), attended_.size(), layer.output), own);
        team_.barrier();
        kernels_.norm(residual, layer.mlp_norm, model_.hidden, model_.norm_eps, own.normed.data());
        multiply_gated(layer, rounded(own, own.normed.data(), model_.hidden, layer.gate_up), own);
        team_.barrier();
        add_product(layer.down, rounded(own, gated_.data(), gated_.size(), layer.down), own);
        team_.barrier();
    }
    kernels_.norm(residual, model_.final_norm, model_.hidden, model_.norm_eps, own.normed.data());
    const RoundedVector last = rounded(own, own.normed.data(), model_.hidden, model_.head);
    multiply_all(model_.head, last, logits, own);
}

// Heads are shared out; the new key and value are read where they are, not from the caches, which
// one thread writes at the same time.
void StepDecoder::attend(Scratch& own, std::size_t layer, const StepCache& cache,
                         std::size_t position) {
    const std::size_t dim = model_.head_dim, group = model_.heads / model_.kv_heads;
    const float* cos = model_.rope_cos + position * (dim / 2);
    const float* sin = model_.rope_sin + position * (dim / 2);
    const float* bias = model_.layers[layer].qkv_bias;
    const std::size_t keys = model_.heads * dim, values = keys + model_.kv_heads * dim;
    const auto read = [&](std::size_t at, std::size_t count, float* to) {
        for (std::size_t i = 0; i < count; ++i) {
            to[i] = qkv_[at + i] + (bias != nullptr ? bias[at + i] : 0.0F);
        }
    };
    read(keys, own.key.size(), own.key.data());
    for (std::size_t h = 0; h < model_.kv_heads; ++h) rotate(&own.key[h * dim], dim, cos, sin);
    const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
    for (Taken heads; (heads = team_.take(own.thread, model_.heads, 1)).count != 0;) {
        const std::size_t head = heads.first, shared = head / group;
        const float* old_keys = cache.keys[layer] + shared * cache.capacity * dim;
        const float* old_values = cache.values[layer] + shared * cache.capacity * dim;
        read(head * dim, dim, own.query.data());
        rotate(own.query.data(), dim, cos, sin);
        for (float& q : own.query) q *= scale;
        float* scores = own.scores.data();
        kernels_.score(own.query.data(), old_keys, position, dim, scores);
        kernels_.score(own.query.data(), &own.key[shared * dim], 1, dim, scores + position);
        kernels_.softmax(scores, position + 1);
        float* out = &attended_[head * dim];
        read(values + shared * dim, dim, out);
        for (std::size_t i = 0; i < dim; ++i) out[i] *= scores[position];
        kernels_.mix(scores, old_values, position, dim, out);
    }
}

void StepDecoder::write_cache(const Scratch& own, std::size_t layer, const StepCache& cache,
                              std::size_t position) const {
    const std::size_t dim = model_.head_dim;
    const std::size_t values = (model_.heads + model_.kv_heads) * dim;
    const float* bias = model_.layers[layer].qkv_bias;
    for (std::size_t h = 0; h < model_.kv_heads; ++h) {
        const std::size_t row = (h * cache.capacity + position) * dim, at = values + h * dim;
        std::copy_n(&own.key[h * dim], dim, cache.keys[layer] + row);
        for (std::size_t i = 0; i < dim; ++i) {
            cache.values[layer][row + i] =
                qkv_[at + i] + (bias != nullptr ? bias[at + i] : 0.0F);
        }
    }
}

void StepDecoder::multiply_all(const BlockMatrix& matrix, const RoundedVector& x, float* out,
                               const Scratch& own) {
    for (Taken rows; (rows = team_.take(own.thread, matrix.count, kChunk)).count != 0;) {
        kernels_.multiply(matrix.rows, rows.first, rows.count, x, out + rows.first);
    }
}

void StepDecoder::add_product(const BlockMatrix& matrix, const RoundedVector& x, Scratch& own) {
    for (Taken rows; (rows = team_.take(own.thread, matrix.count, kChunk)).count != 0;) {
        kernels_.multiply(matrix.rows, rows.first, rows.count, x, own.product.data());
        for (std::size_t i = 0; i < rows.count; ++i) residual_[rows.first + i] += own.product[i];
    }
}

// A thread computes the same rows of gate and up, so that it can join them at once.
void StepDecoder::multiply_gated(const StepLayer& layer, const RoundedVector& x, Scratch& own) {
    const std::size_t total = model_.intermediate;
    for (Taken rows; (rows = team_.take(own.thread, total, kChunk)).count != 0;) {
        float* gate = &gated_[rows.first];
        float* up = own.product.data();
        kernels_.multiply(layer.gate_up.rows, rows.first, rows.count, x, gate);
        kernels_.multiply(layer.gate_up.rows, total + rows.first, rows.count, x, up);
        kernels_.gate(gate, up, rows.count);
    }
}

RoundedVector StepDecoder::rounded(Scratch& own, const float* x, std::size_t count,
                                   const BlockMatrix& matrix) const {
    const RoundedVector to{own.codes.data(), own.scales.data(), own.shifts.data()};
    kernels_.round(x, count, matrix.rows.block, to);
    return to;
}

}  // namespace edgepersona
