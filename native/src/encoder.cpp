#include "edgepersona/encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "check_matrix.h"
#include "edgepersona/errors.h"
#include "edgepersona/memory.h"
#include "rounded_room.h"

namespace edgepersona {
namespace {

constexpr std::size_t kGroup = PackedMatrix::kGroup;
constexpr std::size_t kTokens = 128;     // at a time: what lies between two products stays near
constexpr std::size_t kFew = 32;         // tokens a thread: with fewer, rows are shared out instead
constexpr std::size_t kNear = 32 << 10;  // bytes of weights that serve all tokens while so near
constexpr std::size_t kKeys = 16;        // side by side
constexpr std::size_t kMost = 1 << 20;   // heads, or values: their products do not overflow
constexpr std::size_t kMostTokens = std::size_t{1} << 32;

void check_model(const EncoderModel& m) {
    if (m.layers.empty() || std::max({m.hidden, m.intermediate, m.heads}) > kMost) {
        throw InvalidInput("an encoder has layers, and at most " + std::to_string(kMost) +
                           " values side by side");
    }
    if (m.heads == 0 || m.hidden % m.heads != 0 || m.hidden / m.heads % 16 != 0) {
        throw InvalidInput("hidden must be so many heads of a multiple of 16 values");
    }
    const EncoderLayer& like = m.layers.front();
    for (const EncoderLayer& layer : m.layers) {
        check_matrix(layer.qkv, 3 * m.hidden, m.hidden, "qkv");
        check_matrix(layer.output, m.hidden, m.hidden, "output");
        check_matrix(layer.up, m.intermediate, m.hidden, "up");
        check_matrix(layer.down, m.hidden, m.intermediate, "down");
        if (layer.qkv.block != like.qkv.block || layer.output.block != like.output.block ||
            layer.up.block != like.up.block || layer.down.block != like.down.block) {
            throw InvalidInput("the layers' blocks are not of one size");
        }
    }
}

// Some whole texts: `starts` are their first tokens, and the end of the last.
struct Part {
    float* states;
    std::vector<std::size_t> starts;

    std::size_t tokens() const { return starts.back(); }
};

// As many texts at a time as stay near; one that is longer is a part of its own.
std::vector<Part> parts_of(float* states, const std::int64_t* lengths, std::size_t texts,
                           std::size_t hidden) {
    std::vector<Part> parts;
    for (std::size_t i = 0; i < texts; ++i) {
        const auto length = static_cast<std::size_t>(lengths[i]);
        if (parts.empty() || parts.back().tokens() + length > kTokens) {
            parts.push_back({states, {0}});
        }
        parts.back().starts.push_back(parts.back().tokens() + length);
        states += length * hidden;
    }
    return parts;
}

void grow(Memory& memory, std::size_t size_bytes) {
    if (memory.size_bytes() < size_bytes) memory = Memory(size_bytes);
}

void fit(RoundedRoom& room, std::size_t tokens, const PackedMatrix& m) {
    room.fit(tokens, m.blocks() * m.block, m.blocks());
}

}  // namespace

// A thread's own, and where the states of what it encodes lie.
struct Encoder::Room {
    void fit_text(const EncoderModel& m, std::size_t longest) {
        const std::size_t dim = m.hidden / m.heads;
        const std::size_t padded = (longest + kKeys - 1) / kKeys * kKeys;
        grow(keys, padded * dim * sizeof(std::uint16_t));
        grow(values, padded * dim * sizeof(std::uint16_t));
        grow(scores, kQueries * padded * sizeof(float));
        grow(tile, kKeys * dim * sizeof(float));
        grow(queries, kQueries * dim * sizeof(float));
        grow(mixed, kQueries * dim * sizeof(float));
    }
    void fit_part(const EncoderModel& m, std::size_t tokens) {
        const EncoderLayer& layer = m.layers.front();
        grow(states, tokens * m.hidden * sizeof(float));
        for (Memory& one : qkv) grow(one, tokens * 3 * m.hidden * sizeof(float));
        grow(attended, tokens * m.hidden * sizeof(float));
        grow(raised, tokens * m.intermediate * sizeof(float));
        fit(for_qkv, tokens, layer.qkv);
        fit(for_output, tokens, layer.output);
        fit(for_up, tokens, layer.up);
        fit(for_down, tokens, layer.down);
    }

    Memory keys, values, scores, tile, queries, mixed;  // of one head
    Memory states, qkv[2], attended, raised;
    RoundedRoom for_qkv, for_output, for_up, for_down;
};

// The tokens from `begin` to `end` are this thread's: it alone writes what is theirs.
struct Encoder::Hand {
    Hand(Part& some, Room& mine, Room& all, WorkerTeam* others, std::size_t index)
        : part(some), own(mine), shared(all), team(others), thread(index) {
        const std::size_t threads = team == nullptr ? 1 : team->size(), tokens = part.tokens();
        by_rows = threads > 1 && tokens < kFew * threads;
        begin = tokens * thread / threads;
        end = tokens * (thread + 1) / threads;
    }
    void barrier() const {
        if (team != nullptr) team->barrier();
    }

