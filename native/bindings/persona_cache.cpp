#include "edgepersona/persona_cache.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "arrays.h"
#include "bindings.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

using Key = PersonaCache::Key;

Key key_of(const py::bytes& query_hash, py::ssize_t generation, const py::bytes& head_hash) {
    return {std::string_view(query_hash), as_size(generation, "generation"),
            std::string_view(head_hash)};
}

std::optional<py::array_t<float>> get(PersonaCache& cache, const py::bytes& query_hash,
                                      py::ssize_t generation, const py::bytes& head_hash) {
    const Key key = key_of(query_hash, generation, head_hash);
    std::vector<float> vector;
    bool found;
    {
        const py::gil_scoped_release unlocked;
        found = cache.get(key, vector);
    }
    if (!found) return std::nullopt;
    return py::array_t<float>(static_cast<py::ssize_t>(vector.size()), vector.data());
}

void put(PersonaCache& cache, const py::bytes& query_hash, py::ssize_t generation,
         const py::bytes& head_hash, const py::object& given) {
    const Key key = key_of(query_hash, generation, head_hash);
    const auto vector = as_vector(given, "vector");
    const py::gil_scoped_release unlocked;
    cache.put(key, span(vector));
}

std::unique_ptr<PersonaCache> make(py::ssize_t capacity_bytes) {
    return std::make_unique<PersonaCache>(as_size(capacity_bytes, "capacity_bytes"));
}

template <class T>
auto count(T PersonaCache::Counts::* which) {
    return [which](const PersonaCache& cache) {
        const py::gil_scoped_release unlocked;
        return cache.counts().*which;
    };
}

}  // namespace

void register_persona_cache(py::module_& module) {
    using Counts = PersonaCache::Counts;
    py::class_<PersonaCache>(module, "PersonaCache",
                             "Persona vectors computed before, as many as fit some bytes.\n\n"
                             "The one not asked for the longest goes first, overwritten. Any "
                             "thread may call anything.")
        .def(py::init(&make), py::arg("capacity_bytes"))
        .def_property_readonly("capacity_bytes", &PersonaCache::capacity_bytes)
        .def_property_readonly("size_bytes", count(&Counts::size_bytes),
                               "Bytes of the vectors, their keys, and what keeps them in order.")
        .def_property_readonly("hits", count(&Counts::hits), "Calls of get that found something.")
        .def_property_readonly("misses", count(&Counts::misses), "Calls of get that did not.")
        .def("__len__", count(&Counts::entries))
        .def("get", &get, py::arg("query_hash"), py::arg("generation"), py::arg("head_hash"),
             "Return a copy of the vector kept under this key, or None.\n\n"
             "Hashes are of up to 64 bytes.")
        .def("put", &put, py::arg("query_hash"), py::arg("generation"), py::arg("head_hash"),
             py::arg("vector"),
             "Keep a copy of a vector, float32 (n,), finite.\n\n"
             "One that is larger than the whole cache is not kept.")
        .def("clear", &PersonaCache::clear, py::call_guard<py::gil_scoped_release>(),
             "Overwrite and drop all vectors; hits and misses stay.");
}

}  // namespace edgepersona::bindings
