// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// From the statistics of a row's slots to what happens to its block: the part of nld.BlockDenoise and nld.SpecVerify
// that costs O(window). One thread block decides one row, in steps with a barrier between them.
#pragma once

#include "logit_statistics.h"

namespace nld {

constexpr int kMaxWidth = 64;  // window slots of a row; nld_trt/engine/kernels/launch.py repeats it

// Inputs and outputs of a decision, row-major. An operator that is not asked for leaves its own pointers null.
struct Decision {
    const int* partials;        // [B, W, splits, kPartialWords]
    const int* block;           // [B, W]
    const int* valid;           // [B]: leading slots that are real
    const float* threshold;     // [B]                 BlockDenoise
    const int* quota;           // [B]                 BlockDenoise
    const int* eos_token_id;    // [B]                 SpecVerify
    int width, splits, mask_token_id;
    int* block_tokens;          // [B, W]              BlockDenoise
    float* confidence;          // [B, W]              BlockDenoise
    int* masks_left;            // [B]                 BlockDenoise
    int* verified_tokens;       // [B, W]              SpecVerify
    int* accepted_count;        // [B]                 SpecVerify
    int* next_seed;             // [B]                 SpecVerify
    int* eos_position;          // [B]                 SpecVerify
    int* finite;                // [B]
};

// What the threads of a row share.
struct Row {
    int token[kMaxWidth];         // chosen, or kNoToken where the logits decide nothing
    float confidence[kMaxWidth];  // of that token; -1 where there is none
    float ranked[kMaxWidth];      // confidence where a mask waits, -1 elsewhere
    bool waiting[kMaxWidth];      // a mask that is not committed
};

// Step 1, for each slot, by whichever thread holds its statistics.
NLD_DEVICE void settle(Row& row, int slot, const Partial& all) {
    // A NaN total is the mark of NaN or +inf; a slot in which every allowed token has -inf has no choice either.
    const bool sound = all.total == all.total && all.token != kNoToken;
    row.token[slot] = sound ? all.token : kNoToken;
    row.confidence[slot] = sound ? fast_exp(all.logit - all.peak) / all.total : -1.0f;
}

NLD_DEVICE bool is_finite(const Row& row, int valid) {
    bool finite = true;
    for (int slot = 0; slot < valid; ++slot) finite = finite && row.token[slot] != kNoToken;
    return finite;
}

NLD_DEVICE int real_slots(const Decision& it, int batch) {
    const int valid = it.valid[batch];
    return valid < it.width ? valid : it.width;
}

NLD_DEVICE bool is_masked(const Decision& it, int batch, int slot) {
    return slot < it.valid[batch] && it.block[batch * it.width + slot] == it.mask_token_id;
}

// Step 2, for each slot: it stands for ranking, unless its row holds what is no number.
template <bool kDenoise>
NLD_DEVICE void line_up(Row& row, const Decision& it, int batch, int slot) {
    if (!kDenoise) return;
    const bool ranks = is_masked(it, batch, slot) && is_finite(row, real_slots(it, batch));
    row.ranked[slot] = ranks ? row.confidence[slot] : -1.0f;
}

// Step 3, for each slot: its outputs.
template <bool kDenoise, bool kVerify>
NLD_DEVICE void decide_slot(Row& row, const Decision& it, int batch, int slot) {
    const int place = batch * it.width + slot;
    if (kVerify) it.verified_tokens[place] = row.token[slot];
    if (!kDenoise) return;
    const float mine = row.ranked[slot];
    int rank = 0;
    for (int other = 0; other < it.width; ++other) {
        rank += row.ranked[other] > mine || (row.ranked[other] == mine && other < slot);
    }
    const bool chosen = rank < it.quota[batch] || mine >= it.threshold[batch];
    const bool commit = mine >= 0.0f && chosen;
    row.waiting[slot] = is_masked(it, batch, slot) && !commit;
    it.block_tokens[place] = commit ? row.token[slot] : it.block[place];
    it.confidence[place] = mine;
}

// Step 4, by one thread: the outputs of the row.
template <bool kDenoise, bool kVerify>
NLD_DEVICE void decide_row(const Row& row, const Decision& it, int batch) {
    const int valid = real_slots(it, batch);
    const bool finite = is_finite(row, valid);
    it.finite[batch] = finite;
    if (kDenoise) {
        int left = 0;
        for (int slot = 0; slot < it.width; ++slot) left += row.waiting[slot];
        it.masks_left[batch] = left;
    }
    if (!kVerify) return;
    int run = 0;
    while (run + 1 < valid && row.token[run] == it.block[batch * it.width + run + 1]) ++run;
    int end = 0;
    while (end <= run && row.token[end] != it.eos_token_id[batch]) ++end;
    // Nothing is accepted of a row whose logits are no numbers.
    it.accepted_count[batch] = finite ? run + 1 : 0;
    it.next_seed[batch] = finite ? row.token[run] : kNoToken;
    it.eos_position[batch] = finite && end <= run ? end : it.width;
}

}  // namespace nld
