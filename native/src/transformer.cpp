#include "edgepersona/transformer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "check_matrix.h"
#include "edgepersona/errors.h"
#include "rounded_room.h"

namespace edgepersona {
namespace {

constexpr std::size_t kGroup = PackedMatrix::kGroup;
constexpr std::size_t kTokens = 256;      // read at a time: what lies between two products stays near
constexpr std::size_t kNear = 32 << 10;   // bytes of weights that serve many tokens while so near
constexpr std::size_t kShares = 4;        // that attention is cut into for each thread, where it can
constexpr std::size_t kMost = 1 << 20;    // heads, or values in one: their products do not overflow
constexpr std::size_t kWidest = kMost * kMost;  // any other size

void check_layer(const TransformerModel& m, const TransformerLayer& layer) {
    const std::size_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
    check_matrix(layer.qkv, query + 2 * key, m.hidden, "qkv");
    check_matrix(layer.output, m.hidden, query, "output");
    check_matrix(layer.gate_up, 2 * m.intermediate, m.hidden, "gate_up");
    check_matrix(layer.down, m.hidden, m.intermediate, "down");
    if (layer.rope >= m.ropes.size()) throw InvalidInput("a layer's rope is none of the model's");
}

void check_model(const TransformerModel& m) {
    if (m.layers.empty() || m.positions == 0 ||
        std::max({m.heads, m.kv_heads, m.head_dim}) > kMost) {
        throw InvalidInput("a model has layers and positions, and at most " +
                           std::to_string(kMost) + " heads and values in one");
    }
    if (m.kv_heads == 0 || m.heads == 0 || m.heads % m.kv_heads != 0 || m.head_dim == 0 ||
        m.head_dim % 16 != 0) {
        throw InvalidInput("heads must be a multiple of kv_heads, and head_dim of 16");
    }
    if (m.intermediate % kGroup != 0 || m.intermediate > kWidest / 2) {
        throw InvalidInput("intermediate must be a multiple of 16");
    }
    for (const Rope& rope : m.ropes) {
        if (rope.width % 2 != 0 || rope.width > m.head_dim) {
            throw InvalidInput("a rope's width is even and at most that of a head");
        }
    }
    for (const TransformerLayer& layer : m.layers) check_layer(m, layer);
    check_matrix(m.head, m.vocab, m.hidden, "head");
}

// Rotates pairs (i, i + half) of a head (RoFormer, Su et al. 2021).
void turn(float* head, const Rope& rope, std::size_t position) {
    const std::size_t half = rope.width / 2;
    const float* cos = rope.cos + position * half;
    const float* sin = rope.sin + position * half;
    for (std::size_t i = 0; i < half; ++i) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cos[i] - b * sin[i];
        head[i + half] = b * cos[i] + a * sin[i];
    }
}

template <class F>
void each_matrix(const TransformerModel& model, F f) {
    for (const TransformerLayer& layer : model.layers) {
        for (const PackedMatrix* m : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
            f(*m);
        }
    }
    f(model.head);
}

}  // namespace

struct Transformer::Scratch {
    std::size_t thread;
    RoundedRoom rounded;  // of one token
    std::vector<float> normed, up, query, key, scores, mixed;
    std::vector<std::uint16_t> halves;
};

struct Transformer::Room {
    explicit Room(const TransformerModel& m) {
        each_matrix(m, [this](const PackedMatrix& matrix) {
            width = std::max(width, matrix.blocks() * matrix.block);
            blocks = std::max(blocks, matrix.blocks());
        });
    }

    void fit(const TransformerModel& m, std::size_t tokens) {
        if (tokens <= tokens_) return;
        const std::size_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
        residual.resize(tokens * m.hidden);
        joined.resize(tokens * m.hidden);
        qkv.resize(tokens * (query + 2 * key));
        attended.resize(tokens * query);
        gated.resize(tokens * m.intermediate);
        rounded.fit(tokens, width, blocks);
        tokens_ = tokens;
    }

    std::size_t width = 0, blocks = 0;  // of the widest matrix
    RoundedRoom rounded;
    std::vector<float> residual, joined, qkv, attended, gated;

  private:
    std::size_t tokens_ = 0;
};

struct Transformer::Call {
    KvCache& cache;
    std::size_t count, position, wanted;
    float* logits;
};

// Queries of tokens one after the other, and of heads that read the keys of head `shared`.
struct Transformer::AttendedPart {
    std::size_t first, tokens, shared, head, heads;
};

