// A text encoder beside its formula in double, and what its results may not depend on.
#include "edgepersona/encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "check.h"
#include "crew.h"
#include "edgepersona/errors.h"
#include "sample_encoder.h"

using namespace edgepersona;

namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

const SampleEncoder& small() {
    static const SampleEncoder sample(3, 16, 80, 2, 32, 8);
    return sample;
}

const SampleEncoder& large() {
    static const SampleEncoder sample(4, 32, 512, 3, 64, 8, 2);
    return sample;
}

std::vector<float> encode(Encoder& encoder, std::vector<float> states,
                          const std::vector<std::int64_t>& lengths) {
    encoder.encode(states.data(), lengths.data(), lengths.size());
    return states;
}

bool same_bits(const float* a, const float* b, std::size_t count) {
    return std::memcmp(a, b, count * sizeof(float)) == 0;
}

Row product(const PackedMatrix& m, const float* bias, const Row& x) {
    Row y(m.rows);
    for (std::size_t row = 0; row < m.rows; ++row) {
        y[row] = bias[row];
        for (std::size_t i = 0; i < x.size(); ++i) y[row] += place_of(m, row, i).value() * x[i];
    }
    return y;
}

Row normed(const Row& x, const EncoderNorm& norm, double eps) {
    const auto count = static_cast<double>(x.size());
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / count;
    double squares = 0;
    for (const double value : x) squares += (value - mean) * (value - mean);
    Row y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        y[i] = (x[i] - mean) / std::sqrt(squares / count + eps) * norm.weight[i] + norm.bias[i];
    }
    return y;
}

Row attended(const Rows& qkv, std::size_t token, std::size_t hidden, std::size_t heads) {
    const std::size_t dim = hidden / heads;
    Row y(hidden, 0.0);
    for (std::size_t at = 0; at < hidden; at += dim) {
        Row weights(qkv.size());
        for (std::size_t j = 0; j < qkv.size(); ++j) {
            double dot = 0;
            for (std::size_t d = at; d < at + dim; ++d) dot += qkv[token][d] * qkv[j][hidden + d];
            weights[j] = std::exp(dot / std::sqrt(static_cast<double>(dim)));
        }
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (std::size_t j = 0; j < qkv.size(); ++j) {
            for (std::size_t d = at; d < at + dim; ++d) {
                y[d] += weights[j] / sum * qkv[j][2 * hidden + d];
            }
        }
    }
    return y;
}

void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

// One text by the formula, no number rounded.
Rows by_formula(const EncoderModel& m, const std::vector<float>& states) {
    Rows x;
    for (std::size_t at = 0; at < states.size(); at += m.hidden) {
        x.push_back(normed({states.begin() + static_cast<std::ptrdiff_t>(at),
                            states.begin() + static_cast<std::ptrdiff_t>(at + m.hidden)},
                           m.embedding_norm, m.norm_eps));
    }
    for (const EncoderLayer& layer : m.layers) {
        Rows qkv;
        for (const Row& row : x) qkv.push_back(product(layer.qkv, layer.qkv_bias, row));
        for (std::size_t t = 0; t < x.size(); ++t) {
            add(x[t], product(layer.output, layer.output_bias,
                              attended(qkv, t, m.hidden, m.heads)));
            x[t] = normed(x[t], layer.after_attention, m.norm_eps);
            Row up = product(layer.up, layer.up_bias, x[t]);
            for (double& value : up) value = value / 2 * (1 + std::erf(value / std::sqrt(2.0)));
            add(x[t], product(layer.down, layer.down_bias, up));
            x[t] = normed(x[t], layer.after_mlp, m.norm_eps);
        }
    }
    return x;
}

}  // namespace

TEST(an_encoder_is_its_formula_but_for_rounding) {
    for (const SampleEncoder* sample : {&small(), &large()}) {
        Encoder encoder(sample->model, 2);
        for (const std::size_t tokens : {1, 2, 15, 16, 17, 40}) {
            const auto states = sample->states(tokens, static_cast<unsigned>(tokens));
            const auto found = encode(encoder, states, {static_cast<std::int64_t>(tokens)});
            const Rows expected = by_formula(sample->model, states);
            for (std::size_t t = 0; t < tokens; ++t) {
                double dot = 0, own = 0, theirs = 0;
                for (std::size_t i = 0; i < sample->model.hidden; ++i) {
                    const double value = found[t * sample->model.hidden + i];
                    dot += value * expected[t][i];
                    own += value * value;
                    theirs += expected[t][i] * expected[t][i];
                }
                CHECK(dot / std::sqrt(own * theirs) > 0.9995);
                CHECK(std::abs(std::sqrt(own / theirs) - 1) < 0.02);
            }
        }
    }
}

