// An Encoder refuses a model or texts that do not fit, or encodes them within their memory: to the
// same states on one thread, text by text, as on two, all at once.
#include "edgepersona/encoder.h"

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
        EncoderModel& m = model;
        m.heads = 1 + input.up_to(3) + bent();
        m.hidden = m.heads * 16 * (1 + input.up_to(1)) + bent();
        m.intermediate = 1 + input.up_to(99) + bent();
        m.norm_eps = 1e-5F;
        m.embedding_norm = norm();
        for (std::size_t i = 1 + input.up_to(1) - (input.chance(64) ? 1 : 0); i > 0; --i) {
            EncoderLayer layer{};
            layer.qkv = matrix(3 * m.hidden, m.hidden);
            layer.qkv_bias = floats(3 * m.hidden);
            layer.output = matrix(m.hidden, m.hidden);
            layer.output_bias = floats(m.hidden);
            layer.after_attention = norm();
            layer.up = matrix(m.intermediate, m.hidden);
            layer.up_bias = floats(m.intermediate);
            layer.down = matrix(m.hidden, m.intermediate);
            layer.down_bias = floats(m.hidden);
            layer.after_mlp = norm();
            m.layers.push_back(layer);
        }
    }

    EncoderModel model{};

  private:
    EncoderNorm norm() { return {floats(model.hidden), floats(model.hidden)}; }
};

}  // namespace

FUZZ(encoder) {
    Sample sample(input);
    std::unique_ptr<Encoder> one, two;
    try {
        one = std::make_unique<Encoder>(sample.model, 1);
    } catch (const InvalidInput&) {
        CHECK(check::throws<InvalidInput>([&] { Encoder(sample.model, 2); }));
        return;
    }
    two = std::make_unique<Encoder>(sample.model, 2);
    const std::size_t hidden = sample.model.hidden;
    for (int calls = 0; calls < 4 && !input.empty(); ++calls) {
        std::vector<std::int64_t> lengths(input.up_to(4));
        std::size_t tokens = 0;
        for (auto& length : lengths) {
            length = static_cast<std::int64_t>(input.chance(8) ? 1 + input.up_to(299)
                                                               : 1 + input.up_to(19));
            tokens += static_cast<std::size_t>(length);
        }
        std::vector<float> states = sample.values(tokens * hidden), alone = states;
        if (!lengths.empty() && input.chance(16)) {
            auto bad = lengths;
            bad[input.up_to(bad.size() - 1)] = input.chance(2) ? 0 : INT64_MIN;
            CHECK(check::throws<InvalidInput>(
                [&] { two->encode(states.data(), bad.data(), bad.size()); }));
        }
        two->encode(states.data(), lengths.data(), lengths.size());
        float* at = alone.data();
        for (const std::int64_t length : lengths) {
            one->encode(at, &length, 1);
            at += static_cast<std::size_t>(length) * hidden;
        }
        for (std::size_t i = 0; i < states.size(); ++i) {
            const bool none = std::isnan(states[i]) && std::isnan(alone[i]);
            CHECK(none || states[i] == alone[i]);
        }
    }
}