Transformer::Transformer(TransformerModel model, std::size_t threads)
    : model_(std::move(model)), kernels_(lm_kernels()), team_(std::max<std::size_t>(threads, 1)) {
    check_model(model_);
    const TransformerModel& m = model_;
    room_ = std::make_unique<Room>(m);
    for (std::size_t i = 0; i < team_.size(); ++i) {
        auto own = std::make_unique<Scratch>();
        own->thread = i;
        own->rounded.fit(1, room_->width, room_->blocks);
        own->normed.resize(std::max(m.hidden, m.head_dim));
        own->query.resize(kQueries * m.head_dim);
        own->mixed.resize(kQueries * m.head_dim);
        own->key.resize(m.head_dim);
        own->halves.resize(m.head_dim);
        scratch_.push_back(std::move(own));
    }
}

Transformer::~Transformer() = default;

void Transformer::check(const KvCache& cache, std::size_t count, std::size_t position,
                        std::size_t wanted) const {
    if (cache.layers() != model_.layers.size() || cache.heads() != model_.kv_heads ||
        cache.head_dim() != model_.head_dim) {
        throw InvalidInput("the cache has not the layers and heads of this model");
    }
    const std::size_t room = std::min(cache.capacity(), model_.positions);
    if (position > room || count > room - position) {
        throw InvalidInput(std::to_string(count) + " tokens from position " +
                           std::to_string(position) + " on do not fit a cache of " +
                           std::to_string(room));
    }
    if (wanted > count) throw InvalidInput("logits are wanted of more tokens than are read");
}

void Transformer::read(KvCache& cache, const float* embeddings, std::size_t count,
                       std::size_t position, std::size_t wanted, float* logits) {
    check(cache, count, position, wanted);
    const std::lock_guard<std::mutex> lock(mutex_);
    room_->fit(model_, std::min(count, kTokens));
    // A single token's heads go one by one.
    const std::size_t queries = count == 1 ? 1 : kQueries;
    for (auto& own : scratch_) {
        own->scores.resize(queries * ((position + count) / KvCache::kBlock + 1) * KvCache::kBlock);
        own->up.resize(std::min(count, kTokens) * kNear / 16);
    }
    for (std::size_t from = 0; from < count; from += kTokens) {
        const std::size_t some = std::min(kTokens, count - from), end = from + some;
        const std::size_t last = end + wanted > count ? end + wanted - count : 0;
        const Call call{cache, some, position + from, std::min(last, some), logits};
        std::copy_n(embeddings + from * model_.hidden, some * model_.hidden,
                    room_->residual.begin());
        team_.run([&](std::size_t thread) { work(thread, call); });
        logits += call.wanted * model_.vocab;
    }
}

// Every thread runs this. A barrier ends each phase whose results others read.
void Transformer::work(std::size_t thread, const Call& call) {
    Scratch& own = *scratch_[thread];
    for (std::size_t i = 0; i < model_.layers.size(); ++i) run_layer(i, own, call);
    if (call.wanted == 0) return;
    const RoundedTokens x = prepare(own, call, room_->residual.data(), model_.final_norm,
                                    model_.head, call.count - call.wanted);
    multiply(own, model_.head, x, call.wanted, false, call.logits);
    if (model_.logits_cap == 0.0F) return;
    team_.barrier();
    for (Taken t; (t = team_.take(thread, call.wanted, 1)).count != 0;) {
        kernels_.cap(call.logits + t.first * model_.vocab, model_.vocab, model_.logits_cap);
    }
}

// Of the last layer, a token whose logits nobody wants only leaves its key and value.
void Transformer::run_layer(std::size_t index, Scratch& own, const Call& call) {
    const TransformerLayer& layer = model_.layers[index];
    const bool is_last = index + 1 == model_.layers.size();
    const std::size_t first = is_last ? call.count - call.wanted : 0, tokens = call.count - first;
    Room& room = *room_;
    RoundedTokens x = prepare(own, call, room.residual.data(), layer.attention_norm, layer.qkv, 0);
    multiply(own, layer.qkv, x, call.count, false, room.qkv.data());
    team_.barrier();
    rotate(own, index, call);
    team_.barrier();
    if (tokens == 0) return;
    attend(own, index, call, first);
    team_.barrier();
    x = prepare(own, call, room.attended.data(), nullptr, layer.output, first);
    join(own, call, layer.output, x, layer.after_attention, first);
    team_.barrier();
    x = prepare(own, call, room.residual.data(), layer.mlp_norm, layer.gate_up, first);
    multiply_gated(own, layer, x, tokens, room.gated.data() + first * model_.intermediate);
    team_.barrier();
    x = prepare(own, call, room.gated.data(), nullptr, layer.down, first);
    join(own, call, layer.down, x, layer.after_mlp, first);
    team_.barrier();
}

