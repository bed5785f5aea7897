// Seeded random vectors for the tests.
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

inline std::vector<float> unit_vectors(std::size_t count, std::size_t ndim, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(count * ndim);
    for (std::size_t row = 0; row < count; ++row) {
        float squares = 0;
        for (std::size_t i = 0; i < ndim; ++i) {
            float& value = values[row * ndim + i];
            value = normal(random);
            squares += value * value;
        }
        for (std::size_t i = 0; i < ndim; ++i) values[row * ndim + i] /= std::sqrt(squares);
    }
    return values;
}
