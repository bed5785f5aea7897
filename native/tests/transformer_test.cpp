#include "edgepersona/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <thread>
#include <vector>

#include "check.h"
#include "crew.h"
#include "edgepersona/errors.h"
#include "failing_new.h"
#include "plain_transformer.h"
#include "sample_model.h"

using namespace edgepersona;

namespace {

constexpr float kUntouched = 7.0F;
constexpr std::size_t kMany = std::size_t{1} << 60;

const SampleModel& plain() {
    static const SampleModel sample(SampleModel::Shape{});
    return sample;
}

const SampleModel& rich() {
    static const SampleModel sample = SampleModel::rich();
    return sample;
}

// The logits after each of `embeddings`, read as many at a time as `sizes` say, in turn.
std::vector<float> read(Transformer& transformer, const SampleModel& sample,
                        const std::vector<float>& embeddings,
                        const std::vector<std::size_t>& sizes) {
    const std::size_t hidden = sample.model.hidden, vocab = sample.model.vocab;
    const std::size_t count = embeddings.size() / hidden;
    KvCache cache = sample.cache(count);
    std::vector<float> logits(count * vocab, kUntouched);
    for (std::size_t at = 0, i = 0; at < count; ++i) {
        const std::size_t some = std::min(sizes[i % sizes.size()], count - at);
        transformer.read(cache, embeddings.data() + at * hidden, some, at, some,
                         logits.data() + at * vocab);
        at += some;
    }
    return logits;
}

std::vector<float> read(Transformer& transformer, const SampleModel& sample, unsigned seed) {
    return read(transformer, sample, sample.embeddings(40, seed), {1});
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<std::uint8_t> saved(const KvCache& cache) {
    std::vector<std::uint8_t> bytes(cache.capacity() * cache.position_bytes());
    cache.save(cache.capacity(), bytes.data());
    return bytes;
}

std::vector<float> spoiled(std::vector<float> embeddings, std::size_t at, float bad) {
    embeddings[at] = bad;
    return embeddings;
}

}  // namespace

TEST(logits_are_the_same_bits_however_a_text_is_cut) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        Transformer transformer(sample->model, 2);
        const auto embeddings = sample->embeddings(300, 1);  // more than are read at a time inside
        const auto expected = read(transformer, *sample, embeddings, {1});
        CHECK(all_finite(expected));
        CHECK(!std::equal(expected.begin() + 77, expected.end(), expected.begin()));
        for (const std::vector<std::size_t>& sizes : std::vector<std::vector<std::size_t>>{
                 {300}, {2}, {3, 13}, {14}, {16, 1}, {255, 2}, {256}, {257}, {1, 299}}) {
            CHECK(same_bits(read(transformer, *sample, embeddings, sizes), expected));
        }
    }
}

TEST(logits_are_the_same_bits_with_any_number_of_threads) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        const auto embeddings = sample->embeddings(40, 1);
        Transformer alone(sample->model, 1);
        const auto expected = read(alone, *sample, embeddings, {1});
        for (const std::size_t threads : {0, 2, 3, 5}) {
            Transformer many(sample->model, threads);
            for (int round = 0; round < 3; ++round) {
                for (const std::size_t size : {1, 7, 40}) {
                    CHECK(same_bits(read(many, *sample, embeddings, {size}), expected));
                }
            }
        }
    }
}

TEST(logits_are_those_of_a_plain_forward_pass_in_double) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        const std::size_t count = 45, hidden = sample->model.hidden, vocab = sample->model.vocab;
        const auto embeddings = sample->embeddings(count, 3);
        const PlainTransformer plain_one(sample->model);
        Transformer transformer(sample->model, 2);
        KvCache cache = sample->cache(count);
        std::vector<float> logits(count * vocab);
        transformer.read(cache, embeddings.data(), count, 0, count, logits.data());
        std::vector<double> errors;
        for (std::size_t t = 0; t < count; ++t) {
            const auto expected = plain_one.step(embeddings.data() + t * hidden, t, cache);
            double largest = 0, error = 0;
            for (std::size_t i = 0; i < vocab; ++i) {
                largest = std::max(largest, std::abs(expected[i]));
                error = std::max(error, std::abs(logits[t * vocab + i] - expected[i]));
            }
            CHECK(largest > 0.5);  // else the comparison says little
            errors.push_back(error / largest);
        }
        // Where a value lies between two codes, float and double may round it apart, and that token's
        // logits differ a little. Elsewhere they agree to float's own rounding.
        std::sort(errors.begin(), errors.end());
        CHECK(errors.back() < 0.05);
        CHECK(errors[count * 3 / 4] < 5e-6);
    }
}

