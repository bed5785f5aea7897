// What every model asks of its matrices.
#pragma once

#include <cstddef>
#include <string>

#include "edgepersona/errors.h"
#include "edgepersona/packed_matrix.h"

namespace edgepersona {

// Throws InvalidInput unless `m` is `rows` by `columns` in a form that the kernels take.
inline void check_matrix(const PackedMatrix& m, std::size_t rows, std::size_t columns,
                         const char* name) {
    constexpr std::size_t kWidest = std::size_t{1} << 40;
    constexpr std::size_t kLongestBlock = 1 << 16;  // its sum of 8-bit products fits 32 bits
    const bool stored = (m.bits == 8 || (m.bits == 4 && m.minima != nullptr)) && m.block != 0 &&
                        m.block % 32 == 0 && m.block <= kLongestBlock;
    const bool sized = rows != 0 && columns != 0 && rows <= kWidest && columns <= kWidest;
    if (stored && sized && m.rows == rows && m.columns == columns) return;
    throw InvalidInput(std::string(name) + " is not a matrix of " + std::to_string(rows) + " by " +
                       std::to_string(columns) + " in 4 or 8 bits, in blocks of a multiple of 32");
}

}  // namespace edgepersona
