// What Python hands in, as arrays that the core can borrow: converted where nothing is lost.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <string>

#include "edgepersona/errors.h"
#include "edgepersona/span.h"

namespace edgepersona::bindings {

// Aligned too, which an array in another's bytes need not be.
template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style | pybind11::array::forcecast |
                                       pybind11::detail::npy_api::NPY_ARRAY_ALIGNED_>;

// Any array or nested sequence as an array; what NumPy cannot make one of is bad input.
inline pybind11::array as_array(const pybind11::object& value, const std::string& name) {
    pybind11::array array = pybind11::array::ensure(value);
    if (!array) throw InvalidInput(name + " cannot be read as an array");
    return array;
}

// As a C-contiguous array of T, if its dtype is of one of `kinds` (numpy.dtype.kind).
template <class T>
Array<T> as_array_of(const pybind11::array& array, const std::string& name,
                     const std::string& kinds, const std::string& expected) {
    if (array.size() != 0 && kinds.find(array.dtype().kind()) == std::string::npos) {
        throw InvalidInput(name + " is of dtype " + std::string(pybind11::str(array.dtype())) +
                           ", expected " + expected);
    }
    auto converted = Array<T>::ensure(array);
    if (!converted) throw InvalidInput(name + " do not fit " + expected);
    return converted;
}

// One 64-bit integer a row.
inline Array<std::int64_t> as_integers(const pybind11::object& value, const std::string& name) {
    const pybind11::array array = as_array(value, name);
    if (array.ndim() != 1) {
        throw InvalidInput(name + " have " + std::to_string(array.ndim()) +
                           " axes, expected 1: one a row");
    }
    const bool wraps = array.dtype().kind() == 'u' && array.itemsize() == 8;
    return as_array_of<std::int64_t>(array, name, wraps ? "i" : "iu", "int64");
}

inline std::string shape_of(const pybind11::array& array) {
    return pybind11::str(pybind11::object(array.attr("shape")));
}

// float32 (n, ndim).
inline Array<float> as_rows(const pybind11::object& value, const std::string& name,
                            std::size_t ndim) {
    const pybind11::array array = as_array(value, name);
    if (array.ndim() != 2 || static_cast<std::size_t>(array.shape(1)) != ndim) {
        throw InvalidInput(name + " have the shape " + shape_of(array) + ", expected (n, " +
                           std::to_string(ndim) + ")");
    }
    return as_array_of<float>(array, name, "fiu", "float32");
}

// float32 (n,).
inline Array<float> as_vector(const pybind11::object& value, const std::string& name) {
    const pybind11::array array = as_array(value, name);
    if (array.ndim() != 1) {
        throw InvalidInput(name + " has the shape " + shape_of(array) + ", expected one axis");
    }
    return as_array_of<float>(array, name, "fiu", "float32");
}

template <class T>
Span<T> span(const Array<T>& array) {
    return {array.data(), static_cast<std::size_t>(array.size())};
}

// A number of Python's that may not be negative.
inline std::size_t as_size(pybind11::ssize_t value, const char* name) {
    if (value < 0) {
        throw InvalidInput(std::string(name) + " is " + std::to_string(value) +
                           ", expected 0 or more");
    }
    return static_cast<std::size_t>(value);
}

}  // namespace edgepersona::bindings
