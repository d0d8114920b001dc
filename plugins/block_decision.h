// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// From the statistics of a row's slots to what happens to its block: what nld.ChooseTokens, nld.BlockDenoise and
// nld.SpecVerify do behind the pass over the logits. One thread block decides one row, in steps with a barrier between
// them.
#pragma once

#include "inversion.h"

namespace nld {

// nld_trt/engine/kernels/launch.py repeats both.
constexpr int kMaxWidth = 256;         // window slots of a row
constexpr int kDecisionThreads = 512;  // leaves 128 registers to each thread

// Inputs and outputs of a decision, row-major.
template <typename Type>
struct Decision {
    const typename Type::Storage* logits;  // [B, W, V]: read again by rows with a temperature only
    const int* partials;                   // [B, W, splits, kPartialWords]
    SamplingInputs sampling;
    RandomInputs random;
    const int* drafted_ids;       // [B, W, kCandidates]: what the token in each slot was drawn from, or kNoToken
    const float* drafted_shares;  // [B, W, kCandidates]: of those
    const int* block;             // [B, W]
    const int* valid;             // [B]: leading slots that are real
    const int* verify_valid;      // [B]: leading slots that are verified
    const float* threshold;       // [B]
    const int* quota;             // [B]
    const int* eos_token_id;      // [B]
    int width, vocab, mask_token_id;
    int* block_tokens;     // [B, W]
    float* confidence;     // [B, W]
    int* masks_left;       // [B]
    int* verified_tokens;  // [B, W]
    int* accepted_count;   // [B]
    int* next_seed;        // [B]
    int* eos_position;     // [B]
    int* finite;           // [B]

    NLD_DEVICE int splits() const { return (vocab + kChunk - 1) / kChunk; }

    NLD_DEVICE const typename Type::Storage* entries(int place) const {
        return logits + static_cast<long long>(place) * vocab;
    }

    NLD_DEVICE bool is_masked(int batch, int slot) const {
        return slot < valid[batch] && block[batch * width + slot] == mask_token_id;
    }

