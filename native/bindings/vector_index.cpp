#include "edgepersona/vector_index.h"

#include <string>
#include <utility>

#include "arrays.h"
#include "bindings.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

Array<std::int64_t> as_ids(const py::object& value) { return as_integers(value, "ids"); }

void check_shape(const py::array& vectors, std::size_t ndim) {
    if (vectors.ndim() == 2 && static_cast<std::size_t>(vectors.shape(1)) == ndim) return;
    throw InvalidInput("vectors have the shape " + shape_of(vectors) + ", expected (n, " +
                       std::to_string(ndim) + ")");
}

bool is_half(const py::array& array) {
    return array.dtype().kind() == 'f' && array.itemsize() == sizeof(Half);
}

void add(VectorIndex& index, const py::object& given_ids, const py::object& given_vectors) {
    const auto ids = as_ids(given_ids);
    const py::array vectors = as_array(given_vectors, "vectors");
    check_shape(vectors, index.ndim());
    if (vectors.shape(0) != ids.size()) {
        throw InvalidInput(std::to_string(ids.size()) + " ids for " +
                           std::to_string(vectors.shape(0)) + " vectors: expected one each");
    }
    if (is_half(vectors)) {  // pybind11 has no half: contiguous, aligned, native order, then as bits
        const py::array halves = py::module_::import("numpy").attr("require")(
            vectors, py::dtype("e"), "CA");
        py::gil_scoped_release unlocked;
        index.add(span(ids), Span<Half>{static_cast<const Half*>(halves.data()),
                                                 static_cast<std::size_t>(halves.size())});
    } else {
        const auto floats =
            as_array_of<float>(vectors, "vectors", "fiu", "float32 or float16");
        py::gil_scoped_release unlocked;
        index.add(span(ids), span(floats));
    }
}

std::size_t remove(VectorIndex& index, const py::object& given) {
    const auto ids = as_ids(given);
    py::gil_scoped_release unlocked;
    return index.remove(span(ids));
}

py::tuple search(const VectorIndex& index, const py::object& given, py::ssize_t k,
                 const py::object& only, bool exact) {
    const py::array queries = as_array(given, "vectors");
    check_shape(queries, index.ndim());
    const auto floats = as_array_of<float>(queries, "vectors", "fiu", "float32");
    if (k < 1) throw InvalidInput("k is " + std::to_string(k) + ", expected 1 or more");
    Array<std::int64_t> ids;
    if (!only.is_none()) ids = as_ids(only);
    Hits hits;
    {
        py::gil_scoped_release unlocked;
        const auto chosen = span(ids);
        hits = index.search(span(floats), static_cast<std::size_t>(k),
                            only.is_none() ? nullptr : &chosen, exact);
    }
    return py::make_tuple(
        py::array_t<std::int64_t>({hits.queries, hits.k}, hits.ids.data()),
        py::array_t<float>({hits.queries, hits.k}, hits.scores.data()));
}

py::array_t<std::int64_t> ids_of(const VectorIndex& index) {
    std::vector<std::int64_t> ids;
    {
        py::gil_scoped_release unlocked;
        ids = index.ids();
    }
    return py::array_t<std::int64_t>(static_cast<py::ssize_t>(ids.size()), ids.data());
}

std::size_t link(VectorIndex& index, py::ssize_t count) {
    if (count < 0) throw InvalidInput("count is " + std::to_string(count) + ", expected 0 or more");
    py::gil_scoped_release unlocked;
    return index.link(static_cast<std::size_t>(count));
}

py::tuple graph(const VectorIndex& index) {
    SavedGraph saved;
    {
        py::gil_scoped_release unlocked;
        saved = index.graph();
    }
    return py::make_tuple(
        py::array_t<std::int64_t>(static_cast<py::ssize_t>(saved.ids.size()), saved.ids.data()),
        py::array_t<std::uint32_t>({saved.ids.size(), Graph::kWidth}, saved.links.data()),
        saved.search_width);
}

