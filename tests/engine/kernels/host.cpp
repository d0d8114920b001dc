// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of plugins/ on the CPU: the same headers, with loops where a GPU has threads. What is left out is what
// plugins/decode_kernels.cu adds: shuffles, shared memory and barriers.
#include <vector>

#include "block_decision.h"

namespace {

constexpr int kWarp = 32;

// As lane 0 of a warp sees it: the same pairs in the same order.
template <bool kSampled>
nld::Partial combine_warp(std::vector<nld::Partial> lanes, float scale) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        for (int lane = 0; lane < offset; ++lane) nld::combine<kSampled>(lanes[lane], lanes[lane + offset], scale);
    }
    return lanes[0];
}

template <typename Type, bool kSampled>
void reduce_chunk(const nld::Statistics<Type>& statistics, int row, int slot, int split, int splits) {
    const float scale = kSampled ? nld::scale_of(statistics.sampling.temperature[row]) : 1.0f;
    if (kSampled && split == 0) {
        for (int k = 0; k < nld::kCandidates; ++k) statistics.record(row, slot, k);
    }
    std::vector<nld::Partial> warps(kWarp, nld::nothing());
    for (int warp = 0; warp < nld::kThreads / kWarp; ++warp) {
        std::vector<nld::Partial> lanes;
        for (int lane = 0; lane < kWarp; ++lane) {
            lanes.push_back(statistics.template share<kSampled>(row, slot, split, warp * kWarp + lane));
        }
        warps[warp] = combine_warp<kSampled>(lanes, scale);
    }
    statistics.template store<kSampled>(combine_warp<kSampled>(warps, scale), row, slot, split, splits);
}

template <typename Type>
void reduce_all(const nld::Statistics<Type>& statistics, int rows) {
    const int splits = (statistics.vocab + nld::kChunk - 1) / nld::kChunk;
    for (int place = 0; place < rows * statistics.width * splits; ++place) {
        const int split = place % splits, slot = place / splits % statistics.width;
        const int row = place / splits / statistics.width;
        if (statistics.sampling.sampled(row)) {
            reduce_chunk<Type, true>(statistics, row, slot, split, splits);
        } else {
            reduce_chunk<Type, false>(statistics, row, slot, split, splits);
        }
    }
}

template <bool kSampled>
nld::Partial all_splits(const nld::Decision& decision, int batch, int slot) {
    const float scale = kSampled ? nld::scale_of(decision.sampling.temperature[batch]) : 1.0f;
    const int first = (batch * decision.width + slot) * decision.splits;
    std::vector<nld::Partial> lanes(kWarp, nld::nothing());
    for (int split = 0; split < decision.splits; ++split) {
        nld::combine<kSampled>(lanes[split % kWarp], nld::load<kSampled>(decision.partials, first + split), scale);
    }
    return combine_warp<kSampled>(lanes, scale);
}

void decide_all(const nld::Decision& decision, int rows) {
    for (int batch = 0; batch < rows; ++batch) {
        nld::Row row;
        const int width = decision.width;
        if (decision.sampling.sampled(batch)) {
            for (int entry = 0; entry < width * nld::kCandidates; ++entry) {
                nld::draw_noise(row, decision, batch, entry);
            }
            for (int slot = 0; slot < width; ++slot) row.found[slot] = all_splits<true>(decision, batch, slot);
            for (int entry = 0; entry < width * nld::kCandidates; ++entry) nld::weigh(row, decision, batch, entry);
            for (int slot = 0; slot < width; ++slot) {
                nld::settle(row, slot, nld::choose(row, decision, batch, slot));
            }
        } else {
            for (int slot = 0; slot < width; ++slot) {
                nld::settle(row, slot, all_splits<false>(decision, batch, slot));
            }
        }
        for (int slot = 0; slot < width; ++slot) nld::line_up(row, decision, batch, slot);
        for (int slot = 0; slot < width; ++slot) nld::decide_slot(row, decision, batch, slot);
        nld::decide_row(row, decision, batch);
    }
}

}  // namespace

// The kernels' parameters, with the number of rows in front: a launch would say it.
#define NLD_LOGIT_STATISTICS(NAME, TYPE)                                                                           \
    extern "C" void NAME(int rows, const nld::TYPE::Storage* logits, const float* temperature,                     \
                         const long long* seed, const int* draw, const int* position, const float* cut,            \
                         const int* drafted_ids, int width, int vocab, int mask_token_id, int* partials,           \
                         float* drafted_logits) {                                                                  \
        reduce_all<nld::TYPE>({logits,                                                                             \
                               {temperature, seed, draw, position, cut, drafted_ids},                              \
                               width, vocab, mask_token_id, partials, drafted_logits},                             \
                              rows);                                                                               \
    }

NLD_LOGIT_STATISTICS(nld_logit_statistics_bf16, Bf16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp16, Fp16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp32, Fp32)

extern "C" void nld_decode_step(int rows, const int* partials, const float* drafted_logits, const float* temperature,
                                const long long* seed, const int* draw, const int* position, const float* cut,
                                const int* drafted_ids, const float* drafted_shares, const int* block,
                                const int* valid, const float* threshold, const int* quota, const int* eos_token_id,
                                int width, int splits, int mask_token_id, int* block_tokens, float* confidence,
                                int* masks_left, int* verified_tokens, int* accepted_count, int* next_seed,
                                int* eos_position, int* finite) {
    decide_all({partials, drafted_logits, {temperature, seed, draw, position, cut, drafted_ids}, drafted_shares, block,
                valid, threshold, quota, eos_token_id, width, splits, mask_token_id, block_tokens, confidence,
                masks_left, verified_tokens, accepted_count, next_seed, eos_position, finite},
               rows);
}

extern "C" void random_words(const unsigned* counter, unsigned key0, unsigned key1, unsigned* words) {
    const nld::Words found = nld::philox({{counter[0], counter[1], counter[2], counter[3]}}, key0, key1);
    for (int j = 0; j < 4; ++j) words[j] = found.word[j];
}

extern "C" float gumbel_noise(unsigned word) { return nld::gumbel(word); }

extern "C" void widen_fp16(const unsigned short* from, float* to, int count) {
    for (int j = 0; j < count; ++j) to[j] = nld::Fp16::widen(from[j]);
}
