// Chooses the instruction set.
#include "edgepersona/kernels.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace edgepersona {
namespace {

bool processor_has(const Kernels& set) {
#if defined(__x86_64__)
    // __builtin_cpu_supports also asks whether the system saves the wide registers.
    __builtin_cpu_init();
    if (&set == avx512_kernels()) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl");
    }
    if (&set == avx2_kernels()) {
        unsigned a = 0, b = 0, c = 0, d = 0;  // not every compiler knows "f16c" by name
        const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & (1U << 29));
        return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#endif
    (void)set;  // NEON is part of every aarch64
    return true;
}

std::vector<const Kernels*> compiled() {
    std::vector<const Kernels*> sets;
    for (const Kernels* set :
         {avx512_kernels(), avx2_kernels(), neon_kernels(), baseline_kernels()}) {
        if (set != nullptr) sets.push_back(set);
    }
    return sets;
}

const Kernels& choose() {
    const char* wanted = std::getenv("EDGEPERSONA_SIMD");  // for tests: one set of several
    const Kernels* best = nullptr;
    for (const Kernels* set : compiled()) {
        if (!processor_has(*set)) continue;
        if (wanted != nullptr && wanted == std::string(set->name)) return *set;
        if (best == nullptr) best = set;
    }
    return *best;
}

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

std::vector<std::string> compiled_kernels() {
    std::vector<std::string> names;
    for (const Kernels* set : compiled()) names.emplace_back(set->name);
    return names;
}

}  // namespace edgepersona