TEST(only_the_wanted_logits_are_made_and_they_are_the_same) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        const std::size_t vocab = sample->model.vocab;
        const auto embeddings = sample->embeddings(290, 4);
        for (const std::size_t threads : {1, 2}) {
            Transformer transformer(sample->model, threads);
            for (const std::size_t count : {1, 2, 9, 290}) {
                KvCache whole = sample->cache(290), cut = sample->cache(290);
                std::vector<float> all(count * vocab);
                transformer.read(whole, embeddings.data(), count, 0, count, all.data());
                for (const std::size_t wanted : {0, 1, 2, 8, 40, 290}) {
                    if (wanted > count) continue;
                    std::vector<float> logits(wanted * vocab);
                    transformer.read(cut, embeddings.data(), count, 0, wanted, logits.data());
                    CHECK(std::equal(logits.begin(), logits.end(),
                                     all.end() - static_cast<std::ptrdiff_t>(logits.size())));
                    CHECK(saved(cut) == saved(whole));
                }
            }
        }
    }
}

TEST(nothing_is_read_of_what_lies_beyond_a_position_that_is_written_anew) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        const std::size_t hidden = sample->model.hidden, vocab = sample->model.vocab;
        Transformer transformer(sample->model, 2);
        const auto embeddings = sample->embeddings(40, 5);
        const auto expected = read(transformer, *sample, embeddings, {40});
        KvCache cache = sample->cache(40);
        std::vector<float> logits(40 * vocab);
        const auto bad = spoiled(embeddings, 20 * hidden, NAN);
        transformer.read(cache, bad.data(), 40, 0, 40, logits.data());
        transformer.read(cache, embeddings.data() + 20 * hidden, 20, 20, 20,
                         logits.data() + 20 * vocab);
        CHECK(same_bits(logits, expected));
    }
}

TEST(a_saved_cache_goes_on_in_one_of_another_length) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        const std::size_t hidden = sample->model.hidden, vocab = sample->model.vocab;
        Transformer transformer(sample->model, 2);
        const auto embeddings = sample->embeddings(40, 6);
        const auto expected = read(transformer, *sample, embeddings, {40});
        KvCache first = sample->cache(40), second = sample->cache(300);
        transformer.read(first, embeddings.data(), 23, 0, 0, nullptr);
        std::vector<std::uint8_t> bytes(19 * first.position_bytes());
        first.save(19, bytes.data());
        second.load(19, bytes.data());
        std::vector<float> logits(21 * vocab);
        transformer.read(second, embeddings.data() + 19 * hidden, 21, 19, 21, logits.data());
        CHECK(std::equal(logits.begin(), logits.end(), expected.begin() + 19 * 77));
    }
}

TEST(reading_nothing_changes_nothing) {
    Transformer transformer(plain().model, 2);
    KvCache cache = plain().cache(8);
    for (const std::size_t position : {0, 3, 16}) {
        transformer.read(cache, nullptr, 0, position, 0, nullptr);
    }
    CHECK(saved(cache) == saved(plain().cache(8)));
}

TEST(sequences_of_two_threads_are_those_of_each_alone) {
    Transformer transformer(rich().model, 2);
    const auto first = read(transformer, rich(), 1), second = read(transformer, rich(), 2);
    std::vector<float> found;
    std::thread other([&] { found = read(transformer, rich(), 2); });
    const auto own = read(transformer, rich(), 1);
    other.join();
    CHECK(same_bits(own, first) && same_bits(found, second));
}

TEST(sequences_go_on_beside_models_that_come_and_go) {
    Transformer transformer(rich().model, 3);
    const auto expected = read(transformer, rich(), 1);
    const auto embeddings = rich().embeddings(40, 1);
    Crew crew;
    for (const std::size_t size : {1, 9, 40}) {
        crew.member(3, [&, size](int) {
            CHECK(same_bits(read(transformer, rich(), embeddings, {size}), expected));
        });
    }
    crew.meanwhile([&] {
        Transformer other(rich().model, 2);
        CHECK(same_bits(read(other, rich(), 1), expected));
    });
    crew.run();
}

