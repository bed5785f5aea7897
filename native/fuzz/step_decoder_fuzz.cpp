// A StepDecoder refuses a model or a cache that does not fit, or steps through it within its memory,
// with the same logits on one thread as on two.
#include "edgepersona/step_decoder.h"

#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

// A model that may not fit together; the memory behind each part is as large as the part says.
class Sample {
  public:
    explicit Sample(fuzz::Input& input) : input_(input) {
        StepModel& m = model;
        m.hidden = input.up_to(140);
        m.intermediate = input.up_to(140);
        m.kv_heads = input.up_to(3);
        m.heads = m.kv_heads * input.up_to(3) + bent();
        m.head_dim = 16 * input.up_to(5) + bent();
        m.vocab = input.up_to(80);
        m.positions = input.up_to(12);
        m.norm_eps = 1e-5F;
        m.rope_cos = floats(m.positions * (m.head_dim / 2));
        m.rope_sin = floats(m.positions * (m.head_dim / 2));
        m.final_norm = floats(m.hidden);
        const std::size_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
        for (std::size_t i = input.up_to(2); i > 0; --i) {
            StepLayer layer{};
            layer.attention_norm = floats(m.hidden);
            layer.qkv = matrix(query + 2 * key, m.hidden);
            if (input.chance(2)) layer.qkv_bias = floats(layer.qkv.count);
            layer.output = matrix(m.hidden, query);
            layer.mlp_norm = floats(m.hidden);
            layer.gate_up = matrix(2 * m.intermediate, m.hidden);
            layer.down = matrix(m.hidden, m.intermediate);
            m.layers.push_back(layer);
        }
        m.head = matrix(m.vocab, m.hidden);
    }

    const float* floats(std::size_t count) {
        auto& own = floats_.emplace_back(count);
        for (float& value : own) value = input_.take<std::int8_t>() / 32.0F;
        if (count != 0 && input_.chance(16)) own[input_.up_to(255) % count] = input_.take<float>();
        return own.data();
    }

    StepModel model{};

  private:
    std::size_t bent() { return input_.chance(32) ? input_.up_to(9) : 0; }

    BlockMatrix matrix(std::size_t rows, std::size_t columns) {
        const std::size_t block = 64 * (input_.up_to(1) + 1) + bent();
        const std::size_t blocks = (columns + block - 1) / block + bent(), count = rows + bent();
        auto& codes = codes_.emplace_back(count * blocks * block);
        const auto first = input_.take<std::uint8_t>(), step = input_.take<std::uint8_t>();
        for (std::size_t i = 0; i < codes.size(); ++i) {
            codes[i] = static_cast<std::uint8_t>(first + i * step);
        }
        auto& scales = floats_.emplace_back(count * blocks, 1e-2F);
        return {{codes.data(), scales.data(), blocks, block}, count};
    }

    fuzz::Input& input_;
    std::deque<std::vector<float>> floats_;
    std::deque<std::vector<std::uint8_t>> codes_;
};

struct Caches {
    Caches(const StepModel& model, std::size_t layers, std::size_t capacity) {
        view.capacity = capacity;
        const std::size_t size = model.kv_heads * capacity * model.head_dim;
        for (std::size_t i = 0; i < layers; ++i) {
            view.keys.push_back(memory.emplace_back(size).data());
            view.values.push_back(memory.emplace_back(size).data());
        }
    }

    std::deque<std::vector<float>> memory;
    StepCache view{};
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
    }
    return true;
}

}  // namespace

FUZZ(step_decoder) {
    Sample sample(input);
    const StepModel& model = sample.model;
    std::unique_ptr<StepDecoder> one, two;
    try {
        one = std::make_unique<StepDecoder>(model, 1);
        two = std::make_unique<StepDecoder>(model, 2);
    } catch (const InvalidInput&) {
        return;
    }
    const std::size_t layers = model.layers.size() + (input.chance(32) ? 1 : 0);
    const std::size_t capacity = input.up_to(12);
    Caches first(model, layers, capacity), second(model, layers, capacity);
    for (int steps = 0; steps < 16 && !input.empty(); ++steps) {
        const std::size_t position = input.up_to(13);
        const float* embedding = sample.floats(model.hidden);
        std::vector<float> logits(model.vocab, 7.0F), again(logits);
        const bool good = layers == model.layers.size() && position < capacity &&
                          position < model.positions;
        CHECK(good != check::throws<InvalidInput>([&] {
                  one->step(first.view, embedding, position, logits.data());
              }));
        CHECK(good != check::throws<InvalidInput>([&] {
                  two->step(second.view, embedding, position, again.data());
              }));
        CHECK(same(logits, again));
        CHECK(good || logits == std::vector<float>(model.vocab, 7.0F));
    }
    for (std::size_t i = 0; i < first.memory.size(); ++i) {
        CHECK(same(first.memory[i], second.memory[i]));
    }
}
