// One register_ function for each concept of the core; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace edgepersona::bindings {

void register_errors(pybind11::module_& module);
void register_vector_index(pybind11::module_& module);
void register_transformer(pybind11::module_& module);
void register_encoder(pybind11::module_& module);
void register_persona(pybind11::module_& module);
void register_persona_cache(pybind11::module_& module);
void register_kmeans(pybind11::module_& module);
void register_ngram_model(pybind11::module_& module);
void register_mix(pybind11::module_& module);
void register_build_info(pybind11::module_& module);

}  // namespace edgepersona::bindings
