#include "bindings.h"

PYBIND11_MODULE(_native, module) {
    using namespace edgepersona::bindings;
    module.doc() = "The native core of edgepersona.";
    register_errors(module);
    register_vector_index(module);
    register_transformer(module);
    register_encoder(module);
    register_persona(module);
    register_persona_cache(module);
    register_kmeans(module);
    register_ngram_model(module);
    register_mix(module);
    register_build_info(module);
}
