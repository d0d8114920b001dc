// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// From the statistics of a row's slots to what happens to its block: the part of nld.ChooseTokens, nld.BlockDenoise and
// nld.SpecVerify that costs O(window). One thread block decides one row, in steps with a barrier between them.
#pragma once

#include "logit_statistics.h"

namespace nld {

constexpr int kMaxWidth = 64;  // window slots of a row; nld_trt/engine/kernels/launch.py repeats it

// Inputs and outputs of a decision, row-major.
struct Decision {
    const int* partials;          // [B, W, splits, kPartialWords]
    const float* drafted_logits;  // [B, W, kCandidates]: of the candidates of the next slot
    SamplingInputs sampling;
    const float* drafted_shares;  // [B, W, kCandidates]: of drafted_ids
    const int* block;             // [B, W]
    const int* valid;             // [B]: leading slots that are real
    const float* threshold;       // [B]
    const int* quota;             // [B]
    const int* eos_token_id;      // [B]
    int width, splits, mask_token_id;
    int* block_tokens;     // [B, W]
    float* confidence;     // [B, W]
    int* masks_left;       // [B]
    int* verified_tokens;  // [B, W]
    int* accepted_count;   // [B]
    int* next_seed;        // [B]
    int* eos_position;     // [B]
    int* finite;           // [B]
};

// What the threads of a row share.
struct Row {
    int token[kMaxWidth];         // chosen, or kNoToken where the logits decide nothing
    float confidence[kMaxWidth];  // of that token; -1 where there is none
    float ranked[kMaxWidth];      // confidence where a mask waits, -1 elsewhere
    bool waiting[kMaxWidth];      // a mask that is not committed
    // Of sampled rows:
    Partial found[kMaxWidth];              // the best token that is no candidate
    float noise[kMaxWidth * kCandidates];  // of the candidates
    float share[kMaxWidth * kCandidates];  // their probability; 0 where one is not allowed, -1 where there is none
};

// Step 1 of a sampled row, for each candidate of each slot. The last slot has none.
NLD_DEVICE void draw_noise(Row& row, const Decision& it, int batch, int entry) {
    const int slot = entry / kCandidates, place = batch * it.width + slot;
    const int token = it.sampling.candidate(place, slot, entry % kCandidates, it.width);
    row.noise[entry] = token < 0 ? 0.0f : Noise::of(token, it.sampling.noise(batch, place).words(token));
}

// Step 2 of a sampled row, for each candidate of each slot, when all are found.
NLD_DEVICE void weigh(Row& row, const Decision& it, int batch, int entry) {
    const int slot = entry / kCandidates, place = batch * it.width + slot;
    const int token = it.sampling.candidate(place, slot, entry % kCandidates, it.width);
    const float logit = it.drafted_logits[batch * it.width * kCandidates + entry];
    const Sum& kept = row.found[slot].kept;
    const bool allowed = token != it.mask_token_id && logit >= it.sampling.cut[place];
    const float weight = fast_exp((logit - base_of(kept.peak)) * scale_of(it.sampling.temperature[batch]));
    row.share[entry] = token < 0 ? -1.0f : allowed ? weight / kept.total : 0.0f;
}

// Which of a slot's candidates its draft token is, or kNoToken.
NLD_DEVICE int drafted_as(const Decision& it, int batch, int slot) {
    const int place = batch * it.width + slot;
    if (slot + 1 >= it.valid[batch]) return kNoToken;
    for (int k = 0; k < kCandidates; ++k) {
        const int token = it.sampling.candidate(place, slot, k, it.width);
        if (token >= 0 && token == it.block[place + 1]) return k;
    }
    return kNoToken;
}

// Candidates and the best of the other tokens compete; after a failed test the candidates do with what their shares
// exceed the drafted ones by.
NLD_DEVICE Partial best_of_all(const Row& row, const Decision& it, int batch, int slot, bool failed) {
    Partial best = row.found[slot];
    const int place = batch * it.width + slot;
    const float scale = scale_of(it.sampling.temperature[batch]);
#pragma unroll 1
    for (int k = 0; k < kCandidates; ++k) {
        const float share = row.share[slot * kCandidates + k];
        if (share <= 0.0f) continue;
        const float left = failed ? share - it.drafted_shares[(place + 1) * kCandidates + k] : share;
        if (left <= 0.0f) continue;
        // The score of what is left is logit / temperature + ln(left / share) + noise.
        const float worth = row.noise[slot * kCandidates + k] + (failed ? natural_log(left / share) : 0.0f);
        const float logit = it.drafted_logits[place * kCandidates + k];
        compete<true>(best, it.sampling.candidate(place, slot, k, it.width), logit, worth, scale);
    }
    return best;
}

// Step 3 of a sampled row, for each slot. A draft token that came from its slot's candidates is kept with the chance
// min(1, share / drafted share): Leviathan et al. 2023, Chen et al. 2023.
NLD_DEVICE Partial choose(const Row& row, const Decision& it, int batch, int slot) {
    const int place = batch * it.width + slot, drafted = drafted_as(it, batch, slot);
    if (drafted == kNoToken) return best_of_all(row, it, batch, slot, false);
    const float chance = it.sampling.noise(batch, place).chance();
    if (chance * it.drafted_shares[(place + 1) * kCandidates + drafted] < row.share[slot * kCandidates + drafted]) {
        Partial kept = row.found[slot];
        kept.token = it.block[place + 1];
        kept.logit = it.drafted_logits[place * kCandidates + drafted];
        return kept;
    }
    const Partial best = best_of_all(row, it, batch, slot, true);
    // Nothing is left where the draft took every token as often as it should, and rounding alone failed its test.
    return best.token != kNoToken ? best : best_of_all(row, it, batch, slot, false);
}

// The same step, for each slot of any row.
NLD_DEVICE void settle(Row& row, int slot, const Partial& best) {
    // A NaN total is the mark of NaN or +inf; a slot in which every allowed token has -inf has no choice either.
    const bool sound = best.all.total == best.all.total && best.token != kNoToken;
    row.token[slot] = sound ? best.token : kNoToken;
    row.confidence[slot] = sound ? fast_exp(best.logit - best.all.peak) / best.all.total : -1.0f;
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

// Step 4, for each slot: it stands for ranking, unless its row holds what is no number.
NLD_DEVICE void line_up(Row& row, const Decision& it, int batch, int slot) {
    const bool ranks = is_masked(it, batch, slot) && is_finite(row, real_slots(it, batch));
    row.ranked[slot] = ranks ? row.confidence[slot] : -1.0f;
}

// Step 5, for each slot: its outputs.
NLD_DEVICE void decide_slot(Row& row, const Decision& it, int batch, int slot) {
    const int place = batch * it.width + slot;
    it.verified_tokens[place] = row.token[slot];
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

// Step 6, by one thread: the outputs of the row.
NLD_DEVICE void decide_row(const Row& row, const Decision& it, int batch) {
    const int valid = real_slots(it, batch);
    const bool finite = is_finite(row, valid);
    it.finite[batch] = finite;
    int left = 0;
    for (int slot = 0; slot < it.width; ++slot) left += row.waiting[slot];
    it.masks_left[batch] = left;
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