    Part& part;
    Room &own, &shared;
    WorkerTeam* team;  // null: this thread is alone with its part
    std::size_t thread, begin, end;
    bool by_rows;  // tokens are too few to share out their products
};

Encoder::Encoder(EncoderModel model, std::size_t threads)
    : model_(std::move(model)), kernels_(lm_kernels()), team_(std::max<std::size_t>(threads, 1)) {
    check_model(model_);
    for (std::size_t i = 0; i < team_.size(); ++i) rooms_.push_back(std::make_unique<Room>());
}

Encoder::~Encoder() = default;

void Encoder::encode(float* states, const std::int64_t* lengths, std::size_t texts) {
    std::size_t longest = 0;
    for (std::size_t i = 0; i < texts; ++i) {
        if (lengths[i] < 1 || static_cast<std::uint64_t>(lengths[i]) > kMostTokens) {
            throw InvalidInput("a text of " + std::to_string(lengths[i]) + " tokens");
        }
        longest = std::max(longest, static_cast<std::size_t>(lengths[i]));
    }
    std::vector<Part> parts = parts_of(states, lengths, texts, model_.hidden);
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t alone = parts.size() / team_.size() * team_.size();
    for (std::size_t i = 0; i < rooms_.size(); ++i) {
        rooms_[i]->fit_text(model_, longest);
        if (alone != 0 || i == 0) rooms_[i]->fit_part(model_, std::max(longest, kTokens));
    }
    if (alone != 0) {
        team_.run([&](std::size_t thread) {
            Room& own = *rooms_[thread];
            for (Taken t; (t = team_.take(thread, alone, 1)).count != 0;) {
                Hand hand(parts[t.first], own, own, nullptr, 0);
                encode_part(hand);
            }
        });
    }
    for (std::size_t i = alone; i < parts.size(); ++i) {
        team_.run([&](std::size_t thread) {
            Hand hand(parts[i], *rooms_[thread], *rooms_.front(), &team_, thread);
            encode_part(hand);
        });
    }
}

void Encoder::encode_part(Hand& hand) const {
    Room& room = hand.shared;
    const std::size_t hidden = model_.hidden, wide = model_.intermediate;
    float* const states = room.states.at<float>();
    float* const raised = room.raised.at<float>();
    const std::size_t mine = (hand.end - hand.begin) * hidden;
    std::copy_n(hand.part.states + hand.begin * hidden, mine, states + hand.begin * hidden);
    normalise(hand, nullptr, model_.embedding_norm, model_.layers.front().qkv,
              room.for_qkv.of(model_.layers.front().qkv));
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
        const EncoderLayer& layer = model_.layers[i];
        // Others may still read the last layer's.
        float* const qkv = room.qkv[hand.team == nullptr ? 0 : i % 2].at<float>();
        multiply(hand, layer.qkv, room.for_qkv.of(layer.qkv), false, qkv);
        hand.barrier();
        attend(hand, layer, qkv);
        const RoundedTokens attended = room.for_output.of(layer.output);
        for (std::size_t t = hand.begin; t < hand.end; ++t) {
            kernels_.round(room.attended.at<float>() + t * hidden, hidden, layer.output.block,
                           attended.from(t));
        }
        multiply(hand, layer.output, attended, true, states);
        normalise(hand, layer.output_bias, layer.after_attention, layer.up,
                  room.for_up.of(layer.up));
        multiply(hand, layer.up, room.for_up.of(layer.up), false, raised);
        const RoundedTokens x = room.for_down.of(layer.down);
        for (std::size_t t = hand.begin; t < hand.end; ++t) {
            kernels_.biased_gelu(raised + t * wide, layer.up_bias, wide);
            kernels_.round(raised + t * wide, wide, layer.down.block, x.from(t));
        }
        multiply(hand, layer.down, x, true, states);
        normalise(hand, layer.down_bias, layer.after_mlp, layer.qkv,
                  room.for_qkv.of(layer.qkv));
    }
    std::copy_n(states + hand.begin * hidden, mine, hand.part.states + hand.begin * hidden);
}

// Norms the states, a bias added first, in place, and rounds them for the `next` matrix.
void Encoder::normalise(Hand& hand, const float* bias, const EncoderNorm& norm,
                        const PackedMatrix& next, const RoundedTokens& to) const {
    const std::size_t hidden = model_.hidden;
    for (std::size_t t = hand.begin; t < hand.end; ++t) {
        float* const row = hand.shared.states.at<float>() + t * hidden;
        kernels_.layer_norm(row, bias, norm.weight, norm.bias, hidden, model_.norm_eps);
        kernels_.round(row, hidden, next.block, to.from(t));
    }
}

