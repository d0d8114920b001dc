// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The one pass over the logits: kThreads threads reduce kChunk vocabulary entries of one window slot to a Partial. The
// ONNX functions in nld_trt/graph/operators.py say what is computed.
//
// kChunk depends on nothing, and partials are combined in a fixed order: what a row gets does not depend on its batch.
#pragma once

#include "sampling.h"

namespace nld {

// nld_trt/engine/kernels/launch.py repeats the first two.
constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kResident = 4;  // blocks that one multiprocessor is to hold: leaves 64 registers to each thread

// How the entries of one slot compete. Without a temperature only mask_token_id matters.
struct Contest {
    int mask_token_id;
    float scale;          // 1 / temperature
    float cut;
    Noise noise;
    const Eight* listed;  // tokens that the decision settles; null where none of them is in the chunk

    // Which of the tokens from `first` on, by bits.
    template <int kCount>
    NLD_DEVICE unsigned settled_elsewhere(int first) const {
        unsigned found = 0;
        if (listed == nullptr) return found;
        const Eight tokens = *listed;
#pragma unroll
        for (int k = 0; k < kCandidates; ++k) {
            const unsigned offset = tokens[k] - static_cast<unsigned>(first);
            if (offset < kCount) found |= 1u << offset;
        }
        return found;
    }
};

// The reference point of sums of exponentials: where all logits are -inf, their differences are no numbers.
NLD_DEVICE float base_of(float peak) { return peak == minus_infinity() ? 0.0f : peak; }

// A sum of exp((logit - peak) * scale), where peak is the largest logit.
struct Sum {
    float peak, total;

    NLD_DEVICE void combine(const Sum& other, float scale) {
        const float top = larger(peak, other.peak), base = base_of(top);
        total = total * fast_exp((peak - base) * scale) + other.total * fast_exp((other.peak - base) * scale);
        peak = top;
    }

    template <int kCount>
    NLD_DEVICE void add(const float (&values)[kCount], float scale) {
        float top = values[0];
#pragma unroll
        for (int j = 1; j < kCount; ++j) top = larger(top, values[j]);
        if (top > peak) {
            total *= fast_exp((peak - top) * scale);
            peak = top;
        }
        const float base = base_of(peak);
        float sum = 0.0f;
#pragma unroll
        for (int j = 0; j < kCount; ++j) sum += fast_exp((values[j] - base) * scale);
        total += sum;
    }
};

// What is known of some vocabulary entries of one slot. Any NaN or +inf among them makes all.total NaN, and it stays
// NaN. The last two are of sampled rows only.
struct Partial {
    Sum all;      // MASK included, scale 1
    float logit;  // of the best allowed token that is not settled elsewhere
    int token;    // that token, or kNoToken; the lowest of equals
    float noise;  // of that token
    Sum kept;     // allowed tokens, those settled elsewhere included, at the row's scale
};

constexpr int kPartialWords = 8;  // of a stored Partial; the last is unused

NLD_DEVICE Partial nothing() {
    return {{minus_infinity(), 0.0f}, minus_infinity(), kNoToken, 0.0f, {minus_infinity(), 0.0f}};
}

template <bool kSampled>
NLD_DEVICE void compete(Partial& best, int token, float logit, float noise, float scale) {
    const float lead = kSampled ? ahead(logit, noise, best.logit, best.noise, scale) : logit - best.logit;
    // Not by the lead alone: it is NaN for equal infinities, and then nothing is replaced.
    if (lead > 0.0f || (lead == 0.0f && token < best.token)) {
        best.logit = logit;
        best.token = token;
        best.noise = noise;
    }
}

template <bool kSampled>
NLD_DEVICE void combine(Partial& mine, const Partial& other, float scale) {
    compete<kSampled>(mine, other.token, other.logit, other.noise, scale);
    mine.all.combine(other.all, 1.0f);
    if (kSampled) mine.kept.combine(other.kept, scale);
}

// The largest of some entries, without MASK where it is one of them.
template <int kCount>
NLD_DEVICE float largest(const float (&values)[kCount], int first, int mask_token_id) {
    float top = values[0];
#pragma unroll
    for (int j = 1; j < kCount; ++j) top = larger(top, values[j]);
    if (static_cast<unsigned>(mask_token_id - first) >= kCount) return top;
    top = minus_infinity();
#pragma unroll
    for (int j = 0; j < kCount; ++j) top = larger(top, first + j == mask_token_id ? minus_infinity() : values[j]);
    return top;
}

// Let entries compete with noise.
template <int kCount>
NLD_DEVICE void sample(Partial& partial, const float (&values)[kCount], int first, const Contest& contest) {
    const unsigned elsewhere = contest.settled_elsewhere<kCount>(first);
    float kept[kCount];
    Words words{};
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
        const int token = first + j;
        if (j == 0 || token % 4 == 0) words = contest.noise.words(token);
        const float noise = Noise::of(token, words);
        const bool allowed = token != contest.mask_token_id && values[j] >= contest.cut;
        kept[j] = allowed ? values[j] : minus_infinity();
        const bool wins = ahead(kept[j], noise, partial.logit, partial.noise, contest.scale) > 0.0f;
        if (wins && (elsewhere >> j & 1u) == 0) {
            partial.logit = values[j];
            partial.token = token;
            partial.noise = noise;
        }
    }
    partial.kept.add(kept, contest.scale);
}

