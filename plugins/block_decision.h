// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The decision on a row's block from the statistics of its slots: what nld.ChooseTokens, nld.BlockDenoise and
// nld.SpecVerify do after the pass over the logits. One thread block decides one row, in steps with a barrier between
// them.
#pragma once

#include "inversion.h"

namespace nld {

// nld_trt/engine/gpu/kernels/launch.py repeats all but kMostSplits, which its largest vocabulary has.
constexpr int kMaxWidth = 256;         // window slots of a row
constexpr int kMaxEosIds = 8;          // tokens that end a row's answer
constexpr int kMostSplits = 16;        // most chunks of a slot; this number of lanes chooses its token
constexpr int kDecisionThreads = 512;  // leaves 128 registers to each thread

// The inputs for a row and one of its slots.
struct Asked {
    int valid, verified, quota;
    int eos_token_id;  // the row's EOS id with the slot's index; kNoToken after the last
    float threshold;
    int token, next;  // in the slot and in the next one; kNoToken after the window
};

// The inputs and outputs of a decision, row-major.
template <typename Type>
struct Decision {
    const typename Type::Storage* logits;  // [B, W, V]: only rows with a temperature read them again
    const int* partials;                   // [B, W, splits, kPartialWords]
    SamplingInputs sampling;
    RandomInputs random;
    const int* drafted_ids;              // [B, W, kCandidates]: tokens that each slot's token was sampled from, or kNoToken
    const float* drafted_probabilities;  // [B, W, kCandidates]: probabilities of these tokens
    const int* block;                    // [B, W]
    const int* valid;                    // [B]: leading slots that are real
    const int* verify_valid;             // [B]: leading slots that are verified
    const float* threshold;              // [B]
    const int* quota;                    // [B]
    const int* eos_token_id;             // [B, kMaxEosIds]
    int width, vocab, mask_token_id;
    int* block_tokens;     // [B, W]
    float* confidence;     // [B, W]
    int* masks_left;       // [B]
    int* verified_tokens;  // [B, W]
    int* accepted_count;   // [B]
    int* bonus_token;      // [B]
    int* eos_position;     // [B]
    int* finite;           // [B]

    NLD_DEVICE int splits() const { return (vocab + kChunk - 1) / kChunk; }

    NLD_DEVICE const typename Type::Storage* entries(int place) const {
        return logits + static_cast<long long>(place) * vocab;
    }

