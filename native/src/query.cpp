#include "edgepersona/query.h"

#include <algorithm>
#include <cmath>

namespace edgepersona {

Query::Query(const float* values, const RowStore& rows)
    : codes_(rows.stride() * sizeof(std::int16_t)), values_(rows.stride() * sizeof(float)) {
    const std::size_t ndim = rows.ndim();
    std::copy_n(values, ndim, values_.at<float>());
    // Of smaller values all codes are 0, and the error says so.
    const float largest = std::max(kernels().largest(values, ndim), 1e-30F);
    const double unit = static_cast<double>(largest) / rows.largest_code();
    auto* codes = codes_.at<std::int16_t>();
    double squares = 0, errors = 0;
    for (std::size_t i = 0; i < ndim; ++i) {
        codes[i] = static_cast<std::int16_t>(std::lrint(values[i] / unit));
        const double error = values[i] - codes[i] * unit;
        errors += error * error;
        squares += static_cast<double>(values[i]) * values[i];
    }
    // Cauchy and Schwarz: a row of whole numbers is at most this long.
    const double longest = (kLargestWhole + 128) * std::sqrt(static_cast<double>(ndim));
    const double rounding = std::ldexp(static_cast<double>(ndim) / 4 + 16, -24);
    scale_ = static_cast<float>(256 * unit);
    error_ = static_cast<float>(longest * (std::sqrt(errors) + rounding * std::sqrt(squares)));
    norm_ = static_cast<float>(std::sqrt(squares) * (1 + 1e-6));
}

}  // namespace edgepersona
