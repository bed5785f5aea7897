#include "edgepersona/persona.h"

#include <memory>

#include "arrays.h"
#include "bindings.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

py::array_t<float> as_numpy(const std::vector<float>& values) {
    return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
}

void add(Persona& persona, const py::object& given_ids, const py::object& given_ages,
         const py::object& given_keys, const py::object& given_values) {
    const auto ids = as_integers(given_ids, "ids");
    const auto ages = as_integers(given_ages, "ages");
    const auto keys = as_rows(given_keys, "keys", persona.key_ndim());
    const auto values = as_rows(given_values, "values", persona.value_ndim());
    const py::gil_scoped_release unlocked;
    persona.add(span(ids), span(ages), span(keys), span(values));
}

std::size_t remove(Persona& persona, const py::object& given) {
    const auto ids = as_integers(given, "ids");
    const py::gil_scoped_release unlocked;
    return persona.remove(span(ids));
}

py::array_t<float> attend(const Persona& persona, const py::object& given, float scale) {
    const auto query = as_vector(given, "query");
    std::vector<float> result;
    {
        const py::gil_scoped_release unlocked;
        result = persona.attend(span(query), scale);
    }
    return as_numpy(result);
}

py::array_t<float> mean(const Persona& persona) {
    std::vector<float> result;
    {
        const py::gil_scoped_release unlocked;
        result = persona.mean();
    }
    return as_numpy(result);
}

std::unique_ptr<Persona> make(py::ssize_t key_ndim, py::ssize_t value_ndim, py::ssize_t window) {
    return std::make_unique<Persona>(as_size(key_ndim, "key_ndim"),
                                     as_size(value_ndim, "value_ndim"), as_size(window, "window"));
}

}  // namespace

void register_persona(py::module_& module) {
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    py::class_<Persona>(module, "Persona",
                        "A history's rows (key, value, age, id), attended to as one vector.\n\n"
                        "attend and mean look at the window: the newest rows, equal ages by larger "
                        "id. Any thread may call anything.")
        .def(py::init(&make), py::arg("key_ndim"), py::arg("value_ndim"), py::kw_only(),
             py::arg("window") = 512)
        .def_property_readonly("key_ndim", &Persona::key_ndim, "Dimensions of every key.")
        .def_property_readonly("value_ndim", &Persona::value_ndim, "Dimensions of every value.")
        .def_property_readonly("window", &Persona::window, "Rows looked at; 0: all.")
        .def_property_readonly("generation", py::cpp_function(&Persona::generation, Unlocked()),
                               "Moves with every call that changed something.")
        .def("__len__", &Persona::size, Unlocked(), "Rows kept, in the window or not.")
        .def("add", &add, py::arg("ids"), py::arg("ages"), py::arg("keys"), py::arg("values"),
             "Add rows; the row of an id that is there already is replaced.\n\n"
             "ids, ages: int64 (n,), each id once; a larger age is newer.\n"
             "keys: float32 (n, key_ndim). values: float32 (n, value_ndim). Within +-1e9.\n"
             "Raises InputError, and then changed nothing.")
        .def("remove", &remove, py::arg("ids"),
             "Remove rows and overwrite their bytes; return how many were there.\n\n"
             "Older rows enter the window again in their place.")
        .def("attend", &attend, py::arg("query"), py::arg("scale") = 1.0F,
             "Return the sum of softmax(scale * query . key) * value over the window.\n\n"
             "query: float32 (key_ndim,). float32 (value_ndim,) comes back, zeros where there are "
             "no rows.")
        .def("mean", &mean,
             "Return the mean of the window's values, float32 (value_ndim,).\n\n"
             "From running sums, at the cost of one row; zeros where there are no rows.")
        .def("memory_bytes", &Persona::memory_bytes, Unlocked(),
             "Return the bytes held for the rows.");
}

}  // namespace edgepersona::bindings
