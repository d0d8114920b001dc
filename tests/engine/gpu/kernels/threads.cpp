// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of plugins/decode_kernels.cu as they are, on the CPU: a thread of the system for each of a block, shuffles
// and barriers by pthread barriers, one block after the other. Slow, and the one place where that file itself is run
// without a GPU; host.cpp does the same work with loops.
#include <pthread.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct Place {
    int x, y, z;
};

static thread_local Place threadIdx, blockIdx, gridDim;

namespace {

constexpr int kLanes = 32;

class Barrier {
public:
    explicit Barrier(int count) { pthread_barrier_init(&barrier_, nullptr, count); }
    ~Barrier() { pthread_barrier_destroy(&barrier_); }
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;
    void wait() { pthread_barrier_wait(&barrier_); }

private:
    pthread_barrier_t barrier_;
};

struct WarpState {
    Barrier barrier{kLanes};
    unsigned words[kLanes];
};

struct Block {
    explicit Block(int threads) : all(threads), flags(threads) {
        for (int warp = 0; warp < threads / kLanes; ++warp) warps.push_back(std::make_unique<WarpState>());
    }
    Barrier all;
    std::vector<int> flags;
    std::vector<std::unique_ptr<WarpState>> warps;
};

Block* block;

// Every lane's word, read by every lane.
template <typename Function>
auto exchanged(unsigned word, Function read) {
    WarpState& warp = *block->warps[threadIdx.x / kLanes];
    const int lane = threadIdx.x % kLanes;
    warp.words[lane] = word;
    warp.barrier.wait();
    const auto found = read(warp.words, lane);
    warp.barrier.wait();
    return found;
}

template <typename T>
T shuffled(T value, int source) {
    static_assert(sizeof(T) == sizeof(unsigned));
    unsigned word;
    __builtin_memcpy(&word, &value, sizeof word);
    const int lane = threadIdx.x % kLanes;
    word = exchanged(word, [&](const unsigned* words, int) { return words[source >= 0 && source < kLanes ? source : lane]; });
    __builtin_memcpy(&value, &word, sizeof word);
    return value;
}

template <typename T>
T __shfl_sync(unsigned, T value, int source) {
    return shuffled(value, source);
}

template <typename T>
T __shfl_down_sync(unsigned, T value, int offset) {
    return shuffled(value, threadIdx.x % kLanes + offset);
}

template <typename T>
T __shfl_up_sync(unsigned, T value, int offset) {
    return shuffled(value, threadIdx.x % kLanes - offset);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int offset) {
    return shuffled(value, (threadIdx.x % kLanes) ^ offset);
}

unsigned __ballot_sync(unsigned, bool flag) {
    return exchanged(flag, [](const unsigned* words, int) {
        unsigned found = 0;
        for (int lane = 0; lane < kLanes; ++lane) found |= words[lane] << lane;
        return found;
    });
}

int __reduce_max_sync(unsigned, int value) {
    return exchanged(value, [](const unsigned* words, int) {
        int found = static_cast<int>(words[0]);
        for (int lane = 1; lane < kLanes; ++lane) found = std::max(found, static_cast<int>(words[lane]));
        return found;
    });
}

int __reduce_min_sync(unsigned, int value) { return ~__reduce_max_sync(0, ~value); }

int __float_as_int(float value) {
    int word;
    __builtin_memcpy(&word, &value, sizeof word);
    return word;
}

float __int_as_float(int word) {
    float value;
    __builtin_memcpy(&value, &word, sizeof value);
    return value;
}

void __syncwarp() { block->warps[threadIdx.x / kLanes]->barrier.wait(); }
void __syncthreads() { block->all.wait(); }

int __syncthreads_count(int flag) {
    block->flags[threadIdx.x] = flag != 0;
    block->all.wait();
    const int found = std::accumulate(block->flags.begin(), block->flags.end(), 0);
    block->all.wait();
    return found;
}

int __syncthreads_and(int flag) { return __syncthreads_count(flag == 0) == 0; }

template <typename... Arguments, std::size_t... kIndex>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<kIndex...>) {
    kernel(*static_cast<std::remove_const_t<Arguments>*>(arguments[kIndex])...);
}

template <typename... Arguments>
void launch(void (*kernel)(Arguments...), Place grid, int threads, void** arguments) {
    for (int index = 0; index < grid.x * grid.y * grid.z; ++index) {
        Block here(threads);
        block = &here;
        std::vector<std::thread> running;
        for (int thread = 0; thread < threads; ++thread) {
            running.emplace_back([=] {
                threadIdx = {thread, 0, 0};
                blockIdx = {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
                gridDim = grid;
                call(kernel, arguments, std::index_sequence_for<Arguments...>());
            });
        }
        for (std::thread& each : running) each.join();
    }
}

}  // namespace

#include "bandwidth.cu"
#include "decode_kernels.cu"

// As cuLaunchKernel takes them: `arguments` are the addresses of a kernel's parameters.
#define NLD_LAUNCH(NAME)                                                                  \
    extern "C" void launch_##NAME(int x, int y, int z, int threads, void** arguments) {   \
        launch(NAME, {x, y, z}, threads, arguments);                                      \
    }

NLD_LAUNCH(nld_logit_statistics_bf16)
NLD_LAUNCH(nld_logit_statistics_fp16)
NLD_LAUNCH(nld_logit_statistics_fp32)
NLD_LAUNCH(nld_decode_step_bf16)
NLD_LAUNCH(nld_decode_step_fp16)
NLD_LAUNCH(nld_decode_step_fp32)
NLD_LAUNCH(nld_advance)
NLD_LAUNCH(nld_copy_vectors)
NLD_LAUNCH(nld_sum_vectors)
