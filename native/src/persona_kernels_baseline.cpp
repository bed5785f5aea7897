// A persona's loops for every processor.
#define EP_TARGET
#define EP_REGISTER_BYTES 16
#define EP_STREAMS 1
#define EP_AHEAD 1024
#include "persona_loops.h"

namespace edgepersona {

const PersonaKernels* baseline_persona_kernels() {
    static const PersonaKernels set{"baseline", score, weigh, mix, fold, tally};
    return &set;
}

}  // namespace edgepersona
