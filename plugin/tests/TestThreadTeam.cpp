/** ThreadTeam: every part is done once, by the threads named, whatever is thrown, forked or repeated. */

#include "ThreadTeam.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "Allocations.h"
#include "Check.h"

using namespace FPForcePlugin;

namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool underThreadSanitizer = true;
#elif defined(__has_feature)
constexpr bool underThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool underThreadSanitizer = false;
#endif

/** Runs `parts` parts that each count themselves, and checks the counts. */
void checkEachPartOnce(ThreadTeam& team, int parts) {
    std::vector<int> times(static_cast<std::size_t>(parts));
    std::vector<std::vector<int>> partsOfWorker(static_cast<std::size_t>(team.size()));
    for (std::vector<int>& list : partsOfWorker)
        list.reserve(static_cast<std::size_t>(parts));
    // Not atomic: ThreadSanitizer would see two threads with one worker's number, and a return before the work is done.
    team.run(parts, [&](int part, int worker) {
        ++times[static_cast<std::size_t>(part)];
        partsOfWorker.at(static_cast<std::size_t>(worker)).push_back(part);
    });
    CHECK(times == std::vector<int>(static_cast<std::size_t>(parts), 1));
    std::size_t total = 0;
    for (const std::vector<int>& list : partsOfWorker)
        total += list.size();
    CHECK(total == static_cast<std::size_t>(parts));
}

}  // namespace

TEST(thread_team_does_every_part_once) {
    for (const int threads : {1, 2, 3, 8}) {
        ThreadTeam team(threads);
        CHECK(team.size() == threads);
        for (int call = 0; call < 3000; ++call)
            checkEachPartOnce(team, call % 17);
        checkEachPartOnce(team, 10000);
    }
}

TEST(thread_team_works_after_its_workers_went_to_sleep) {
    ThreadTeam team(4);
    for (int call = 0; call < 200; ++call) {
        checkEachPartOnce(team, 8);
        std::this_thread::sleep_for(std::chrono::microseconds(call % 20 * 20));
    }
}

TEST(thread_team_shares_long_parts) {
    // Each part waits for another one to have begun, so that a single thread could never finish.
    ThreadTeam team(2);
    for (int call = 0; call < 20; ++call) {
        std::atomic<int> begun{0};
        team.run(2, [&](int, int) {
            ++begun;
            while (begun < 2)
                std::this_thread::yield();
        });
        CHECK(begun == 2);
    }
}

TEST(thread_team_caller_sleeps_until_a_slow_worker_has_ended) {
    ThreadTeam team(2);
    for (int call = 0; call < 20; ++call) {
        std::atomic<bool> helped{false};
        int finished = 0;  // by one worker at most
        team.run(2, [&](int, int worker) {
            if (worker == 0) {
                while (!helped)
                    std::this_thread::yield();
            } else {
                helped = true;
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                finished = 1;
            }
        });
        CHECK(finished == 1);
    }
}

TEST(thread_team_throws_what_the_lowest_part_threw_after_all_have_ended) {
    for (const int threads : {1, 4}) {
        ThreadTeam team(threads);
        for (int call = 0; call < 200; ++call) {
            std::atomic<int> ended{0};
            CHECK_THROWS(team.run(16,
                                  [&](int part, int) {
                                      ++ended;
                                      if (part % 5 == 3)
                                          throw std::runtime_error("part " + std::to_string(part));
                                  }),
                         std::runtime_error, "part 3");
            CHECK(ended == 16);
        }
        checkEachPartOnce(team, 16);
    }
}

TEST(thread_team_of_none_is_refused) {
    CHECK_THROWS(ThreadTeam(0), std::invalid_argument, "0 threads");
}

TEST(thread_team_can_be_destroyed_at_any_moment) {
    for (int repeat = 0; repeat < 200; ++repeat) {
        ThreadTeam team(3);
        if (repeat % 4 != 0)
            checkEachPartOnce(team, 3);
        if (repeat % 10 == 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

TEST(thread_teams_work_side_by_side) {
    std::vector<std::thread> callers;
    std::atomic<int> succeeded{0};
    for (int caller = 0; caller < 3; ++caller)
        callers.emplace_back([&] {
            ThreadTeam team(2);
            for (int call = 0; call < 500; ++call)
                checkEachPartOnce(team, 6);
            ++succeeded;
        });
    for (std::thread& caller : callers)
        caller.join();
    CHECK(succeeded == 3);
}

TEST(thread_team_allocates_nothing_once_its_workers_run) {
    ThreadTeam team(3);
    std::vector<double> sums(64);
    const auto work = [&](int part, int) { sums[static_cast<std::size_t>(part)] += part; };
    team.run(64, work);
    const Allocations allocations;
    for (int call = 0; call < 1000; ++call)
        team.run(64, work);
    CHECK(allocations.count() == 0);
}

TEST(thread_team_works_in_a_forked_child) {
    if (underThreadSanitizer)
        return;  // which knows no threads started after a fork of a process with threads
    auto team = std::make_unique<ThreadTeam>(3);
    checkEachPartOnce(*team, 12);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);  // a deadlock must end too
        checkEachPartOnce(*team, 12);
        team.reset();
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    checkEachPartOnce(*team, 12);
}
