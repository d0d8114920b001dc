// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of plugins/ on the CPU: the same headers, with loops where a GPU has threads. What is left out is what
// plugins/warp.h and plugins/decode_kernels.cu add: shuffles, shared memory and barriers.
#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "block_decision.h"
#include "next_pass.h"

namespace {

template <typename T>
using Lanes = std::array<T, nld::kWarp>;

// What plugins/warp.h is on a GPU, with the same order of every sum.
struct Warp {
    template <typename Function>
    auto each(Function function) const {
        Lanes<decltype(function(0))> found;
        for (int lane = 0; lane < nld::kWarp; ++lane) found[lane] = function(lane);
        return found;
    }

    template <typename T>
    T at(const Lanes<T>& values, int lane) const {
        return values[lane];
    }

    template <typename T>
    T from(const Lanes<T>& values, int source) const {
        return values[source];
    }

    template <int kLanes = nld::kWarp, typename T, typename Function>
    Lanes<T> reduced(Lanes<T> values, Function combine) const {
        for (int offset = kLanes / 2; offset > 0; offset /= 2) {
            const Lanes<T> before = values;
            for (int lane = 0; lane < nld::kWarp; ++lane) values[lane] = combine(before[lane], before[lane ^ offset]);
        }
        return values;
    }

    float sum(const Lanes<float>& values) const { return reduced(values, nld::plus)[0]; }

    float max(const Lanes<float>& values) const {
        float found = values[0];
        for (const float value : values) found = nld::larger(found, value);
        return found;
    }

    int min(const Lanes<int>& values) const { return *std::min_element(values.begin(), values.end()); }

    Lanes<float> running(Lanes<float> values) const {
        for (int offset = 1; offset < nld::kWarp; offset *= 2) {
            const Lanes<float> before = values;
            for (int lane = offset; lane < nld::kWarp; ++lane) values[lane] += before[lane - offset];
        }
        return values;
    }

    template <typename Function>
    unsigned ballot(Function function) const {
        unsigned found = 0;
        for (int lane = 0; lane < nld::kWarp; ++lane) found |= static_cast<unsigned>(function(lane)) << lane;
        return found;
    }

    bool leads() const { return true; }
    void sync() const {}
};

template <typename Type>
void reduce_chunk(const nld::Statistics<Type>& statistics, int row, int slot, int split, int splits) {
    const bool sampled = statistics.sampling.sampled(row);
    const int mask = statistics.mask_token_id;
    const float cut = statistics.cut(row, slot);
    const Warp warp;
    std::vector<nld::Share<Type>> shares;
    for (int thread = 0; thread < nld::kThreads; ++thread) shares.push_back(statistics.share(row, slot, split, thread));
    const auto of_warp = [&](int index, auto function) {
        return warp.each([&](int lane) { return function(shares[index * nld::kWarp + lane]); });
    };
    nld::Chunk chunk;
    std::vector<nld::Peaks> most;
    for (int index = 0; index < nld::Chunk::kWarps; ++index) {
        const auto peaks = of_warp(index, [&](const auto& share) { return share.peaks(mask, cut); });
        most.push_back({warp.max(warp.each([&](int lane) { return peaks[lane].all; })),
                        warp.max(warp.each([&](int lane) { return peaks[lane].kept; }))});
        chunk.peaks[index] = most[index];
        if (sampled) {
            const nld::Rules rules = statistics.rules(row, slot);
            const auto totals = of_warp(index, [&](const auto& share) { return share.totals(most[index], rules); });
            chunk.totals[index] = warp.sum(warp.each([&](int lane) { return totals[lane].all; }));
            chunk.weights[index] = warp.sum(warp.each([&](int lane) { return totals[lane].kept; }));
        } else {
            chunk.totals[index] = warp.sum(of_warp(index, [&](const auto& share) { return share.total(most[index].all); }));
        }
    }
    const nld::Peaks peak = chunk.peak(warp);
    if (sampled) {
        statistics.store(chunk.mass(warp, peak, statistics.rules(row, slot)), row, slot, split, splits);
        return;
    }
    for (int index = 0; index < nld::Chunk::kWarps; ++index) {
        const auto find = [&](const auto& share) { return share.first_with(peak.kept, mask); };
        const bool here = most[index].kept == peak.kept;
        chunk.tokens[index] = here ? warp.min(of_warp(index, find)) : nld::kAfterAll;
    }
    statistics.store(chunk.most_likely(warp, peak), row, slot, split, splits);
}

template <typename Type>
void reduce_all(const nld::Statistics<Type>& statistics, int rows) {
    const int splits = (statistics.vocab + nld::kChunk - 1) / nld::kChunk;
    for (int place = 0; place < rows * statistics.width * splits; ++place) {
        const int split = place % splits, slot = place / splits % statistics.width;
        const int row = place / splits / statistics.width;
        reduce_chunk(statistics, row, slot, split, splits);
    }
}

template <typename Type>
void decide_all(const nld::Decision<Type>& decision, int rows) {
    const Warp warp;
    for (int batch = 0; batch < rows; ++batch) {
        nld::Row row;
        const int width = decision.width;
        const bool sampled = decision.sampling.sampled(batch);
        for (int slot = 0; slot < width; slot += sampled ? 1 : nld::kWarp / nld::kMostSplits) {
            if (sampled) {
                // What a warp leaves behind of the slot before must not matter.
                std::array<float, nld::kCandidates> taken;
                taken.fill(-1e9f);
                nld::sample(warp, row, taken.data(), decision, batch, slot);
            } else {
                nld::choose_most_likely(warp, row, decision, batch, slot);
            }
        }
        std::fill(std::begin(row.run_end), std::end(row.run_end), nld::kAfterAll);
        std::fill(std::begin(row.eos), std::end(row.eos), nld::kAfterAll);
        for (int slot = 0; slot < nld::kMaxEosIds; ++slot) nld::tell_eos(row, decision.asked(batch, slot), slot);
        bool finite = true;
        for (int slot = 0; slot < width; ++slot) {
            const nld::Standing found = nld::line_up(row, decision, decision.asked(batch, slot), batch, slot);
            const int index = slot / nld::kWarp;
            finite = finite && found.sound;
            if (found.ends_run) row.run_end[index] = nld::lesser(row.run_end[index], slot);
            if (found.is_eos) row.eos[index] = nld::lesser(row.eos[index], slot);
        }
        int left = 0;
        for (int slot = 0; slot < width; ++slot) {
            left += nld::decide_slot(row, decision, decision.asked(batch, slot), finite, batch, slot);
        }
        nld::decide_row(row, decision, finite, batch);
        decision.masks_left[batch] = left;
    }
}

}  // namespace

