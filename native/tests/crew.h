// Threads that work on one thing at once, for tests under a thread sanitizer and without.
//
//     Crew crew;
//     crew.member(20, [&](int round) { … });   // so many rounds
//     crew.meanwhile([&] { … });               // again and again, until all members have done theirs
//     crew.run();                              // all start together; a CHECK that fails in any ends it
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

class Crew {
  public:
    void member(int rounds, std::function<void(int)> work) {
        ++busy_;
        jobs_.push_back([this, rounds, work = std::move(work)] {
            for (int round = 0; round < rounds && !failed_; ++round) work(round);
            --busy_;
        });
    }

    void meanwhile(std::function<void()> work) {
        jobs_.push_back([this, work = std::move(work)] {
            do {
                work();
            } while (busy_ > 0 && !failed_);
        });
    }

    void run() {
        std::vector<std::thread> threads;
        for (auto& job : jobs_) {
            threads.emplace_back([this, &job] {
                ++ready_;
                while (ready_ < jobs_.size()) std::this_thread::yield();
                try {
                    job();
                } catch (...) {
                    const std::lock_guard<std::mutex> lock(mutex_);
                    if (!failure_) failure_ = std::current_exception();
                    failed_ = true;
                }
            });
        }
        for (auto& thread : threads) thread.join();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    std::vector<std::function<void()>> jobs_;
    std::atomic<std::size_t> ready_{0};
    std::atomic<int> busy_{0};
    std::atomic<bool> failed_{false};
    std::mutex mutex_;
    std::exception_ptr failure_;
};
