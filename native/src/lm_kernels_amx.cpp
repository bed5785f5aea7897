// A language model's kernels for AMX: products of sixteen tokens and more in tiles, the rest by
// AVX-512. What a packed matrix holds is what a tile holds, so a tile is loaded as it lies there.
//
// The numbers are those of AVX-512, to the bit: a block's sum is a whole number, however it is
// made, and what follows is the same arithmetic in the same order.
#include "edgepersona/lm_kernels.h"

#if defined(__x86_64__) && defined(__linux__) && \
    (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__clang__)
#define EP_WIDE
#define EP_UNROLL _Pragma("unroll")
#else
#define EP_WIDE ",prefer-vector-width=512"  // else GCC makes loops of half the width
#define EP_UNROLL _Pragma("GCC unroll 16")
#endif
#define EP_TARGET                                                                             \
    __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma," \
                          "f16c" EP_WIDE)))
#include "lm_loops.h"
#include "lm_products.h"
#include "lm_set_avx512.h"

namespace edgepersona {
namespace {

constexpr std::size_t kTile = 16;  // tokens, and rows of the matrix
constexpr std::size_t kFew = 4;    // fewer tokens than that are left to AVX-512

struct alignas(64) TileShapes {
    std::uint8_t palette = 1, start = 0, none[14] = {};
    std::uint16_t bytes[16] = {};
    std::uint8_t rows[16] = {};
};

// Tiles 0 to 3: sums; 4: weights; 5 to 7: tokens, of so many columns each.
constexpr TileShapes shapes_of(std::size_t columns) {
    TileShapes shapes;
    for (std::size_t i = 0; i < 8; ++i) {
        shapes.rows[i] = i == 4 ? static_cast<std::uint8_t>(columns / 4) : kTile;
        shapes.bytes[i] = i < 5 ? 64 : static_cast<std::uint16_t>(columns);
    }
    return shapes;
}

// Constants, not made where they are loaded: GCC takes the instruction to read eight bytes and
// leaves out what writes the others.
constexpr TileShapes kNarrow = shapes_of(32), kWide = shapes_of(64);

// GCC does not know that loading a tile reads memory: what was written before is written by then.
EP_TARGET inline void settle() { __asm__ volatile("" ::: "memory"); }

// 32 columns of 16 rows: eight a line in 4 bits, four a line in a tile.
EP_TARGET inline void unpack(const std::uint8_t* codes, std::uint8_t* to) {
    for (std::size_t line = 0; line < 4; ++line, to += 128) {
        const __m512i both = Avx512::nibbles(codes + 64 * line);
        _mm512_store_si512(to, Avx512::low(both));
        _mm512_store_si512(to + 64, Avx512::high(both));
    }
}

// Tokens of up to four tiles, and where their results go. The last tile of a call begins early
// enough to be whole: the results of its first `done` tokens are there already.
template <std::size_t N>
struct Tokens {
    std::size_t first[N], done[N];
};

// A block's sums of products, to[tile][token][row]. Each tile of tokens has sums of its own, so
// that none waits for another.
template <unsigned Bits, std::size_t N>
EP_TARGET inline void sum_block(const RoundedTokens& x, const Tokens<N>& tokens, std::size_t column,
                                const std::uint8_t* codes, std::size_t block, std::int32_t* to) {
    constexpr std::size_t kLast = N - 1;
    const std::size_t step = Bits == 8 && block % 64 == 0 ? 64 : 32, width = x.width;
    const std::int8_t* const own[4] = {
        x.codes + tokens.first[0] * width + column,
        x.codes + tokens.first[std::min<std::size_t>(1, kLast)] * width + column,
        x.codes + tokens.first[std::min<std::size_t>(2, kLast)] * width + column,
        x.codes + tokens.first[kLast] * width + column};
    _tile_zero(0);
    if constexpr (N > 1) _tile_zero(1);
    if constexpr (N > 2) _tile_zero(2);
    if constexpr (N > 3) _tile_zero(3);
    for (std::size_t k = 0; k < block; k += step) {
        if constexpr (Bits == 4) {
            alignas(64) std::uint8_t tile[512];
            unpack(codes + 8 * k, tile);
            settle();
            _tile_loadd(4, tile, 64);
            settle();
        } else {
            _tile_loadd(4, codes + 16 * k, 64);
        }
        _tile_loadd(5, own[0] + k, width);
        _tile_dpbsud(0, 5, 4);
        if constexpr (N > 1) {
            _tile_loadd(6, own[1] + k, width);
            _tile_dpbsud(1, 6, 4);
        }
        if constexpr (N > 2) {
            _tile_loadd(7, own[2] + k, width);
            _tile_dpbsud(2, 7, 4);
        }
        if constexpr (N > 3) {
            _tile_loadd(5, own[3] + k, width);
            _tile_dpbsud(3, 5, 4);
        }
    }
    constexpr std::size_t kSums = kTile * kTile;
    _tile_stored(0, to, 64);
    if constexpr (N > 1) _tile_stored(1, to + kSums, 64);
    if constexpr (N > 2) _tile_stored(2, to + 2 * kSums, 64);
    if constexpr (N > 3) _tile_stored(3, to + 3 * kSums, 64);
}

// Adds what a block's sums come to, as AVX-512 does.
template <unsigned Bits, std::size_t N>
EP_TARGET inline void add_block(const PackedMatrix& m, std::size_t group, const RoundedTokens& x,
                                const Tokens<N>& tokens, std::size_t b, const std::int32_t* parts,
                                float* sums) {
    const std::size_t at = (group * x.blocks + b) * kTile;
    const __m512 scales = Avx512::halves(m.scales + at);
    const __m512 minima = Bits == 4 ? Avx512::halves(m.minima + at) : Avx512::zero();
    for (std::size_t n = 0; n < N; ++n) {
        const std::size_t first = tokens.first[n] * x.blocks + b;
        EP_UNROLL
        for (std::size_t t = 0; t < kTile; ++t, parts += kTile, sums += kTile) {
            const std::size_t own = first + t * x.blocks;
            __m512i part = _mm512_load_si512(parts);
            if constexpr (Bits == 8) part = _mm512_add_epi32(Avx512::start(x.offsets[own]), part);
            const __m512 both = Avx512::times(scales, Avx512::all(x.scales[own]));
            __m512 sum = Avx512::fused(Avx512::floats(part), both, _mm512_load_ps(sums));
            if constexpr (Bits == 4) sum = Avx512::fused(minima, Avx512::all(x.sums[own]), sum);
            _mm512_store_ps(sums, sum);
        }
    }
}

// Sixteen rows times N tiles of tokens. A block's sums are taken up while the next ones are made.
template <unsigned Bits, std::size_t N>
EP_TARGET inline void tiles_of(const PackedMatrix& m, std::size_t group, const RoundedTokens& x,
                               const Tokens<N>& tokens, bool add, float* out, std::size_t stride) {
    const std::size_t blocks = x.blocks, block_bytes = m.block * kTile * Bits / 8;
    const std::uint8_t* const codes = m.codes + group * blocks * block_bytes;
    constexpr std::size_t kSums = kTile * kTile;
    alignas(64) std::int32_t parts[2][N * kSums];
    alignas(64) float sums[N * kSums];
    for (std::size_t i = 0; i < N * kSums; i += kTile) _mm512_store_ps(sums + i, Avx512::zero());
    for (std::size_t b = 0; b < blocks; ++b) {
        sum_block<Bits>(x, tokens, b * m.block, codes + b * block_bytes, m.block, parts[b % 2]);
        if (b != 0) add_block<Bits>(m, group, x, tokens, b - 1, parts[(b - 1) % 2], sums);
    }
    add_block<Bits>(m, group, x, tokens, blocks - 1, parts[(blocks - 1) % 2], sums);
    const std::size_t rows = m.rows - group * kTile;
    for (std::size_t n = 0; n < N; ++n) {
        for (std::size_t t = tokens.done[n]; t < kTile; ++t) {
            keep<Avx512>(_mm512_load_ps(sums + n * kSums + t * kTile), add,
                         out + (tokens.first[n] + t) * stride, rows);
        }
    }
}

// The tokens from `from` on, as many tiles as there are up to N; their weights are read again for
// each such strip, which stays near meanwhile.
template <unsigned Bits, std::size_t N>
EP_TARGET void multiply_strips(const PackedMatrix& m, std::size_t first, std::size_t groups,
                               const RoundedTokens& x, std::size_t from, std::size_t tokens,
                               bool add, float* out, std::size_t stride) {
    for (; from + (N - 1) * kTile < tokens; from += N * kTile) {
        Tokens<N> own;
        for (std::size_t n = 0; n < N; ++n) {
            own.first[n] = std::min(from + n * kTile, tokens - kTile);
            own.done[n] = from + n * kTile - own.first[n];
        }
        for (std::size_t g = 0; g < groups && (first + g) * kTile < m.rows; ++g) {
            tiles_of<Bits>(m, first + g, x, own, add, out + g * kTile, stride);
        }
    }
    if constexpr (N > 1) {
        multiply_strips<Bits, N - 1>(m, first, groups, x, from, tokens, add, out, stride);
    }
}

template <unsigned Bits>
EP_TARGET void multiply_tiles(const PackedMatrix& m, std::size_t first, std::size_t groups,
                              const RoundedTokens& x, std::size_t tokens, bool add, float* out,
                              std::size_t stride) {
    const std::size_t rest = tokens % kTile, tiled = rest < kFew ? tokens - rest : tokens;
    _tile_loadconfig(Bits == 8 && m.block % 64 == 0 ? &kWide : &kNarrow);
    multiply_strips<Bits, 4>(m, first, groups, x, 0, tiled, add, out, stride);
    _tile_release();
    if (tiled == tokens) return;
    multiply<Avx512>(m, first, groups, x.from(tiled), tokens - tiled, add, out + tiled * stride,
                     stride);
}

void multiply_by_tiles(const PackedMatrix& m, std::size_t first, std::size_t groups,
                       const RoundedTokens& x, std::size_t tokens, bool add, float* out,
                       std::size_t stride) {
    if (tokens < kTile) {
        multiply<Avx512>(m, first, groups, x, tokens, add, out, stride);
    } else if (m.bits == 8) {
        multiply_tiles<8>(m, first, groups, x, tokens, add, out, stride);
    } else {
        multiply_tiles<4>(m, first, groups, x, tokens, add, out, stride);
    }
}

LmKernels with_tiles() {
    LmKernels set = kernels_of<Avx512>("amx");
    set.multiply = multiply_by_tiles;
    return set;
}

}  // namespace

const LmKernels* amx_lm_kernels() {
    static const LmKernels set = with_tiles();
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::LmKernels* edgepersona::amx_lm_kernels() { return nullptr; }

#endif
