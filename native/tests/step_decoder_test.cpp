#include "edgepersona/step_decoder.h"

#include <cmath>
#include <cstdint>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "crew.h"
#include "edgepersona/errors.h"

using namespace edgepersona;

namespace {

constexpr std::size_t kHidden = 96, kIntermediate = 80, kHeads = 6, kKvHeads = 2, kHeadDim = 16,
                      kVocab = 300, kPositions = 24, kLayers = 2;

// A random model and the memory that it points into.
class Sample {
public:
    Sample() {
        model_.hidden = kHidden;
        model_.intermediate = kIntermediate;
        model_.heads = kHeads;
        model_.kv_heads = kKvHeads;
        model_.head_dim = kHeadDim;
        model_.vocab = kVocab;
        model_.positions = kPositions;
        model_.norm_eps = 1e-5F;
        model_.rope_cos = floats(kPositions * kHeadDim / 2);
        model_.rope_sin = floats(kPositions * kHeadDim / 2);
        model_.final_norm = floats(kHidden);
        model_.head = matrix(kVocab, kHidden);
        const std::size_t qkv = (kHeads + 2 * kKvHeads) * kHeadDim;
        for (std::size_t i = 0; i < kLayers; ++i) {
            model_.layers.push_back({floats(kHidden), matrix(qkv, kHidden), floats(qkv),
                                     matrix(kHidden, kHeads * kHeadDim), floats(kHidden),
                                     matrix(2 * kIntermediate, kHidden),
                                     matrix(kHidden, kIntermediate)});
        }
    }

    const StepModel& model() const { return model_; }

private:
    const float* floats(std::size_t count) {
        std::normal_distribution<float> draw;
        auto& own = floats_.emplace_back(count);
        for (float& value : own) value = draw(random_);
        return own.data();
    }

    BlockMatrix matrix(std::size_t rows, std::size_t columns) {
        const std::size_t blocks = (columns + 63) / 64;
        auto& codes = codes_.emplace_back(rows * blocks * 64);
        for (auto& code : codes) code = static_cast<std::uint8_t>(random_());
        auto& scales = floats_.emplace_back(rows * blocks, 1e-3F);
        return {{codes.data(), scales.data(), blocks, 64}, rows};
    }

    std::mt19937 random_{11};
    std::deque<std::vector<float>> floats_;
    std::deque<std::vector<std::uint8_t>> codes_;
    StepModel model_{};
};

struct Caches {
    explicit Caches(std::size_t capacity) {
        view.capacity = capacity;
        for (std::size_t i = 0; i < kLayers; ++i) {
            view.keys.push_back(memory.emplace_back(kKvHeads * capacity * kHeadDim).data());
            view.values.push_back(memory.emplace_back(kKvHeads * capacity * kHeadDim).data());
        }
    }

    std::deque<std::vector<float>> memory;
    StepCache view{};
};

// The logits after each of kPositions random vectors.
std::vector<std::vector<float>> read(StepDecoder& decoder, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> draw;
    Caches caches(kPositions);
    std::vector<std::vector<float>> all;
    for (std::size_t position = 0; position < kPositions; ++position) {
        std::vector<float> embedding(kHidden), logits(kVocab);
        for (float& value : embedding) value = draw(random);
        decoder.step(caches.view, embedding.data(), position, logits.data());
        all.push_back(logits);
    }
    return all;
}

}  // namespace

TEST(a_step_is_the_same_to_the_bit_with_any_number_of_threads) {
    const Sample sample;
    StepDecoder alone(sample.model(), 1);
    const auto expected = read(alone, 1);
    for (const float logit : expected.back()) CHECK(std::isfinite(logit));
    CHECK(expected.front() != expected.back());
    for (const std::size_t threads : {0, 2, 4}) {
        StepDecoder many(sample.model(), threads);
        for (int round = 0; round < 5; ++round) CHECK(read(many, 1) == expected);
    }
}

