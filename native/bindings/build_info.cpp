#include "bindings.h"
#include "edgepersona/kernels.h"
#include "edgepersona/lm_kernels.h"

namespace py = pybind11;

void edgepersona::bindings::register_build_info(py::module_& module) {
    lm_kernels();
    kernels();  // chosen now, at load, not at some first search
    module.def(
        "build_info",
        [] {
            py::list compiled;
            for (const auto& name : compiled_kernels()) compiled.append(name);
            py::dict info;
            info["simd"] = kernels().name;
            info["compiled"] = compiled;
            info["lm_simd"] = lm_kernels().name;
            info["version"] = EDGEPERSONA_VERSION;
            return info;
        },
        "Return the instruction set in use ('simd'; that of the language model: 'lm_simd'), those in "
        "this build ('compiled'), and the 'version'.");
}
