// An Encoder refuses a model or texts that do not fit, or encodes them within their memory: to the
// same states on one thread, text by text, as on two, all at once.
#include "edgepersona/encoder.h"

#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "../tests/sample_matrix.h"
#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

// A model that may not fit together; the memory behind each part is as large as the part says.
class Sample {
  public:
    explicit Sample(fuzz::Input& input) : input_(input) {
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

    std::vector<float> values(std::size_t count) {
        std::vector<float> own(count);
        for (float& value : own) value = static_cast<float>(input_.take<std::int8_t>()) / 32.0F;
        if (count != 0 && input_.chance(16)) own[input_.up_to(255) % count] = input_.take<float>();
        return own;
    }

    EncoderModel model{};

  private:
    const float* floats(std::size_t count) {
        return floats_.emplace_back(values(count)).data();
    }
    EncoderNorm norm() { return {floats(model.hidden), floats(model.hidden)}; }
    std::size_t bent() { return input_.chance(128) ? input_.up_to(9) : 0; }

    PackedMatrix matrix(std::size_t rows, std::size_t columns) {
        const std::size_t block = 32 * (input_.up_to(3) + 1) + bent();
        const unsigned bits = input_.chance(128) ? input_.take<std::uint8_t>() % 10
                              : input_.chance(2) ? 4
                                                 : 8;
        auto& own = matrices_.emplace_back(rows + bent(), columns + bent(), block, bits);
        const auto first = input_.take<std::uint8_t>(), step = input_.take<std::uint8_t>();
        for (std::size_t i = 0; i < own.codes().size(); ++i) {
            own.codes()[i] = static_cast<std::uint8_t>(first + i * step + i / 7);
        }
        for (auto* halves : {&own.scales(), &own.minima()}) {
            std::fill(halves->begin(), halves->end(), nearest_half(1e-2));
            if (input_.chance(16) && !halves->empty()) {
                (*halves)[input_.up_to(255) % halves->size()] = input_.take<std::uint16_t>();
            }
        }
        return own.view();
    }

    fuzz::Input& input_;
    std::deque<std::vector<float>> floats_;
    std::deque<SampleMatrix> matrices_;
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
