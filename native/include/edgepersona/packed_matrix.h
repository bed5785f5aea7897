// A weight matrix (rows, columns) in few bits, in the order that its kernels read it.
//
// Sixteen rows lie side by side, four columns of each at a time: one vector register then holds a
// row in each of its lanes, no sum runs across lanes, and a token's four values meet all sixteen
// rows in one instruction (vpdpbusd). The same order serves one token and many.
//
//   8 bits: codes [rows/16][columns/4][16][4] bytes; value = (code - 128) * scale
//   4 bits: codes [rows/16][columns/8][16][4] bytes: in the low half column 8j + i, in the high half
//           8j + 4 + i; value = code * scale + minimum (GGUF's Q4_1, to the bit)
//   scales and minima: float16 [rows/16][columns/block][16]
//
// Rows are padded with zeros to sixteens, columns to whole blocks. The memory is the caller's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgepersona {

struct PackedMatrix {
    static constexpr std::size_t kGroup = 16;  // rows side by side

    const std::uint8_t* codes;
    const std::uint16_t* scales;
    const std::uint16_t* minima;  // null with 8 bits
    std::size_t rows, columns;
    std::size_t block;  // columns that share a scale: a multiple of 32
    unsigned bits;      // 4 or 8

    std::size_t groups() const { return (rows + kGroup - 1) / kGroup; }
    std::size_t blocks() const { return (columns + block - 1) / block; }
    std::size_t codes_bytes() const { return groups() * kGroup * blocks() * block * bits / 8; }
    std::size_t scale_count() const { return groups() * kGroup * blocks(); }
};

}  // namespace edgepersona
