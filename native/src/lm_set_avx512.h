// The 512-bit registers, with the byte products of VNNI. EP_TARGET names the set of the including
// file.

namespace edgepersona {
namespace {

// Conversions are in their masked form: GCC 12 takes the plain one to read what was never written.
struct Avx512 {
    using Int = __m512i;
    using Codes = __m512i;
    using Bytes = __m512i;
    using Float = __m512;
    static constexpr std::size_t kLanes = 16, kTokens = 12, kScores = 24, kWide = 64, kRows = 6;
    using Run = Int;
    static constexpr std::size_t kRun = 1;
    EP_TARGET static inline Run begun(Int sum) { return sum; }
    EP_TARGET static inline Int ended(Run run, Int) { return run; }

    EP_TARGET static inline Int start(std::int32_t offset) { return _mm512_set1_epi32(offset); }
    EP_TARGET static inline Int none() { return _mm512_setzero_si512(); }
    EP_TARGET static inline Bytes bytes(const std::uint8_t* from) {
        return _mm512_loadu_si512(from);
    }
    EP_TARGET static inline Codes nibbles(const std::uint8_t* from) {
        return _mm512_loadu_si512(from);
    }
    EP_TARGET static inline Codes low(Codes both) {
        return _mm512_and_si512(both, _mm512_set1_epi8(15));
    }
    EP_TARGET static inline Codes high(Codes both) {
        return _mm512_and_si512(_mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
    }
    EP_TARGET static inline Int dot8(Int sum, Bytes weights, const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(value));
    }
    EP_TARGET static inline Int dot4(Int sum, Codes weights, const std::int8_t* four) {
        return dot8(sum, weights, four);
    }
    EP_TARGET static inline Float zero() { return _mm512_setzero_ps(); }
    EP_TARGET static inline Float all(float x) { return _mm512_set1_ps(x); }
    EP_TARGET static inline Float floats(Int x) {
        return _mm512_maskz_cvtepi32_ps(0xffff, x);
    }
    EP_TARGET static inline Float times(Float a, Float b) { return _mm512_mul_ps(a, b); }
    EP_TARGET static inline Float plus(Float a, Float b) { return _mm512_add_ps(a, b); }
    EP_TARGET static inline Float fused(Float a, Float b, Float c) {
        return _mm512_fmadd_ps(a, b, c);
    }
    // The second where one is not a number.
    EP_TARGET static inline Float most(Float a, Float b) {
        return _mm512_maskz_max_ps(0xffff, a, b);
    }
    // Two to the number that adding 1.5 * 2^23 left in the last bits.
    EP_TARGET static inline Float power_of_two(Float shifted) {
        const __m512i number =
            _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
        return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, number, 23));
    }
    EP_TARGET static inline Float load(const float* from) { return _mm512_loadu_ps(from); }
    EP_TARGET static inline void store(float* to, Float x) { _mm512_storeu_ps(to, x); }
    EP_TARGET static inline Float halves(const std::uint16_t* from) {
        return _mm512_maskz_cvtph_ps(
            0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }
    EP_TARGET static inline void store_halves(std::uint16_t* to, Float x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_maskz_cvtps_ph(0xffff, x, 0));
    }
    EP_TARGET static inline std::uint16_t half_of(float x) { return _cvtss_sh(x, 0); }
    EP_TARGET static inline void prefetch(const std::uint8_t* at) {
        _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
    }
};

}  // namespace
}  // namespace edgepersona
