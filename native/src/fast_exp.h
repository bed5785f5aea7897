// exp without a branch or a call, so that a loop over it is vectorised. EP_TARGET names the
// instruction set of the including file.
#include <cstdint>

namespace edgepersona {
namespace {

// exp(x) to a relative 3e-7, for x from -87 to 88.
EP_TARGET inline float exp_within(float x) {
    constexpr float kRound = 12582912.0F;  // adding it leaves the nearest whole number
    const float shifted = x * 1.44269504F + kRound;
    const float n = shifted - kRound;
    const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    std::uint32_t bits;  // n is in the last bits of the sum: no integer is what is not a number
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127U) << 23;
    float power;
    __builtin_memcpy(&power, &bits, sizeof power);
    return p * power;
}

// The same for any x, held to -87 … 88 first. Where there are no masks, GCC makes branches of that
// and leaves the loop as it is: hold to the range in a loop before, then call exp_within.
EP_TARGET inline float fast_exp(float x) {
    x = x < -87.0F ? -87.0F : x;
    x = x > 88.0F ? 88.0F : x;
    return exp_within(x);
}

}  // namespace
}  // namespace edgepersona
