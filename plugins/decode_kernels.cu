// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels: how threads share the work of logit_statistics.h and block_decision.h. Parameters are in the order
// that TensorRT's ahead-of-time plugins want: inputs, scalars, outputs. nld_trt/engine/kernels/spec.py lists them, and
// nld_trt/engine/kernels/launch.py says with how many threads each runs.
#include "block_decision.h"

namespace nld {

constexpr int kWarp = 32;

// Lane 0 gets all lanes' partials, always in the same order.
__device__ __forceinline__ Partial combine_warp(Partial mine) {
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        Partial other;
        other.peak = __shfl_down_sync(0xffffffffu, mine.peak, offset);
        other.total = __shfl_down_sync(0xffffffffu, mine.total, offset);
        other.score = __shfl_down_sync(0xffffffffu, mine.score, offset);
        other.logit = __shfl_down_sync(0xffffffffu, mine.logit, offset);
        other.token = __shfl_down_sync(0xffffffffu, mine.token, offset);
        mine = combine(mine, other);
    }
    return mine;
}

// Grid (splits, W, B), kThreads threads.
template <typename Type>
__device__ __forceinline__ void reduce_chunk(const Statistics<Type>& statistics) {
    constexpr int kWarps = kThreads / kWarp;
    __shared__ Partial found[kWarps];
    const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
    const int split = blockIdx.x, slot = blockIdx.y, row = blockIdx.z;
    const Partial mine = combine_warp(statistics.share(row, slot, split, thread));
    if (lane == 0) found[warp] = mine;
    __syncthreads();
    if (warp != 0) return;
    const Partial all = combine_warp(lane < kWarps ? found[lane] : nothing());
    if (lane == 0) statistics.store(all, row, slot, split, gridDim.x);
}

// Grid (B), kThreads threads.
template <bool kDenoise, bool kVerify>
__device__ __forceinline__ void decide(const Decision& decision) {
    __shared__ Row row;
    const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp, batch = blockIdx.x;
    for (int slot = warp; slot < decision.width; slot += kThreads / kWarp) {
        const int first = (batch * decision.width + slot) * decision.splits;
        Partial mine = nothing();
        for (int split = lane; split < decision.splits; split += kWarp) {
            mine = combine(mine, load(decision.partials, first + split));
        }
        mine = combine_warp(mine);
        if (lane == 0) settle(row, slot, mine);
    }
    __syncthreads();
    if (thread < decision.width) line_up<kDenoise>(row, decision, batch, thread);
    __syncthreads();
    if (thread < decision.width) decide_slot<kDenoise, kVerify>(row, decision, batch, thread);
    __syncthreads();
    if (thread == 0) decide_row<kDenoise, kVerify>(row, decision, batch);
}

}  // namespace nld

#define NLD_LOGIT_STATISTICS(NAME, TYPE)                                                                          \
    extern "C" __global__ void __launch_bounds__(nld::kThreads, nld::kResident)                                   \
        NAME(const nld::TYPE::Storage* __restrict__ logits, const float* __restrict__ temperature,                \
             const long long* __restrict__ seed, const int* __restrict__ draw, const int* __restrict__ positions, \
             const float* __restrict__ cut, int width, int vocab, int mask_token_id, int* __restrict__ partials) { \
        nld::reduce_chunk<nld::TYPE>(                                                                             \
            {logits, temperature, seed, draw, positions, cut, width, vocab, mask_token_id, partials});            \
    }

NLD_LOGIT_STATISTICS(nld_logit_statistics_bf16, Bf16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp16, Fp16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp32, Fp32)

extern "C" __global__ void __launch_bounds__(nld::kThreads)
    nld_block_denoise(const int* __restrict__ partials, const int* __restrict__ block, const int* __restrict__ valid,
                      const float* __restrict__ threshold, const int* __restrict__ quota, int width, int splits,
                      int mask_token_id, int* block_tokens, float* confidence, int* masks_left, int* finite) {
    nld::decide<true, false>({partials, block, valid, threshold, quota, nullptr, width, splits, mask_token_id,
                              block_tokens, confidence, masks_left, nullptr, nullptr, nullptr, nullptr, finite});
}

extern "C" __global__ void __launch_bounds__(nld::kThreads)
    nld_spec_verify(const int* __restrict__ partials, const int* __restrict__ block, const int* __restrict__ valid,
                    const int* __restrict__ eos_token_id, int width, int splits, int mask_token_id,
                    int* verified_tokens, int* accepted_count, int* next_seed, int* eos_position, int* finite) {
    nld::decide<false, true>({partials, block, valid, nullptr, nullptr, eos_token_id, width, splits, mask_token_id,
                              nullptr, nullptr, nullptr, verified_tokens, accepted_count, next_seed, eos_position,
                              finite});
}

// Both operators on the same statistics.
extern "C" __global__ void __launch_bounds__(nld::kThreads)
    nld_decode_step(const int* __restrict__ partials, const int* __restrict__ block, const int* __restrict__ valid,
                    const float* __restrict__ threshold, const int* __restrict__ quota,
                    const int* __restrict__ eos_token_id, int width, int splits, int mask_token_id,
                    int* block_tokens, float* confidence, int* masks_left, int* verified_tokens, int* accepted_count,
                    int* next_seed, int* eos_position, int* finite) {
    nld::decide<true, true>({partials, block, valid, threshold, quota, eos_token_id, width, splits, mask_token_id,
                             block_tokens, confidence, masks_left, verified_tokens, accepted_count, next_seed,
                             eos_position, finite});
}
