// Loops that the compiler vectorises well by itself, for each instruction set that includes this.
// EP_TARGET names the set.

namespace edgepersona {
namespace {

// By the bits, whose order is that of the magnitudes: a maximum of whole numbers is vectorised.
EP_TARGET float largest_magnitude(const float* values, std::size_t count) {
    std::int32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::int32_t bits;
        __builtin_memcpy(&bits, values + i, sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float value;
    __builtin_memcpy(&value, &largest, sizeof value);
    return value;
}

EP_TARGET std::int32_t split_values(const float* values, std::size_t count, float inverse,
                                    std::int8_t* high, std::int8_t* low) {
    constexpr float kRound = 12582912.0F;  // adding it leaves the nearest whole number
    std::int32_t squares = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const auto whole = static_cast<std::int32_t>(values[i] * inverse + kRound - kRound);
        const std::int32_t upper = (whole + 128) >> 8;
        const std::int32_t lower = whole - upper * 256;
        high[i] = static_cast<std::int8_t>(upper);
        low[i] = static_cast<std::int8_t>(lower);
        squares += lower * lower;
    }
    return squares;
}

EP_TARGET void join_codes(const std::int8_t* high, const std::int8_t* low, std::size_t count,
                          int shift, std::int16_t* codes) {
    for (std::size_t i = 0; i < count; ++i) {
        codes[i] = static_cast<std::int16_t>((high[i] * 256 + low[i]) >> shift);
    }
}

}  // namespace
}  // namespace edgepersona
