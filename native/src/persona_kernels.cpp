// Chooses the instruction set of a persona.
#include "edgepersona/persona_kernels.h"

#include <cstdlib>
#include <string>

namespace edgepersona {
namespace {

bool processor_has(const PersonaKernels& set) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (&set == avx512_amd_persona_kernels() && !__builtin_cpu_is("amd")) return false;
    if (&set == avx512_persona_kernels() || &set == avx512_amd_persona_kernels()) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl");
    }
    if (&set == avx2_persona_kernels()) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#endif
    (void)set;
    return true;
}

const PersonaKernels& choose() {
    const char* wanted = std::getenv("EDGEPERSONA_SIMD");  // for tests: one set of several
    const PersonaKernels* best = nullptr;
    for (const PersonaKernels* set :
         {avx512_amd_persona_kernels(), avx512_persona_kernels(), avx2_persona_kernels(),
          baseline_persona_kernels()}) {
        if (set == nullptr || !processor_has(*set)) continue;
        if (wanted != nullptr && wanted == std::string(set->name)) return *set;
        if (best == nullptr) best = set;
    }
    return *best;
}

}  // namespace

const PersonaKernels& persona_kernels() {
    static const PersonaKernels& chosen = choose();
    return chosen;
}

}  // namespace edgepersona