TEST(tokens_that_do_not_fit_are_refused_before_anything_is_written) {
    SampleModel::Shape shape;
    shape.positions = 24;
    const SampleModel sample(shape);
    Transformer transformer(sample.model, 2);
    const auto embeddings = sample.embeddings(40, 7);
    std::vector<float> logits(40 * sample.model.vocab, kUntouched);
    KvCache cache = sample.cache(16), longer = sample.cache(48);
    const TransformerModel& m = sample.model;
    std::vector<KvCache> others;
    others.emplace_back(m.layers.size() + 1, m.kv_heads, m.head_dim, 16);
    others.emplace_back(m.layers.size(), m.kv_heads + 1, m.head_dim, 16);
    others.emplace_back(m.layers.size(), m.kv_heads, m.head_dim + 16, 16);
    const auto refused = [&](KvCache& to, std::size_t count, std::size_t at, std::size_t wanted) {
        const auto before = saved(to);
        const bool thrown = check::throws<InvalidInput>([&] {
            transformer.read(to, embeddings.data(), count, at, wanted, logits.data());
        });
        return thrown && saved(to) == before;
    };
    CHECK(refused(cache, 17, 0, 1) && refused(cache, 1, 16, 1) && refused(cache, 0, 17, 0));
    CHECK(refused(cache, 2, 15, 1) && refused(cache, 8, ~std::size_t{0} - 3, 1));
    CHECK(refused(cache, ~std::size_t{0}, 1, 1) && refused(cache, kMany, kMany, kMany));
    CHECK(refused(longer, 25, 0, 1) && refused(longer, 1, 24, 1));
    CHECK(refused(cache, 3, 0, 4) && refused(cache, 0, 0, 1) && refused(cache, 3, 0, kMany));
    for (KvCache& other : others) CHECK(refused(other, 1, 0, 1));
    CHECK(logits == std::vector<float>(logits.size(), kUntouched));
    CHECK(!refused(cache, 1, 15, 1) && !refused(longer, 24, 0, 24));
}

TEST(what_is_not_a_number_gives_logits_that_are_none_from_there_on) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        const std::size_t hidden = sample->model.hidden, vocab = sample->model.vocab;
        Transformer transformer(sample->model, 2);
        const auto embeddings = sample->embeddings(40, 8);
        const auto expected = read(transformer, *sample, embeddings, {40});
        for (const float bad : {NAN, INFINITY, -INFINITY}) {
            const auto odd = spoiled(embeddings, 11 * hidden + 5, bad);
            for (const std::size_t size : {1, 40}) {
                const auto logits = read(transformer, *sample, odd, {size});
                for (std::size_t i = 0; i < logits.size(); ++i) {
                    CHECK(i / vocab < 11 ? logits[i] == expected[i] : std::isnan(logits[i]));
                }
            }
        }
    }
}

TEST(embeddings_of_any_size_give_logits_or_none_and_end_nothing) {
    for (const SampleModel* sample : {&plain(), &rich()}) {
        Transformer transformer(sample->model, 2);
        for (const float size : {1e-45F, 1e-38F, 1e-30F, 1e10F, 1e30F, 3e38F}) {
            auto embeddings = sample->embeddings(20, 9);
            for (float& value : embeddings) value = std::fmin(std::fmax(value, -1), 1) * size;
            const auto logits = read(transformer, *sample, embeddings, {20});
            if (size <= 1e10F) CHECK(all_finite(logits));
            CHECK(logits.size() == 20 * sample->model.vocab);
        }
    }
}

TEST(a_read_that_finds_no_memory_can_be_done_again) {
    const auto embeddings = rich().embeddings(40, 10);
    Transformer whole(rich().model, 2);
    const auto expected = read(whole, rich(), embeddings, {40});
    Transformer transformer(rich().model, 2);
    KvCache cache = rich().cache(40);
    std::vector<float> logits(expected.size(), kUntouched);
    int failures = 0;
    for (std::size_t after = 0;; ++after) {
        const FailingNew failing(after);
        try {
            transformer.read(cache, embeddings.data(), 40, 0, 40, logits.data());
            break;
        } catch (const std::bad_alloc&) {
            ++failures;
        }
    }
    CHECK(failures > 0 && same_bits(logits, expected));
}

