// The one place where the core's exception becomes Python's.
#include "edgepersona/errors.h"

#include <exception>

#include "bindings.h"

namespace py = pybind11;

void edgepersona::bindings::register_errors(py::module_&) {
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const InvalidInput& error) {
            py::set_error(py::module_::import("edgepersona.errors").attr("InputError"),
                          error.what());
        }
    });
}
