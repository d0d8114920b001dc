// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// What memory gives on this GPU: a copy and a sum that do nothing else. A thread takes kBatch vectors of 16 bytes, and a
// block's lie together. There is no odd end: bandwidth.py asks for whole blocks only.
namespace bandwidth {

// nld_trt/measure/kernels/bandwidth.py repeats both.
constexpr int kThreads = 256;
constexpr int kBatch = 8;

constexpr int kWarp = 32;

struct alignas(16) Vector {
    unsigned word[4];
};

__device__ __forceinline__ void load(const Vector* __restrict__ from, Vector (&batch)[kBatch]) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) batch[i] = from[i * kThreads];
}

__device__ __forceinline__ long long first_vector() {
    return static_cast<long long>(blockIdx.x) * kThreads * kBatch + threadIdx.x;
}

}  // namespace bandwidth

extern "C" __global__ void __launch_bounds__(bandwidth::kThreads)
    nld_copy_vectors(const bandwidth::Vector* __restrict__ source, bandwidth::Vector* __restrict__ target) {
    using namespace bandwidth;
    const long long first = first_vector();
    Vector batch[kBatch];
    load(source + first, batch);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) target[first + i * kThreads] = batch[i];
}

// The sum of each warp's words. Written so that the words must be read, and few enough to cost nothing.
extern "C" __global__ void __launch_bounds__(bandwidth::kThreads)
    nld_sum_vectors(const bandwidth::Vector* __restrict__ source, unsigned* __restrict__ sums) {
    using namespace bandwidth;
    Vector batch[kBatch];
    load(source + first_vector(), batch);
    unsigned sum = 0;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sum += batch[i].word[j];
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    const int thread = threadIdx.x;
    if (thread % kWarp == 0) sums[blockIdx.x * (kThreads / kWarp) + thread / kWarp] = sum;
}