// The kernels' parameters, with the number of rows in front: a launch would say it.
#define NLD_KERNELS(TYPE_NAME, TYPE)                                                                                     \
    extern "C" void nld_logit_statistics_##TYPE_NAME(int rows, const nld::TYPE::Storage* logits,                         \
                                                     const float* temperature, const float* cut, int width,              \
                                                     int vocab, int mask_token_id, int* partials) {                      \
        reduce_all<nld::TYPE>({logits, {temperature, cut}, width, vocab, mask_token_id, partials}, rows);                \
    }                                                                                                                    \
    extern "C" void nld_decode_step_##TYPE_NAME(                                                                         \
        int rows, const nld::TYPE::Storage* logits, const int* partials, const float* temperature, const float* cut,     \
        const long long* seed, const int* stream, const int* sample, const int* position, const int* drafted_ids,        \
        const float* drafted_probabilities, const int* block, const int* valid, const int* verify_valid,                 \
        const float* threshold, const int* quota, const int* eos_token_id, int width, int vocab, int mask_token_id,      \
        int* block_tokens, float* confidence, int* masks_left, int* verified_tokens, int* accepted_count,                \
        int* bonus_token, int* eos_position, int* finite) {                                                              \
        decide_all<nld::TYPE>(                                                                                           \
            {logits, partials, {temperature, cut}, {seed, stream, sample, position}, drafted_ids, drafted_probabilities, \
             block, valid, verify_valid, threshold, quota, eos_token_id, width, vocab, mask_token_id, block_tokens,      \
             confidence, masks_left, verified_tokens, accepted_count, bonus_token, eos_position, finite},                \
            rows);                                                                                                       \
    }

NLD_KERNELS(bf16, Bf16)
NLD_KERNELS(fp16, Fp16)
NLD_KERNELS(fp32, Fp32)

extern "C" void nld_advance(int rows, const int* block, const int* cache_length, const int* valid_count,
                            const bool* causal, const int* segments, const int* sample, const int* eos_token_id,
                            const int* program, const int* tokens_left, const int* block_tokens, const int* masks_left,
                            const int* verified_tokens, const int* accepted_count, const int* bonus_token,
                            const int* eos_position, const int* finite, int width, int mask_token_id, int* next_tokens,
                            int* next_cache_length, bool* next_causal, int* next_sample, int* next_tokens_left) {
    const nld::NextPass it{block, cache_length, valid_count, causal, segments, sample, eos_token_id, program, tokens_left,
                           block_tokens, masks_left, verified_tokens, accepted_count, bonus_token, eos_position, finite,
                           width, mask_token_id, next_tokens, next_cache_length, next_causal, next_sample,
                           next_tokens_left};
    for (int row = 0; row < rows; ++row) nld::advance(Warp{}, it, row);
}

// Of the headers, without a kernel around it: the sample of one slot from given splits' sums, which may be wrong.
extern "C" int sample_from(const unsigned* logits, int vocab, float cut, float scale, float peak, const float* sums,
                         float uniform) {
    const nld::Pool<nld::Fp32> pool{logits, vocab, {nld::kNoToken, scale, cut}, peak, nullptr, nullptr};
    Lanes<float> lanes;
    for (int lane = 0; lane < nld::kWarp; ++lane) lanes[lane] = sums[lane];
    return nld::sample_token(Warp{}, pool, lanes, uniform);
}

extern "C" void random_words(const unsigned* counter, unsigned key0, unsigned key1, unsigned* words) {
    const nld::Words found = nld::philox({{counter[0], counter[1], counter[2], counter[3]}}, key0, key1);
    for (int j = 0; j < 4; ++j) words[j] = found.word[j];
}

extern "C" float uniform_of(unsigned word) { return nld::uniform(word); }

extern "C" void widen_fp16(const unsigned short* from, float* to, int count) {
    for (int j = 0; j < count; ++j) to[j] = nld::Fp16::widen(from[j]);
}

extern "C" void fill_bf16(const float* from, unsigned* to, int count) {
    for (int j = 0; j < count; ++j) to[j] = nld::Bf16::filled(from[j]);
}

extern "C" void fill_fp16(const float* from, unsigned* to, int count) {
    for (int j = 0; j < count; ++j) to[j] = nld::Fp16::filled(from[j]);
}
