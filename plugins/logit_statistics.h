// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The one pass over the logits: kThreads threads reduce kChunk vocabulary entries of one window slot to 16 bytes. The
// ONNX functions in nld_trt/graph/operators.py say what is computed.
//
// kChunk depends on nothing, and partials are combined in a fixed order: what a row gets does not depend on its batch.
#pragma once

#include "sampling.h"

namespace nld {

// nld_trt/engine/kernels/launch.py repeats all but kResident.
constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kWarp = 32;
constexpr int kResident = 4;      // blocks that one multiprocessor is to hold: leaves 64 registers to each thread
constexpr int kPartialWords = 4;  // of a stored Likeliest or Mass

// A sum of exp((logit - peak) * scale), where peak is the largest logit. Any NaN or +inf makes it NaN for good.
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

NLD_DEVICE Sum empty_sum() { return {minus_infinity(), 0.0f}; }

// What is known of some entries of a slot in a row without a temperature.
struct Likeliest {
    Sum all;      // MASK included, scale 1
    float logit;  // the largest without MASK
    int token;    // it, or kNoToken; the lowest of equals

    static NLD_DEVICE Likeliest nothing() { return {empty_sum(), minus_infinity(), kNoToken}; }

    NLD_DEVICE void combine(const Likeliest& other, float) {
        if (other.logit > logit || (other.logit == logit && other.token < token)) {
            logit = other.logit;
            token = other.token;
        }
        all.combine(other.all, 1.0f);
    }

    NLD_DEVICE Vector stored() const {
        return {{bits_of(all.peak), bits_of(all.total), bits_of(logit), static_cast<unsigned>(token)}};
    }

    static NLD_DEVICE Likeliest read(const Vector& from) {
        return {{float_of(from.word[0]), float_of(from.word[1])}, float_of(from.word[2]), static_cast<int>(from.word[3])};
    }
};

// The same of a row with a temperature.
struct Mass {
    Sum all;   // MASK included, scale 1
    Sum kept;  // allowed tokens, at the row's scale

    static NLD_DEVICE Mass nothing() { return {empty_sum(), empty_sum()}; }

    NLD_DEVICE void combine(const Mass& other, float scale) {
        all.combine(other.all, 1.0f);
        kept.combine(other.kept, scale);
    }

    NLD_DEVICE Vector stored() const {
        return {{bits_of(all.peak), bits_of(all.total), bits_of(kept.peak), bits_of(kept.total)}};
    }

    static NLD_DEVICE Mass read(const Vector& from) {
        return {{float_of(from.word[0]), float_of(from.word[1])}, {float_of(from.word[2]), float_of(from.word[3])}};
    }
};

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

// How one thread gathers a Likeliest.
template <typename Type>
struct LikeliestReader {
    using Partial = Likeliest;
    static constexpr int kPer = kPerVector<Type>;

    Partial partial = Partial::nothing();
    Vector best{};  // the vector of the best entry, whose first entry is partial.token

    NLD_DEVICE void add(const Vector& vector, int first, const Rules& rules) {
        float values[kPer];
        unpack<Type>(vector, values);
        partial.all.add(values, 1.0f);
        if (const float top = largest(values, first, rules.mask_token_id); top > partial.logit) {
            partial.logit = top;
            partial.token = first;
            best = vector;
        }
    }

    // Which entry of its vector is best is looked up once: cheaper than to keep track of every entry.
    NLD_DEVICE void finish(const Rules& rules) {
        if (partial.token == kNoToken) return;
        float values[kPer];
        unpack<Type>(best, values);
        const int first = partial.token;
#pragma unroll
        for (int j = kPer - 1; j >= 0; --j) {
            if (values[j] == partial.logit && first + j != rules.mask_token_id) partial.token = first + j;
        }
    }
};

// How one thread gathers a Mass.
template <typename Type>
struct MassReader {
    using Partial = Mass;
    static constexpr int kPer = kPerVector<Type>;

    Partial partial = Partial::nothing();

    NLD_DEVICE void add(const Vector& vector, int first, const Rules& rules) {
        float values[kPer];
        unpack<Type>(vector, values);
        partial.all.add(values, 1.0f);
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
            if (!rules.allows(first + j, values[j])) values[j] = minus_infinity();
        }
        partial.kept.add(values, rules.scale);
    }

    NLD_DEVICE void finish(const Rules&) {}
};

// One thread's share of the entries begin .. end - 1 of a slot: vectors go round the threads. A thread sees its vectors in
// ascending order and only a better entry replaces one: the lowest of equals stays.
template <typename Type, template <typename> class Reader>
NLD_DEVICE typename Reader<Type>::Partial scan(const typename Type::Storage* slot, int begin, int end, int thread,
                                               const Rules& rules) {
    constexpr int kPer = kPerVector<Type>, kStride = kThreads * kPer;
    constexpr int kBatch = 4;  // vectors in flight: enough to hide memory

    Reader<Type> reader;
    for (int base = begin; base < end; base += kStride * kBatch) {
        Vector batch[kBatch];
        const int first = base + thread * kPer;
        read_vectors<Type>(slot, first, kStride, end, base + kStride * kBatch <= end, batch);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) reader.add(batch[i], first + i * kStride, rules);
    }
    reader.finish(rules);
    return reader.partial;
}

// Inputs and outputs of the statistics pass, row-major.
template <typename Type>
struct Statistics {
    const typename Type::Storage* logits;  // [B, W, V]
    SamplingInputs sampling;
    int width, vocab, mask_token_id;
    int* partials;  // [B, W, splits, kPartialWords]

    // Of a slot; without a temperature only mask_token_id matters.
    NLD_DEVICE Rules rules(int row, int slot) const {
        return sampling.sampled(row) ? sampling.rules(row, row * width + slot, mask_token_id)
                                     : Rules{mask_token_id, 1.0f, minus_infinity()};
    }

    // What `thread` finds in one chunk of one slot.
    template <template <typename> class Reader>
    NLD_DEVICE typename Reader<Type>::Partial share(int row, int slot, int split, int thread, const Rules& rules) const {
        const int begin = split * kChunk, end = vocab - begin < kChunk ? vocab : begin + kChunk;
        const auto* entries = logits + static_cast<long long>(row * width + slot) * vocab;
        return scan<Type, Reader>(entries, begin, end, thread, rules);
    }

    NLD_DEVICE void store(const Vector& found, int row, int slot, int split, int splits) const {
        reinterpret_cast<Vector*>(partials)[(row * width + slot) * splits + split] = found;
    }
};

NLD_DEVICE Vector stored_partial(const int* partials, int index) {
    return reinterpret_cast<const Vector*>(partials)[index];
}

}  // namespace nld
