// The 256-bit registers that AVX2 and AVX-VNNI share; they differ in how bytes are multiplied, which
// the including file adds. EP_TARGET names the set.

namespace edgepersona {
namespace {

struct Registers256 {
    using Int = __m256i;
    using Codes = __m256i;
    using Float = __m256;
    // Six tokens at a time read prompts a tenth slower with AVX2 alone: too few registers.
    static constexpr std::size_t kLanes = 8, kTokens = 4, kScores = 12, kWide = 32, kRows = 3;

    EP_TARGET static inline __m256i loaded(const void* from) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    }
    EP_TARGET static inline __m256i four_of(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return _mm256_set1_epi32(value);
    }
    EP_TARGET static inline Int none() { return _mm256_setzero_si256(); }
    EP_TARGET static inline Codes nibbles(const std::uint8_t* from) { return loaded(from); }
    EP_TARGET static inline Codes low(Codes both) {
        return _mm256_and_si256(both, _mm256_set1_epi8(15));
    }
    EP_TARGET static inline Codes high(Codes both) {
        return _mm256_and_si256(_mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
    }
    EP_TARGET static inline Float zero() { return _mm256_setzero_ps(); }
    EP_TARGET static inline Float all(float x) { return _mm256_set1_ps(x); }
    EP_TARGET static inline Float floats(Int x) { return _mm256_cvtepi32_ps(x); }
    EP_TARGET static inline Float times(Float a, Float b) { return _mm256_mul_ps(a, b); }
    EP_TARGET static inline Float plus(Float a, Float b) { return _mm256_add_ps(a, b); }
    EP_TARGET static inline Float fused(Float a, Float b, Float c) {
        return _mm256_fmadd_ps(a, b, c);
    }
    // The second where one is not a number.
    EP_TARGET static inline Float most(Float a, Float b) { return _mm256_max_ps(a, b); }
    // Two to the number that adding 1.5 * 2^23 left in the last bits.
    EP_TARGET static inline Float power_of_two(Float shifted) {
        const __m256i number =
            _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
        return _mm256_castsi256_ps(_mm256_slli_epi32(number, 23));
    }
    EP_TARGET static inline Float load(const float* from) { return _mm256_loadu_ps(from); }
    EP_TARGET static inline void store(float* to, Float x) { _mm256_storeu_ps(to, x); }
    EP_TARGET static inline Float halves(const std::uint16_t* from) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    EP_TARGET static inline void store_halves(std::uint16_t* to, Float x) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x, 0));
    }
    EP_TARGET static inline std::uint16_t half_of(float x) { return _cvtss_sh(x, 0); }
    EP_TARGET static inline void prefetch(const std::uint8_t* at) {
        _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
    }
};

}  // namespace
}  // namespace edgepersona
