// A Transformer refuses a model, a cache or tokens that do not fit, or reads them within its memory:
// to the same logits and caches on one thread, many tokens at a time, as on two, one by one.
#include "edgepersona/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"
#include "weights.h"

using namespace edgepersona;

namespace {

class Sample : public fuzz::Weights {
  public:
    explicit Sample(fuzz::Input& input) : Weights(input) {
        TransformerModel& m = model;
        m.hidden = 1 + input.up_to(99) + bent();
        m.intermediate = 16 * (1 + input.up_to(5)) + bent();
        m.kv_heads = 1 + input.up_to(1);
        m.heads = m.kv_heads * (1 + input.up_to(5)) + bent();
        m.head_dim = 16 * (1 + input.up_to(2)) + bent();
        m.vocab = 1 + input.up_to(69);
        m.positions = 1 + input.up_to(39);
        m.norm_eps = 1e-5F;
        m.attention_scale = number(0.25F);
        m.attention_cap = input.chance(3) ? number(5.0F) : 0.0F;
        m.logits_cap = input.chance(3) ? number(5.0F) : 0.0F;
        m.activation = input.chance(2) ? Activation::kGelu : Activation::kSilu;
        for (std::size_t i = 1 + input.up_to(1) - (input.chance(64) ? 1 : 0); i > 0; --i) {
            const std::size_t width = std::min(2 * input.up_to(24), m.head_dim) + bent();
            const float* cos = floats(m.positions * (width / 2));
            m.ropes.push_back({cos, floats(m.positions * (width / 2)), width});
        }
        for (std::size_t i = 1 + input.up_to(1) - (input.chance(64) ? 1 : 0); i > 0; --i) {
            add_layer();
        }
        m.final_norm = floats(m.hidden);
        m.head = matrix(m.vocab, m.hidden);
    }

    TransformerModel model{};

  private:
    void add_layer() {
        const TransformerModel& m = model;
        const std::size_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
        TransformerLayer layer{};
        layer.attention_norm = floats(m.hidden);
        layer.qkv = matrix(query + 2 * key, m.hidden);
        if (input_.chance(2)) layer.qkv_bias = floats(layer.qkv.rows);
        if (input_.chance(2)) layer.query_norm = floats(m.head_dim);
        if (input_.chance(2)) layer.key_norm = floats(m.head_dim);
        layer.output = matrix(m.hidden, query);
        if (input_.chance(2)) layer.after_attention = floats(m.hidden);
        layer.mlp_norm = floats(m.hidden);
        layer.gate_up = matrix(2 * m.intermediate, m.hidden);
        layer.down = matrix(m.hidden, m.intermediate);
        if (input_.chance(2)) layer.after_mlp = floats(m.hidden);
        layer.window = input_.up_to(20);
        layer.rope = input_.up_to(std::max<std::size_t>(m.ropes.size(), 1) - 1) + bent();
        model.layers.push_back(layer);
    }

    float number(float usual) { return input_.chance(32) ? input_.take<float>() : usual; }
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
    }
    return true;
}

bool same(const KvCache& a, const KvCache& b) {
    for (std::size_t layer = 0; layer < a.layers(); ++layer) {
        for (std::size_t head = 0; head < a.heads(); ++head) {
            for (std::size_t i = 0; i < 2 * a.capacity() * a.head_dim(); ++i) {
                const std::uint16_t x = a.keys(layer, head)[i], y = b.keys(layer, head)[i];
                if (x != y && ((x & 0x7fff) <= 0x7c00 || (y & 0x7fff) <= 0x7c00)) return false;
            }
        }
    }
    return true;
}

}  // namespace

FUZZ(transformer) {
    Sample sample(input);
    const TransformerModel& m = sample.model;
    std::unique_ptr<Transformer> one, two;
    try {
        one = std::make_unique<Transformer>(m, 1);
    } catch (const InvalidInput&) {
        CHECK(check::throws<InvalidInput>([&] { Transformer(m, 2); }));
        return;
    }
    two = std::make_unique<Transformer>(m, 2);
    const std::size_t layers = m.layers.size() + (input.chance(64) ? 1 : 0);
    const std::size_t capacity = 1 + input.up_to(39);
    KvCache first(layers, m.kv_heads, m.head_dim, capacity);
    KvCache second(layers, m.kv_heads, m.head_dim, capacity);
    const std::size_t room = std::min(first.capacity(), m.positions);
    for (int reads = 0; reads < 8 && !input.empty(); ++reads) {
        const std::size_t position = input.up_to(room + (input.chance(8) ? 1 : 0));
        const std::size_t rest = position < room ? room - position : 0;
        const std::size_t count = input.up_to(rest + (input.chance(8) ? 1 : 0));
        const std::size_t wanted = input.up_to(count + (input.chance(16) ? 1 : 0));
        const bool good = layers == m.layers.size() && position <= room && count <= rest &&
                          wanted <= count;
        const float* embeddings = sample.floats(count * m.hidden);
        std::vector<float> logits(wanted * m.vocab, 7.0F), again(logits);
        CHECK(good != check::throws<InvalidInput>([&] {
                  one->read(first, embeddings, count, position, wanted, logits.data());
              }));
        if (good) {
            float* to = again.data();
            for (std::size_t t = 0; t < count; ++t) {
                const std::size_t own = t + wanted >= count ? 1 : 0;
                two->read(second, embeddings + t * m.hidden, 1, position + t, own, to);
                to += own * m.vocab;
            }
        }
        CHECK(same(logits, again) && same(first, second));
    }
}