void Encoder::multiply(Hand& hand, const PackedMatrix& matrix, const RoundedTokens& x, bool add,
                       float* out) const {
    const std::size_t group_bytes = matrix.blocks() * matrix.block * kGroup * matrix.bits / 8;
    const std::size_t chunk = std::max<std::size_t>(kNear / group_bytes, 1);
    if (hand.by_rows) {
        hand.barrier();
        for (Taken g; (g = hand.team->take(hand.thread, matrix.groups(), chunk)).count != 0;) {
            kernels_.multiply(matrix, g.first, g.count, x, hand.part.tokens(), add,
                              out + g.first * kGroup, matrix.rows);
        }
        hand.barrier();
        return;
    }
    for (std::size_t g = 0; g < matrix.groups(); g += chunk) {
        kernels_.multiply(matrix, g, std::min(chunk, matrix.groups() - g), x.from(hand.begin),
                          hand.end - hand.begin, add,
                          out + hand.begin * matrix.rows + g * kGroup, matrix.rows);
    }
}

// What this thread's tokens see: all of their texts.
void Encoder::attend(Hand& hand, const EncoderLayer& layer, const float* qkv) const {
    const std::size_t hidden = model_.hidden, dim = hidden / model_.heads;
    const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
    Room& own = hand.own;
    float* const queries = own.queries.at<float>();
    float* const scores = own.scores.at<float>();
    float* const mixed = own.mixed.at<float>();
    for (std::size_t text = 0; text + 1 < hand.part.starts.size(); ++text) {
        const std::size_t first = hand.part.starts[text], last = hand.part.starts[text + 1];
        const std::size_t begin = std::max(first, hand.begin), end = std::min(last, hand.end);
        if (begin >= end) continue;
        const std::size_t count = last - first, blocks = (count + kKeys - 1) / kKeys;
        const std::size_t stride = blocks * kKeys;
        std::array<SeenPositions, kQueries> seen;
        seen.fill({0, count});
        for (std::size_t at = 0; at < hidden; at += dim) {
            const float* const rows = qkv + first * 3 * hidden + at;
            const float* const bias = layer.qkv_bias + at;
            take_keys(own, rows + hidden, bias + hidden, count);
            for (std::size_t t = 0; t < count; ++t) {
                const float* const value = rows + t * 3 * hidden + 2 * hidden;
                for (std::size_t d = 0; d < dim; ++d) mixed[d] = value[d] + bias[2 * hidden + d];
                kernels_.to_halves(mixed, dim, own.values.at<std::uint16_t>() + t * dim);
            }
            for (std::size_t from = begin; from < end; from += kQueries) {
                const std::size_t some = std::min(kQueries, end - from);
                for (std::size_t q = 0; q < some; ++q) {
                    const float* const query = qkv + (from + q) * 3 * hidden + at;
                    for (std::size_t d = 0; d < dim; ++d) {
                        queries[d * some + q] = (query[d] + bias[d]) * scale;
                    }
                }
                kernels_.score(queries, some, own.keys.at<std::uint16_t>(), blocks, dim, scores,
                               stride);
                for (std::size_t q = 0; q < some; ++q) {
                    kernels_.softmax(scores + q * stride, count);
                }
                kernels_.mix(scores, stride, seen.data(), some, own.values.at<std::uint16_t>(),
                             dim, mixed);
                for (std::size_t q = 0; q < some; ++q) {
                    std::copy_n(mixed + q * dim, dim,
                                hand.shared.attended.at<float>() + (from + q) * hidden + at);
                }
            }
        }
    }
}

// Keys of one head, sixteen side by side; those that a text lacks are zeros.
void Encoder::take_keys(Room& own, const float* keys, const float* bias, std::size_t count) const {
    const std::size_t stride = 3 * model_.hidden, dim = model_.hidden / model_.heads;
    float* const tile = own.tile.at<float>();
    for (std::size_t from = 0; from < count; from += kKeys) {
        const std::size_t some = std::min(kKeys, count - from);
        for (std::size_t d = 0; d < dim; ++d) {
            float* const to = tile + d * kKeys;
            for (std::size_t j = 0; j < some; ++j) to[j] = keys[(from + j) * stride + d] + bias[d];
            for (std::size_t j = some; j < kKeys; ++j) to[j] = 0.0F;
        }
        kernels_.to_halves(tile, kKeys * dim, own.keys.at<std::uint16_t>() + from * dim);
    }
}

}  // namespace edgepersona
