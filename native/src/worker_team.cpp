#include "edgepersona/worker_team.h"

#include <algorithm>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace edgepersona {
namespace {

constexpr int kSpins = 20000;       // of a pause each: about a millisecond
constexpr int kPatientSpins = 200;  // then others that want this processor get it now and then

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

WorkerTeam::WorkerTeam(std::size_t threads) : shares_(std::max<std::size_t>(threads, 1)) {
    workers_.reserve(threads > 1 ? threads - 1 : 0);
    try {
        for (std::size_t i = 1; i < threads; ++i) {
            workers_.emplace_back([this, i] { serve(i); });
        }
    } catch (const std::system_error&) {
        // The system gives no more threads: those that are there do the same work.
    }
}

WorkerTeam::~WorkerTeam() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopping_.store(true, std::memory_order_release);
    }
    given_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void WorkerTeam::run(const std::function<void(std::size_t)>& job) {
    job_ = &job;
    reset_shares();
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        jobs_.fetch_add(1, std::memory_order_release);
    }
    given_.notify_all();
    job(0);
    barrier();
}

void WorkerTeam::barrier() {
    const unsigned phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
        arrived_.store(0, std::memory_order_relaxed);
        reset_shares();
        phase_.store(phase + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
        if (spins < kPatientSpins || spins % 64 != 0) {
            pause();
        } else {
            std::this_thread::yield();
        }
    }
}

Taken WorkerTeam::take(std::size_t thread, std::size_t total, std::size_t chunk) {
    for (std::size_t i = 0; i < size(); ++i) {
        const std::size_t share = (thread + i) % size();
        const std::size_t begin = total * share / size(), end = total * (share + 1) / size();
        std::atomic<std::size_t>& taken = shares_[share].taken;
        if (taken.load(std::memory_order_relaxed) >= end - begin) continue;
        const std::size_t at = begin + taken.fetch_add(chunk, std::memory_order_relaxed);
        if (at < end) return {at, std::min(chunk, end - at)};
    }
    return {total, 0};
}

void WorkerTeam::reset_shares() {
    for (Share& share : shares_) share.taken.store(0, std::memory_order_relaxed);
}

void WorkerTeam::serve(std::size_t index) {
    for (unsigned seen = 0;;) {
        const auto woken = [this, seen] {
            return stopping_.load(std::memory_order_acquire) ||
                   jobs_.load(std::memory_order_acquire) != seen;
        };
        for (int spins = 0; spins < kSpins && !woken(); ++spins) pause();
        if (!woken()) {
            std::unique_lock<std::mutex> lock(mutex_);
            given_.wait(lock, woken);
        }
        if (stopping_.load(std::memory_order_acquire)) return;
        ++seen;
        (*job_)(index);
        barrier();
    }
}

}  // namespace edgepersona
