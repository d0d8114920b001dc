// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The CUDA kernels, which distribute the work of logit_statistics.h, block_decision.h and next_pass.h over threads.
// Parameters are in the order that TensorRT's ahead-of-time plugins require: inputs, scalars, outputs.
// nld_trt/engine/gpu/kernels/spec.py lists them, and nld_trt/engine/gpu/kernels/launch.py has the number of threads.
//
// Inputs are not __restrict__: a kernel may be resident while the one before it writes them, and what the compiler may
// assume of read-only memory would not hold.
#include "block_decision.h"
#include "next_pass.h"
#include "warp.h"

namespace nld {

// Blocks of the statistics pass that a multiprocessor has at once. With logits of 16 bits it is full, and each block has
// 16 KiB on their way; logits of 32 bits take twice the registers, and as many bytes are on their way.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int kMostWarps = 48;
#else
constexpr int kMostWarps = 64;
#endif
template <typename Type>
constexpr int kResident = sizeof(typename Type::Storage) == 2 ? kMostWarps * kWarp / kThreads : 5;

// Grid (splits, W, B), kThreads threads.
template <typename Type>
__device__ __forceinline__ void reduce(const Statistics<Type>& statistics) {
    __shared__ Chunk chunk;
    const int thread = threadIdx.x, index = thread / kWarp;
    const int split = blockIdx.x, slot = blockIdx.y, row = blockIdx.z;
    const Warp warp{thread % kWarp};
    wait_for_kernel_before();
    let_kernel_after_start();
    const Share<Type> share = statistics.share(row, slot, split, thread);
    const Peaks mine = share.peaks(statistics.mask_token_id, statistics.cut(row, slot));
    const Peaks most{warp.max(mine.all), warp.max(mine.kept)};
    if (warp.leads()) chunk.peaks[index] = most;
    // All threads of a block work on one row, so they take the same branch.
    if (statistics.sampling.sampled(row)) {
        const Totals part = share.totals(most, statistics.rules(row, slot));
        const Totals total{warp.sum(part.all), warp.sum(part.kept)};
        if (warp.leads()) {
            chunk.totals[index] = total.all;
            chunk.weights[index] = total.kept;
        }
        __syncthreads();
        if (index != 0) return;
        const Vector found = chunk.mass(warp, chunk.peak(warp), statistics.rules(row, slot));
        if (warp.leads()) statistics.store(found, row, slot, split, gridDim.x);
    } else {
        const float total = warp.sum(share.total(most.all));
        if (warp.leads()) chunk.totals[index] = total;
        __syncthreads();
        const Peaks peak = chunk.peak(warp);
        const bool here = most.kept == peak.kept;
        const int token = here ? warp.min(share.first_with(peak.kept, statistics.mask_token_id)) : kAfterAll;
        if (warp.leads()) chunk.tokens[index] = token;
        __syncthreads();
        if (index != 0) return;
        const Vector found = chunk.most_likely(warp, peak);
        if (warp.leads()) statistics.store(found, row, slot, split, gridDim.x);
    }
}

// Grid (B), kDecisionThreads threads.
template <typename Type>
__device__ __forceinline__ void decide(const Decision<Type>& decision) {
    __shared__ Row row;
    __shared__ Taken taken;
    constexpr int kWarps = kDecisionThreads / kWarp;
    const int thread = threadIdx.x, index = thread / kWarp, batch = blockIdx.x, width = decision.width;
    const Warp warp{thread % kWarp};
    // The statistics pass has waited for everything that came before it, the temperature too.
    const bool sampled = decision.sampling.sampled(batch);
    wait_for_kernel_before();
    let_kernel_after_start();
    Asked asked;
    if (sampled) {
        for (int slot = index; slot < width; slot += kWarps) {
            sample(warp, row, taken.of[index], decision, batch, slot);
        }
        // These reads come after the sampling, which needs the registers.
        asked = decision.asked(batch, thread);
    } else {
        // These reads come first, so that they do not wait for a reduction.
        asked = decision.asked(batch, thread);
        constexpr int kSlots = kWarp / kMostSplits;
        for (int slot = index * kSlots; slot < width; slot += kWarps * kSlots) {
            choose_most_likely(warp, row, decision, batch, slot);
        }
    }
    tell_eos(row, asked, thread);
    __syncthreads();
    Standing standing{true, false, false};
    if (thread < width) standing = line_up(row, decision, asked, batch, thread);
    if (thread < kMaxWidth) {
        const unsigned ends = warp.ballot([&](int) { return standing.ends_run; });
        const unsigned eos = warp.ballot([&](int) { return standing.is_eos; });
        if (warp.leads()) {
            row.run_end[index] = ends != 0 ? index * kWarp + lowest_bit(ends) : kAfterAll;
            row.eos[index] = eos != 0 ? index * kWarp + lowest_bit(eos) : kAfterAll;
        }
    }
    const bool finite = __syncthreads_and(standing.sound);
    // A thread without a slot writes the outputs of the row.
    if (thread == kDecisionThreads - 1) decide_row(row, decision, finite, batch);
    const bool left = thread < width && decide_slot(row, decision, asked, finite, batch, thread);
    const int masks_left = __syncthreads_count(left);
    if (thread == 0) decision.masks_left[batch] = masks_left;
}

}  // namespace nld