    NLD_DEVICE Asked asked(int batch, int slot) const {
        const int* slots = block + batch * width;
        const auto token = [&](int place) { return place < width ? slots[place] : kNoToken; };
        const int eos = slot < kMaxEosIds ? eos_token_id[batch * kMaxEosIds + slot] : kNoToken;
        return {lesser(valid[batch], width), lesser(verify_valid[batch], width), quota[batch], eos,
                threshold[batch], token(slot), token(slot + 1)};
    }
};

// Shared memory of the threads of a row.
struct Row {
    int token[kMaxWidth];            // the chosen token, or kNoToken where the logits give none
    float confidence[kMaxWidth];     // the confidence of that token; -1 where there is none
    float ranked[kMaxWidth];         // the confidence where the slot is a mask, -1 elsewhere
    int run_end[kMaxWidth / kWarp];  // the first slot of each warp that ends the accepted run
    int eos[kMaxWidth / kWarp];      // the first slot of each warp with EOS
    int eos_token_id[kMaxEosIds];    // the EOS ids; values below 0 are unused
};

// Shared memory of each warp in a sampled row: the weight that the draft took from each candidate of one slot.
struct Taken {
    float of[kDecisionThreads / kWarp][kCandidates];
};

NLD_DEVICE void settle(Row& row, int slot, int token, float logit, const Sum& all) {
    // A total is NaN if a logit is NaN or +inf. A slot in which every allowed token has -inf has no choice either.
    const bool sound = all.total == all.total && token != kNoToken;
    row.token[slot] = sound ? token : kNoToken;
    row.confidence[slot] = sound ? fast_exp(logit - all.peak) / all.total : -1.0f;
}

// Step 1 of a row without a temperature, for the slots of a warp from `first` on: choose the best token of all splits.
template <typename Warp, typename Type>
NLD_DEVICE void choose_most_likely(const Warp& warp, Row& row, const Decision<Type>& it, int batch, int first) {
    constexpr int kLanes = kMostSplits;
    const int splits = it.splits();
    const auto parts = warp.each([&](int lane) {
        const int slot = first + lane / kLanes, split = lane % kLanes;
        const bool real = slot < it.width && split < splits;
        return real ? MostLikely::read(stored_partial(it.partials, (batch * it.width + slot) * splits + split))
                    : MostLikely::nothing();
    });
    const auto peak_of = [&](int lane) { return warp.at(parts, lane).all.peak; };
    const auto logit_of = [&](int lane) { return warp.at(parts, lane).logit; };
    const auto peaks = warp.template reduced<kLanes>(warp.each(peak_of), larger);
    const auto logits = warp.template reduced<kLanes>(warp.each(logit_of), larger);
    const auto total_of = [&](int lane) {
        const Sum part = warp.at(parts, lane).all;
        return part.total * fast_exp(part.peak - base_of(warp.at(peaks, lane)));
    };
    const auto token_of = [&](int lane) {
        return logit_of(lane) == warp.at(logits, lane) ? warp.at(parts, lane).token : kAfterAll;
    };
    const auto totals = warp.template reduced<kLanes>(warp.each(total_of), plus);
    const auto tokens = warp.template reduced<kLanes>(warp.each(token_of), lesser);
    warp.each([&](int lane) {
        const int slot = first + lane / kLanes;
        const float logit = warp.at(logits, lane);
        const int token = logit > minus_infinity() ? warp.at(tokens, lane) : kNoToken;
        if (lane % kLanes == 0 && slot < it.width) {
            settle(row, slot, token, logit, {warp.at(peaks, lane), warp.at(totals, lane)});
        }
        return 0;
    });
}

// Step 1 of a sampled row, for each slot. A drafted token that is among its candidates is accepted with probability
// min(1, probability / draft probability), else replaced by a sample of the residual distribution: Leviathan et al.
// 2023, Chen et al. 2023.
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
    if (slot + 1 < lesser(it.valid[batch], it.width)) {
        const int token = it.block[place + 1];
        const auto ids = warp.each([&](int lane) { return lane < kCandidates ? it.drafted_ids[next + lane] : kNoToken; });
        const auto probabilities =
            warp.each([&](int lane) { return lane < kCandidates ? it.drafted_probabilities[next + lane] : 0.0f; });
        const unsigned holds = warp.ballot([&](int lane) {
            return warp.at(ids, lane) >= 0 && warp.at(ids, lane) == token && warp.at(probabilities, lane) > 0.0f;
        });
        if (holds != 0) {
            const int own = lowest_bit(holds);
            const float total = warp.sum(sums);
            const auto weights = warp.each([&](int lane) { return pool.weight(warp.at(ids, lane)); });
            drafted = token;
            accepted = random.test * warp.from(probabilities, own) * total < warp.from(weights, own);
            warp.sync();
            warp.each([&](int lane) {
                const float most = warp.at(probabilities, lane) * total, weight = warp.at(weights, lane);
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
    int token = accepted ? drafted : sample_token(warp, pool, sums, random.sample);
    // Where p and q are nearly equal, rounding can leave no residual. The drafted token is then accepted.
    if (token == kNoToken) token = drafted;
    const bool real = static_cast<unsigned>(token) < static_cast<unsigned>(it.vocab);
    if (warp.leads()) settle(row, slot, token, real ? Type::widen(pool.logits[token]) : minus_infinity(), all);
}

// Before step 2, for each of the first kMaxEosIds slots: share the row's EOS ids, of which there may be fewer.
NLD_DEVICE void tell_eos(Row& row, const Asked& asked, int slot) {
    if (slot < kMaxEosIds) row.eos_token_id[slot] = asked.eos_token_id;
}

// The state of one slot.
struct Standing {
    bool sound;     // its logits give a token, or the slot is not used
    bool ends_run;  // the accepted run ends at it
    bool is_eos;
};

// Step 2, for each slot: write the verified token and prepare the ranking by confidence.
template <typename Type>
NLD_DEVICE Standing line_up(Row& row, const Decision<Type>& it, const Asked& asked, int batch, int slot) {
    const int token = row.token[slot];
    it.verified_tokens[batch * it.width + slot] = token;
    const bool real = slot < asked.valid;
    row.ranked[slot] = real && asked.token == it.mask_token_id ? row.confidence[slot] : -1.0f;
    bool is_eos = false;
#pragma unroll
    for (int place = 0; place < kMaxEosIds; ++place) is_eos |= token == row.eos_token_id[place];
    // A negative eos_token_id is unused, and must not match the -1 of a slot without a token.
    return {!real || token != kNoToken, slot + 1 >= asked.verified || token != asked.next, token >= 0 && is_eos};
}

// Step 3, for each slot: write its outputs. Nothing is committed in a row whose logits are not finite. Returns whether
// the slot is still a mask.
template <typename Type>
NLD_DEVICE bool decide_slot(const Row& row, const Decision<Type>& it, const Asked& asked, bool finite, int batch,
                            int slot) {
    const int place = batch * it.width + slot;
    const float mine = finite ? row.ranked[slot] : -1.0f;
    int rank = 0;
#pragma unroll 8
    for (int other = 0; other < it.width; ++other) {
        rank += row.ranked[other] > mine || (row.ranked[other] == mine && other < slot);
    }
    const bool chosen = rank < asked.quota || mine >= asked.threshold;
    const bool commit = mine >= 0.0f && chosen;
    it.block_tokens[place] = commit ? row.token[slot] : asked.token;
    it.confidence[place] = mine;
    return slot < asked.valid && asked.token == it.mask_token_id && !commit;
}

// Also step 3, by one thread: write the outputs of the row. Nothing is accepted in a row whose logits are not finite.
template <typename Type>
NLD_DEVICE void decide_row(const Row& row, const Decision<Type>& it, bool finite, int batch) {
    int run = kAfterAll, eos = kAfterAll;
#pragma unroll
    for (int warp = 0; warp < kMaxWidth / kWarp; ++warp) {
        run = lesser(run, row.run_end[warp]);
        eos = lesser(eos, row.eos[warp]);
    }
    it.finite[batch] = finite;
    it.accepted_count[batch] = finite ? run + 1 : 0;
    it.bonus_token[batch] = finite ? row.token[run] : kNoToken;
    it.eos_position[batch] = finite && eos <= run ? eos : it.width;
}

}  // namespace nld
