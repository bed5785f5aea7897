// A language model's kernels for AVX-512 with VNNI and with products of bfloat16.
#include "edgepersona/lm_kernels.h"

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__clang__)
#define EP_WIDE
#else
#define EP_WIDE ",prefer-vector-width=512"  // else GCC makes loops of half the width
#endif
#define EP_TARGET                                                                       \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c" \
                          EP_WIDE)))
#include "lm_loops.h"
#include "lm_products.h"
#include "lm_set_avx512.h"
#include "lm_attention_bf16.h"

namespace edgepersona {
namespace {

LmKernels with_pairs() {
    LmKernels set = kernels_of<Avx512>("avx512bf16");
    set.rounds_attention = true;
    set.score = score_pairs;
    set.mix = mix_pairs;
    return set;
}

}  // namespace

const LmKernels* avx512bf16_lm_kernels() {
    static const LmKernels set = with_pairs();
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::LmKernels* edgepersona::avx512bf16_lm_kernels() { return nullptr; }

#endif
