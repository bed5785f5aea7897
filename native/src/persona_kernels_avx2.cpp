// A persona's loops for AVX2 + FMA. Compiled by function, so the file needs no flags of its own.
#include "edgepersona/persona_kernels.h"

#if defined(__x86_64__)

#define EP_TARGET __attribute__((target("avx2,fma")))
#define EP_REGISTER_BYTES 32
#define EP_STREAMS 4
#define EP_AHEAD 0
#include "persona_loops.h"

namespace edgepersona {

const PersonaKernels* avx2_persona_kernels() {
    static const PersonaKernels set{"avx2", score, weigh, mix, fold, tally};
    return &set;
}

}  // namespace edgepersona

#else

const edgepersona::PersonaKernels* edgepersona::avx2_persona_kernels() { return nullptr; }

#endif
