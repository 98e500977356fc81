#include "ThreadTeam.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace FPForcePlugin {

namespace {

/** How long a thread polls before it sleeps: about as long as waking it would take. */
constexpr std::chrono::microseconds pollingTime(50);

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/** Polls until ready() or for pollingTime; says which. */
template <class Ready>
bool poll(Ready ready) {
    const auto end = std::chrono::steady_clock::now() + pollingTime;
    do {
        for (int i = 0; i < 16; ++i) {
            if (ready())
                return true;
            relax();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

/**
 * Sleeps until ready(), which is looked at under the lock. wait_for is code of the header; wait is one of libstdc++, and compiled
 * with GCC 12 it asks for a newer libstdc++ (GLIBCXX_3.4.30) than RHEL 9 and its relatives have.
 */
template <class Ready>
void sleep(std::condition_variable& woken, std::unique_lock<std::mutex>& lock, Ready ready) {
    while (!woken.wait_for(lock, std::chrono::hours(1), ready)) {
    }
}

/** While it exists, threads started here inherit a mask that leaves signals to the program's own threads. */
class SignalsBlocked {
public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() {
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_;
};

}  // namespace

/**
 * The workers and the one list of parts that they share with the caller.
 *
 * `ticket_` holds the number of the call in its upper half and how many parts are still to be begun in its lower half.
 * A part is taken by counting the ticket down from a value read before the call's data. Each value is taken once, and
 * the caller writes new data only after all parts have ended, so success proves that the data belong to the part. A
 * worker that wakes too late finds nothing to take, and the caller need not wait for it.
 */
class ThreadTeam::Crew {
public:
    explicit Crew(int workers) : process_(getpid()), polling_(static_cast<unsigned>(workers) < std::thread::hardware_concurrency()) {
        const SignalsBlocked blocked;
        workers_.reserve(static_cast<std::size_t>(workers));
        try {
            for (int worker = 1; worker <= workers; ++worker)
                workers_.emplace_back([this, worker] { serve(worker); });
        } catch (const std::exception&) {
            // The system grants no more threads; those there are, with the caller, do the work.
        }
    }

    ~Crew() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            ending_ = true;
        }
        called_.notify_all();
        for (std::thread& worker : workers_)
            worker.join();
    }

    /** Whether the threads exist in this process: a forked child has none. */
    bool isHere() const {
        return process_ == getpid();
    }

    void run(int parts, Call call, const void* context) {
        call_.store(call, std::memory_order_relaxed);
        context_.store(context, std::memory_order_relaxed);
        parts_.store(parts, std::memory_order_relaxed);
        unfinished_.store(parts, std::memory_order_relaxed);
        failed_ = parts;
        // Whoever sees this ticket sees the data above.
        ticket_.store(((ticket_.load() >> half) + 1) << half | static_cast<std::uint64_t>(parts));
        if (sleeping_.load() > 0) {
            // A worker counts as sleeping before it looks at the ticket for the last time, both under the lock.
            {
                const std::lock_guard<std::mutex> lock(mutex_);
            }
            called_.notify_all();
        }
        work(0);
        const auto ended = [this] { return unfinished_.load() == 0; };
        if (!pollFor(ended)) {
            std::unique_lock<std::mutex> lock(mutex_);
            callerSleeps_ = true;
            sleep(ended_, lock, ended);
            callerSleeps_ = false;
        }
        if (error_ != nullptr)
            std::rethrow_exception(std::exchange(error_, nullptr));
    }

private:
    static constexpr int half = 32;

    template <class Ready>
    bool pollFor(Ready ready) const {
        return polling_ ? poll(ready) : ready();
    }

    /** A worker's life. */
    void serve(int worker) {
        std::uint64_t seen = 0;
        const auto called = [this, &seen] { return ticket_.load() >> half != seen || ending_; };
        while (!ending_) {
            if (!pollFor(called)) {
                std::unique_lock<std::mutex> lock(mutex_);
                ++sleeping_;
                sleep(called_, lock, called);
                --sleeping_;
            }
            seen = ticket_.load() >> half;
            work(worker);
        }
    }

    /** Does parts of the present call until none is left to begin. */
    void work(int worker) {
        std::uint64_t ticket = ticket_.load();
        while (static_cast<std::uint32_t>(ticket) != 0) {
            const Call call = call_.load(std::memory_order_relaxed);
            const void* const context = context_.load(std::memory_order_relaxed);
            const int left = static_cast<int>(static_cast<std::uint32_t>(ticket));
            const int part = parts_.load(std::memory_order_relaxed) - left;
            if (ticket_.compare_exchange_weak(ticket, ticket - 1)) {
                perform(call, context, part, worker);
                ticket = ticket_.load();
            }
        }
    }

    void perform(Call call, const void* context, int part, int worker) {
        try {
            call(context, part, worker);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (part < failed_) {
                failed_ = part;
                error_ = std::current_exception();
            }
        }
        // The caller says that it sleeps before it looks at the count for the last time.
        if (unfinished_.fetch_sub(1) == 1 && callerSleeps_) {
            {
                const std::lock_guard<std::mutex> lock(mutex_);
            }
            ended_.notify_one();
        }
    }

    const pid_t process_;
    const bool polling_;  // only where every thread has a processor can it help

    // Each group is written by different threads at different times, so each has a cache line of its own.
    alignas(64) std::atomic<std::uint64_t> ticket_{0};
    std::atomic<Call> call_{nullptr};
    std::atomic<const void*> context_{nullptr};
    std::atomic<int> parts_{0};
    alignas(64) std::atomic<int> unfinished_{0};
    alignas(64) std::atomic<int> sleeping_{0};
    std::atomic<bool> callerSleeps_{false}, ending_{false};

    std::mutex mutex_;
    std::condition_variable called_, ended_;
    int failed_ = 0;  // the lowest part that has thrown, and what; under the lock
    std::exception_ptr error_;
    std::vector<std::thread> workers_;
};

ThreadTeam::ThreadTeam(int threads) : size_(threads) {
    if (threads < 1)
        throw std::invalid_argument("a team of " + std::to_string(threads) + " threads; at least 1 is needed");
}

ThreadTeam::~ThreadTeam() {
    leaveToParent();
}

void ThreadTeam::dispatch(int parts, Call call, const void* context) {
    if (size_ == 1 || parts <= 1) {
        std::exception_ptr error;
        for (int part = 0; part < parts; ++part) {
            try {
                call(context, part, 0);
            } catch (...) {
                if (error == nullptr)
                    error = std::current_exception();
            }
        }
        if (error != nullptr)
            std::rethrow_exception(error);
        return;
    }
    leaveToParent();
    if (crew_ == nullptr)
        crew_ = std::make_unique<Crew>(size_ - 1);
    crew_->run(parts, call, context);
}

void ThreadTeam::leaveToParent() {
    // In a forked child the threads do not exist and the locks are as the fork found them: forget them, touch nothing.
    if (crew_ != nullptr && !crew_->isHere())
        static_cast<void>(crew_.release());
}

}  // namespace FPForcePlugin
