#ifndef FPFORCE_ALIGNED_BUFFER_H_
#define FPFORCE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <new>

namespace FPForcePlugin {

/** Zero-filled memory of fixed size at the alignment of a cache line. */
template <class T>
class AlignedBuffer {
public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(std::size_t size)
        : size_(size), data_(size == 0 ? nullptr : static_cast<T*>(::operator new[](size * sizeof(T), alignment))) {
        for (std::size_t i = 0; i < size; ++i)
            data_[i] = T();
    }
    AlignedBuffer(AlignedBuffer&& other) noexcept : size_(other.size_), data_(other.data_) {
        other.size_ = 0;
        other.data_ = nullptr;
    }
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        AlignedBuffer old(static_cast<AlignedBuffer&&>(*this));
        size_ = other.size_;
        data_ = other.data_;
        other.size_ = 0;
        other.data_ = nullptr;
        return *this;
    }
    AlignedBuffer(const AlignedBuffer&) = delete;
    AlignedBuffer& operator=(const AlignedBuffer&) = delete;
    ~AlignedBuffer() {
        if (data_ != nullptr)
            ::operator delete[](data_, alignment);
    }
    T* data() {
        return data_;
    }
    const T* data() const {
        return data_;
    }
    std::size_t size() const {
        return size_;
    }
    T& operator[](std::size_t i) {
        return data_[i];
    }
    const T& operator[](std::size_t i) const {
        return data_[i];
    }

private:
    static constexpr std::align_val_t alignment{64};
    std::size_t size_ = 0;
    T* data_ = nullptr;
};

}  // namespace FPForcePlugin

#endif
