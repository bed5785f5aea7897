// A language model's kernels for AVX2.
#include "edgepersona/lm_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#define EP_TARGET __attribute__((target("avx2,fma,f16c")))
#include "lm_loops.h"
#include "lm_products.h"
#include "lm_set_avx2.h"

namespace edgepersona {
namespace {

struct Avx2 : Registers256 {
    // Signs go to the token's side: |weight| * value fits, where weight + 128 would overflow the
    // 16 bits that two products are added in.
    struct Bytes {
        __m256i value, size;
    };

    EP_TARGET static inline Int start(std::int32_t) { return none(); }  // nothing is offset
    EP_TARGET static inline Bytes bytes(const std::uint8_t* from) {
        const __m256i value = _mm256_xor_si256(loaded(from), _mm256_set1_epi8(-128));
        return {value, _mm256_abs_epi8(value)};
    }
    EP_TARGET static inline Int widened(__m256i pairs, Int sum) {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    EP_TARGET static inline Int dot8(Int sum, Bytes weights, const std::int8_t* four) {
        const __m256i signed_four = _mm256_sign_epi8(four_of(four), weights.value);
        return widened(_mm256_maddubs_epi16(weights.size, signed_four), sum);
    }

    // Four lines are added up as their products come, in 16 bits: eight times two products of at
    // most 15 * 128 fit.
    using Run = __m256i;
    static constexpr std::size_t kRun = 4;
    EP_TARGET static inline Run begun(Int) { return none(); }
    EP_TARGET static inline Int ended(Run run, Int sum) { return widened(run, sum); }
    EP_TARGET static inline Run dot4(Run run, Codes weights, const std::int8_t* four) {
        run = _mm256_add_epi16(run, _mm256_maddubs_epi16(weights, four_of(four)));
        asm("" : "+x"(run));  // else GCC adds in another order, with more sums than registers
        return run;
    }
};

}  // namespace

const LmKernels* avx2_lm_kernels() {
    static const LmKernels set = kernels_of<Avx2>("avx2");
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::LmKernels* edgepersona::avx2_lm_kernels() { return nullptr; }

#endif
