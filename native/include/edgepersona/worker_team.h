// A few threads that take one job together, in step, again and again.
//
// run(job) calls job(0) here and job(i) in each other thread, and returns when all are done. Inside
// a job, barrier() waits for all, and take() hands out work that nobody took since the last
// barrier. A thread gets neighbouring items as long as its own share lasts, since it reads their
// memory ahead; then it helps the others. Waiting spins first, since the phases of a decoding step
// are a few microseconds long; a team without a job goes to sleep after about a millisecond.
//
// One thread at a time may call run().
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace edgepersona {

struct Taken {
    std::size_t first, count;
};

class WorkerTeam {
public:
    explicit WorkerTeam(std::size_t threads);  // fewer where the system gives no more
    ~WorkerTeam();
    WorkerTeam(const WorkerTeam&) = delete;
    WorkerTeam& operator=(const WorkerTeam&) = delete;

    std::size_t size() const { return workers_.size() + 1; }
    void run(const std::function<void(std::size_t)>& job);
    void barrier();
    // For thread `thread`: up to `chunk` of `total` items, or a count of 0 when all are taken. All
    // threads name the same total and chunk between two barriers.
    Taken take(std::size_t thread, std::size_t total, std::size_t chunk);

private:
    void serve(std::size_t index);

    struct alignas(64) Share {
        std::atomic<std::size_t> taken{0};
    };

    void reset_shares();

    std::vector<Share> shares_;
    std::vector<std::thread> workers_;
    const std::function<void(std::size_t)>* job_ = nullptr;
    std::atomic<unsigned> jobs_{0};  // how many were given so far
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;
    std::condition_variable given_;

    alignas(64) std::atomic<std::size_t> arrived_{0};
    alignas(64) std::atomic<unsigned> phase_{0};
};

}  // namespace edgepersona
