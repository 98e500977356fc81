#include "Allocations.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> calls{0}, inUse{0}, peak{0}, limit{SIZE_MAX};

/** Memory with its size in front, in a header of the alignment's size. */
void* allocate(std::size_t size, std::size_t alignment) {
    const std::size_t header = alignment < 16 ? 16 : alignment;
    if (size > limit || inUse + size > limit)
        throw std::bad_alloc();
    void* block = nullptr;
    if (size > SIZE_MAX - header || posix_memalign(&block, header, header + size) != 0)
        throw std::bad_alloc();
    ++calls;
    const std::size_t now = inUse += size;
    for (std::size_t highest = peak; now > highest && !peak.compare_exchange_weak(highest, now);) {
    }
    *static_cast<std::size_t*>(block) = size;
    return static_cast<char*>(block) + header;
}

void release(void* memory, std::size_t alignment) {
    if (memory == nullptr)
        return;
    void* block = static_cast<char*>(memory) - (alignment < 16 ? 16 : alignment);
    inUse -= *static_cast<std::size_t*>(block);
    std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
    return allocate(size, 16);
}
void* operator new[](std::size_t size) {
    return allocate(size, 16);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
    release(memory, 16);
}
void operator delete[](void* memory) noexcept {
    release(memory, 16);
}
void operator delete(void* memory, std::size_t) noexcept {
    release(memory, 16);
}
void operator delete[](void* memory, std::size_t) noexcept {
    release(memory, 16);
}
void operator delete(void* memory, std::align_val_t alignment) noexcept {
    release(memory, static_cast<std::size_t>(alignment));
}
void operator delete[](void* memory, std::align_val_t alignment) noexcept {
    release(memory, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory, std::size_t, std::align_val_t alignment) noexcept {
    release(memory, static_cast<std::size_t>(alignment));
}
void operator delete[](void* memory, std::size_t, std::align_val_t alignment) noexcept {
    release(memory, static_cast<std::size_t>(alignment));
}

namespace FPForcePlugin {

Allocations::Allocations() : countBefore_(calls), bytesBefore_(inUse) {
    peak = bytesBefore_;
}

std::size_t Allocations::count() const {
    return calls - countBefore_;
}

std::size_t Allocations::peakBytes() const {
    return peak - bytesBefore_;
}

std::size_t Allocations::bytesInUse() const {
    const std::size_t now = inUse;
    return now > bytesBefore_ ? now - bytesBefore_ : 0;
}

AllocationLimit::AllocationLimit(std::size_t bytes) {
    limit = inUse + bytes;
}

AllocationLimit::~AllocationLimit() {
    limit = SIZE_MAX;
}

}  // namespace FPForcePlugin
