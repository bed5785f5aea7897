// A persona's loops for every processor.
#define EP_TARGET
#define EP_REGISTER_BYTES 16
#include "persona_loops.h"

namespace edgepersona {

const PersonaKernels* baseline_persona_kernels() {
    static const PersonaKernels set{"baseline", score, weigh, mix, fold, tally};
    return &set;
}

}  // namespace edgepersona
