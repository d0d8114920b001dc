// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The one pass over the logits: kThreads threads reduce kChunk vocabulary entries of one window slot to 16 bytes. The
// ONNX functions in nld_trt/graph/step say what is computed.
//
// Logits are read from memory once and stay in registers. They are used first for the maximum of a chunk and then for
// sums relative to it, so that no sum is rescaled within a chunk. kChunk is constant and sums are added in a fixed
// order, so the results of a row do not depend on its batch.
#pragma once

#include "sampling.h"

namespace nld {

// nld_trt/engine/gpu/kernels/launch.py repeats all but kResident and kAfterAll.
constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kWarp = 32;
constexpr int kResident = 4;      // blocks per multiprocessor, which leaves 64 registers to each thread
constexpr int kPartialWords = 4;  // words of a stored MostLikely or Mass
// The result of a search for the first token or slot where there is none.
constexpr int kAfterAll = 0x7fffffff;

// A sum of exp((logit - peak) * scale), where peak is the largest logit. Any NaN or +inf makes it NaN.
struct Sum {
    float peak, total;
};

NLD_DEVICE Sum empty_sum() { return {minus_infinity(), 0.0f}; }

// The statistics of a chunk in a row without a temperature.
struct MostLikely {
    Sum all;      // MASK included, scale 1
    float logit;  // the largest logit, without MASK
    int token;    // its token, the lowest id of equals; none where the logit is minus infinity

    static NLD_DEVICE MostLikely nothing() { return {empty_sum(), minus_infinity(), kNoToken}; }

    static NLD_DEVICE MostLikely read(const Vector& from) {
        return {{float_of(from.word[0]), float_of(from.word[1])}, float_of(from.word[2]), static_cast<int>(from.word[3])};
    }
};

// The statistics of a chunk in a row with a temperature.
struct Mass {
    Sum all;   // MASK included, scale 1
    Sum kept;  // allowed tokens, at the row's scale

    static NLD_DEVICE Mass nothing() { return {empty_sum(), empty_sum()}; }

    static NLD_DEVICE Mass read(const Vector& from) {
        return {{float_of(from.word[0]), float_of(from.word[1])}, {float_of(from.word[2]), float_of(from.word[3])}};
    }
};

// The largest logits: of all entries, and of the allowed ones.
struct Peaks {
    float all, kept;
};

// The entries of a chunk that one thread keeps in its registers. Vectors are distributed over the threads in turn.
template <typename Type>
struct Share {
    static constexpr int kPer = kPerVector<Type>, kStride = kThreads * kPer, kVectors = kChunk / kStride;

    Vector vectors[kVectors];
    int begin, thread;

    NLD_DEVICE void read(const typename Type::Storage* slot, int end) {
        read_vectors<Type>(slot, token(0), kStride, end, begin + kChunk <= end, vectors);
    }

    // The token of a vector's first entry.
    NLD_DEVICE int token(int vector) const { return begin + vector * kStride + thread * kPer; }

    NLD_DEVICE Peaks peaks(int mask_token_id, float cut) const {
        const float all = largest(kNoToken);
        const unsigned mask = static_cast<unsigned>(mask_token_id - begin);
        const bool has_mask = mask < kChunk && mask / kPer % kThreads == static_cast<unsigned>(thread);
        const float kept = has_mask ? largest(mask_token_id) : all;
        return {all, kept >= cut ? kept : minus_infinity()};
    }

    // The sum of all exponentials.
    NLD_DEVICE float total(float peak) const {
        const float base = base_of(peak);
        return sum([&](int, float logit) { return fast_exp(logit - base); });
    }

    // The sum of the allowed tokens' weights.
    NLD_DEVICE float weight(float peak, const Rules& rules) const {
        return sum([&](int token, float logit) {
            return rules.allows(token, logit) ? rules.weight(logit, peak) : 0.0f;
        });
    }

