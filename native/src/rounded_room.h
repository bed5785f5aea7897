// Memory for tokens rounded to the blocks of any of a model's matrices.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgepersona/lm_kernels.h"
#include "edgepersona/memory.h"
#include "edgepersona/packed_matrix.h"

namespace edgepersona {

struct RoundedRoom {
    void fit(std::size_t tokens, std::size_t width, std::size_t blocks) {
        if (codes.size_bytes() < tokens * width) codes = Memory(tokens * width);
        scales.resize(std::max(scales.size(), tokens * blocks));
        sums.resize(std::max(sums.size(), tokens * blocks));
        offsets.resize(std::max(offsets.size(), tokens * blocks));
    }
    RoundedTokens of(const PackedMatrix& m) {
        return {codes.at<std::int8_t>(), scales.data(), sums.data(), offsets.data(),
                m.blocks() * m.block, m.blocks()};
    }

    Memory codes;  // aligned: a tile's rows are whole cache lines
    std::vector<float> scales, sums;
    std::vector<std::int32_t> offsets;
};

}  // namespace edgepersona
