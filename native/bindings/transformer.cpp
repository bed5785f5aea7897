#include "edgepersona/transformer.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "edgepersona/errors.h"
#include "weights.h"

namespace edgepersona::bindings {
namespace {

const float* table_of(const py::handle& value, std::size_t positions, std::size_t columns,
                      const std::string& name, Kept& kept) {
    const auto array = exact<float>(value, 2, name);
    kept.push_back(array);
    if (static_cast<std::size_t>(array.shape(0)) != positions ||
        static_cast<std::size_t>(array.shape(1)) != columns) {
        throw InvalidInput(name + " has not the shape (positions, width / 2)");
    }
    return array.data();
}

Rope rope_of(const py::handle& value, std::size_t positions, Kept& kept) {
    const auto from = as<py::dict>(value, "dict", "a rope");
    const std::size_t width = 2 * exact<float>(part_of(from, "cos", "a rope"), 2, "cos").shape(1);
    return {table_of(from["cos"], positions, width / 2, "cos", kept),
            table_of(part_of(from, "sin", "a rope"), positions, width / 2, "sin", kept), width};
}

TransformerLayer layer_of(const py::handle& value, const TransformerModel& m, Kept& kept) {
    const auto from = as<py::dict>(value, "dict", "a layer");
    const auto vector = [&](const char* key, std::size_t count) {
        return sized<float>(part_of(from, key, "a layer"), count, key, kept);
    };
    const auto perhaps = [&](const char* key, std::size_t count) {
        return from.contains(key) ? vector(key, count) : nullptr;
    };
    const auto matrix = [&](const char* key) {
        return matrix_of(part_of(from, key, "a layer"), key, kept);
    };
    TransformerLayer own{};
    own.attention_norm = vector("attention_norm", m.hidden);
    own.qkv = matrix("qkv");
    own.qkv_bias = perhaps("qkv_bias", own.qkv.rows);
    own.query_norm = perhaps("q_norm", m.head_dim);
    own.key_norm = perhaps("k_norm", m.head_dim);
    own.output = matrix("output");
    own.after_attention = perhaps("post_attention_norm", m.hidden);
    own.mlp_norm = vector("mlp_norm", m.hidden);
    own.gate_up = matrix("gate_up");
    own.down = matrix("down");
    own.after_mlp = perhaps("post_mlp_norm", m.hidden);
    own.window = size_of(from, "window", "a layer");
    own.rope = size_of(from, "rope", "a layer");
    return own;
}

TransformerModel model_of(const py::dict& from, Kept& kept) {
    TransformerModel m{};
    const auto size = [&](const char* key) { return size_of(from, key, "a model"); };
    m.hidden = size("hidden");
    m.intermediate = size("intermediate");
    m.heads = size("heads");
    m.kv_heads = size("kv_heads");
    m.head_dim = size("head_dim");
    m.vocab = size("vocab");
    m.positions = size("positions");
    m.norm_eps = float_of(from, "norm_eps");
    m.attention_scale = float_of(from, "attention_scale");
    m.attention_cap = float_of(from, "attention_softcap");
    m.logits_cap = float_of(from, "logits_softcap");
    const std::string activation = py::str(part_of(from, "activation", "a model"));
    if (activation != "silu" && activation != "gelu_tanh") {
        throw InvalidInput("activation is '" + activation + "', expected 'silu' or 'gelu_tanh'");
    }
    m.activation = activation == "silu" ? Activation::kSilu : Activation::kGelu;
    for (const py::handle rope : as<py::list>(part_of(from, "ropes", "a model"), "list", "ropes")) {
        m.ropes.push_back(rope_of(rope, m.positions, kept));
    }
    for (const py::handle layer :
         as<py::list>(part_of(from, "layers", "a model"), "list", "layers")) {
        m.layers.push_back(layer_of(layer, m, kept));
    }
    m.final_norm = sized<float>(part_of(from, "final_norm", "a model"), m.hidden, "final_norm",
                                kept);
    m.head = matrix_of(part_of(from, "head", "a model"), "head", kept);
    return m;
}

// The arrays themselves are kept, not the dict that they came in: that one may change.
struct Model {
    Model(const py::dict& weights, std::size_t threads)
        : core(model_of(weights, kept), threads) {}

    Kept kept;
    Transformer core;
};

void read(Model& model, KvCache& cache, const py::object& embeddings, std::size_t position,
          const py::object& logits) {
    const TransformerModel& m = model.core.model();
    const auto in = exact<float>(embeddings, 2, "embeddings");
    auto out = exact<float>(logits, 2, "logits");
    if (static_cast<std::size_t>(in.shape(1)) != m.hidden ||
        static_cast<std::size_t>(out.shape(1)) != m.vocab) {
        throw InvalidInput("embeddings and logits have not the width of this model");
    }
    if (!out.writeable()) throw InvalidInput("logits are read-only");
    const auto count = static_cast<std::size_t>(in.shape(0));
    const auto wanted = static_cast<std::size_t>(out.shape(0));
    const float* from = in.data();
    float* to = out.mutable_data();
    const py::gil_scoped_release released;
    model.core.read(cache, from, count, position, wanted, to);
}

py::bytes save(const KvCache& cache, std::size_t length) {
    if (length > cache.capacity()) throw InvalidInput("a cache has not so many positions");
    py::bytes saved(nullptr, length * cache.position_bytes());
    auto* to = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(saved.ptr()));
    cache.save(length, to);
    return saved;
}

void load(KvCache& cache, const py::bytes& saved) {
    const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(saved.ptr()));
    if (size % cache.position_bytes() != 0) {
        throw InvalidInput("saved keys and values are of another model");
    }
    cache.load(size / cache.position_bytes(),
               reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(saved.ptr())));
}

}  // namespace

void register_transformer(py::module_& module) {
    py::class_<KvCache>(module, "KvCache")
        .def(py::init<std::size_t, std::size_t, std::size_t, std::size_t>(), py::kw_only(),
             py::arg("layers"), py::arg("heads"), py::arg("head_dim"), py::arg("capacity"))
        .def_property_readonly("capacity", &KvCache::capacity)
        .def("save", &save, py::arg("length"))
        .def("load", &load, py::arg("saved"));
    py::class_<Model>(module, "Transformer")
        .def(py::init<const py::dict&, std::size_t>(), py::arg("weights"), py::kw_only(),
             py::arg("threads"))
        .def("read", &read, py::arg("cache"), py::arg("embeddings"), py::arg("position"),
             py::arg("logits"));
}

}  // namespace edgepersona::bindings
