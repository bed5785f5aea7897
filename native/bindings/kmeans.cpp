#include "edgepersona/kmeans.h"

#include "arrays.h"
#include "bindings.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

py::tuple group(const py::object& given, py::ssize_t k, py::ssize_t seed, py::ssize_t iterations) {
    const py::array array = as_array(given, "vectors");
    if (array.ndim() != 2 || array.size() == 0) {
        throw InvalidInput("vectors have the shape " + shape_of(array) +
                           ", expected (n, ndim), both 1 or more");
    }
    const auto vectors = as_array_of<float>(array, "vectors", "fiu", "float32");
    const auto ndim = static_cast<std::size_t>(array.shape(1));
    const std::size_t clusters = as_size(k, "k"), rounds = as_size(iterations, "iterations");
    const auto start = static_cast<std::uint64_t>(as_size(seed, "seed"));
    Clusters found;
    {
        const py::gil_scoped_release unlocked;
        found = kmeans(span(vectors), ndim, clusters, start, rounds);
    }
    return py::make_tuple(
        py::array_t<std::int32_t>(static_cast<py::ssize_t>(found.labels.size()),
                                  found.labels.data()),
        py::array_t<float>({found.centroids.size() / ndim, ndim}, found.centroids.data()));
}

}  // namespace

void register_kmeans(py::module_& module) {
    module.def("kmeans", &group, py::arg("vectors"), py::arg("k"), py::kw_only(),
               py::arg("seed") = 0, py::arg("iterations") = 100,
               "Return (labels, centroids) of k-means from k-means++ starting points.\n\n"
               "vectors: float32 (n, ndim), finite. labels: int32 (n,). centroids: float32\n"
               "(k', ndim), the mean of each cluster; none is empty, and k' is less than k where\n"
               "fewer vectors differ. The same on every machine.");
}

}  // namespace edgepersona::bindings
