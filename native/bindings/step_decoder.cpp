#include "edgepersona/step_decoder.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "edgepersona/errors.h"

namespace edgepersona::bindings {
namespace {

namespace py = pybind11;

using Kept = std::vector<py::object>;  // what the core points into

template <class T>
T as(const py::handle& value, const char* kind, const std::string& name) {
    if (!py::isinstance<T>(value)) throw InvalidInput(name + " is not a " + kind);
    return py::reinterpret_borrow<T>(value);
}

// An array exactly as it is: these are large, mapped from a file or bound elsewhere, never copied.
template <class T>
py::array_t<T> exact(const py::handle& value, std::size_t axes, const std::string& name) {
    using Exact = py::array_t<T, py::array::c_style>;
    if (!py::isinstance<Exact>(value)) {
        throw InvalidInput(name + " is not a contiguous array of its dtype");
    }
    auto array = py::reinterpret_borrow<py::array_t<T>>(value);
    if (static_cast<std::size_t>(array.ndim()) != axes ||
        reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0) {
        throw InvalidInput(name + " has not " + std::to_string(axes) + " axes, or is not aligned");
    }
    return array;
}

float* written(py::array_t<float>& array, const std::string& name) {
    if (!array.writeable()) throw InvalidInput(name + " is read-only");
    return array.mutable_data();
}

py::array_t<float> sized(const py::handle& value, std::size_t count, const std::string& name) {
    const auto array = exact<float>(value, 1, name);
    if (static_cast<std::size_t>(array.size()) != count) {
        throw InvalidInput(name + " has " + std::to_string(array.size()) + " values, expected " +
                           std::to_string(count));
    }
    return array;
}

const float* vector_of(const py::handle& value, std::size_t count, const std::string& name,
                       Kept& kept) {
    const auto array = sized(value, count, name);
    kept.push_back(array);
    return array.data();
}

BlockMatrix matrix_of(const py::handle& value, const std::string& name, Kept& kept) {
    const auto pair = as<py::tuple>(value, "tuple", name);
    if (pair.size() != 2) throw InvalidInput(name + " is not a pair of codes and scales");
    const auto codes = exact<std::uint8_t>(pair[0], 2, name + " codes");
    const auto scales = exact<float>(pair[1], 2, name + " scales");
    kept.insert(kept.end(), {codes, scales});
    const auto rows = codes.shape(0), width = codes.shape(1), blocks = scales.shape(1);
    if (scales.shape(0) != rows || blocks == 0 || width % blocks != 0) {
        throw InvalidInput(name + " has codes and scales that do not fit each other");
    }
    return {{codes.data(), scales.data(), static_cast<std::size_t>(blocks),
             static_cast<std::size_t>(width / blocks)},
            static_cast<std::size_t>(rows)};
}

const float* table_of(const py::handle& value, const StepModel& model, const std::string& name,
                      Kept& kept) {
    const auto array = exact<float>(value, 2, name);
    kept.push_back(array);
    if (static_cast<std::size_t>(array.shape(0)) != model.positions ||
        static_cast<std::size_t>(array.shape(1)) != model.head_dim / 2) {
        throw InvalidInput(name + " has not the shape (positions, head_dim / 2)");
    }
    return array.data();
}

StepModel model_of(const py::dict& weights, std::size_t heads, std::size_t kv_heads,
                   std::size_t head_dim, float norm_eps, Kept& kept) {
    StepModel model{};
    model.heads = heads;
    model.kv_heads = kv_heads;
    model.head_dim = head_dim;
    model.norm_eps = norm_eps;
    model.hidden = exact<float>(weights["final_norm"], 1, "final_norm").size();
    model.positions = exact<float>(weights["rope_cos"], 2, "rope_cos").shape(0);
    model.rope_cos = table_of(weights["rope_cos"], model, "rope_cos", kept);
    model.rope_sin = table_of(weights["rope_sin"], model, "rope_sin", kept);
    model.final_norm = vector_of(weights["final_norm"], model.hidden, "final_norm", kept);
    model.head = matrix_of(weights["head"], "head", kept);
    model.vocab = model.head.count;
    for (const py::handle item : as<py::list>(weights["layers"], "list", "layers")) {
        const auto layer = as<py::dict>(item, "dict", "a layer");
        StepLayer own{};
        own.attention_norm =
            vector_of(layer["attention_norm"], model.hidden, "attention_norm", kept);
        own.mlp_norm = vector_of(layer["mlp_norm"], model.hidden, "mlp_norm", kept);
        own.qkv = matrix_of(layer["qkv"], "qkv", kept);
        if (layer.contains("qkv_bias")) {
            own.qkv_bias = vector_of(layer["qkv_bias"], own.qkv.count, "qkv_bias", kept);
        }
        own.output = matrix_of(layer["output"], "output", kept);
        own.gate_up = matrix_of(layer["gate_up"], "gate_up", kept);
        own.down = matrix_of(layer["down"], "down", kept);
        model.layers.push_back(own);
        model.intermediate = own.gate_up.count / 2;
    }
    return model;
}

// The arrays themselves are kept, not the dict that they came in: that one may change.
struct Decoder {
    Decoder(const py::dict& weights, std::size_t heads, std::size_t kv_heads, std::size_t head_dim,
            float norm_eps, std::size_t threads)
        : core(model_of(weights, heads, kv_heads, head_dim, norm_eps, kept), threads) {}

