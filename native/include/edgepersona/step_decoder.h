// One decoding step of a Llama-like model on 8-bit weights: an embedding in, logits out.
//
// ONNX Runtime reads prompts, many tokens at once, where its kernels are at their best. A single
// token is another matter: it is bound by reading every weight once, and a graph of hundreds of
// nodes adds the start and the end of each. Here a step is five phases a layer, shared by a few
// threads. It computes what the graph computes, rounding activations to 8 bits in the same blocks.
//
// The weights and caches are the caller's and must outlive the decoder; they are only pointed to.
// step() may be called from any thread; steps of one decoder run one after the other.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "edgepersona/step_kernels.h"
#include "edgepersona/worker_team.h"

namespace edgepersona {

// A weight (rows, columns) in blocks of 8 bits; columns are padded with zeros to whole blocks.
struct BlockMatrix {
    BlockRows rows;
    std::size_t count;  // of rows
};

struct StepLayer {
    const float* attention_norm;
    BlockMatrix qkv;
    const float* qkv_bias;  // or null
    BlockMatrix output;
    const float* mlp_norm;
    BlockMatrix gate_up;  // the gate's rows, then those of up
    BlockMatrix down;
};

struct StepModel {
    std::size_t hidden, intermediate, heads, kv_heads, head_dim, vocab, positions;
    float norm_eps;
    const float* rope_cos;  // (positions, head_dim / 2)
    const float* rope_sin;
    std::vector<StepLayer> layers;
    const float* final_norm;
    BlockMatrix head;
};

// The caches of one sequence, a pair a layer, each (kv_heads, capacity, head_dim).
struct StepCache {
    std::vector<float*> keys, values;
    std::size_t capacity;
};

class StepDecoder {
public:
    // Throws InvalidInput where a matrix does not have the size that the model says.
    StepDecoder(StepModel model, std::size_t threads);
    ~StepDecoder();

    // Reads the token at `position`: writes its row of the caches, and its logits (vocab).
    // Throws InvalidInput, before anything is written, where the position is beyond the caches.
    void step(const StepCache& cache, const float* embedding, std::size_t position, float* logits);

    const StepModel& model() const { return model_; }

private:
    struct Scratch;  // one thread's own

    void work(std::size_t thread, const StepCache& cache, std::size_t position, float* logits);
    void attend(Scratch& own, std::size_t layer, const StepCache& cache, std::size_t position);
    void write_cache(const Scratch& own, std::size_t layer, const StepCache& cache,
                     std::size_t position) const;
    void multiply_all(const BlockMatrix& matrix, const RoundedVector& x, float* out,
                      const Scratch& own);
    void add_product(const BlockMatrix& matrix, const RoundedVector& x, Scratch& own);
    void multiply_gated(const StepLayer& layer, const RoundedVector& x, Scratch& own);
    RoundedVector rounded(Scratch& own, const float* x, std::size_t count,
                          const BlockMatrix& matrix) const;

    StepModel model_;
    const StepKernels& kernels_;
    WorkerTeam team_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> scratch_;
    std::vector<float> residual_, qkv_, attended_, gated_;  // shared: written in disjoint parts
};

}  // namespace edgepersona