    // The first token except MASK with this logit, or kAfterAll.
    NLD_DEVICE int first_with(float logit, int mask_token_id) const {
        int found = kAfterAll;
#pragma unroll
        for (int i = kVectors - 1; i >= 0; --i) {
            float values[kPer];
            unpack<Type>(vectors[i], values);
#pragma unroll
            for (int j = kPer - 1; j >= 0; --j) {
                if (values[j] == logit && token(i) + j != mask_token_id) found = token(i) + j;
            }
        }
        return found;
    }

private:
    NLD_DEVICE float largest(int except) const {
        float found = minus_infinity();
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
            float values[kPer];
            unpack<Type>(vectors[i], values);
#pragma unroll
            for (int j = 0; j < kPer; ++j) {
                found = larger(found, token(i) + j == except ? minus_infinity() : values[j]);
            }
        }
        return found;
    }

    template <typename Function>
    NLD_DEVICE float sum(Function function) const {
        float found = 0.0f;
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
            float values[kPer], part = 0.0f;
            unpack<Type>(vectors[i], values);
#pragma unroll
            for (int j = 0; j < kPer; ++j) part += function(token(i) + j, values[j]);
            found += part;
        }
        return found;
    }
};

// Shared memory of the warps of a block: the largest logits of each warp, then sums relative to the largest of all.
struct Chunk {
    static constexpr int kWarps = kThreads / kWarp;

    Peaks peaks[kWarps];
    float totals[kWarps];
    union {
        float weights[kWarps];
        int tokens[kWarps];
    };

    NLD_DEVICE Peaks peak() const {
        Peaks found = peaks[0];
#pragma unroll
        for (int warp = 1; warp < kWarps; ++warp) {
            found = {larger(found.all, peaks[warp].all), larger(found.kept, peaks[warp].kept)};
        }
        return found;
    }

    // The sums of each warp: a Mass or a MostLikely.
    NLD_DEVICE Vector stored(const Peaks& peak, bool sampled) const {
        float total = 0.0f, weight = 0.0f;
        int token = kAfterAll;
#pragma unroll
        for (int warp = 0; warp < kWarps; ++warp) {
            total += totals[warp];
            if (sampled) {
                weight += weights[warp];
            } else {
                token = lesser(token, tokens[warp]);
            }
        }
        const unsigned last = sampled ? bits_of(weight) : static_cast<unsigned>(token);
        return {{bits_of(peak.all), bits_of(total), bits_of(peak.kept), last}};
    }
};

// The inputs and outputs of the statistics pass, row-major.
template <typename Type>
struct Statistics {
    const typename Type::Storage* logits;  // [B, W, V]
    SamplingInputs sampling;
    int width, vocab, mask_token_id;
    int* partials;  // [B, W, splits, kPartialWords]

    // The rules of a slot in a row with a temperature.
    NLD_DEVICE Rules rules(int row, int slot) const { return sampling.rules(row, row * width + slot, mask_token_id); }

    // The smallest logit that may be chosen. Its two reads are independent of each other.
    NLD_DEVICE float cut(int row, int slot) const {
        const float given = sampling.cut[row * width + slot];
        return sampling.sampled(row) ? given : minus_infinity();
    }

    // The entries of `thread` in one chunk of one slot.
    NLD_DEVICE Share<Type> share(int row, int slot, int split, int thread) const {
        Share<Type> found;
        found.begin = split * kChunk;
        found.thread = thread;
        found.read(logits + static_cast<long long>(row * width + slot) * vocab, vocab);
        return found;
    }

    NLD_DEVICE void store(const Vector& found, int row, int slot, int split, int splits) const {
        reinterpret_cast<Vector*>(partials)[(row * width + slot) * splits + split] = found;
    }
};

NLD_DEVICE Vector stored_partial(const int* partials, int index) {
    return reinterpret_cast<const Vector*>(partials)[index];
}

}  // namespace nld
