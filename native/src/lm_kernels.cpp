// Chooses the instruction set of a language model.
#include "edgepersona/lm_kernels.h"

#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace edgepersona {
namespace {

#if defined(__x86_64__)

bool has_f16c() {  // not every compiler knows these by name
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1U << 29)) != 0;
}

constexpr unsigned kAvxVnni = 1U << 4, kAvx512Bf16 = 1U << 5;

bool has_newer(unsigned feature) {  // of leaf 7, subleaf 1
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & feature) != 0;
}

// Tiles are eight kilobytes a thread, so a process asks the system for them first.
bool has_tiles() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kTilesOfBytes = 1U << 24 | 1U << 25;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTilesOfBytes) != kTilesOfBytes) {
        return false;
    }
#if defined(__linux__)
    constexpr long kAskFor = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
    return syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
#else
    return false;
#endif
}

#endif

bool processor_has(const LmKernels* set) {
    if (set == nullptr) return false;
#if defined(__x86_64__)
    // __builtin_cpu_supports also asks whether the system saves the wide registers.
    __builtin_cpu_init();
    if (set == baseline_lm_kernels()) return true;
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (set == amx_lm_kernels()) return processor_has(avx512_lm_kernels()) && has_tiles();
    if (set == avx512bf16_lm_kernels()) {
        return processor_has(avx512_lm_kernels()) && has_newer(kAvx512Bf16);
    }
    if (set == avx512_lm_kernels()) {
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    }
    return avx2 && (set != avxvnni_lm_kernels() || has_newer(kAvxVnni));
#elif defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long kDotProducts = 1UL << 20;  // HWCAP_ASIMDDP
    return set != neon_lm_kernels() || (getauxval(AT_HWCAP) & kDotProducts) != 0;
#else
    return true;  // every Mac on Arm has them
#endif
}

const LmKernels& choose() {
    const char* wanted = std::getenv("EDGEPERSONA_SIMD");  // for tests: one set of several
    const auto usable = usable_lm_kernels();
    for (const LmKernels* set : usable) {
        if (wanted != nullptr && wanted == std::string(set->name)) return *set;
    }
    return *usable.front();
}

}  // namespace

std::vector<const LmKernels*> usable_lm_kernels() {
    std::vector<const LmKernels*> usable;
    for (const LmKernels* set :
         {amx_lm_kernels(), avx512bf16_lm_kernels(), avx512_lm_kernels(), avxvnni_lm_kernels(),
          avx2_lm_kernels(), neon_lm_kernels(), baseline_lm_kernels()}) {
        if (processor_has(set)) usable.push_back(set);
    }
    return usable;
}

const LmKernels& lm_kernels() {
    static const LmKernels& chosen = choose();
    return chosen;
}

}  // namespace edgepersona
