// A language model's kernels for AVX-512 with VNNI.
#include "edgepersona/lm_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__clang__)
#define EP_WIDE
#else
#define EP_WIDE ",prefer-vector-width=512"  // else GCC makes loops of half the width
#endif
#define EP_TARGET \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c" EP_WIDE)))
#include "lm_loops.h"
#include "lm_products.h"
#include "lm_set_avx512.h"

namespace edgepersona {

const LmKernels* avx512_lm_kernels() {
    static const LmKernels set = kernels_of<Avx512>("avx512");
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::LmKernels* edgepersona::avx512_lm_kernels() { return nullptr; }

#endif
