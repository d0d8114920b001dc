// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The types of logits, exponentials and random numbers.
//
// This and the headers beside it compile for GPUs (NVRTC, nvcc) and as plain C++, in which the tests run them. For GPUs
// they include no other header, so that NVRTC needs no include path.
#pragma once

#if defined(__CUDACC__)
#define NLD_DEVICE __device__ __forceinline__
#else
#include <cmath>
#include <cstring>
#define NLD_DEVICE inline
#endif

namespace nld {

struct alignas(16) Vector {
    unsigned word[4];
};

NLD_DEVICE float float_of(unsigned bits) {
#if defined(__CUDACC__)
    return __uint_as_float(bits);
#else
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

NLD_DEVICE unsigned bits_of(float value) {
#if defined(__CUDACC__)
    return __float_as_uint(value);
#else
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

NLD_DEVICE float minus_infinity() { return float_of(0xff800000u); }

// e^x for x <= 0. On a GPU it is 2^(x log2 e), which is 0 below 2^-126: two instructions, where __expf takes six.
NLD_DEVICE float fast_exp(float x) {
#if defined(__CUDACC__)
    float value;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x * 1.4426950408889634f));
    return value;
#else
    return std::exp(x);
#endif
}

// 1 / x for x > 0. On a GPU it may be off by one unit in the last place, and is 0 below 2^-126: one instruction, where the
// division takes a function and the registers for it.
NLD_DEVICE float reciprocal(float x) {
#if defined(__CUDACC__)
    float value;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
#else
    return 1.0f / x;
#endif
}

// The larger of two values. NaN is smaller than any number.
NLD_DEVICE float larger(float a, float b) {
#if defined(__CUDACC__)
    return fmaxf(a, b);
#else
    return std::fmax(a, b);
#endif
}

NLD_DEVICE float plus(float a, float b) { return a + b; }

NLD_DEVICE int lesser(int a, int b) { return a < b ? a : b; }

// The index of the lowest or highest bit that is set. At least one bit is set.
NLD_DEVICE int lowest_bit(unsigned bits) {
#if defined(__CUDACC__)
    return __ffs(static_cast<int>(bits)) - 1;
#else
    return __builtin_ctz(bits);
#endif
}

NLD_DEVICE int highest_bit(unsigned bits) {
#if defined(__CUDACC__)
    return 31 - __clz(static_cast<int>(bits));
#else
    return 31 - __builtin_clz(bits);
#endif
}

// The larger of the upper halves of two words, and the larger of the lower ones. NaN is smaller than any number.
template <typename Type>
NLD_DEVICE unsigned larger_halves(unsigned a, unsigned b) {
    const auto picked = [&](unsigned shift) {
        const unsigned first = a >> shift & 0xffffu, second = b >> shift & 0xffffu;
        const float one = Type::widen(first), other = Type::widen(second);
        return (one >= other || other != other ? first : second) << shift;
    };
    return picked(0) | picked(16);
}

// Bits in the upper half where the upper halves of two words are equal numbers, and in the lower half likewise.
template <typename Type>
NLD_DEVICE unsigned equal_halves(unsigned a, unsigned b) {
    const auto equal = [&](unsigned shift) {
        return static_cast<unsigned>(Type::widen(a >> shift & 0xffffu) == Type::widen(b >> shift & 0xffffu)) << shift;
    };
    return equal(0) | equal(16);
}

// The types of logits: Storage is the type in memory, widen converts it exactly to float, kLeast is minus infinity. Words
// hold one or two values: larger_words takes the larger of each pair in two words, equal_words has bits set where a pair
// is equal, and filled makes a word of a value that the type can have.
struct Bf16 {
    using Storage = unsigned short;
    static constexpr unsigned kLeast = 0xff80u;
    static NLD_DEVICE float widen(unsigned bits) { return float_of(bits << 16); }
    static NLD_DEVICE unsigned larger_words(unsigned a, unsigned b) {
#if defined(__CUDACC__)
        unsigned found;
        asm("max.bf16x2 %0, %1, %2;" : "=r"(found) : "r"(a), "r"(b));
        return found;
#else
        return larger_halves<Bf16>(a, b);
#endif
    }
    static NLD_DEVICE unsigned equal_words(unsigned a, unsigned b) {
#if defined(__CUDACC__)
        unsigned found;
        asm("set.eq.bf16x2.bf16x2 %0, %1, %2;" : "=r"(found) : "r"(a), "r"(b));
        return found;
#else
        return equal_halves<Bf16>(a, b);
#endif
    }
    static NLD_DEVICE unsigned filled(float value) {
        const unsigned bits = bits_of(value) >> 16;
        return bits | bits << 16;
    }
};

#if !defined(__CUDACC__)
// The half-precision number that is exactly `value`.
inline unsigned half_of(float value) {
    const unsigned sign = bits_of(value) >> 16 & 0x8000u, exponent = bits_of(value) >> 23 & 255u;
    const unsigned fraction = bits_of(value) >> 13 & 0x3ffu;
    if (exponent == 255) return sign | 0x7c00u | fraction;
    if (exponent > 112) return sign | (exponent - 112) << 10 | fraction;
    return sign | static_cast<unsigned>(std::fabs(value) * 16777216.0f);
}
#endif

struct Fp16 {
    using Storage = unsigned short;
    static constexpr unsigned kLeast = 0xfc00u;
    static NLD_DEVICE float widen(unsigned bits) {
#if defined(__CUDACC__)
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<unsigned short>(bits)));
        return value;
#else
        const unsigned sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 0x3ffu;
        if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
        if (exponent != 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
        const float tiny = static_cast<float>(fraction) / 16777216.0f;
        return sign ? -tiny : tiny;
#endif
    }
    static NLD_DEVICE unsigned larger_words(unsigned a, unsigned b) {
#if defined(__CUDACC__)
        unsigned found;
        asm("max.f16x2 %0, %1, %2;" : "=r"(found) : "r"(a), "r"(b));
        return found;
#else
        return larger_halves<Fp16>(a, b);
#endif
    }
    static NLD_DEVICE unsigned equal_words(unsigned a, unsigned b) {
#if defined(__CUDACC__)
        unsigned found;
        asm("set.eq.f16x2.f16x2 %0, %1, %2;" : "=r"(found) : "r"(a), "r"(b));
        return found;
#else
        return equal_halves<Fp16>(a, b);
#endif
    }
    static NLD_DEVICE unsigned filled(float value) {
#if defined(__CUDACC__)
        unsigned short bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
        const unsigned bits = half_of(value);
#endif
        return static_cast<unsigned>(bits) | static_cast<unsigned>(bits) << 16;
    }
};

