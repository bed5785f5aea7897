// A borrowed run of values with its length; the caller keeps the memory alive during the call.
#pragma once

#include <cstddef>

namespace edgepersona {

template <class T>
struct Span {
    const T* data = nullptr;
    std::size_t size = 0;

    const T& operator[](std::size_t i) const { return data[i]; }
    const T* begin() const { return data; }
    const T* end() const { return data + size; }
};

}  // namespace edgepersona
