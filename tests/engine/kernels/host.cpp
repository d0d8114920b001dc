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
nld::Partial combine_warp(std::vector<nld::Partial> lanes) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        for (int lane = 0; lane < offset; ++lane) lanes[lane] = nld::combine(lanes[lane], lanes[lane + offset]);
    }
    return lanes[0];
}

template <typename Type>
void reduce_all(const nld::Statistics<Type>& statistics, int rows) {
    const int splits = (statistics.vocab + nld::kChunk - 1) / nld::kChunk;
    for (int place = 0; place < rows * statistics.width * splits; ++place) {
        const int split = place % splits, slot = place / splits % statistics.width;
        const int row = place / splits / statistics.width;
        std::vector<nld::Partial> warps(kWarp, nld::nothing());
        for (int warp = 0; warp < nld::kThreads / kWarp; ++warp) {
            std::vector<nld::Partial> lanes;
            for (int lane = 0; lane < kWarp; ++lane) {
                lanes.push_back(statistics.share(row, slot, split, warp * kWarp + lane));
            }
            warps[warp] = combine_warp(lanes);
        }
        statistics.store(combine_warp(warps), row, slot, split, splits);
    }
}

template <bool kDenoise, bool kVerify>
void decide_all(const nld::Decision& decision, int rows) {
    for (int batch = 0; batch < rows; ++batch) {
        nld::Row row;
        for (int slot = 0; slot < decision.width; ++slot) {
            const int first = (batch * decision.width + slot) * decision.splits;
            std::vector<nld::Partial> lanes(kWarp, nld::nothing());
            for (int split = 0; split < decision.splits; ++split) {
                lanes[split % kWarp] = nld::combine(lanes[split % kWarp], nld::load(decision.partials, first + split));
            }
            nld::settle(row, slot, combine_warp(lanes));
        }
        for (int slot = 0; slot < decision.width; ++slot) nld::line_up<kDenoise>(row, decision, batch, slot);
        for (int slot = 0; slot < decision.width; ++slot) {
            nld::decide_slot<kDenoise, kVerify>(row, decision, batch, slot);
        }
        nld::decide_row<kDenoise, kVerify>(row, decision, batch);
    }
}

}  // namespace

// The kernels' parameters, with the number of rows in front: a launch would say it.
#define NLD_LOGIT_STATISTICS(NAME, TYPE)                                                                          \
    extern "C" void NAME(int rows, const nld::TYPE::Storage* logits, const float* temperature,                    \
                         const long long* seed, const int* draw, const int* positions, const float* cut,          \
                         int width, int vocab, int mask_token_id, int* partials) {                                \
        reduce_all<nld::TYPE>(                                                                                    \
            {logits, temperature, seed, draw, positions, cut, width, vocab, mask_token_id, partials}, rows);      \
    }

NLD_LOGIT_STATISTICS(nld_logit_statistics_bf16, Bf16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp16, Fp16)
NLD_LOGIT_STATISTICS(nld_logit_statistics_fp32, Fp32)

extern "C" void nld_block_denoise(int rows, const int* partials, const int* block, const int* valid,
                                  const float* threshold, const int* quota, int width, int splits, int mask_token_id,
                                  int* block_tokens, float* confidence, int* masks_left, int* finite) {
    decide_all<true, false>({partials, block, valid, threshold, quota, nullptr, width, splits, mask_token_id,
                             block_tokens, confidence, masks_left, nullptr, nullptr, nullptr, nullptr, finite}, rows);
}

extern "C" void nld_spec_verify(int rows, const int* partials, const int* block, const int* valid,
                                const int* eos_token_id, int width, int splits, int mask_token_id,
                                int* verified_tokens, int* accepted_count, int* next_seed, int* eos_position,
                                int* finite) {
    decide_all<false, true>({partials, block, valid, nullptr, nullptr, eos_token_id, width, splits, mask_token_id,
                             nullptr, nullptr, nullptr, verified_tokens, accepted_count, next_seed, eos_position,
                             finite}, rows);
}

extern "C" void nld_decode_step(int rows, const int* partials, const int* block, const int* valid,
                                const float* threshold, const int* quota, const int* eos_token_id, int width,
                                int splits, int mask_token_id, int* block_tokens, float* confidence, int* masks_left,
                                int* verified_tokens, int* accepted_count, int* next_seed, int* eos_position,
                                int* finite) {
    decide_all<true, true>({partials, block, valid, threshold, quota, eos_token_id, width, splits, mask_token_id,
                            block_tokens, confidence, masks_left, verified_tokens, accepted_count, next_seed,
                            eos_position, finite}, rows);
}

extern "C" void random_words(const unsigned* counter, unsigned key0, unsigned key1, unsigned* words) {
    const nld::Words found = nld::philox({{counter[0], counter[1], counter[2], counter[3]}}, key0, key1);
    for (int j = 0; j < 4; ++j) words[j] = found.word[j];
}

extern "C" float gumbel_noise(unsigned word) { return nld::gumbel(word); }

extern "C" void widen_fp16(const unsigned short* from, float* to, int count) {
    for (int j = 0; j < count; ++j) to[j] = nld::Fp16::widen(from[j]);
}
