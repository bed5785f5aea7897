// A decoding step's instruction sets that this processor runs.
#pragma once

#include <vector>

#include "edgepersona/step_kernels.h"

inline std::vector<const edgepersona::StepKernels*> step_sets() {
    using namespace edgepersona;
    std::vector<const StepKernels*> found{baseline_step_kernels()};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found.push_back(avx2_step_kernels());
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
        found.push_back(avx512_step_kernels());
    }
#endif
    return found;
}
