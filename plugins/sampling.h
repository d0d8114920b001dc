// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// Sampling of a row with a temperature: its random numbers, and the weight of a token.
// nld_trt/graph/step/sampling.py is the definition.
#pragma once

#include "numbers.h"

namespace nld {

constexpr int kNoToken = -1;
constexpr int kCandidates = 8;  // of a slot's draft; nld_trt/graph/step/tensors.py has it
// The least temperature. Division by less would overflow, and at this one the most likely token is always sampled.
constexpr float kColdest = 1e-30f;  // as in nld_trt/graph/step/scores.py

// 1 / temperature, limited so that its product with minus infinity is minus infinity.
NLD_DEVICE float scale_of(float temperature) {
    return larger(reciprocal(larger(temperature, kColdest)), 1.1754944e-38f);
}

// The reference point of exponentials. Where all logits are -inf, differences with the peak would be NaN.
NLD_DEVICE float base_of(float peak) { return peak == minus_infinity() ? 0.0f : peak; }

// The rules of a slot: which tokens may be chosen, and the weight of a token relative to the most likely one.
struct Rules {
    int mask_token_id;
    float scale;  // 1 / temperature
    float cut;    // tokens with a smaller logit are not allowed

    NLD_DEVICE bool allows(int token, float logit) const { return token != mask_token_id && logit >= cut; }

    // The difference is computed first, because quotients of low temperatures overflow and lose digits.
    NLD_DEVICE float weight(float logit, float peak) const { return fast_exp((logit - base_of(peak)) * scale); }
};

// The sampling inputs of both operators, row-major.
struct SamplingInputs {
    const float* temperature;  // [B]; tokens are sampled only above 0
    const float* cut;          // [B, W]

    NLD_DEVICE bool sampled(int row) const { return temperature[row] > 0.0f; }

    NLD_DEVICE Rules rules(int row, int place, int mask_token_id) const {
        return {mask_token_id, scale_of(temperature[row]), cut[place]};
    }
};

// The two random numbers of a slot: one to sample with, one to test the drafted token.
struct Uniforms {
    float sample, test;
};

// The keys and counters of the random numbers, row-major.
struct RandomInputs {
    const long long* seed;  // [B]
    const int* stream;      // [B]
    const int* sample;        // [B]
    const int* position;    // [B, W]: position of the token that each slot predicts

    NLD_DEVICE Uniforms of(int row, int place) const {
        const auto key = static_cast<unsigned long long>(seed[row]);
        const Words counter{{static_cast<unsigned>(stream[row]), static_cast<unsigned>(position[place]),
                             static_cast<unsigned>(sample[row]), 0u}};
        const Words words = philox(counter, static_cast<unsigned>(key), static_cast<unsigned>(key >> 32));
        return {uniform(words.word[0]), uniform(words.word[1])};
    }
};

}  // namespace nld