    // `count` of slots, no more than there are.
    NLD_DEVICE int at_most_all(int count) const { return count < width ? count : width; }
};

// What the threads of a row share.
struct Row {
    int token[kMaxWidth];         // chosen, or kNoToken where the logits decide nothing
    float confidence[kMaxWidth];  // of that token; -1 where there is none
    float ranked[kMaxWidth];      // confidence where a mask waits, -1 elsewhere
    bool waiting[kMaxWidth];      // a mask that is not committed
};

// What the warps of a sampled row share among their own lanes: of the candidates of one slot, how much of each weight the
// draft took.
struct Taken {
    float of[kDecisionThreads / kWarp][kCandidates];
};

NLD_DEVICE void settle(Row& row, int slot, int token, float logit, const Sum& all) {
    // A NaN total is the mark of NaN or +inf; a slot in which every allowed token has -inf has no choice either.
    const bool sound = all.total == all.total && token != kNoToken;
    row.token[slot] = sound ? token : kNoToken;
    row.confidence[slot] = sound ? fast_exp(logit - all.peak) / all.total : -1.0f;
}

// Step 1 of a row without a temperature, for each slot: a token from all splits.
template <typename Warp, typename Type>
NLD_DEVICE void choose_likeliest(const Warp& warp, Row& row, const Decision<Type>& it, int batch, int slot) {
    const int splits = it.splits(), first = (batch * it.width + slot) * splits;
    const auto found = warp.combined(warp.each([&](int lane) {
        return lane < splits ? Likeliest::read(stored_partial(it.partials, first + lane)) : Likeliest::nothing();
    }), 1.0f);
    if (warp.leads()) settle(row, slot, found.token, found.logit, found.all);
}

// Step 1 of a sampled row, for each slot. A drafted token whose list holds it is kept with the chance
// min(1, probability / drafted share), else replaced by what the draft left: Leviathan et al. 2023, Chen et al. 2023.
template <typename Warp, typename Type>
NLD_DEVICE void sample(const Warp& warp, Row& row, float* taken, const Decision<Type>& it, int batch, int slot) {
    const int splits = it.splits(), place = batch * it.width + slot, next = (place + 1) * kCandidates;
    const auto parts = warp.each([&](int lane) {
        return lane < splits ? Mass::read(stored_partial(it.partials, place * splits + lane)) : Mass::nothing();
    });
    Sum all{warp.max(warp.each([&](int lane) { return warp.at(parts, lane).all.peak; })), 0.0f};
    all.total = warp.sum(warp.each([&](int lane) {
        const Sum part = warp.at(parts, lane).all;
        return part.total * fast_exp(part.peak - base_of(all.peak));
    }));

    Pool<Type> pool{it.entries(place), it.vocab, it.sampling.rules(batch, place, it.mask_token_id), 0.0f, nullptr, taken};
    pool.peak = warp.max(warp.each([&](int lane) { return warp.at(parts, lane).kept.peak; }));
    auto sums = warp.each([&](int lane) {
        const Sum part = warp.at(parts, lane).kept;
        return part.total * pool.rules.weight(part.peak, pool.peak);
    });
    const Uniforms random = it.random.of(batch, place);

    int drafted = kNoToken;
    bool accepted = false;
    if (slot + 1 < it.at_most_all(it.valid[batch])) {
        const int token = it.block[place + 1];
        const auto ids = warp.each([&](int lane) { return lane < kCandidates ? it.drafted_ids[next + lane] : kNoToken; });
        const auto shares = warp.each([&](int lane) { return lane < kCandidates ? it.drafted_shares[next + lane] : 0.0f; });
        const unsigned holds = warp.ballot([&](int lane) {
            return warp.at(ids, lane) >= 0 && warp.at(ids, lane) == token && warp.at(shares, lane) > 0.0f;
        });
        if (holds != 0) {
            const int own = lowest_bit(holds);
            const float total = warp.sum(sums);
            const auto weights = warp.each([&](int lane) { return pool.weight(warp.at(ids, lane)); });
            drafted = token;
            accepted = random.test * warp.from(shares, own) * total < warp.from(weights, own);
            warp.sync();
            warp.each([&](int lane) {
                const float most = warp.at(shares, lane) * total, weight = warp.at(weights, lane);
                if (lane < kCandidates) taken[lane] = weight < most ? weight : most;
                return 0;
            });
            warp.sync();
            pool.ids = it.drafted_ids + next;
            sums = warp.each([&](int lane) {
                float left = warp.at(sums, lane);
                for (int k = 0; k < kCandidates; ++k) {
                    if (pool.ids[k] >= 0 && pool.ids[k] / kChunk == lane) left -= taken[k];
                }
                return larger(left, 0.0f);
            });
        }
    }
    int token = accepted ? drafted : draw_token(warp, pool, sums, random.draw);
    // Rounding can leave nothing of p where it is nearly q: then the drafted token was as good as accepted.
    if (token == kNoToken) token = drafted;
    const bool real = static_cast<unsigned>(token) < static_cast<unsigned>(it.vocab);
    if (warp.leads()) settle(row, slot, token, real ? Type::widen(pool.logits[token]) : minus_infinity(), all);
}

NLD_DEVICE bool is_finite(const Row& row, int valid) {
    bool finite = true;
    for (int slot = 0; slot < valid; ++slot) finite = finite && row.token[slot] != kNoToken;
    return finite;
}

// Step 2, for each slot: it stands for ranking, unless its row holds what is no number.
template <typename Type>
NLD_DEVICE void line_up(Row& row, const Decision<Type>& it, int batch, int slot) {
    const bool ranks = it.is_masked(batch, slot) && is_finite(row, it.at_most_all(it.valid[batch]));
    row.ranked[slot] = ranks ? row.confidence[slot] : -1.0f;
}

// Step 3, for each slot: its outputs.
template <typename Type>
NLD_DEVICE void decide_slot(Row& row, const Decision<Type>& it, int batch, int slot) {
    const int place = batch * it.width + slot;
    it.verified_tokens[place] = row.token[slot];
    const float mine = row.ranked[slot];
    int rank = 0;
    for (int other = 0; other < it.width; ++other) {
        rank += row.ranked[other] > mine || (row.ranked[other] == mine && other < slot);
    }
    const bool chosen = rank < it.quota[batch] || mine >= it.threshold[batch];
    const bool commit = mine >= 0.0f && chosen;
    row.waiting[slot] = it.is_masked(batch, slot) && !commit;
    it.block_tokens[place] = commit ? row.token[slot] : it.block[place];
    it.confidence[place] = mine;
}

// Step 4, by one thread: the outputs of the row.
template <typename Type>
NLD_DEVICE void decide_row(const Row& row, const Decision<Type>& it, int batch) {
    const bool finite = is_finite(row, it.at_most_all(it.valid[batch]));
    it.finite[batch] = finite;
    int left = 0;
    for (int slot = 0; slot < it.width; ++slot) left += row.waiting[slot];
    it.masks_left[batch] = left;
    const int verified = it.at_most_all(it.verify_valid[batch]);
    int run = 0;
    while (run + 1 < verified && row.token[run] == it.block[batch * it.width + run + 1]) ++run;
    const int eos = it.eos_token_id[batch];  // below 0 where there is none: a slot without a token is no EOS
    int end = 0;
    while (end <= run && !(eos >= 0 && row.token[end] == eos)) ++end;
    // Nothing is accepted of a row whose logits are no numbers.
    it.accepted_count[batch] = finite ? run + 1 : 0;
    it.next_seed[batch] = finite ? row.token[run] : kNoToken;
    it.eos_position[batch] = finite && end <= run ? end : it.width;
}

}  // namespace nld