TEST(steps_of_two_sequences_at_once_are_those_of_each_alone) {
    const Sample sample;
    StepDecoder decoder(sample.model(), 2);
    const auto first = read(decoder, 1), second = read(decoder, 2);
    std::vector<std::vector<float>> found;
    std::thread other([&] { found = read(decoder, 2); });
    const auto own = read(decoder, 1);
    other.join();
    CHECK(own == first && found == second);
}

TEST(sequences_step_beside_decoders_that_come_and_go) {
    const Sample sample;
    StepDecoder decoder(sample.model(), 3);
    const auto expected = read(decoder, 1);
    Crew crew;
    for (int sequence = 0; sequence < 3; ++sequence) {
        crew.member(3, [&](int) { CHECK(read(decoder, 1) == expected); });
    }
    crew.meanwhile([&] {
        StepDecoder other(sample.model(), 2);
        CHECK(read(other, 1) == expected);
    });
    crew.run();
}

TEST(a_position_or_a_cache_that_does_not_fit_is_refused_before_anything_is_written) {
    const Sample sample;
    StepDecoder decoder(sample.model(), 2);
    const std::vector<float> embedding(kHidden, 1.0F);
    std::vector<float> logits(kVocab, 7.0F);
    Caches caches(8), longer(kPositions + 8), shorter(8);
    shorter.view.values.pop_back();
    const auto step = [&](const Caches& to, std::size_t position) {
        decoder.step(to.view, embedding.data(), position, logits.data());
    };
    CHECK(check::throws<InvalidInput>([&] { step(caches, 8); }));
    CHECK(check::throws<InvalidInput>([&] { step(longer, kPositions); }));
    CHECK(check::throws<InvalidInput>([&] { step(shorter, 0); }));
    CHECK(logits == std::vector<float>(kVocab, 7.0F));
    for (const auto& part : caches.memory) CHECK(part == std::vector<float>(part.size()));
    step(caches, 7);
    CHECK(logits != std::vector<float>(kVocab, 7.0F));
}

TEST(an_embedding_that_is_not_a_number_gives_logits_that_are_none) {
    const Sample sample;
    StepDecoder decoder(sample.model(), 2);
    for (const float bad : {std::nanf(""), INFINITY}) {
        Caches caches(1);
        std::vector<float> embedding(kHidden, 1.0F), logits(kVocab);
        embedding[7] = bad;
        decoder.step(caches.view, embedding.data(), 0, logits.data());
        for (const float logit : logits) CHECK(!std::isfinite(logit));
    }
}

TEST(a_model_whose_matrices_do_not_fit_it_is_refused) {
    const Sample sample;
    const auto refused = [&](auto&& change) {
        StepModel model = sample.model();
        change(model);
        return check::throws<InvalidInput>([&] { StepDecoder(model, 1); });
    };
    CHECK(refused([](StepModel& m) { m.layers.clear(); }));
    CHECK(refused([](StepModel& m) { m.kv_heads = 0; }));
    CHECK(refused([](StepModel& m) { m.kv_heads = 4; }));
    CHECK(refused([](StepModel& m) { m.head_dim = 24; }));
    CHECK(refused([](StepModel& m) {
        m.head_dim = 0;
        for (StepLayer& layer : m.layers) layer.qkv.count = layer.output.rows.blocks = 0;
    }));
    // 16 times this is that of kHeads again in 64 bits.
    CHECK(refused([](StepModel& m) { m.heads += std::size_t{1} << 60; }));
    CHECK(refused([](StepModel& m) { m.head.rows.block = 32; }));
    CHECK(refused([](StepModel& m) { m.head.rows.block = 0; }));
    CHECK(refused([](StepModel& m) {  // sums of so many products do not fit 32 bits
        m.head.rows.block = std::size_t{1} << 20;
        m.head.rows.blocks = 1;
    }));
    CHECK(refused([](StepModel& m) { m.layers[1].down.count -= 1; }));
    CHECK(refused([](StepModel& m) { m.layers[1].qkv.rows.blocks += 1; }));
}
