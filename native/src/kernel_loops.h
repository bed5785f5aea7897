// Loops that the compiler vectorises well by itself, for each instruction set that includes this.
// EP_TARGET names the set.

namespace edgepersona {
namespace {

EP_TARGET void split_values(const float* values, std::size_t count, float inverse,
                            std::int8_t* high, std::int8_t* low) {
    constexpr float kRound = 12582912.0F;  // adding it leaves the nearest whole number
    for (std::size_t i = 0; i < count; ++i) {
        const auto whole = static_cast<std::int32_t>(values[i] * inverse + kRound - kRound);
        const std::int32_t upper = (whole + 128) >> 8;
        high[i] = static_cast<std::int8_t>(upper);
        low[i] = static_cast<std::int8_t>(whole - upper * 256);
    }
}

EP_TARGET void join_codes(const std::int8_t* high, const std::int8_t* low, std::size_t count,
                          int shift, std::int16_t* codes) {
    for (std::size_t i = 0; i < count; ++i) {
        codes[i] = static_cast<std::int16_t>((high[i] * 256 + low[i]) >> shift);
    }
}

}  // namespace
}  // namespace edgepersona
