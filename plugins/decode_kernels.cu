// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels: how threads share the work of logit_statistics.h and block_decision.h. Parameters are in the order
// that TensorRT's ahead-of-time plugins want: inputs, scalars, outputs. nld_trt/engine/kernels/spec.py lists them, and
// nld_trt/engine/kernels/launch.py says with how many threads each runs.
#include "block_decision.h"
#include "warp.h"

namespace nld {

template <typename Type, template <typename> class Reader>
__device__ __forceinline__ void reduce_chunk(const Statistics<Type>& statistics,
                                             typename Reader<Type>::Partial* found) {
    using Partial = typename Reader<Type>::Partial;
    constexpr int kWarps = kThreads / kWarp;
    const int thread = threadIdx.x, lane = thread % kWarp;
    const int split = blockIdx.x, slot = blockIdx.y, row = blockIdx.z;
    const Warp warp{lane};
    const Rules rules = statistics.rules(row, slot);
    const Partial mine = statistics.template share<Reader>(row, slot, split, thread, rules);
    const Partial all = warp.combined(mine, rules.scale);
    if (lane == 0) found[thread / kWarp] = all;
    __syncthreads();
    if (thread >= kWarp) return;
    const Partial most = warp.combined(lane < kWarps ? found[lane] : Partial::nothing(), rules.scale);
    if (lane == 0) statistics.store(most.stored(), row, slot, split, gridDim.x);
}

// Grid (splits, W, B), kThreads threads.
template <typename Type>
__device__ __forceinline__ void reduce(const Statistics<Type>& statistics) {
    __shared__ union {
        Likeliest likeliest[kThreads / kWarp];
        Mass mass[kThreads / kWarp];
    } found;
    // One row, one answer: a block does not diverge here.
    if (statistics.sampling.sampled(blockIdx.z)) {
        reduce_chunk<Type, MassReader>(statistics, found.mass);
    } else {
        reduce_chunk<Type, LikeliestReader>(statistics, found.likeliest);
    }
}

// Grid (B), kDecisionThreads threads.
template <typename Type>
__device__ __forceinline__ void decide(const Decision<Type>& decision) {
    __shared__ Row row;
    __shared__ Taken taken;
    const int thread = threadIdx.x, first = thread / kWarp, batch = blockIdx.x;
    const Warp warp{thread % kWarp};
    if (decision.sampling.sampled(batch)) {
        for (int slot = first; slot < decision.width; slot += kDecisionThreads / kWarp) {
            sample(warp, row, taken.of[first], decision, batch, slot);
        }
    } else {
        for (int slot = first; slot < decision.width; slot += kDecisionThreads / kWarp) {
            choose_likeliest(warp, row, decision, batch, slot);
        }
    }
    __syncthreads();
    if (thread < decision.width) line_up(row, decision, batch, thread);
    __syncthreads();
    if (thread < decision.width) decide_slot(row, decision, batch, thread);
    __syncthreads();
    if (thread == 0) decide_row(row, decision, batch);
}

}  // namespace nld

#define NLD_LOGIT_STATISTICS(NAME, TYPE)                                                                      \
    extern "C" __global__ void __launch_bounds__(nld::kThreads, nld::kResident)                               \
        NAME(const nld::TYPE::Storage* __restrict__ logits, const float* __restrict__ temperature,            \
             const float* __restrict__ cut, int width, int vocab, int mask_token_id,                          \
             int* __restrict__ partials) {                                                                    \
        nld::reduce<nld::TYPE>({logits, {temperature, cut}, width, vocab, mask_token_id, partials});          \
    }

NLD_LOGIT_STATISTICS(nld_logit_statistics_bf16, Bf16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp16, Fp16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp32, Fp32)

// One block a row, and seldom more rows than multiprocessors: it may fill one.
#define NLD_DECODE_STEP(NAME, TYPE)                                                                           \
    extern "C" __global__ void __launch_bounds__(nld::kDecisionThreads, 1)                                    \
        NAME(const nld::TYPE::Storage* __restrict__ logits, const int* __restrict__ partials,                 \
             const float* __restrict__ temperature, const float* __restrict__ cut,                            \
             const long long* __restrict__ seed, const int* __restrict__ stream, const int* __restrict__ draw, \
             const int* __restrict__ position, const int* __restrict__ drafted_ids,                           \
             const float* __restrict__ drafted_shares, const int* __restrict__ block,                         \
             const int* __restrict__ valid, const int* __restrict__ verify_valid,                             \
             const float* __restrict__ threshold, const int* __restrict__ quota,                              \
             const int* __restrict__ eos_token_id, int width, int vocab, int mask_token_id, int* block_tokens, \
             float* confidence, int* masks_left, int* verified_tokens, int* accepted_count, int* next_seed,   \
             int* eos_position, int* finite) {                                                                \
        nld::decide<nld::TYPE>({logits, partials, {temperature, cut}, {seed, stream, draw, position},         \
                                drafted_ids, drafted_shares, block, valid, verify_valid, threshold, quota,    \
                                eos_token_id, width, vocab, mask_token_id, block_tokens, confidence,          \
                                masks_left, verified_tokens, accepted_count, next_seed, eos_position, finite}); \
    }

NLD_DECODE_STEP(nld_decode_step_bf16, Bf16)
NLD_DECODE_STEP(nld_decode_step_fp16, Fp16)
NLD_DECODE_STEP(nld_decode_step_fp32, Fp32)
