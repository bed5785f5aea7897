// A runner small enough to need no framework: TEST registers, CHECK counts, main reports.
#pragma once

#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Test {
    const char* name;
    const char* file;
    std::function<void()> body;
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

struct Register {
    Register(const char* name, std::function<void()> body, const char* file = "") {
        tests().push_back({name, file, body});
    }
};

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <class Error, class F>
bool throws(F&& f) {
    try {
        f();
    } catch (const Error&) {
        return true;
    }
    return false;
}

}  // namespace check

#define TEST(name)                                              \
    static void name();                                         \
    static const check::Register registered_##name(#name, name, __FILE__); \
    static void name()

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition))                                                                  \
            throw check::Failure(std::string(__FILE__) + ":" + std::to_string(__LINE__) +  \
                                 ": " #condition);                                         \
    } while (false)
