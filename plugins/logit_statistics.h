// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The one pass over the logits that nld.BlockDenoise and nld.SpecVerify share: kThreads threads reduce kChunk vocabulary
// entries of one window slot to a Partial. The ONNX functions in nld_trt/graph/operators.py say what is computed.
//
// kChunk depends on nothing, and partials are combined in a fixed order: what a row gets does not depend on its batch.
#pragma once

#include "numbers.h"

namespace nld {

// nld_trt/engine/kernels/launch.py repeats the first two.
constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kResident = 4;  // blocks that one multiprocessor is to hold: leaves 64 registers to each thread
constexpr int kNoToken = -1;

// How one slot is sampled. Without a temperature above 0 only mask_token_id matters.
struct Sampling {
    int mask_token_id;
    float temperature;
    float cut;  // tokens with a smaller logit are not allowed
    unsigned key0, key1;
    unsigned position, draw;

    NLD_DEVICE Words noise(int token) const {
        return philox({{static_cast<unsigned>(token) >> 2, position, draw, 0u}}, key0, key1);
    }
};

// What is known of some vocabulary entries of one slot. Any NaN or +inf among them makes total NaN, and it stays NaN.
struct Partial {
    float peak;   // largest logit, MASK included
    float total;  // sum of exp(logit - peak)
    float score;  // of the best allowed token: its logit, or logit / temperature + noise
    float logit;  // of that token
    int token;    // that token, or kNoToken; the lowest of equals
};

constexpr int kPartialWords = 8;  // of a stored Partial; the last three are zero

NLD_DEVICE Partial nothing() { return {minus_infinity(), 0.0f, minus_infinity(), minus_infinity(), kNoToken}; }

// The reference point of sums of exponentials: where all logits are -inf, their differences are no numbers.
NLD_DEVICE float base_of(float peak) { return peak == minus_infinity() ? 0.0f : peak; }

NLD_DEVICE Partial combine(const Partial& a, const Partial& b) {
    const bool other = b.score > a.score || (b.score == a.score && b.token < a.token);
    Partial both = other ? b : a;
    both.peak = larger(a.peak, b.peak);
    const float base = base_of(both.peak);
    both.total = a.total * fast_exp(a.peak - base) + b.total * fast_exp(b.peak - base);
    return both;
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

// Add entries to the softmax denominator.
template <int kCount>
NLD_DEVICE void weigh(Partial& partial, const float (&values)[kCount]) {
    const float top = largest(values, 0, kNoToken);
    if (top > partial.peak) {
        partial.total *= fast_exp(partial.peak - top);
        partial.peak = top;
    }
    const float base = base_of(partial.peak);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum += fast_exp(values[j] - base);
    partial.total += sum;
}

// Let entries compete with noise.
template <int kCount>
NLD_DEVICE void sample(Partial& partial, const float (&values)[kCount], int first, const Sampling& sampling) {
    Words words{};
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
        const int token = first + j;
        if (j == 0 || token % 4 == 0) words = sampling.noise(token);
        // Selected by hand: an index that is not known at compile time would put the words in memory.
        const unsigned low = token & 1 ? words.word[1] : words.word[0];
        const unsigned high = token & 1 ? words.word[3] : words.word[2];
        const float score = values[j] / sampling.temperature + gumbel(token & 2 ? high : low);
        const bool allowed = token != sampling.mask_token_id && values[j] >= sampling.cut;
        if (allowed && score > partial.score) {
            partial.score = score;
            partial.logit = values[j];
            partial.token = token;
        }
    }
}

// One thread's share of the entries begin .. end - 1 of a slot. Whole aligned vectors go round the threads; where V is
// no multiple of the vector's width, the few entries before and behind them go to one thread each. A thread sees its
// vectors in ascending order and only a larger score replaces one: the lowest of equals stays.
template <typename Type, bool kSampled>
NLD_DEVICE Partial scan(const typename Type::Storage* slot, int begin, int end, int thread, const Sampling& sampling) {
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
            weigh(partial, values);
            if (kSampled) {
                sample(partial, values, token, sampling);
            } else if (const float top = largest(values, token, sampling.mask_token_id); top > partial.score) {
                partial.score = top;
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
            if (values[j] == partial.score && vector + j != sampling.mask_token_id) partial.token = vector + j;
        }
        partial.logit = partial.score;
    }
    if (thread < head + end - tail) {
        const int token = thread < head ? begin + thread : tail + thread - head;
        const float single[1] = {Type::widen(slot[token])};
        Partial odd = nothing();
        weigh(odd, single);
        if (kSampled) {
            sample(odd, single, token, sampling);
        } else if (token != sampling.mask_token_id && single[0] > odd.score) {
            odd.score = odd.logit = single[0];
            odd.token = token;
        }
        partial = combine(partial, odd);
    }
    return partial;
}

// Inputs of the statistics pass, row-major.
template <typename Type>
struct Statistics {
    const typename Type::Storage* logits;  // [B, W, V]
    const float* temperature;              // [B]; noise only above 0
    const long long* seed;                 // [B]
    const int* draw;                       // [B]
    const int* positions;                  // [B, W]: of the token that each slot predicts
    const float* cut;                      // [B, W]
    int width, vocab, mask_token_id;
    int* partials;                         // [B, W, splits, kPartialWords]

    // What `thread` finds in one chunk of one slot.
    NLD_DEVICE Partial share(int row, int slot, int split, int thread) const {
        const int place = row * width + slot;
        const auto* entries = logits + static_cast<long long>(place) * vocab;
        const int begin = split * kChunk, end = vocab - begin < kChunk ? vocab : begin + kChunk;
        const auto key = static_cast<unsigned long long>(seed[row]);
        const Sampling sampling{mask_token_id,
                                temperature[row],
                                cut[place],
                                static_cast<unsigned>(key),
                                static_cast<unsigned>(key >> 32),
                                static_cast<unsigned>(positions[place]),
                                static_cast<unsigned>(draw[row])};
        return sampling.temperature > 0.0f ? scan<Type, true>(entries, begin, end, thread, sampling)
                                           : scan<Type, false>(entries, begin, end, thread, sampling);
    }

    NLD_DEVICE void store(const Partial& partial, int row, int slot, int split, int splits) const {
        auto* place = reinterpret_cast<Vector*>(partials) + 2ll * ((row * width + slot) * splits + split);
        place[0] = {{bits_of(partial.peak), bits_of(partial.total), bits_of(partial.score), bits_of(partial.logit)}};
        place[1] = {{static_cast<unsigned>(partial.token), 0u, 0u, 0u}};
    }
};

NLD_DEVICE Partial load(const int* partials, int index) {
    const auto* place = reinterpret_cast<const Vector*>(partials) + 2ll * index;
    const Vector numbers = place[0];
    return {float_of(numbers.word[0]), float_of(numbers.word[1]), float_of(numbers.word[2]),
            float_of(numbers.word[3]), static_cast<int>(place[1].word[0])};
}

}  // namespace nld
