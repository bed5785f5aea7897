// A language model's kernels for AVX-VNNI: AVX2 with the byte products of AVX-512, as laptops have.
#include "edgepersona/lm_kernels.h"

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#define EP_TARGET __attribute__((target("avxvnni,avx2,fma,f16c")))
#include "lm_loops.h"
#include "lm_products.h"
#include "lm_set_avx2.h"

namespace edgepersona {
namespace {

struct AvxVnni : Registers256 {
    using Bytes = __m256i;

    using Run = Int;
    static constexpr std::size_t kRun = 1;
    EP_TARGET static inline Run begun(Int sum) { return sum; }
    EP_TARGET static inline Int ended(Run run, Int) { return run; }

    EP_TARGET static inline Int start(std::int32_t offset) { return _mm256_set1_epi32(offset); }
    EP_TARGET static inline Bytes bytes(const std::uint8_t* from) { return loaded(from); }
    EP_TARGET static inline Int dot8(Int sum, Bytes weights, const std::int8_t* four) {
        return _mm256_dpbusd_avx_epi32(sum, weights, four_of(four));
    }
    EP_TARGET static inline Int dot4(Int sum, Codes weights, const std::int8_t* four) {
        return dot8(sum, weights, four);
    }
};

}  // namespace

const LmKernels* avxvnni_lm_kernels() {
    static const LmKernels set = kernels_of<AvxVnni>("avxvnni");
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::LmKernels* edgepersona::avxvnni_lm_kernels() { return nullptr; }

#endif
