#include "edgepersona/mix.h"

#include "arrays.h"
#include "bindings.h"
#include "edgepersona/errors.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

void mix_into(const py::object& given, const py::object& given_ids, const py::object& given_probs,
              float weight) {
    using Logits = py::array_t<float, py::array::c_style>;  // written in place: never a copy
    if (!py::isinstance<Logits>(given)) throw InvalidInput("logits are no contiguous float32");
    auto logits = py::reinterpret_borrow<Logits>(given);
    const bool aligned = reinterpret_cast<std::uintptr_t>(logits.data()) % alignof(float) == 0;
    if (logits.ndim() != 1 || !logits.writeable() || !aligned) {
        throw InvalidInput("logits are read-only, not aligned, or have not one axis");
    }
    const auto ids = as_integers(given_ids, "ids");
    const auto probs = as_vector(given_probs, "probs");
    float* const values = logits.mutable_data();
    const auto vocab = static_cast<std::size_t>(logits.size());
    const py::gil_scoped_release unlocked;
    mix(values, vocab, span(ids), span(probs), weight);
}

float log_sum_exp_of(const py::object& given) {
    const auto logits = as_vector(given, "logits");
    const py::gil_scoped_release unlocked;
    return log_sum_exp(span(logits));
}

}  // namespace

void register_mix(py::module_& module) {
    module.def("mix", &mix_into, py::arg("logits"), py::arg("ids"), py::arg("probs"),
               py::arg("weight"),
               "Mix a sparse distribution into logits, in place.\n\n"
               "Afterwards softmax(logits) is proportional to (1 - weight) * softmax(before) +\n"
               "weight * q. Only the logits of `ids` change; none where `ids` is empty.\n"
               "logits: float32 (vocab,). ids: within it. probs: 0 to 1. weight: 0 to < 1.\n"
               "Raises InputError, and then changed nothing.");
    module.def("log_sum_exp", &log_sum_exp_of, py::arg("logits"),
               "Return log(sum(exp(logits))) to about 1e-6, NaN or infinite where a logit is NaN,\n"
               "one is infinite, or all are -inf. logits: float32 (vocab,).");
}

}  // namespace edgepersona::bindings