void load_graph(VectorIndex& index, const py::object& given_ids, const py::object& given_links,
                py::ssize_t search_width) {
    const auto ids = as_ids(given_ids);
    const py::array array = as_array(given_links, "links");
    if (array.ndim() != 2 || static_cast<std::size_t>(array.shape(1)) != Graph::kWidth ||
        array.shape(0) != ids.size()) {
        throw InvalidInput("links have not the shape (" + std::to_string(ids.size()) + ", " +
                           std::to_string(Graph::kWidth) + ")");
    }
    const auto links = as_array_of<std::uint32_t>(array, "links", "u", "uint32");
    if (search_width < 0) throw InvalidInput("the search width is below 0");
    py::gil_scoped_release unlocked;
    index.load_graph(span(ids), span(links),
                     static_cast<std::size_t>(search_width));
}

VectorIndex* make(py::ssize_t ndim, py::ssize_t graph_from) {
    if (ndim < 1) throw InvalidInput("ndim is " + std::to_string(ndim) + ", expected 1 or more");
    if (graph_from < 1) {
        throw InvalidInput("graph_from is " + std::to_string(graph_from) +
                           ", expected 1 or more");
    }
    return new VectorIndex(static_cast<std::size_t>(ndim), static_cast<std::size_t>(graph_from));
}

void reserve(VectorIndex& index, std::int64_t rows) {
    if (rows < 0) throw InvalidInput("rows is " + std::to_string(rows) + ", expected 0 or more");
    const py::gil_scoped_release unlocked;
    index.reserve(static_cast<std::size_t>(rows));
}

}  // namespace

void register_vector_index(py::module_& module) {
    py::class_<VectorIndex>(
        module, "VectorIndex",
        "Vectors under 64-bit ids, searched by inner product.\n\n"
        "Rows are kept in 16 bits a value. A search is an exact scan, until `link` has built a\n"
        "graph or a sketch of `graph_from` rows or more, and measured that it finds as much in\n"
        "less time.\n"
        "Any thread may call anything; one thread at a time links.")
        .def(py::init(&make), py::arg("ndim"), py::kw_only(),
             py::arg("graph_from") = VectorIndex::kGraphFrom)
        .def_property_readonly("ndim", &VectorIndex::ndim, "Dimensions of every vector.")
        .def_property_readonly("search_width", &VectorIndex::search_width,
                               "Rows kept in view by a walk through the graph; 0: no walks.")
        .def_property_readonly("search_depth", &VectorIndex::search_depth,
                               "Rows picked by their sketches to be scored; 0: no picking.")
        .def("__len__", &VectorIndex::size)
        .def("ids", &ids_of, "Return the ids, int64 (n,), rising.")
        .def("reserve", &reserve, py::arg("rows"),
             "Make room for this many rows in all, so that adding them moves none.")
        .def("add", &add, py::arg("ids"), py::arg("vectors"),
             "Add rows; the row of an id that is there already is replaced.\n\n"
             "ids: int64 (n,), each once. vectors: float32 or float16 (n, ndim), finite.\n"
             "Raises InputError, and then changed nothing.")
        .def("remove", &remove, py::arg("ids"),
             "Remove rows and overwrite their bytes; return how many were there.")
        .def("search", &search, py::arg("vectors"), py::arg("k"), py::arg("ids") = py::none(),
             py::kw_only(), py::arg("exact") = false,
             "Return (ids, scores), both (q, k'), best first, equal scores by smaller id.\n\n"
             "vectors: float32 (q, ndim). ids: only these may be returned.\n"
             "k' is k, or the number of candidates where that is smaller. A search among `ids`,\n"
             "and an `exact` one, scans.")
        .def("link", &link, py::arg("count"),
             "Link up to `count` rows into the graph, or sketch them, none for 0; return how many\n"
             "are left, 0 where there is nothing to do. Searches go on meanwhile.")
        .def("graph", &graph,
             "Return (ids int64 (n,), links uint32 (n, width), search width) to be saved: nodes by\n"
             "rising id, their neighbours by node number, padded with 2^32 - 1. Empty where\n"
             "searches do not walk.")
        .def("load_graph", &load_graph, py::arg("ids"), py::arg("links"), py::arg("search_width"),
             "Take a saved graph of rows that were added. Ids that are not here are left out, with\n"
             "the links to them; rows that it lacks are linked later. Raises InputError where it is\n"
             "no graph, and then changed nothing.")
        .def("scan_bytes", &VectorIndex::scan_bytes, "Return the bytes held for rows and ids.")
        .def("memory_bytes", &VectorIndex::memory_bytes,
             "Return the bytes held for rows, ids, and graph or sketch.");
}

}  // namespace edgepersona::bindings
