#include "edgepersona/worker_team.h"

#if defined(__linux__)
#include <sys/resource.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "check.h"

using namespace edgepersona;

namespace {

// Gives way for longer than a team waits awake. Nothing depends on it: a team that is awake still
// must do the same.
void idle() {
    for (int i = 0; i < 100000; ++i) std::this_thread::yield();
}

}  // namespace

TEST(every_item_is_taken_once_in_every_phase_of_every_run) {
    for (const std::size_t threads : {1, 2, 4}) {
        WorkerTeam team(threads);
        CHECK(team.size() == threads);
        for (std::size_t run = 0; run < 200; ++run) {
            const std::size_t phases = run % 5, items = 1 + run % 40, chunk = 1 + run % 3;
            // Plain numbers: a thread sanitizer sees an item that two took, or a phase too early.
            std::vector<std::vector<int>> taken(phases + 1, std::vector<int>(items));
            std::vector<int> calls(threads);
            team.run([&](std::size_t thread) {
                ++calls[thread];
                for (std::size_t phase = 0; phase <= phases; ++phase) {
                    if (phase > 0) {
                        team.barrier();
                        // What any thread wrote in the phase before is seen by all.
                        for (const int times : taken[phase - 1]) {
                            if (times != 1) taken[phase][0] = 1000;
                        }
                        team.barrier();
                    }
                    for (Taken got; (got = team.take(thread, items, chunk)).count != 0;) {
                        for (std::size_t i = 0; i < got.count; ++i) ++taken[phase][got.first + i];
                    }
                }
            });
            CHECK(taken == std::vector<std::vector<int>>(phases + 1, std::vector<int>(items, 1)));
            CHECK(calls == std::vector<int>(threads, 1));
        }
    }
}

TEST(a_team_is_at_least_the_thread_that_runs_it) {
    WorkerTeam team(0);
    int calls = 0;
    team.run([&](std::size_t thread) { calls += thread == 0 ? 1 : 100; });
    CHECK(team.size() == 1 && calls == 1);
}

TEST(a_team_may_end_at_any_moment_between_runs) {
    for (const std::size_t threads : {1, 2, 4}) {
        for (int round = 0; round < 60; ++round) {
            std::atomic<int> calls{0};
            {
                WorkerTeam team(threads);
                for (int run = 0; run < round % 4; ++run) {
                    team.run([&](std::size_t) { ++calls; });
                }
            }
            CHECK(calls == static_cast<int>(threads) * (round % 4));
        }
    }
}

TEST(a_team_that_fell_asleep_works_on_and_ends) {
    for (const std::size_t threads : {2, 4}) {
        WorkerTeam team(threads);
        for (int round = 0; round < 3; ++round) {
            idle();
            std::atomic<int> calls{0};
            team.run([&](std::size_t) { ++calls; });
            CHECK(calls == static_cast<int>(threads));
        }
        idle();
    }
}

TEST(teams_in_threads_of_their_own_do_not_meet) {
    std::vector<std::thread> owners;
    std::vector<int> sums(3);
    for (std::size_t owner = 0; owner < sums.size(); ++owner) {
        owners.emplace_back([&, owner] {
            WorkerTeam team(2);
            for (int run = 0; run < 50; ++run) {
                std::vector<int> taken(20);
                team.run([&](std::size_t thread) {
                    for (Taken got; (got = team.take(thread, taken.size(), 1)).count != 0;) {
                        taken[got.first] = 1;
                    }
                });
                for (const int times : taken) sums[owner] += times;
            }
        });
    }
    for (std::thread& owner : owners) owner.join();
    CHECK(sums == std::vector<int>(3, 1000));
}

// Sanitizers need address space of their own.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(a_team_does_with_the_threads_that_the_system_gives) {
    unsigned long pages = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    CHECK(file != nullptr && std::fscanf(file, "%lu", &pages) == 1);
    std::fclose(file);
    rlimit before{};
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    rlimit low = before;  // room for the stacks of a few threads
    low.rlim_cur = pages * static_cast<unsigned long>(sysconf(_SC_PAGESIZE)) + (64UL << 20);
    CHECK(setrlimit(RLIMIT_AS, &low) == 0);
    std::atomic<std::size_t> calls{0};
    std::size_t size = 0;
    {
        WorkerTeam team(200);
        size = team.size();
        team.run([&](std::size_t) { ++calls; });
    }
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(size >= 1 && size <= 200 && calls == size);
}
#endif