// Norms and rounds the tokens from `first` on. A single one each thread does for itself: a barrier
// would take as long.
RoundedTokens Transformer::prepare(Scratch& own, const Call& call, const float* x,
                                   const float* norm, const PackedMatrix& matrix,
                                   std::size_t first) {
    const std::size_t columns = matrix.columns, tokens = call.count - first;
    const auto round = [&](std::size_t t, const RoundedTokens& to) {
        const float* from = x + (first + t) * columns;
        if (norm != nullptr) {
            kernels_.norm(from, norm, columns, model_.norm_eps, own.normed.data());
            from = own.normed.data();
        }
        kernels_.round(from, columns, matrix.block, to);
    };
    if (tokens == 1) {
        const RoundedTokens to = own.rounded.of(matrix);
        round(0, to);
        return to;
    }
    const RoundedTokens to = room_->rounded.of(matrix);
    for (Taken t; (t = team_.take(own.thread, tokens, 1)).count != 0;) {
        round(t.first, to.from(t.first));
    }
    team_.barrier();
    return to;
}

namespace {

// Groups of rows to take at a time.
std::size_t chunk_of(const PackedMatrix& m, std::size_t tokens) {
    if (tokens == 1) return 2;  // a few microseconds of reading
    const std::size_t group_bytes = m.blocks() * m.block * kGroup * m.bits / 8;
    return std::max<std::size_t>(kNear / group_bytes, 1);
}

}  // namespace

void Transformer::multiply(Scratch& own, const PackedMatrix& matrix, const RoundedTokens& x,
                           std::size_t tokens, bool add, float* out) {
    const std::size_t chunk = chunk_of(matrix, tokens);
    for (Taken g; (g = team_.take(own.thread, matrix.groups(), chunk)).count != 0;) {
        kernels_.multiply(matrix, g.first, g.count, x, tokens, add, out + g.first * kGroup,
                          matrix.rows);
    }
}

// Adds a product to the residual, by way of a norm where the model has one there.
void Transformer::join(Scratch& own, const Call& call, const PackedMatrix& matrix,
                       const RoundedTokens& x, const float* norm, std::size_t first) {
    const std::size_t tokens = call.count - first, hidden = model_.hidden;
    float* const residual = room_->residual.data() + first * hidden;
    if (norm == nullptr) {
        multiply(own, matrix, x, tokens, true, residual);
        return;
    }
    multiply(own, matrix, x, tokens, false, room_->joined.data());
    team_.barrier();
    for (Taken t; (t = team_.take(own.thread, tokens, 1)).count != 0;) {
        kernels_.norm(&room_->joined[t.first * hidden], norm, hidden, model_.norm_eps,
                      own.normed.data());
        for (std::size_t i = 0; i < hidden; ++i) residual[t.first * hidden + i] += own.normed[i];
    }
}

namespace {

// One head of a token's qkv row, with its bias, norm and rotation where there are any.
void take_head(const LmKernels& kernels, const float* row, const float* bias, std::size_t at,
               std::size_t dim, const float* norm, float eps, float* to) {
    for (std::size_t i = 0; i < dim; ++i) {
        to[i] = row[at + i] + (bias != nullptr ? bias[at + i] : 0.0F);
    }
    if (norm != nullptr) kernels.norm(to, norm, dim, eps, to);
}

}  // namespace

// Puts keys, rotated, and values into the cache.
void Transformer::rotate(Scratch& own, std::size_t index, const Call& call) {
    const TransformerLayer& layer = model_.layers[index];
    const std::size_t dim = model_.head_dim, keys = model_.heads * dim;
    const std::size_t values = keys + model_.kv_heads * dim;
    for (Taken item; (item = team_.take(own.thread, call.count * model_.kv_heads, 1)).count != 0;) {
        const std::size_t t = item.first / model_.kv_heads, head = item.first % model_.kv_heads;
        const std::size_t position = call.position + t;
        const float* row = &room_->qkv[t * layer.qkv.rows];
        take_head(kernels_, row, layer.qkv_bias, keys + head * dim, dim, layer.key_norm,
                  model_.norm_eps, own.key.data());
        turn(own.key.data(), model_.ropes[layer.rope], position);
        kernels_.to_halves(own.key.data(), dim, own.halves.data());
        std::uint16_t* key = call.cache.keys(index, head) +
                             position / KvCache::kBlock * KvCache::kBlock * dim +
                             position % KvCache::kBlock;
        for (std::size_t d = 0; d < dim; ++d) key[KvCache::kBlock * d] = own.halves[d];
        take_head(kernels_, row, layer.qkv_bias, values + head * dim, dim, nullptr, 0.0F,
                  own.key.data());
        kernels_.to_halves(own.key.data(), dim, call.cache.values(index, head) + position * dim);
    }
}

