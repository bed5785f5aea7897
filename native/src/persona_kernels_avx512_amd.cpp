// A persona's loops for AVX-512 as AMD's processors read memory best: of the same instructions.
#include "edgepersona/persona_kernels.h"

#if defined(__x86_64__)

#define EP_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))
#define EP_REGISTER_BYTES 64
#define EP_STREAMS 2
#define EP_AHEAD 0
#include "persona_loops.h"

namespace edgepersona {

const PersonaKernels* avx512_amd_persona_kernels() {
    static const PersonaKernels set{"avx512", score, weigh, mix, fold, tally};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::PersonaKernels* edgepersona::avx512_amd_persona_kernels() { return nullptr; }

#endif
