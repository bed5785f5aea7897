// Makes memory run out on purpose: while one lives, this thread's allocation number `after` fails.
#pragma once

#include <cstddef>

class FailingNew {
  public:
    explicit FailingNew(std::size_t after);
    ~FailingNew();
    FailingNew(const FailingNew&) = delete;
    FailingNew& operator=(const FailingNew&) = delete;
};
