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

const float* vector_of(const py::handle& value, std::size_t count, const std::string& name) {
    const auto array = exact<float>(value, 1, name);
    if (static_cast<std::size_t>(array.size()) != count) {
        throw InvalidInput(name + " has " + std::to_string(array.size()) + " values, expected " +
                           std::to_string(count));
    }
    return array.data();
}

BlockMatrix matrix_of(const py::handle& value, const std::string& name) {
    const auto pair = value.cast<py::tuple>();
    const auto codes = exact<std::uint8_t>(pair[0], 2, name + " codes");
    const auto scales = exact<float>(pair[1], 2, name + " scales");
    const auto rows = codes.shape(0), width = codes.shape(1), blocks = scales.shape(1);
    if (scales.shape(0) != rows || blocks == 0 || width % blocks != 0) {
        throw InvalidInput(name + " has codes and scales that do not fit each other");
    }
    return {{codes.data(), scales.data(), static_cast<std::size_t>(blocks),
             static_cast<std::size_t>(width / blocks)},
            static_cast<std::size_t>(rows)};
}

const float* table_of(const py::handle& value, const StepModel& model, const std::string& name) {
    const auto array = exact<float>(value, 2, name);
    if (static_cast<std::size_t>(array.shape(0)) != model.positions ||
        static_cast<std::size_t>(array.shape(1)) != model.head_dim / 2) {
        throw InvalidInput(name + " has not the shape (positions, head_dim / 2)");
    }
    return array.data();
}

StepModel model_of(const py::dict& weights, std::size_t heads, std::size_t kv_heads,
                   std::size_t head_dim, float norm_eps) {
    StepModel model{};
    model.heads = heads;
    model.kv_heads = kv_heads;
    model.head_dim = head_dim;
    model.norm_eps = norm_eps;
    model.hidden = exact<float>(weights["final_norm"], 1, "final_norm").size();
    model.positions = exact<float>(weights["rope_cos"], 2, "rope_cos").shape(0);
    model.rope_cos = table_of(weights["rope_cos"], model, "rope_cos");
    model.rope_sin = table_of(weights["rope_sin"], model, "rope_sin");
    model.final_norm = vector_of(weights["final_norm"], model.hidden, "final_norm");
    model.head = matrix_of(weights["head"], "head");
    model.vocab = model.head.count;
    for (const py::handle item : weights["layers"].cast<py::list>()) {
        const auto layer = item.cast<py::dict>();
        StepLayer own{};
        own.attention_norm = vector_of(layer["attention_norm"], model.hidden, "attention_norm");
        own.mlp_norm = vector_of(layer["mlp_norm"], model.hidden, "mlp_norm");
        own.qkv = matrix_of(layer["qkv"], "qkv");
        if (layer.contains("qkv_bias")) {
            own.qkv_bias = vector_of(layer["qkv_bias"], own.qkv.count, "qkv_bias");
        }
        own.output = matrix_of(layer["output"], "output");
        own.gate_up = matrix_of(layer["gate_up"], "gate_up");
        own.down = matrix_of(layer["down"], "down");
        model.layers.push_back(own);
        model.intermediate = own.gate_up.count / 2;
    }
    return model;
}

// The core points into the arrays of `weights`, so they live as long as it does.
struct Decoder {
    Decoder(py::dict weights_, std::size_t heads, std::size_t kv_heads, std::size_t head_dim,
            float norm_eps, std::size_t threads)
        : weights(std::move(weights_)),
          core(model_of(weights, heads, kv_heads, head_dim, norm_eps), threads) {}

    py::dict weights;
    StepDecoder core;
};

struct Cache {
    Cache(py::list keys, py::list values) : arrays(py::make_tuple(keys, values)) {
        point(keys, core.keys);
        point(values, core.values);
    }

    void point(const py::list& from, std::vector<float*>& to) {
        for (const py::handle item : from) {
            auto array = exact<float>(item, 4, "a cache");
            shape.resize(3);
            const std::vector<py::ssize_t> found{array.shape(1), array.shape(2), array.shape(3)};
            if (array.shape(0) != 1 || (core.capacity != 0 && found != shape)) {
                throw InvalidInput("caches have not one shape (1, kv_heads, capacity, head_dim)");
            }
            shape = found;
            core.capacity = static_cast<std::size_t>(found[1]);
            to.push_back(array.mutable_data());
        }
    }

    py::tuple arrays;
    std::vector<py::ssize_t> shape;
    StepCache core{};
};

void step(Decoder& decoder, const Cache& cache, const py::object& embedding, std::size_t position,
          const py::object& logits) {
    const StepModel& model = decoder.core.model();
    const float* in = vector_of(embedding, model.hidden, "embedding");
    auto out = exact<float>(logits, 1, "logits");
    if (static_cast<std::size_t>(out.size()) != model.vocab ||
        static_cast<std::size_t>(cache.shape[0]) != model.kv_heads ||
        static_cast<std::size_t>(cache.shape[2]) != model.head_dim) {
        throw InvalidInput("logits or caches have not the size of this model");
    }
    float* to = out.mutable_data();
    const py::gil_scoped_release released;
    decoder.core.step(cache.core, in, position, to);
}

}  // namespace

void register_step_decoder(py::module_& module) {
    py::class_<Cache>(module, "StepCache").def(py::init<py::list, py::list>(), py::arg("keys"),
                                               py::arg("values"));
    py::class_<Decoder>(module, "StepDecoder")
        .def(py::init<py::dict, std::size_t, std::size_t, std::size_t, float, std::size_t>(),
             py::arg("weights"), py::kw_only(), py::arg("heads"), py::arg("kv_heads"),
             py::arg("head_dim"), py::arg("norm_eps"), py::arg("threads"))
        .def("step", &step, py::arg("cache"), py::arg("embedding"), py::arg("position"),
             py::arg("logits"));
}

}  // namespace edgepersona::bindings
