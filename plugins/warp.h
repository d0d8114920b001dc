// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// 32 threads as one: what inversion.h and block_decision.h ask of a warp. The tests have another one, of loops, and run
// the same algorithms on it.
#pragma once

#include "logit_statistics.h"

namespace nld {

constexpr unsigned kEveryLane = 0xffffffffu;

__device__ __forceinline__ float from_below(float value, int offset) {
    return __shfl_down_sync(kEveryLane, value, offset);
}

__device__ __forceinline__ Sum from_below(const Sum& sum, int offset) {
    return {from_below(sum.peak, offset), from_below(sum.total, offset)};
}

__device__ __forceinline__ Likeliest from_below(const Likeliest& value, int offset) {
    return {from_below(value.all, offset), from_below(value.logit, offset),
            __shfl_down_sync(kEveryLane, value.token, offset)};
}

__device__ __forceinline__ Mass from_below(const Mass& value, int offset) {
    return {from_below(value.all, offset), from_below(value.kept, offset)};
}

// A value that differs between lanes is a T here; each() makes one and at() reads a lane's own.
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

    // One lane's value, for all of them.
    template <typename T>
    __device__ __forceinline__ T from(T value, int source) const {
        return __shfl_sync(kEveryLane, value, source);
    }

    // Sums and maxima are the same in every lane, bit for bit: each step adds the same two numbers on both sides.
    __device__ __forceinline__ float sum(float value) const {
#pragma unroll
        for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kEveryLane, value, offset);
        return value;
    }

    __device__ __forceinline__ float max(float value) const {
#pragma unroll
        for (int offset = kWarp / 2; offset > 0; offset /= 2) {
            value = larger(value, __shfl_xor_sync(kEveryLane, value, offset));
        }
        return value;
    }

    // The sum of this lane's value and of those below it.
    __device__ __forceinline__ float running(float value) const {
#pragma unroll
        for (int offset = 1; offset < kWarp; offset *= 2) {
            const float below = __shfl_up_sync(kEveryLane, value, offset);
            if (lane >= offset) value += below;
        }
        return value;
    }

    // The lanes for which `function` is true, by bits.
    template <typename Function>
    __device__ __forceinline__ unsigned ballot(Function function) const {
        return __ballot_sync(kEveryLane, function(lane));
    }

    // Lane 0 gets all partials, always combined in the same order.
    template <typename Partial>
    __device__ __forceinline__ Partial combined(Partial mine, float scale) const {
#pragma unroll
        for (int offset = kWarp / 2; offset > 0; offset /= 2) mine.combine(from_below(mine, offset), scale);
        return mine;
    }

    __device__ __forceinline__ bool leads() const { return lane == 0; }

    // What lanes wrote to shared memory before is seen by all behind this.
    __device__ __forceinline__ void sync() const { __syncwarp(); }
};

}  // namespace nld
