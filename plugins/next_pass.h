// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// A row's next pass from the results of this one: what nld.Advance does. nld_trt/graph/step/advance.py is the definition
// and has the reasons. One warp works on one row.
#pragma once

#include "block_decision.h"

namespace nld {

// Indices of nld_trt/graph/step/tensors.py's PROGRAMS.
constexpr int kHold = 0;
constexpr int kDiffusion = 2;
constexpr int kQuadratic = 4;
constexpr int kBlocks = 5;

// What a warp knows of a row's pass. All lanes have the same values.
struct Pass {
    int valid, segments, program, left, accepted;
    bool causal, diffusion, without_bonus;  // blocks of diffusion may begin without a bonus token
    int eos_token_id[kMaxEosIds];  // values below 0 are unused

    // Whether a token ends the row's answer. No token is below 0, so unused ids match none.
    NLD_DEVICE bool ends(int token) const {
        bool found = false;
#pragma unroll
        for (int place = 0; place < kMaxEosIds; ++place) found |= token == eos_token_id[place];
        return found;
    }
};

// The inputs and outputs of the operator, row-major.
struct NextPass {
    const int* block;            // [B, W]
    const int* cache_length;     // [B]
    const int* valid_count;      // [B]
    const bool* causal;          // [B]
    const int* segments;         // [B]
    const int* sample;           // [B]
    const int* eos_token_id;     // [B, kMaxEosIds]
    const int* program;          // [B]
    const int* tokens_left;      // [B]
    const int* block_tokens;     // [B, W]
    const int* masks_left;       // [B]
    const int* verified_tokens;  // [B, W]
    const int* accepted_count;   // [B]
    const int* bonus_token;      // [B]
    const int* eos_position;     // [B]
    const int* finite;           // [B]
    int width, mask_token_id;
    int* next_tokens;        // [B, W]
    int* next_cache_length;  // [B]
    bool* next_causal;       // [B]
    int* next_sample;        // [B]
    int* next_tokens_left;   // [B]

    NLD_DEVICE Pass pass(int row) const {
        Pass found{valid_count[row], segments[row], program[row], tokens_left[row], accepted_count[row],
                   causal[row], program[row] == kDiffusion || program[row] == kBlocks, program[row] == kBlocks,
                   {}};
#pragma unroll
        for (int place = 0; place < kMaxEosIds; ++place) {
            found.eos_token_id[place] = eos_token_id[row * kMaxEosIds + place];
        }
        return found;
    }

    // The token that a slot of the next pass has after a causal one, without the bonus token in slot 0: in a quadratic
    // pass the drafts that follow the last accepted token, then masks in the slots of new tokens.
    NLD_DEVICE int opened(int row, const Pass& pass, int slot) const {
        if (slot < pass.segments) {
            const int source = pass.accepted * pass.segments + slot;
            // Rows whose results are not used may have counts that lead out of the window.
            return block_tokens[row * width + (static_cast<unsigned>(source) < static_cast<unsigned>(width) ? source : 0)];
        }
        return slot < pass.valid ? mask_token_id : 0;
    }
};

// The slots of a window in which a row first has something, from the ballots of the warp's lanes.
struct First {
    int slot = kAfterAll;

    NLD_DEVICE void see(unsigned found, int from) {
        if (found != 0 && slot == kAfterAll) slot = from + lowest_bit(found);
    }
};

template <typename Warp>
NLD_DEVICE void advance(const Warp& warp, const NextPass& it, int row) {
    const int width = it.width, start = row * width;
    const Pass pass = it.pass(row);
    First eos, mask, given_eos;
    for (int from = 0; from < width; from += kWarp) {
        const auto real = [&](int lane) { return from + lane < lesser(pass.valid, width); };
        const auto written = warp.each([&](int lane) { return real(lane) ? it.block_tokens[start + from + lane] : kNoToken; });
        const auto given = warp.each([&](int lane) { return real(lane) ? it.block[start + from + lane] : kNoToken; });
        eos.see(warp.ballot([&](int lane) { return real(lane) && pass.ends(warp.at(written, lane)); }), from);
        mask.see(warp.ballot([&](int lane) { return real(lane) && warp.at(written, lane) == it.mask_token_id; }), from);
        given_eos.see(warp.ballot([&](int lane) { return real(lane) && pass.ends(warp.at(given, lane)); }), from);
    }
    // A block is filled without masks; in diffusion also where an answer is complete, with none before its EOS.
    const bool filled = it.masks_left[row] == 0 || (pass.diffusion && eos.slot < mask.slot);
    const int last = lesser(pass.valid, width) - 1;
    const int decided = pass.diffusion ? it.verified_tokens[start + (last > 0 ? last : 0)] : it.bonus_token[row];
    const int bonus = pass.without_bonus ? it.mask_token_id : decided;
    const int committed = pass.diffusion ? pass.valid : pass.accepted;
    const bool ends = pass.diffusion ? given_eos.slot < kAfterAll : it.eos_position[row] < width;
    const int left_after = pass.left - committed;
    const bool active = pass.program > kHold && pass.left > 0;
    const bool ended = pass.causal && (ends || left_after <= 0);
    const bool continues = active && !ended && it.finite[row] != 0;

    for (int from = 0; from < width; from += kWarp) {
        warp.each([&](int lane) {
            const int slot = from + lane;
            if (slot >= width) return 0;
            const int opened = slot == 0 ? bonus : it.opened(row, pass, slot);
            const int next = pass.causal ? opened : it.block_tokens[start + slot];
            it.next_tokens[start + slot] = continues ? next : it.block[start + slot];
            return 0;
        });
    }
    if (!warp.leads()) return;
    const bool at_once = pass.program == kQuadratic || (pass.valid == 1 && !pass.without_bonus);
    const bool causal_next = pass.causal ? at_once : filled;
    const bool denoises_again = pass.diffusion && !pass.causal && !filled;
    const int left = pass.causal ? left_after : pass.left;
    it.next_cache_length[row] = it.cache_length[row] + (continues && pass.causal ? committed : 0);
    it.next_causal[row] = continues ? causal_next : pass.causal;
    it.next_sample[row] = continues ? (denoises_again ? it.sample[row] + 1 : 0) : it.sample[row];
    it.next_tokens_left[row] = continues ? left : (active ? 0 : pass.left);
}

}  // namespace nld
