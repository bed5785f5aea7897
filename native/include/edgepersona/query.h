// A query made ready for a RowStore: in whole numbers for the scan, in floats for rescoring.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edgepersona/memory.h"
#include "edgepersona/row_store.h"

namespace edgepersona {

class Query {
  public:
    // Of ndim finite values.
    Query(const float* values, const RowStore& rows);

    const float* values() const { return values_.at<float>(); }
    const std::int16_t* codes() const { return codes_.at<std::int16_t>(); }

    // Of a row with `step` and `slack` whose high plane gave `sum`: no score of it is larger, as
    // `score` has it.
    float at_most(std::int32_t sum, float step, float slack) const {
        return step * (scale_ * static_cast<float>(sum) + error_) + slack * norm_;
    }

    // The same of a row whose step times its sum is `scaled`.
    float at_most(float scaled, const RowStore& rows, std::size_t row) const {
        return scale_ * scaled + rows.step(row) * error_ + rows.slack(row) * norm_;
    }

    float score(const RowStore& rows, std::size_t row) const {
        return rows.step(row) * kernels().dot_whole(rows.high(row), rows.low(row),
                                                    values_.at<float>(), rows.stride());
    }

  private:
    Memory codes_;
    Memory values_;
    float scale_ = 0;  // of a sum of products of codes
    float error_ = 0;  // what rounding the query and adding floats can amount to, for step 1
    float norm_ = 0;
};

}  // namespace edgepersona
