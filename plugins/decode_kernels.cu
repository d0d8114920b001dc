// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels: how threads share the work of logit_statistics.h and block_decision.h. Parameters are in the order
// that TensorRT's ahead-of-time plugins want: inputs, scalars, outputs. nld_trt/engine/kernels/spec.py lists them, and
// nld_trt/engine/kernels/launch.py says with how many threads each runs.
#include "block_decision.h"

namespace nld {

constexpr int kWarp = 32;

__device__ __forceinline__ float from_below(float value, int offset) {
    return __shfl_down_sync(0xffffffffu, value, offset);
}

__device__ __forceinline__ Sum from_below(const Sum& sum, int offset) {
    return {from_below(sum.peak, offset), from_below(sum.total, offset)};
}

// Lane 0 gets all lanes' partials, always in the same order.
template <bool kSampled>
__device__ __forceinline__ Partial combine_warp(Partial mine, float scale) {
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        Partial other = nothing();
        other.all = from_below(mine.all, offset);
        other.logit = from_below(mine.logit, offset);
        other.token = __shfl_down_sync(0xffffffffu, mine.token, offset);
        if (kSampled) {
            other.noise = from_below(mine.noise, offset);
            other.kept = from_below(mine.kept, offset);
        }
        combine<kSampled>(mine, other, scale);
    }
    return mine;
}

template <typename Type, bool kSampled>
__device__ __forceinline__ void reduce_chunk(const Statistics<Type>& statistics, Partial* found) {
    constexpr int kWarps = kThreads / kWarp;
    const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
    const int split = blockIdx.x, slot = blockIdx.y, row = blockIdx.z;
    const float scale = kSampled ? scale_of(statistics.sampling.temperature[row]) : 1.0f;
    if (kSampled && split == 0 && thread < kCandidates) statistics.record(row, slot, thread);
    const Partial mine = statistics.template share<kSampled>(row, slot, split, thread);
    const Partial all = combine_warp<kSampled>(mine, scale);
    if (lane == 0) found[warp] = all;
    __syncthreads();
    if (warp != 0) return;
    const Partial most = combine_warp<kSampled>(lane < kWarps ? found[lane] : nothing(), scale);
    if (lane == 0) statistics.template store<kSampled>(most, row, slot, split, gridDim.x);
}

// Grid (splits, W, B), kThreads threads.
template <typename Type>
__device__ __forceinline__ void reduce(const Statistics<Type>& statistics) {
    __shared__ Partial found[kThreads / kWarp];
    // One row, one answer: a block does not diverge here.
    if (statistics.sampling.sampled(blockIdx.z)) {
        reduce_chunk<Type, true>(statistics, found);
    } else {
        reduce_chunk<Type, false>(statistics, found);
    }
}

// All splits of each slot together, and a token from them.
template <bool kSampled>
__device__ __forceinline__ void choose_tokens(Row& row, const Decision& decision) {
    const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp, batch = blockIdx.x;
    const float scale = kSampled ? scale_of(decision.sampling.temperature[batch]) : 1.0f;
    if (kSampled) {
        for (int entry = thread; entry < decision.width * kCandidates; entry += kThreads) {
            draw_noise(row, decision, batch, entry);
        }
    }
    for (int slot = warp; slot < decision.width; slot += kThreads / kWarp) {
        const int first = (batch * decision.width + slot) * decision.splits;
        Partial mine = nothing();
        for (int split = lane; split < decision.splits; split += kWarp) {
            combine<kSampled>(mine, load<kSampled>(decision.partials, first + split), scale);
        }
        mine = combine_warp<kSampled>(mine, scale);
        if (lane != 0) continue;
        if (kSampled) {
            row.found[slot] = mine;
        } else {
            settle(row, slot, mine);
        }
    }
    if (!kSampled) return;
    __syncthreads();
    for (int entry = thread; entry < decision.width * kCandidates; entry += kThreads) {
        weigh(row, decision, batch, entry);
    }
    __syncthreads();
    if (thread < decision.width) settle(row, thread, choose(row, decision, batch, thread));
}

// Grid (B), kThreads threads.
__device__ __forceinline__ void decide(const Decision& decision) {
    __shared__ Row row;
    const int thread = threadIdx.x, batch = blockIdx.x;
    if (decision.sampling.sampled(batch)) {
        choose_tokens<true>(row, decision);
    } else {
        choose_tokens<false>(row, decision);
    }
    __syncthreads();
    if (thread < decision.width) line_up(row, decision, batch, thread);
    __syncthreads();
    if (thread < decision.width) decide_slot(row, decision, batch, thread);
    __syncthreads();
    if (thread == 0) decide_row(row, decision, batch);
}

}  // namespace nld

#define NLD_LOGIT_STATISTICS(NAME, TYPE)                                                                           \
    extern "C" __global__ void __launch_bounds__(nld::kThreads, nld::kResident)                                    \
        NAME(const nld::TYPE::Storage* __restrict__ logits, const float* __restrict__ temperature,                 \
             const long long* __restrict__ seed, const int* __restrict__ draw, const int* __restrict__ position,   \
             const float* __restrict__ cut, const int* __restrict__ drafted_ids, int width, int vocab,             \
             int mask_token_id, int* __restrict__ partials, float* __restrict__ drafted_logits) {                  \
        nld::reduce<nld::TYPE>({logits,                                                                            \
                                {temperature, seed, draw, position, cut, drafted_ids},                             \
                                width, vocab, mask_token_id, partials, drafted_logits});                           \
    }

NLD_LOGIT_STATISTICS(nld_logit_statistics_bf16, Bf16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp16, Fp16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp32, Fp32)

// One block a row, and seldom more rows than multiprocessors: it may take the registers that it wants.
extern "C" __global__ void __launch_bounds__(nld::kThreads, 1)
    nld_decode_step(const int* __restrict__ partials, const float* __restrict__ drafted_logits,
                    const float* __restrict__ temperature, const long long* __restrict__ seed,
                    const int* __restrict__ draw, const int* __restrict__ position, const float* __restrict__ cut,
                    const int* __restrict__ drafted_ids, const float* __restrict__ drafted_shares,
                    const int* __restrict__ block, const int* __restrict__ valid, const float* __restrict__ threshold,
                    const int* __restrict__ quota, const int* __restrict__ eos_token_id, int width, int splits,
                    int mask_token_id, int* block_tokens, float* confidence, int* masks_left, int* verified_tokens,
                    int* accepted_count, int* next_seed, int* eos_position, int* finite) {
    nld::decide({partials, drafted_logits, {temperature, seed, draw, position, cut, drafted_ids}, drafted_shares,
                 block, valid, threshold, quota, eos_token_id, width, splits, mask_token_id, block_tokens, confidence,
                 masks_left, verified_tokens, accepted_count, next_seed, eos_position, finite});
}
