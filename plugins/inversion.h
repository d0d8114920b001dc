// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// Sampling by inversion: find the first token whose cumulative weight exceeds a random fraction of the total. The sums
// of the splits give the chunk of the logits that contains it, and one warp reads this chunk again.
#pragma once

#include "logit_statistics.h"

namespace nld {

// The weights of one slot: those of allowed tokens, less what a draft took from them.
template <typename Type>
struct Pool {
    static constexpr int kPer = kPerVector<Type>;
    static constexpr int kTile = kWarp * kPer;        // tokens that a warp reads at once
    static constexpr int kTiles = 8;                  // tiles in flight
    static constexpr int kGroup = kTiles * kTile;

    const typename Type::Storage* logits;  // [V]
    int vocab;
    Rules rules;
    float peak;          // the largest allowed logit
    const int* ids;      // [kCandidates] tokens; null where a draft took nothing
    const float* taken;  // [kCandidates] weights that the draft took from these tokens

    // The whole weight of a token.
    NLD_DEVICE float weight(int token) const {
        if (static_cast<unsigned>(token) >= static_cast<unsigned>(vocab)) return 0.0f;
        const float logit = Type::widen(logits[token]);
        return rules.allows(token, logit) ? rules.weight(logit, peak) : 0.0f;
    }

    // The remaining weights of the tokens in a vector.
    NLD_DEVICE void weigh(const Vector& vector, int first, float (&left)[kPer]) const {
        unpack<Type>(vector, left);
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
            left[j] = rules.allows(first + j, left[j]) ? rules.weight(left[j], peak) : 0.0f;
        }
        if (ids == nullptr) return;
#pragma unroll 1
        for (int k = 0; k < kCandidates; ++k) {
            const int offset = ids[k] - first;
            if (ids[k] < 0 || static_cast<unsigned>(offset) >= static_cast<unsigned>(kPer)) continue;
#pragma unroll
            for (int j = 0; j < kPer; ++j) {
                if (j == offset) left[j] = larger(left[j] - taken[k], 0.0f);
            }
        }
    }

    NLD_DEVICE float sum(const Vector& vector, int first) const {
        float left[kPer], found = 0.0f;
        weigh(vector, first, left);
#pragma unroll
        for (int j = 0; j < kPer; ++j) found += left[j];
        return found;
    }

    // The sum of a lane's part of a group.
    NLD_DEVICE float group_sum(int base, int lane, int end) const {
        Vector batch[kTiles];
        const int first = base + lane * kPer;
        read_vectors<Again, Type>(logits, first, kTile, end, base + kGroup <= end, batch);
        float found = 0.0f;
#pragma unroll
        for (int i = 0; i < kTiles; ++i) found += sum(batch[i], first + i * kTile);
        return found;
    }

    // The first token of a vector with which the sum exceeds `rest`, else the last token with a weight.
    NLD_DEVICE int token_in_vector(int first, int end, float rest) const {
        float left[kPer], passed = 0.0f;
        weigh(vector_at<Type>(logits, first, end), first, left);
        int found = kNoToken;
        bool beyond = false;
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
            passed += left[j];
            if (left[j] > 0.0f && !beyond) {
                found = first + j;
                beyond = passed > rest;
            }
        }
        return found;
    }
};

// The first such token of a group, which has at least one token with a weight.
template <typename Warp, typename Type>
NLD_DEVICE int token_in_group(const Warp& warp, const Pool<Type>& pool, int base, int end, float rest) {
    constexpr int kTile = Pool<Type>::kTile, kPer = Pool<Type>::kPer;
    int last_base = base, last_lane = 0;
    bool found = false;
#pragma unroll 1
    for (int i = 0; i < Pool<Type>::kTiles; ++i, base += kTile) {
        const auto sums = warp.each([&](int lane) {
            const int first = base + lane * kPer;
            return pool.sum(vector_at<Type>(pool.logits, first, end), first);
        });
        const auto running = warp.running(sums);
        const unsigned drawable = warp.ballot([&](int lane) { return warp.at(sums, lane) > 0.0f; });
        const unsigned beyond = drawable & warp.ballot([&](int lane) { return warp.at(running, lane) > rest; });
        if (drawable != 0) {
            last_base = base;
            last_lane = beyond != 0 ? lowest_bit(beyond) : highest_bit(drawable);
        }
        found = beyond != 0;
        if (found) {
            rest -= warp.from(running, last_lane) - warp.from(sums, last_lane);
            break;
        }
        rest -= warp.from(running, kWarp - 1);
    }
    // The target exceeds all sums because of rounding, so this returns the last token with a weight of the last vector.
    if (!found) rest = -minus_infinity();
    return pool.token_in_vector(last_base + last_lane * kPer, end, rest);
}

// The first such token of a chunk; kNoToken where no token has a weight.
template <typename Warp, typename Type>
NLD_DEVICE int token_in_chunk(const Warp& warp, const Pool<Type>& pool, int split, float rest) {
    const int begin = split * kChunk, end = pool.vocab - begin < kChunk ? pool.vocab : begin + kChunk;
    int group = 0;
    float before = 0.0f, rest_there = 0.0f;
    bool drawable = false;
#pragma unroll 1
    for (int base = begin; base < end; base += Pool<Type>::kGroup) {
        const float sum = warp.sum(warp.each([&](int lane) { return pool.group_sum(base, lane, end); }));
        if (!(sum > 0.0f)) continue;
        drawable = true;
        group = base;
        rest_there = rest - before;
        before += sum;
        if (before > rest) break;
    }
    return drawable ? token_in_group(warp, pool, group, end, rest_there) : kNoToken;
}

// Sample a token by weight. Returns kNoToken where no token has a weight. `sums` has the sum of one split in each lane.
template <typename Warp, typename Type, typename Sums>
NLD_DEVICE int sample_token(const Warp& warp, const Pool<Type>& pool, Sums sums, float uniform) {
    for (;;) {
        const auto running = warp.running(sums);
        const float total = warp.from(running, kWarp - 1);
        if (!(total > 0.0f)) return kNoToken;
        const float target = uniform * total;
        const unsigned drawable = warp.ballot([&](int lane) { return warp.at(sums, lane) > 0.0f; });
        const unsigned beyond = drawable & warp.ballot([&](int lane) { return warp.at(running, lane) > target; });
        const int split = beyond != 0 ? lowest_bit(beyond) : highest_bit(drawable);
        const float rest = target - (warp.from(running, split) - warp.from(sums, split));
        const int token = token_in_chunk(warp, pool, split, rest);
        if (token != kNoToken) return token;
        // The weight of this split was a rounding error, so it is skipped.
        sums = warp.each([&](int lane) { return lane == split ? 0.0f : warp.at(sums, lane); });
    }
}

}  // namespace nld