// Queries that read the same keys do so together: the heads that share one of the cache, of as many
// tokens as leave each thread some. A single token is shared out by its heads.
void Transformer::attend(Scratch& own, std::size_t index, const Call& call, std::size_t first) {
    const std::size_t group = model_.heads / model_.kv_heads, tokens = call.count - first;
    const std::size_t heads = tokens == 1 ? 1 : std::min(group, kQueries);
    const std::size_t parts = (group + heads - 1) / heads, a_token = model_.kv_heads * parts;
    const std::size_t share = tokens * a_token / (kShares * team_.size());
    const std::size_t together = std::min(std::max<std::size_t>(share, 1), kQueries / heads);
    const std::size_t items = (tokens + together - 1) / together * a_token;
    for (Taken item; (item = team_.take(own.thread, items, 1)).count != 0;) {
        const std::size_t t = item.first / a_token * together, part = item.first % a_token;
        const std::size_t shared = part / parts, skipped = part % parts * heads;
        attend_part(own, index, call, {first + t, std::min(together, tokens - t), shared,
                                       shared * group + skipped, std::min(heads, group - skipped)});
    }
}

namespace {

// The first position that the token at `position` sees.
std::size_t seen_from(const TransformerLayer& layer, std::size_t position) {
    const bool cut = layer.window != 0 && layer.window <= position;
    return cut ? position + 1 - layer.window : 0;
}

}  // namespace

void Transformer::attend_part(Scratch& own, std::size_t index, const Call& call,
                              const AttendedPart& part) {
    constexpr std::size_t kBlock = KvCache::kBlock;
    const TransformerLayer& layer = model_.layers[index];
    const std::size_t dim = model_.head_dim, queries = part.tokens * part.heads;
    for (std::size_t q = 0; q < queries; ++q) {
        const std::size_t t = part.first + q / part.heads, head = part.head + q % part.heads;
        float* const query = own.normed.data();
        take_head(kernels_, &room_->qkv[t * layer.qkv.rows], layer.qkv_bias, head * dim, dim,
                  layer.query_norm, model_.norm_eps, query);
        turn(query, model_.ropes[layer.rope], call.position + t);
        for (std::size_t i = 0; i < dim; ++i) {
            own.query[i * queries + q] = query[i] * model_.attention_scale;
        }
    }
    const std::size_t position = call.position + part.first, end = position + part.tokens;
    const std::size_t block = seen_from(layer, position) / kBlock, start = block * kBlock;
    const std::size_t blocks = (end - 1) / kBlock - block + 1, stride = blocks * kBlock;
    float* const scores = own.scores.data();
    kernels_.score(own.query.data(), queries, call.cache.keys(index, part.shared) + start * dim,
                   blocks, dim, scores, stride);
    std::array<SeenPositions, kQueries> seen;
    for (std::size_t q = 0; q < queries; ++q) {
        const std::size_t at = position + q / part.heads;
        seen[q] = {seen_from(layer, at) - start, at + 1 - start};
        float* const row = scores + q * stride + seen[q].from;
        const std::size_t count = seen[q].end - seen[q].from;
        if (model_.attention_cap != 0.0F) kernels_.cap(row, count, model_.attention_cap);
        kernels_.softmax(row, count);
    }
    kernels_.mix(scores, stride, seen.data(), queries,
                 call.cache.values(index, part.shared) + start * dim, dim, own.mixed.data());
    for (std::size_t t = 0; t < part.tokens; ++t) {
        std::copy_n(&own.mixed[t * part.heads * dim], part.heads * dim,
                    &room_->attended[((part.first + t) * model_.heads + part.head) * dim]);
    }
}

// A thread computes the same rows of gate and up, so that it can join them at once.
void Transformer::multiply_gated(Scratch& own, const TransformerLayer& layer,
                                 const RoundedTokens& x, std::size_t tokens, float* gated) {
    const std::size_t total = model_.intermediate, groups = total / kGroup;
    const std::size_t chunk = std::min(chunk_of(layer.gate_up, tokens), kNear / 16 / kGroup);
    const auto activate = model_.activation == Activation::kSilu ? kernels_.silu : kernels_.gelu;
    for (Taken g; (g = team_.take(own.thread, groups, chunk)).count != 0;) {
        const std::size_t width = g.count * kGroup;
        float* const gate = gated + g.first * kGroup;
        kernels_.multiply(layer.gate_up, g.first, g.count, x, tokens, false, gate, total);
        kernels_.multiply(layer.gate_up, groups + g.first, g.count, x, tokens, false,
                          own.up.data(), width);
        for (std::size_t t = 0; t < tokens; ++t) {
            activate(gate + t * total, &own.up[t * width], width);
        }
    }
}

}  // namespace edgepersona
