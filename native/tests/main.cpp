// Runs all tests, or those whose names or files contain one of the arguments.
#include <cstring>

#include "check.h"

namespace {

bool wanted(const check::Test& test, int count, char** parts) {
    for (int i = 1; i < count; ++i) {
        if (std::strstr(test.name, parts[i]) != nullptr) return true;
        if (std::strstr(test.file, parts[i]) != nullptr) return true;
    }
    return count == 1;
}

}  // namespace

int main(int count, char** arguments) {
    int passed = 0, failed = 0;
    for (const auto& test : check::tests()) {
        if (!wanted(test, count, arguments)) continue;
        try {
            test.body();
            ++passed;
        } catch (const std::exception& error) {
            ++failed;
            std::printf("FAILED %s\n  %s\n", test.name, error.what());
        }
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
