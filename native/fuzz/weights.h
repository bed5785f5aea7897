// The weights of a model that may not fit together: the memory behind each is as large as it says.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "../tests/sample_matrix.h"
#include "fuzz.h"

namespace fuzz {

class Weights {
  public:
    explicit Weights(Input& input) : input_(input) {}

    std::vector<float> values(std::size_t count) {
        std::vector<float> own(count);
        for (float& value : own) value = static_cast<float>(input_.take<std::int8_t>()) / 32.0F;
        if (count != 0 && input_.chance(16)) own[input_.up_to(255) % count] = input_.take<float>();
        return own;
    }

    const float* floats(std::size_t count) {
        return floats_.emplace_back(values(count)).data();
    }

  protected:
    // Seldom: what a size is off by.
    std::size_t bent() { return input_.chance(128) ? input_.up_to(9) : 0; }

    edgepersona::PackedMatrix matrix(std::size_t rows, std::size_t columns) {
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

    Input& input_;

  private:
    std::deque<std::vector<float>> floats_;
    std::deque<SampleMatrix> matrices_;
};

}  // namespace fuzz