TEST(a_model_that_finds_no_memory_is_not_made) {
    int failures = 0;
    for (std::size_t after = 0; failures == static_cast<int>(after); ++after) {
        TransformerModel model = rich().model;
        const FailingNew failing(after);
        try {
            Transformer transformer(std::move(model), 1);
        } catch (const std::bad_alloc&) {
            ++failures;
        }
    }
    CHECK(failures > 0);
}

TEST(a_model_whose_parts_do_not_fit_together_is_refused) {
    const auto refused = [&](auto&& change) {
        TransformerModel model = rich().model;
        change(model);
        return check::throws<InvalidInput>([&] { Transformer(model, 1); });
    };
    using Model = TransformerModel;
    CHECK(!refused([](Model&) {}));
    CHECK(refused([](Model& m) { m.layers.clear(); }));
    CHECK(refused([](Model& m) { m.positions = 0; }));
    CHECK(refused([](Model& m) { m.heads = 0; }));
    CHECK(refused([](Model& m) { m.kv_heads = 0; }));
    CHECK(refused([](Model& m) { m.heads = m.kv_heads = 0; }));
    CHECK(refused([](Model& m) { m.kv_heads = 4; }));
    CHECK(refused([](Model& m) { m.head_dim = 24; }));
    CHECK(refused([](Model& m) { m.head_dim = 0; }));
    CHECK(refused([](Model& m) { m.hidden = 73; }));
    CHECK(refused([](Model& m) { m.hidden = 0; }));
    CHECK(refused([](Model& m) { m.vocab = 78; }));
    CHECK(refused([](Model& m) { m.vocab = m.head.rows = 0; }));
    CHECK(refused([](Model& m) { m.intermediate += 16; }));
    CHECK(refused([](Model& m) {  // whole groups of the gate's rows, then of those of up
        m.intermediate = 104;
        for (TransformerLayer& layer : m.layers) layer.gate_up.rows = 208, layer.down.columns = 104;
    }));
    CHECK(refused([](Model& m) { m.ropes.pop_back(); }));
    CHECK(refused([](Model& m) { m.ropes[0].width = 34; }));
    CHECK(refused([](Model& m) { m.ropes[1].width = 23; }));
    CHECK(refused([](Model& m) { m.layers[2].rope = 2; }));
    for (const std::size_t block : {std::size_t{0}, std::size_t{16}, std::size_t{48}, kMany,
                                    std::size_t{1} << 17}) {  // sums that do not fit 32 bits
        CHECK(refused([block](Model& m) { m.head.block = block; }));
    }
    for (const unsigned bits : {0U, 1U, 7U, 16U}) {
        CHECK(refused([bits](Model& m) { m.head.bits = bits; }));
    }
    CHECK(refused([](Model& m) { m.layers[0].qkv.minima = nullptr; }));
    for (auto part : {&TransformerLayer::qkv, &TransformerLayer::output,
                      &TransformerLayer::gate_up, &TransformerLayer::down}) {
        CHECK(refused([part](Model& m) { (m.layers[1].*part).rows -= 1; }));
        CHECK(refused([part](Model& m) { (m.layers[1].*part).columns += 1; }));
    }
}

TEST(a_model_whose_sizes_overflow_is_refused) {
    const auto refused = [&](auto&& change) {
        TransformerModel model = plain().model;
        change(model);
        return check::throws<InvalidInput>([&] { Transformer(model, 1); });
    };
    using Model = TransformerModel;
    // Times 16 these are what they were before in 64 bits.
    CHECK(refused([](Model& m) { m.heads += kMany; }));
    CHECK(refused([](Model& m) { m.kv_heads += kMany, m.heads += 3 * kMany; }));
    CHECK(refused([](Model& m) { m.head_dim += kMany; }));
    CHECK(refused([](Model& m) { m.intermediate += std::size_t{1} << 63; }));
    CHECK(refused([](Model& m) {  // so that they have no groups, or no blocks
        m.vocab = m.head.rows = ~std::size_t{0};
    }));
    CHECK(refused([](Model& m) {
        m.hidden = m.head.columns = ~std::size_t{0};
        for (TransformerLayer& layer : m.layers) {
            layer.qkv.columns = layer.gate_up.columns = m.hidden;
            layer.output.rows = layer.down.rows = m.hidden;
        }
    }));
}
