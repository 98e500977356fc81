#ifndef FPFORCE_THREAD_TEAM_H_
#define FPFORCE_THREAD_TEAM_H_

#include <memory>
#include <type_traits>

namespace FPForcePlugin {

/**
 * Threads that help the calling thread through a list of independent parts.
 *
 * Parts are handed out one at a time to whoever is free. The caller works too and starts at once: it never waits for a
 * worker to wake, only, at the end, for parts that workers have begun. A worker spins for a moment after its last part,
 * in case the next call comes soon, and then sleeps. Which worker gets which part varies between calls, so results must
 * depend on the part alone.
 *
 * One call at a time. Workers start at the first call with more than one part; a forked child starts its own. If the
 * system grants no thread, the caller does all the work.
 */
class ThreadTeam {
public:
    /** threads: in all, the caller included, >= 1 (std::invalid_argument otherwise). */
    explicit ThreadTeam(int threads);
    ~ThreadTeam();
    ThreadTeam(const ThreadTeam&) = delete;
    ThreadTeam& operator=(const ThreadTeam&) = delete;

    /** Threads in all, the caller included. */
    int size() const {
        return size_;
    }

    /**
     * Calls work(part, worker) for each part in [0, parts); worker in [0, size()), 0 the caller, names the thread, so
     * that each can have scratch memory of its own. Returns when all parts have ended. If parts throw, the rest are
     * done all the same, and the exception of the lowest part is thrown here. Allocates nothing once the workers run.
     */
    template <class Work>
    void run(int parts, Work&& work) {
        typedef std::remove_reference_t<Work> Callable;
        const Call call = [](const void* context, int part, int worker) {
            (*static_cast<Callable*>(const_cast<void*>(context)))(part, worker);
        };
        dispatch(parts, call, std::addressof(work));
    }

private:
    typedef void (*Call)(const void* context, int part, int worker);
    class Crew;
    void dispatch(int parts, Call call, const void* context);
    /** Forgets a crew that was started before this process was forked. */
    void leaveToParent();

    int size_;
    std::unique_ptr<Crew> crew_;
};

}  // namespace FPForcePlugin

#endif
