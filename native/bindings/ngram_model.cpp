#include "edgepersona/ngram_model.h"

#include <algorithm>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "edgepersona/errors.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

using Token = NgramModel::Token;
using Tokens = py::array_t<Token, py::array::c_style>;

// Token ids of any integer dtype; those of 32 bits as they lie there. What is no token id becomes
// one that the core refuses.
Tokens as_tokens(const py::object& value, const char* name) {
    py::array array = as_array(value, name);
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(std::int64_t) != 0) {
        array = array.attr("copy")();  // as bytes may lie that were read from a file
    }
    if (array.ndim() != 1) {
        throw InvalidInput(std::string(name) + " have " + std::to_string(array.ndim()) +
                           " axes, expected 1");
    }
    const char kind = array.dtype().kind();
    if (py::isinstance<Tokens>(array)) return py::reinterpret_borrow<Tokens>(array);
    if (py::isinstance<py::array_t<std::int32_t, py::array::c_style>>(array)) {
        return py::reinterpret_borrow<Tokens>(array.view("uint32"));
    }
    const auto wide = as_array_of<std::int64_t>(
        array, name, kind == 'u' && array.itemsize() == 8 ? "i" : "iu", "int32 or uint32");
    Tokens narrow(wide.size());
    for (py::ssize_t i = 0; i < wide.size(); ++i) {
        const std::int64_t token = wide.data()[i];
        const bool fits = token >= 0 && token <= TokenHistory::kMaxToken;
        narrow.mutable_data()[i] = fits ? static_cast<Token>(token) : TokenHistory::kMark;
    }
    return narrow;
}

Span<Token> span_of(const Tokens& tokens) {
    return {tokens.data(), static_cast<std::size_t>(tokens.size())};
}

template <class T>
py::array_t<T> as_numpy(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

void add(NgramModel& model, const py::object& given_ids, const py::object& given_tokens,
         const py::object& given_offsets) {
    const auto ids = as_integers(given_ids, "ids");
    const auto tokens = as_tokens(given_tokens, "tokens");
    const auto offsets = as_integers(given_offsets, "offsets");
    const py::gil_scoped_release unlocked;
    model.add(span(ids), span_of(tokens), span(offsets));
}

std::size_t remove(NgramModel& model, const py::object& given) {
    const auto ids = as_integers(given, "ids");
    const py::gil_scoped_release unlocked;
    return model.remove(span(ids));
}

py::tuple distribution(const NgramModel& model, const py::object& given, py::ssize_t limit,
                       py::ssize_t least) {
    const auto context = as_tokens(given, "context");
    const std::size_t most = as_size(limit, "limit"), fewest = as_size(least, "least");
    Prediction next;
    {
        const py::gil_scoped_release unlocked;
        next = model.distribution(span_of(context), most, fewest);
    }
    return py::make_tuple(as_numpy(next.ids), as_numpy(next.probs));
}

py::array_t<bool> shared(const NgramModel& model, const py::object& given,
                         const py::object& given_ids) {
    const auto context = as_tokens(given, "context");
    const auto ids = as_tokens(given_ids, "ids");
    std::vector<std::uint8_t> found;
    {
        const py::gil_scoped_release unlocked;
        found = model.shared(span_of(context), span_of(ids));
    }
    py::array_t<bool> answers(static_cast<py::ssize_t>(found.size()));
    std::copy(found.begin(), found.end(), answers.mutable_data());
    return answers;
}

py::array_t<std::int32_t> continuations(const NgramModel& model, const py::object& given,
                                        py::ssize_t n) {
    const auto context = as_tokens(given, "context");
    const std::size_t most = as_size(n, "n");
    std::vector<std::int32_t> found;
    {
        const py::gil_scoped_release unlocked;
        found = model.continuations(span_of(context), most);
    }
    return as_numpy(found);
}

NgramModel* make(py::ssize_t order) { return new NgramModel(as_size(order, "order")); }

}  // namespace

void register_ngram_model(py::module_& module) {
    py::class_<NgramModel>(module, "NgramModel",
                           "Token n-grams of records under 64-bit ids: a cache language model.\n\n"
                           "Formula and limits: native/include/edgepersona/ngram_model.h. Any\n"
                           "thread may call anything.")
        .def(py::init(&make), py::kw_only(), py::arg("order") = NgramModel::kMaxOrder)
        .def_property_readonly("order", &NgramModel::order,
                               "Tokens in the longest n-gram: one more than in a context.")
        .def_property_readonly("tokens", &NgramModel::tokens, "Tokens of all records.")
        .def("__len__", &NgramModel::size)
        .def("add", &add, py::arg("ids"), py::arg("tokens"), py::arg("offsets"),
             "Add records, newest last; one whose id is there already is replaced.\n\n"
             "ids: int64 (n,), each once. tokens: int32 or uint32 (t,), 0 to 2^31 - 1.\n"
             "offsets: int64 (n + 1,); record i is tokens[offsets[i]:offsets[i + 1]].\n"
             "Raises InputError, and then changed nothing.")
        .def("remove", &remove, py::arg("ids"),
             "Remove records and overwrite their tokens; return how many were there.")
        .def("distribution", &distribution, py::arg("context"), py::arg("limit") = 512,
             py::kw_only(), py::arg("least") = 0,
             "Return (ids int32, probs float32) of the next token, ids rising, each once.\n\n"
             "context: the tokens of the record so far, or at least its last order - 1.\n"
             "The `limit` most probable; what is missing to 1 belongs to the LLM. Contexts of\n"
             "fewer than `least` tokens say nothing, unless they are all of the record so far.")
        .def("shared", &shared, py::arg("context"), py::arg("ids"),
             "Return for each of `ids`, bool (n,), whether two records at least have it behind\n"
             "the longest end of the context that it stands behind at all.")
        .def("continuations", &continuations, py::arg("context"), py::arg("n"),
             "Return int32, at most n tokens likely to come next, as a draft.\n\n"
             "They follow the longest context that occurs and end where its record does;\n"
             "none where not even the last two tokens (or beginning and one) occur.")
        .def("memory_bytes", &NgramModel::memory_bytes, "Return the bytes held for the records.");
}

}  // namespace edgepersona::bindings
