// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The one pass over the logits: kThreads threads reduce kChunk vocabulary entries of one window slot to 16 bytes. The
// ONNX functions in nld_trt/graph/step say what is computed.
//
// Logits are read from memory once and stay in registers. Each warp uses them first for their maximum and then for sums
// relative to it, as soon as its own have arrived; the sums of a chunk's warps are then added relative to the maximum of
// the chunk. kChunk is constant and sums are added in a fixed order, so the results of a row do not depend on its batch.
#pragma once

#include "sampling.h"

namespace nld {

// nld_trt/engine/gpu/kernels/launch.py repeats all but kAfterAll.
constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kWarp = 32;
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

// Sums over the same two sets.
struct Totals {
    float all, kept;
};

// The entries of a chunk that one thread keeps in its registers. Vectors are distributed over the threads in turn.
template <typename Type>
struct Share {
    static constexpr int kPer = kPerVector<Type>, kStride = kThreads * kPer, kVectors = kChunk / kStride;

    Vector vectors[kVectors];
    int begin, thread;

    NLD_DEVICE void read(const typename Type::Storage* slot, int end) {
        read_vectors<Once, Type>(slot, token(0), kStride, end, begin + kChunk <= end, vectors);
    }

    // The token of a vector's first entry.
    NLD_DEVICE int token(int vector) const { return begin + vector * kStride + thread * kPer; }

    NLD_DEVICE Peaks peaks(int mask_token_id, float cut) const {
        const float all = largest([](int, unsigned word) { return word; });
        const auto without_mask = [&](int first, unsigned word) { return without(mask_token_id, first, word); };
        const float kept = holds(mask_token_id) ? largest(without_mask) : all;
        return {all, kept >= cut ? kept : minus_infinity()};
    }

    // The sum of all exponentials.
    NLD_DEVICE float total(float peak) const {
        const float base = base_of(peak);
        float found = 0.0f;
        each([&](int, float logit) { found += fast_exp(logit - base); });
        return found;
    }

    // The same, and the sum of the allowed tokens' weights.
    NLD_DEVICE Totals totals(const Peaks& peak, const Rules& rules) const {
        const float base = base_of(peak.all);
        Totals found{0.0f, 0.0f};
        each([&](int token, float logit) {
            found.all += fast_exp(logit - base);
            found.kept += rules.allows(token, logit) ? rules.weight(logit, peak.kept) : 0.0f;
        });
        return found;
    }

    // The first token except MASK with this logit, which a logit of this type can be, or kAfterAll.
    NLD_DEVICE int first_with(float logit, int mask_token_id) const {
        const auto without_mask = [&](int first, unsigned word) { return without(mask_token_id, first, word); };
        return holds(mask_token_id) ? first_equal(logit, without_mask)
                                    : first_equal(logit, [](int, unsigned word) { return word; });
    }

private:
    static constexpr int kWords = sizeof(Vector) / sizeof(unsigned);

    NLD_DEVICE bool holds(int mask_token_id) const {
        const unsigned mask = static_cast<unsigned>(mask_token_id - begin);
        return mask < kChunk && mask / kPer % kThreads == static_cast<unsigned>(thread);
    }

    // A word whose first entry is the token `first`, with minus infinity in place of MASK.
    static NLD_DEVICE unsigned without(int mask_token_id, int first, unsigned word) {
        const unsigned place = static_cast<unsigned>(mask_token_id - first);
        return place < kPerWord<Type> ? emptied<Type>(word, place) : word;
    }

    NLD_DEVICE int first_of(int word) const { return token(word / kWords) + word % kWords * kPerWord<Type>; }

    NLD_DEVICE unsigned word_at(int word) const { return vectors[word / kWords].word[word % kWords]; }

    // The largest value of the words that `change` makes of the words here and the tokens of their first entries.
    template <typename Function>
    NLD_DEVICE float largest(Function change) const {
        unsigned found = change(first_of(0), word_at(0));
#pragma unroll
        for (int i = 1; i < kVectors * kWords; ++i) found = Type::larger_words(found, change(first_of(i), word_at(i)));
        float most = minus_infinity();
#pragma unroll
        for (int j = 0; j < kPerWord<Type>; ++j) most = larger(most, entry<Type>(found, j));
        return most;
    }

    // The first token with this logit in such words. They are compared as they are: unpacking all of them for a second
    // time would make compilers keep what they unpacked for the sums, for which there are no registers.
    template <typename Function>
    NLD_DEVICE int first_equal(float logit, Function change) const {
        const unsigned wanted = Type::filled(logit);
        int found = kAfterAll;
#pragma unroll
        for (int i = kVectors * kWords - 1; i >= 0; --i) {
            const unsigned equal = Type::equal_words(change(first_of(i), word_at(i)), wanted);
#pragma unroll
            for (int j = kPerWord<Type> - 1; j >= 0; --j) {
                if (entry_bits<Type>(equal, j) != 0) found = first_of(i) + j;
            }
        }
        return found;
    }

    // Calls `function` with every token and its logit.
    template <typename Function>
    NLD_DEVICE void each(Function function) const {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
            float values[kPer];
            unpack<Type>(vectors[i], values);
#pragma unroll
            for (int j = 0; j < kPer; ++j) function(token(i) + j, values[j]);
        }
    }
};

// Shared memory of the warps of a block: what each found in its part of the chunk, with sums relative to its own peaks.
struct Chunk {
    static constexpr int kWarps = kThreads / kWarp;

    Peaks peaks[kWarps];
    float totals[kWarps];
    union {
        float weights[kWarps];
        int tokens[kWarps];
    };

    // The peaks of the chunk. Here and below, each of the first lanes looks at one warp's part.
    template <typename Warp>
    NLD_DEVICE Peaks peak(const Warp& warp) const {
        const auto part = [&](int lane) {
            return lane < kWarps ? peaks[lane] : Peaks{minus_infinity(), minus_infinity()};
        };
        return {warp.max(warp.each([&](int lane) { return part(lane).all; })),
                warp.max(warp.each([&](int lane) { return part(lane).kept; }))};
    }

    // A MostLikely, from the first token with the chunk's peak in each warp's part.
    template <typename Warp>
    NLD_DEVICE Vector most_likely(const Warp& warp, const Peaks& peak) const {
        const int token = warp.min(warp.each([&](int lane) { return lane < kWarps ? tokens[lane] : kAfterAll; }));
        return {{bits_of(peak.all), bits_of(total(warp, peak)), bits_of(peak.kept), static_cast<unsigned>(token)}};
    }

    // A Mass, at the row's scale.
    template <typename Warp>
    NLD_DEVICE Vector mass(const Warp& warp, const Peaks& peak, const Rules& rules) const {
        const float weight = warp.sum(warp.each([&](int lane) {
            return lane < kWarps ? weights[lane] * rules.weight(peaks[lane].kept, peak.kept) : 0.0f;
        }));
        return {{bits_of(peak.all), bits_of(total(warp, peak)), bits_of(peak.kept), bits_of(weight)}};
    }

private:
    template <typename Warp>
    NLD_DEVICE float total(const Warp& warp, const Peaks& peak) const {
        return warp.sum(warp.each([&](int lane) {
            return lane < kWarps ? totals[lane] * fast_exp(peaks[lane].all - base_of(peak.all)) : 0.0f;
        }));
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