struct Fp32 {
    using Storage = unsigned;
    static constexpr unsigned kLeast = 0xff800000u;
    static NLD_DEVICE float widen(unsigned bits) { return float_of(bits); }
    static NLD_DEVICE unsigned larger_words(unsigned a, unsigned b) {
        return bits_of(larger(float_of(a), float_of(b)));
    }
    static NLD_DEVICE unsigned equal_words(unsigned a, unsigned b) { return float_of(a) == float_of(b); }
    static NLD_DEVICE unsigned filled(float value) { return bits_of(value); }
};

template <typename Type>
constexpr int kPerWord = sizeof(unsigned) / sizeof(typename Type::Storage);

template <typename Type>
constexpr int kPerVector = sizeof(Vector) / sizeof(typename Type::Storage);

// One of the kPerWord values of a word.
template <typename Type>
NLD_DEVICE unsigned entry_bits(unsigned word, int place) {
    if constexpr (kPerWord<Type> == 1) return word;
    return word >> (place * 16) & 0xffffu;
}

template <typename Type>
NLD_DEVICE float entry(unsigned word, int place) {
    return Type::widen(entry_bits<Type>(word, place));
}

// The word with minus infinity in place of one of its values.
template <typename Type>
NLD_DEVICE unsigned emptied(unsigned word, unsigned place) {
    if constexpr (kPerWord<Type> == 1) return Type::kLeast;
    return (word & ~(0xffffu << (place * 16))) | Type::kLeast << (place * 16);
}

template <typename Type>
NLD_DEVICE void unpack(const Vector& vector, float (&values)[kPerVector<Type>]) {
    constexpr int kPer = kPerWord<Type>;
#pragma unroll
    for (int j = 0; j < kPerVector<Type>; ++j) values[j] = entry<Type>(vector.word[j / kPer], j % kPer);
}

template <typename Type>
NLD_DEVICE bool aligned(const typename Type::Storage* entries) {
    return reinterpret_cast<unsigned long long>(entries) % sizeof(Vector) == 0;
}

// The kPerVector entries of a slot from `first` on, with minus infinity in place of those from `end` on. Vectors start
// at multiples of their width from entry 0 and not from an aligned address, so that sums have the same order in every
// row: where V is not a multiple of a vector's width, the rows of a batch are aligned differently.
template <typename Type>
NLD_DEVICE Vector vector_at(const typename Type::Storage* entries, int first, int end) {
    constexpr int kPer = kPerVector<Type>, kBits = 128 / kPer;
    if (aligned<Type>(entries) && first + kPer <= end) return *reinterpret_cast<const Vector*>(entries + first);
    Vector vector{};
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
        const unsigned bits = first + j < end ? entries[first + j] : Type::kLeast;
        vector.word[j * kBits / 32] |= bits << (j * kBits % 32);
    }
    return vector;
}

// How a vector is read: for the only time, past the L1 cache, or to be read again soon.
struct Once {
    static NLD_DEVICE Vector read(const Vector* from) {
#if defined(__CUDACC__)
        Vector found;
        asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(found.word[0]), "=r"(found.word[1]), "=r"(found.word[2]), "=r"(found.word[3])
                     : "l"(from));
        return found;
#else
        return *from;
#endif
    }
};

struct Again {
    static NLD_DEVICE Vector read(const Vector* from) { return *from; }
};

// Read several vectors, `stride` entries apart, all before the first is used. `whole` means that none
// reaches `end`.
template <typename Reads, typename Type, int kCount>
NLD_DEVICE void read_vectors(const typename Type::Storage* entries, int first, int stride, int end, bool whole,
                             Vector (&found)[kCount]) {
    if (whole && aligned<Type>(entries)) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            found[i] = Reads::read(reinterpret_cast<const Vector*>(entries + first + i * stride));
        }
    } else {
#pragma unroll
        for (int i = 0; i < kCount; ++i) found[i] = vector_at<Type>(entries, first + i * stride, end);
    }
}

// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
struct Words {
    unsigned word[4];
};

NLD_DEVICE Words philox(Words counter, unsigned key0, unsigned key1) {
    unsigned a = counter.word[0], b = counter.word[1], c = counter.word[2], d = counter.word[3];
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long first = 0xD2511F53ull * a, second = 0xCD9E8D57ull * c;
        a = static_cast<unsigned>(second >> 32) ^ b ^ key0;
        c = static_cast<unsigned>(first >> 32) ^ d ^ key1;
        b = static_cast<unsigned>(second);
        d = static_cast<unsigned>(first);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}

// Every step is exact, and the result lies strictly between 0 and 1.
NLD_DEVICE float uniform(unsigned word) { return (static_cast<float>(word >> 9) + 0.5f) * 1.1920928955078125e-7f; }

}  // namespace nld