// One thread's share of the entries begin .. end - 1 of a slot. Whole aligned vectors go round the threads; where V is
// no multiple of the vector's width, the few entries before and behind them go to one thread each. A thread sees its
// vectors in ascending order and only a better entry replaces one: the lowest of equals stays.
template <typename Type, bool kSampled>
NLD_DEVICE Partial scan(const typename Type::Storage* slot, int begin, int end, int thread, const Contest& contest) {
    using Storage = typename Type::Storage;
    constexpr int kPer = kPerVector<Type>;
    // Vectors in flight: enough to hide memory, and one where the noise takes the registers and most of the time.
    constexpr int kBatch = kSampled ? 1 : 4;

    const auto misplaced = reinterpret_cast<unsigned long long>(slot + begin) % sizeof(Vector);
    int head = misplaced == 0 ? 0 : static_cast<int>((sizeof(Vector) - misplaced) / sizeof(Storage));
    if (head > end - begin) head = end - begin;
    const int first = begin + head, count = (end - first) / kPer, tail = first + count * kPer;

    Partial partial = nothing();
    const Vector* vectors = reinterpret_cast<const Vector*>(slot + first);
    Vector best{};  // without noise: the vector of the best entry, whose first is partial.token
    for (int base = thread; base < count; base += kThreads * kBatch) {
        Vector batch[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            if (base + i * kThreads < count) batch[i] = vectors[base + i * kThreads];
        }
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            const int index = base + i * kThreads;
            if (index >= count) break;
            const int token = first + index * kPer;
            float values[kPer];
            unpack<Type>(batch[i], values);
            partial.all.add(values, 1.0f);
            if (kSampled) {
                sample(partial, values, token, contest);
            } else if (const float top = largest(values, token, contest.mask_token_id); top > partial.logit) {
                partial.logit = top;
                partial.token = token;
                best = batch[i];
            }
        }
    }
    if (!kSampled && partial.token != kNoToken) {
        // Which of its entries it is, is looked up once: cheaper than to keep track of every entry.
        float values[kPer];
        unpack<Type>(best, values);
        const int vector = partial.token;
#pragma unroll
        for (int j = kPer - 1; j >= 0; --j) {
            if (values[j] == partial.logit && vector + j != contest.mask_token_id) partial.token = vector + j;
        }
    }
    if (thread < head + end - tail) {
        const int token = thread < head ? begin + thread : tail + thread - head;
        const float single[1] = {Type::widen(slot[token])};
        Partial odd = nothing();
        odd.all.add(single, 1.0f);
        if (kSampled) {
            sample(odd, single, token, contest);
        } else if (token != contest.mask_token_id && single[0] > odd.logit) {
            odd.logit = single[0];
            odd.token = token;
        }
        combine<kSampled>(partial, odd, contest.scale);
    }
    return partial;
}

// Inputs and outputs of the statistics pass, row-major.
template <typename Type>
struct Statistics {
    const typename Type::Storage* logits;  // [B, W, V]
    SamplingInputs sampling;
    int width, vocab, mask_token_id;
    int* partials;          // [B, W, splits, kPartialWords]
    float* drafted_logits;  // [B, W, kCandidates]: written for sampled rows

    // What `thread` finds in one chunk of one slot.
    template <bool kSampled>
    NLD_DEVICE Partial share(int row, int slot, int split, int thread) const {
        const int place = row * width + slot;
        const int begin = split * kChunk, end = vocab - begin < kChunk ? vocab : begin + kChunk;
        Contest contest{mask_token_id, 1.0f, minus_infinity(), {}, nullptr};
        if (kSampled) {
            contest.scale = scale_of(sampling.temperature[row]);
            contest.cut = sampling.cut[place];
            contest.noise = sampling.noise(row, place);
            if (const Eight* candidates = sampling.candidates(place, slot, width)) {
                for (int k = 0; k < kCandidates; ++k) {
                    if ((*candidates)[k] - static_cast<unsigned>(begin) < static_cast<unsigned>(end - begin)) contest.listed = candidates;
                }
            }
        }
        return scan<Type, kSampled>(entries(place), begin, end, thread, contest);
    }

    // The logit of candidate `k` of a slot, for the decision.
    NLD_DEVICE void record(int row, int slot, int k) const {
        const int place = row * width + slot;
        const int token = sampling.candidate(place, slot, k, width);
        drafted_logits[place * kCandidates + k] =
            static_cast<unsigned>(token) < static_cast<unsigned>(vocab) ? Type::widen(entries(place)[token]) : minus_infinity();
    }

    template <bool kSampled>
    NLD_DEVICE void store(const Partial& found, int row, int slot, int split, int splits) const {
        auto* place = reinterpret_cast<Vector*>(partials) + 2ll * ((row * width + slot) * splits + split);
        place[0] = {{bits_of(found.all.peak), bits_of(found.all.total), bits_of(found.logit),
                     static_cast<unsigned>(found.token)}};
        if (kSampled) place[1] = {{bits_of(found.noise), bits_of(found.kept.peak), bits_of(found.kept.total), 0u}};
    }

private:
    NLD_DEVICE const typename Type::Storage* entries(int place) const {
        return logits + static_cast<long long>(place) * vocab;
    }
};

template <bool kSampled>
NLD_DEVICE Partial load(const int* partials, int index) {
    const auto* place = reinterpret_cast<const Vector*>(partials) + 2ll * index;
    const Vector one = place[0];
    Partial found = nothing();
    found.all = {float_of(one.word[0]), float_of(one.word[1])};
    found.logit = float_of(one.word[2]);
    found.token = static_cast<int>(one.word[3]);
    if (kSampled) {
        const Vector two = place[1];
        found.noise = float_of(two.word[0]);
        found.kept = {float_of(two.word[1]), float_of(two.word[2])};
    }
    return found;
}

}  // namespace nld
