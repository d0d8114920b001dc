// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The operations of a warp of 32 threads for the other headers, and what a kernel tells the kernels beside it. The tests
// have another warp, made of loops, and run the same algorithms on it.
#pragma once

#include "logit_statistics.h"

namespace nld {

constexpr unsigned kEveryLane = 0xffffffffu;

// A kernel that is launched while the one before it still runs (programmatic dependent launch) must not touch what that
// one reads or writes before this returns: the other has then ended, and so has everything before it, because all
// kernels here call this first. Launched otherwise, a kernel does not wait here.
__device__ __forceinline__ void wait_for_kernel_before() {
#if defined(__CUDACC__)
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel of the stream be launched once every block of this one has come here or has ended.
__device__ __forceinline__ void let_kernel_after_start() {
#if defined(__CUDACC__)
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Maps floats to integers of the same order. The mapping is its own inverse.
__device__ __forceinline__ int ordered(int bits) { return bits < 0 ? bits ^ 0x7fffffff : bits; }

// A value that differs between lanes is a plain T here. each() makes one, and at() reads that of a lane.
struct Warp {
    int lane;

    template <typename Function>
    __device__ __forceinline__ auto each(Function function) const {
        return function(lane);
    }

    template <typename T>
    __device__ __forceinline__ T at(const T& value, int) const {
        return value;
    }

    // The value of one lane, for all lanes.
    template <typename T>
    __device__ __forceinline__ T from(T value, int source) const {
        return __shfl_sync(kEveryLane, value, source);
    }

    // Reduces groups of kLanes neighbouring lanes. All lanes of a group get the same bits, because every step combines
    // the same two values on both sides.
    template <int kLanes = kWarp, typename T, typename Function>
    __device__ __forceinline__ T reduced(T value, Function combine) const {
#pragma unroll
        for (int offset = kLanes / 2; offset > 0; offset /= 2) {
            value = combine(value, __shfl_xor_sync(kEveryLane, value, offset));
        }
        return value;
    }

    __device__ __forceinline__ float sum(float value) const {
        return reduced(value, plus);
    }

    // No value is NaN.
    __device__ __forceinline__ float max(float value) const {
        return __int_as_float(ordered(__reduce_max_sync(kEveryLane, ordered(__float_as_int(value)))));
    }

    __device__ __forceinline__ int min(int value) const { return __reduce_min_sync(kEveryLane, value); }

    // The sum of the values of this lane and of those below it.
    __device__ __forceinline__ float running(float value) const {
#pragma unroll
        for (int offset = 1; offset < kWarp; offset *= 2) {
            const float below = __shfl_up_sync(kEveryLane, value, offset);
            if (lane >= offset) value += below;
        }
        return value;
    }

    // The lanes for which `function` is true, as a bit mask.
    template <typename Function>
    __device__ __forceinline__ unsigned ballot(Function function) const {
        return __ballot_sync(kEveryLane, function(lane));
    }

    __device__ __forceinline__ bool leads() const { return lane == 0; }

    // After this, all lanes see what lanes have written to shared memory before.
    __device__ __forceinline__ void sync() const { __syncwarp(); }
};

}  // namespace nld
