#include "bindings.h"
#include "edgepersona/kernels.h"

namespace py = pybind11;

void edgepersona::bindings::register_build_info(py::module_& module) {
    kernels();  // chosen now, at load, not at some first search
    module.def(
        "build_info",
        [] {
            py::list compiled;
            for (const auto& name : compiled_kernels()) compiled.append(name);
            py::dict info;
            info["simd"] = kernels().name;
            info["compiled"] = compiled;
            info["version"] = EDGEPERSONA_VERSION;
            return info;
        },
        "Return the instruction set in use ('simd'), those in this build ('compiled'), and the "
        "'version'.");
}
