// Chooses the instruction set of a decoding step.
#include "edgepersona/step_kernels.h"

#include <cstdlib>
#include <string>

namespace edgepersona {
namespace {

bool processor_has(const StepKernels& set) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (&set == avx512_step_kernels()) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    }
    if (&set == avx2_step_kernels()) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#endif
    (void)set;
    return true;
}

const StepKernels& choose() {
    const char* wanted = std::getenv("EDGEPERSONA_SIMD");  // for tests: one set of several
    const StepKernels* best = nullptr;
    for (const StepKernels* set :
         {avx512_step_kernels(), avx2_step_kernels(), baseline_step_kernels()}) {
        if (set == nullptr || !processor_has(*set)) continue;
        if (wanted != nullptr && wanted == std::string(set->name)) return *set;
        if (best == nullptr) best = set;
    }
    return *best;
}

}  // namespace

const StepKernels& step_kernels() {
    static const StepKernels& chosen = choose();
    return chosen;
}

}  // namespace edgepersona
