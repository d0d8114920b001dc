// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// How a row with a temperature is sampled: its noise, its candidates, and which of two tokens is ahead.
#pragma once

#include "numbers.h"

namespace nld {

constexpr int kNoToken = -1;
constexpr int kCandidates = 8;  // of a slot's draft; nld_trt/graph/plugin_operators.py repeats it

// 1 / temperature, kept where its product with 0 is 0 and its product with minus infinity is minus infinity.
NLD_DEVICE float scale_of(float temperature) { return within(1.0f / temperature, 1.1754944e-38f, 3.4028235e38f); }

// The random numbers of one slot: the same wherever and however often a token is looked at.
struct Noise {
    unsigned key0, key1, position, draw;

    // Of the four tokens around `token`.
    NLD_DEVICE Words words(int token) const {
        return philox({{static_cast<unsigned>(token) >> 2, position, draw, 0u}}, key0, key1);
    }

    // Selected by hand: an index that is not known at compile time would put the words in memory.
    static NLD_DEVICE float of(int token, const Words& words) {
        const unsigned low = token & 1 ? words.word[1] : words.word[0];
        const unsigned high = token & 1 ? words.word[3] : words.word[2];
        return gumbel(token & 2 ? high : low);
    }

    // For the test of the draft.
    NLD_DEVICE float chance() const { return uniform(philox({{0u, position, draw, 1u}}, key0, key1).word[0]); }
};

// A slot's candidates: kCandidates numbers that lie together.
struct Eight {
    Vector half[2];

    NLD_DEVICE unsigned operator[](int index) const { return half[index / 4].word[index % 4]; }
};

// Of both operators, row-major.
struct SamplingInputs {
    const float* temperature;  // [B]; noise only above 0
    const long long* seed;     // [B]
    const int* draw;           // [B]
    const int* position;       // [B, W]: of the token that each slot predicts
    const float* cut;          // [B, W]: tokens with a smaller logit are not allowed
    const int* drafted_ids;    // [B, W, kCandidates]: what the token in each slot was drafted from, or kNoToken

    NLD_DEVICE bool sampled(int row) const { return temperature[row] > 0.0f; }

    NLD_DEVICE Noise noise(int row, int place) const {
        const auto key = static_cast<unsigned long long>(seed[row]);
        return {static_cast<unsigned>(key), static_cast<unsigned>(key >> 32), static_cast<unsigned>(position[place]),
                static_cast<unsigned>(draw[row])};
    }

    // What `place` predicts is the token of the next slot: its candidates are that one's. Null for the last slot.
    NLD_DEVICE const Eight* candidates(int place, int slot, int width) const {
        return slot + 1 < width ? reinterpret_cast<const Eight*>(drafted_ids) + place + 1 : nullptr;
    }

    // One of them, or kNoToken.
    NLD_DEVICE int candidate(int place, int slot, int k, int width) const {
        return slot + 1 < width ? drafted_ids[(place + 1) * kCandidates + k] : kNoToken;
    }
};

// By how much `logit` / temperature + noise is larger than another's. The difference of the logits is taken first: at low
// temperatures their quotients are so large that noise would vanish beside them. NaN where both logits are infinite.
NLD_DEVICE float ahead(float logit, float noise, float other_logit, float other_noise, float scale) {
    return (logit - other_logit) * scale + (noise - other_noise);
}

}  // namespace nld