    Kept kept;
    StepDecoder core;
};

struct Cache {
    Cache(const py::list& keys, const py::list& values) {
        if (keys.size() == 0) throw InvalidInput("a cache has no layers");
        point(keys, core.keys);
        point(values, core.values);
    }

    void point(const py::list& from, std::vector<float*>& to) {
        for (const py::handle item : from) {
            auto array = exact<float>(item, 4, "a cache");
            const std::vector<py::ssize_t> found{array.shape(1), array.shape(2), array.shape(3)};
            if (array.shape(0) != 1 || (!kept.empty() && found != shape)) {
                throw InvalidInput("caches have not one shape (1, kv_heads, capacity, head_dim)");
            }
            shape = found;
            core.capacity = static_cast<std::size_t>(found[1]);
            to.push_back(written(array, "a cache"));
            kept.push_back(array);
        }
    }

    Kept kept;
    std::vector<py::ssize_t> shape;  // kv_heads, capacity, head_dim
    StepCache core{};
};

void step(Decoder& decoder, const Cache& cache, const py::object& embedding, std::size_t position,
          const py::object& logits) {
    const StepModel& model = decoder.core.model();
    const auto in = sized(embedding, model.hidden, "embedding");
    auto out = sized(logits, model.vocab, "logits");
    if (static_cast<std::size_t>(cache.shape[0]) != model.kv_heads ||
        static_cast<std::size_t>(cache.shape[2]) != model.head_dim) {
        throw InvalidInput("the caches have not the shape of this model");
    }
    const float* from = in.data();
    float* to = written(out, "logits");
    const py::gil_scoped_release released;
    decoder.core.step(cache.core, from, position, to);
}

}  // namespace

void register_step_decoder(py::module_& module) {
    py::class_<Cache>(module, "StepCache")
        .def(py::init<const py::list&, const py::list&>(), py::arg("keys"), py::arg("values"));
    py::class_<Decoder>(module, "StepDecoder")
        .def(py::init<const py::dict&, std::size_t, std::size_t, std::size_t, float, std::size_t>(),
             py::arg("weights"), py::kw_only(), py::arg("heads"), py::arg("kv_heads"),
             py::arg("head_dim"), py::arg("norm_eps"), py::arg("threads"))
        .def("step", &step, py::arg("cache"), py::arg("embedding"), py::arg("position"),
             py::arg("logits"));
}

}  // namespace edgepersona::bindings
