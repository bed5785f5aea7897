// Fuzz targets: FUZZ(name) { … } is handed any bytes as `input`, reads them as a program, and checks
// what the core does with it. Any exception that leaves a target is a failure.
//
// The core's tests run each target on some inputs, the same each time. `make fuzz` makes a program
// of each: under Clang libFuzzer's, elsewhere driver.cpp's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../tests/check.h"

namespace fuzz {

// Bytes taken from the front; zeros where there are none left.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    bool empty() const { return size_ == 0; }

    template <class T>
    T take() {
        T value{};
        const std::size_t count = size_ < sizeof value ? size_ : sizeof value;
        if (count != 0) std::memcpy(&value, data_, count);
        data_ += count;
        size_ -= count;
        return value;
    }

    // A number in 0..most, of one byte.
    std::size_t up_to(std::size_t most) { return take<std::uint8_t>() % (most + 1); }
    bool chance(std::size_t one_in) { return up_to(one_in - 1) == one_in - 1; }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
};

inline void run_some(void (*target)(Input)) {
    std::mt19937 random(1);
    for (int run = 0; run < 300; ++run) {
        std::vector<std::uint8_t> bytes(random() % 700);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
        target({bytes.data(), bytes.size()});
    }
}

}  // namespace fuzz

#if defined(EDGEPERSONA_FUZZ)
#define FUZZ_ENTRY(name)                                                              \
    extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
        name({data, size});                                                           \
        return 0;                                                                     \
    }
#else
#define FUZZ_ENTRY(name) \
    static const check::Register registered_##name("fuzz " #name, [] { fuzz::run_some(name); });
#endif

#define FUZZ(name)                 \
    static void name(fuzz::Input); \
    FUZZ_ENTRY(name)               \
    static void name(fuzz::Input input)