#define NLD_LOGIT_STATISTICS(NAME, TYPE)                                                             \
    extern "C" __global__ void __launch_bounds__(nld::kThreads, nld::kResident<nld::TYPE>)           \
        NAME(const nld::TYPE::Storage* logits, const float* temperature,   \
             const float* cut, int width, int vocab, int mask_token_id,                 \
             int* partials) {                                                           \
        nld::reduce<nld::TYPE>({logits, {temperature, cut}, width, vocab, mask_token_id, partials}); \
    }

NLD_LOGIT_STATISTICS(nld_logit_statistics_bf16, Bf16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp16, Fp16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp32, Fp32)

// There is one block for each row, and seldom more rows than multiprocessors, so a block may fill a multiprocessor.
#define NLD_DECODE_STEP(NAME, TYPE)                                                                               \
    extern "C" __global__ void __launch_bounds__(nld::kDecisionThreads, 1)                                        \
        NAME(const nld::TYPE::Storage* logits, const int* partials,                     \
             const float* temperature, const float* cut,                                \
             const long long* seed, const int* stream, const int* sample,  \
             const int* position, const int* drafted_ids,                               \
             const float* drafted_probabilities, const int* block,                      \
             const int* valid, const int* verify_valid,                                 \
             const float* threshold, const int* quota,                                  \
             const int* eos_token_id, int width, int vocab, int mask_token_id, int* block_tokens,    \
             float* confidence, int* masks_left, int* verified_tokens, int* accepted_count, int* bonus_token,     \
             int* eos_position, int* finite) {                                                                    \
        nld::decide<nld::TYPE>({logits, partials, {temperature, cut}, {seed, stream, sample, position},           \
                                drafted_ids, drafted_probabilities, block, valid, verify_valid, threshold, quota, \
                                eos_token_id, width, vocab, mask_token_id, block_tokens, confidence,              \
                                masks_left, verified_tokens, accepted_count, bonus_token, eos_position, finite}); \
    }

NLD_DECODE_STEP(nld_decode_step_bf16, Bf16)
NLD_DECODE_STEP(nld_decode_step_fp16, Fp16)
NLD_DECODE_STEP(nld_decode_step_fp32, Fp32)

// Grid (B), one warp.
extern "C" __global__ void __launch_bounds__(nld::kWarp)
    nld_advance(const int* block, const int* cache_length,
                const int* valid_count, const bool* causal,
                const int* segments, const int* sample,
                const int* eos_token_id, const int* program,
                const int* tokens_left, const int* block_tokens,
                const int* masks_left, const int* verified_tokens,
                const int* accepted_count, const int* bonus_token,
                const int* eos_position, const int* finite, int width, int mask_token_id,
                int* next_tokens, int* next_cache_length, bool* next_causal, int* next_sample, int* next_tokens_left) {
    const nld::NextPass it{block, cache_length, valid_count, causal, segments, sample, eos_token_id, program, tokens_left,
                           block_tokens, masks_left, verified_tokens, accepted_count, bonus_token, eos_position, finite,
                           width, mask_token_id, next_tokens, next_cache_length, next_causal, next_sample,
                           next_tokens_left};
    nld::wait_for_kernel_before();
    nld::advance(nld::Warp{static_cast<int>(threadIdx.x)}, it, blockIdx.x);
}
