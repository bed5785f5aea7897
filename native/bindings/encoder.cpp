#include "edgepersona/encoder.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>

#include "bindings.h"
#include "edgepersona/errors.h"
#include "weights.h"

namespace edgepersona::bindings {
namespace {

// The arrays themselves are kept, not the dict that they came in: that one may change.
struct Model {
    Model(const py::dict& weights, std::size_t threads) : core(model_of(weights), threads) {}

    EncoderModel model_of(const py::dict& from) {
        EncoderModel m{};
        m.hidden = size_of(from, "hidden", "a model");
        m.intermediate = size_of(from, "intermediate", "a model");
        m.heads = size_of(from, "heads", "a model");
        m.norm_eps = float_of(from, "norm_eps");
        m.embedding_norm = norm_of(from, "embedding_norm", m.hidden);
        for (const py::handle layer :
             as<py::list>(part_of(from, "layers", "a model"), "list", "layers")) {
            m.layers.push_back(layer_of(as<py::dict>(layer, "dict", "a layer"), m));
        }
        return m;
    }

    EncoderLayer layer_of(const py::dict& from, const EncoderModel& m) {
        EncoderLayer layer{};
        const auto matrix = [&](const char* key) {
            return matrix_of(part_of(from, key, "a layer"), key, kept);
        };
        layer.qkv = matrix("qkv");
        layer.qkv_bias = vector_of(from, "qkv_bias", layer.qkv.rows);
        layer.output = matrix("output");
        layer.output_bias = vector_of(from, "output_bias", m.hidden);
        layer.after_attention = norm_of(from, "attention_norm", m.hidden);
        layer.up = matrix("up");
        layer.up_bias = vector_of(from, "up_bias", m.intermediate);
        layer.down = matrix("down");
        layer.down_bias = vector_of(from, "down_bias", m.hidden);
        layer.after_mlp = norm_of(from, "mlp_norm", m.hidden);
        return layer;
    }

    EncoderNorm norm_of(const py::dict& from, const std::string& name, std::size_t count) {
        return {vector_of(from, name.c_str(), count),
                vector_of(from, (name + "_bias").c_str(), count)};
    }

    const float* vector_of(const py::dict& from, const char* key, std::size_t count) {
        return sized<float>(part_of(from, key, "a model"), count, key, kept);
    }

    Kept kept;
    Encoder core;
};

void encode(Model& model, const py::object& states, const py::object& lengths) {
    auto rows = exact<float>(states, 2, "states");
    const auto texts = exact<std::int64_t>(lengths, 1, "lengths");
    if (!rows.writeable()) throw InvalidInput("states are read-only");
    const auto tokens = static_cast<std::size_t>(rows.shape(0));
    if (static_cast<std::size_t>(rows.shape(1)) != model.core.model().hidden) {
        throw InvalidInput("states have not the width of this model");
    }
    const auto count = static_cast<std::size_t>(texts.shape(0));
    const std::int64_t* each = texts.data();
    std::size_t left = tokens;
    for (std::size_t i = 0; i < count; ++i) {
        if (each[i] < 1 || static_cast<std::size_t>(each[i]) > left) {
            throw InvalidInput("lengths are not those of the states' texts");
        }
        left -= static_cast<std::size_t>(each[i]);
    }
    if (left != 0) throw InvalidInput("lengths are not those of the states' texts");
    float* to = rows.mutable_data();
    const py::gil_scoped_release released;
    model.core.encode(to, each, count);
}

}  // namespace

void register_encoder(py::module_& module) {
    py::class_<Model>(module, "Encoder")
        .def(py::init<const py::dict&, std::size_t>(), py::arg("weights"), py::kw_only(),
             py::arg("threads"))
        .def("encode", &encode, py::arg("states"), py::arg("lengths"));
}

}  // namespace edgepersona::bindings