TEST(a_text_is_encoded_to_the_same_bits_among_others_as_alone) {
    for (const SampleEncoder* sample : {&small(), &large()}) {
        const std::size_t hidden = sample->model.hidden;
        Encoder one(sample->model, 1), three(sample->model, 3);
        // More than are read at a time inside, and one that is longer than that by itself.
        const std::vector<std::int64_t> lengths{5, 1, 37, 16, 300, 2, 90, 90, 90, 17};
        const auto tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
        const auto states = sample->states(static_cast<std::size_t>(tokens), 3);
        const auto together = encode(three, states, lengths);
        CHECK(same_bits(together.data(), encode(one, states, lengths).data(), together.size()));
        std::size_t at = 0;
        for (const std::int64_t length : lengths) {
            const std::size_t count = static_cast<std::size_t>(length) * hidden;
            const auto begin = states.begin() + static_cast<std::ptrdiff_t>(at);
            const auto alone =
                encode(one, {begin, begin + static_cast<std::ptrdiff_t>(count)}, {length});
            CHECK(same_bits(&together[at], alone.data(), count));
            at += count;
        }
    }
}

TEST(what_is_not_a_number_stays_in_its_text) {
    Encoder encoder(small().model, 2);
    const std::size_t hidden = small().model.hidden;
    const auto states = small().states(12, 4);
    auto bad = states;
    bad[5 * hidden + 1] = std::numeric_limits<float>::quiet_NaN();
    const auto found = encode(encoder, bad, {4, 4, 4}), good = encode(encoder, states, {4, 4, 4});
    CHECK(same_bits(found.data(), good.data(), 4 * hidden));
    CHECK(same_bits(&found[8 * hidden], &good[8 * hidden], 4 * hidden));
    CHECK(std::all_of(found.begin() + static_cast<std::ptrdiff_t>(4 * hidden),
                      found.begin() + static_cast<std::ptrdiff_t>(8 * hidden),
                      [](float value) { return std::isnan(value); }));
}

TEST(nothing_is_encoded_of_no_texts_and_a_text_without_tokens_is_refused) {
    Encoder encoder(small().model, 2);
    encoder.encode(nullptr, nullptr, 0);
    const auto states = small().states(4, 5);
    for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 60}) {
        auto rows = states;
        const std::vector<std::int64_t> lengths{2, bad};
        CHECK(check::throws<InvalidInput>(
            [&] { encoder.encode(rows.data(), lengths.data(), lengths.size()); }));
        CHECK(rows == states);
    }
}

TEST(an_encoder_whose_parts_do_not_fit_is_refused) {
    const auto refused = [](auto bend) {
        EncoderModel model = small().model;
        bend(model);
        return check::throws<InvalidInput>([&] { Encoder(model, 1); });
    };
    CHECK(!refused([](EncoderModel&) {}));
    CHECK(refused([](EncoderModel& m) { m.layers.clear(); }));
    CHECK(refused([](EncoderModel& m) { m.heads = 0; }));
    CHECK(refused([](EncoderModel& m) { m.heads = 6; }));  // of 8 values
    CHECK(refused([](EncoderModel& m) { m.heads = 5; }));
    CHECK(refused([](EncoderModel& m) { m.hidden = std::size_t{1} << 40; }));
    CHECK(refused([](EncoderModel& m) { m.intermediate += 16; }));
    CHECK(refused([](EncoderModel& m) { m.intermediate = std::size_t{1} << 40; }));
    CHECK(refused([](EncoderModel& m) { m.layers[1].qkv.rows -= 1; }));
    CHECK(refused([](EncoderModel& m) { m.layers[1].output.columns += 1; }));
    CHECK(refused([](EncoderModel& m) { m.layers[1].up.block = 0; }));
    CHECK(refused([](EncoderModel& m) { m.layers[1].down.block = 33; }));
    CHECK(refused([](EncoderModel& m) { m.layers[0].down.bits = 5; }));
    CHECK(refused([](EncoderModel& m) { m.layers[0].down.bits = 4; }));  // without minima
}

TEST(an_encoder_serves_several_threads) {
    Encoder encoder(small().model, 2);
    const auto states = small().states(33, 6);
    const auto expected = encode(encoder, states, {33});
    Crew crew;
    for (int i = 0; i < 4; ++i) {
        crew.member(20, [&](int) { CHECK(encode(encoder, states, {33}) == expected); });
    }
    crew.run();
}
