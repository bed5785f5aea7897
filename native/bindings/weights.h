// Models as Python hands them over: dicts of sizes and of arrays, which the core points into.
#pragma once

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "edgepersona/errors.h"
#include "edgepersona/packed_matrix.h"

namespace edgepersona::bindings {

namespace py = pybind11;

using Kept = std::vector<py::object>;  // what the core points into

template <class T>
T as(const py::handle& value, const char* kind, const std::string& name) {
    if (!py::isinstance<T>(value)) throw InvalidInput(name + " is not a " + kind);
    return py::reinterpret_borrow<T>(value);
}

// An array exactly as it is: these are large, and never copied.
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

template <class T>
const T* sized(const py::handle& value, std::size_t count, const std::string& name, Kept& kept) {
    const auto array = exact<T>(value, 1, name);
    if (static_cast<std::size_t>(array.size()) != count) {
        throw InvalidInput(name + " has " + std::to_string(array.size()) + " values, expected " +
                           std::to_string(count));
    }
    kept.push_back(array);
    return array.data();
}

inline std::size_t size_of(const py::dict& from, const char* key, const std::string& name) {
    if (!from.contains(key)) throw InvalidInput(name + " has no " + key);
    const auto value = as<py::int_>(from[key], "whole number", name + " " + key);
    const long long size = PyLong_AsLongLong(value.ptr());
    if (size == -1 && PyErr_Occurred() != nullptr) PyErr_Clear();
    if (size < 0 || size > (1LL << 40)) throw InvalidInput(name + " " + key + " is out of range");
    return static_cast<std::size_t>(size);
}

inline float float_of(const py::dict& from, const char* key) {
    if (!from.contains(key)) throw InvalidInput(std::string("a model has no ") + key);
    return static_cast<float>(as<py::float_>(from[key], "float", key));
}

inline py::object part_of(const py::dict& from, const char* key, const std::string& name) {
    if (!from.contains(key)) throw InvalidInput(name + " has no " + key);
    return from[key];
}

inline PackedMatrix matrix_of(const py::handle& value, const std::string& name, Kept& kept) {
    const auto from = as<py::dict>(value, "dict", name);
    PackedMatrix m{};
    m.rows = size_of(from, "rows", name);
    m.columns = size_of(from, "columns", name);
    m.block = size_of(from, "block", name);
    m.bits = static_cast<unsigned>(std::min<std::size_t>(size_of(from, "bits", name), 255));
    constexpr std::size_t kMost = std::size_t{1} << 26;  // so that no product overflows
    if (m.block == 0 || m.rows > kMost || m.columns > kMost || m.block > kMost) {
        throw InvalidInput(name + " has a size that no matrix has");
    }
    m.codes = sized<std::uint8_t>(part_of(from, "codes", name), m.codes_bytes(), name + " codes",
                                  kept);
    m.scales = sized<std::uint16_t>(part_of(from, "scales", name), m.scale_count(),
                                    name + " scales", kept);
    if (from.contains("minima")) {
        m.minima = sized<std::uint16_t>(from["minima"], m.scale_count(), name + " minima", kept);
    }
    return m;
}

}  // namespace edgepersona::bindings
