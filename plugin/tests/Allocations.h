#ifndef FPFORCE_TESTS_ALLOCATIONS_H_
#define FPFORCE_TESTS_ALLOCATIONS_H_

#include <cstddef>

namespace FPForcePlugin {

/** What operator new has handed out, in all threads, since this object was made. */
class Allocations {
public:
    Allocations();
    /** Calls of operator new. */
    std::size_t count() const;
    /** The most bytes that were in use at one time beyond those in use at the start. */
    std::size_t peakBytes() const;
    /** Bytes in use beyond those in use at the start, if no less are. */
    std::size_t bytesInUse() const;

private:
    std::size_t countBefore_, bytesBefore_;
};

/**
 * While it exists, operator new throws std::bad_alloc for any request that would bring the bytes in use this far beyond those
 * in use at the start, so that a test of hostile input fails at once and harms nothing.
 */
class AllocationLimit {
public:
    explicit AllocationLimit(std::size_t bytes);
    ~AllocationLimit();
    AllocationLimit(const AllocationLimit&) = delete;
    AllocationLimit& operator=(const AllocationLimit&) = delete;
};

}  // namespace FPForcePlugin

#endif
