// A decoder-only language model on packed weights: embeddings in, logits out.
//
// Of the Llama kind and its relatives: grouped-query attention with rotary positions, optionally
// with biases, norms of queries and keys, windows and caps (Qwen, Gemma, Phi, Mistral). A text may
// be read in one call or in many: the logits are the same to the last bit, on any number of
// threads. So a few tokens that were guessed can be checked at once, and a saved cache taken up.
//
// One token is bound by reading every weight once; many by the products themselves. Both go
// through the same phases, shared by a few threads: five a layer that end in a barrier.
//
// The weights are the caller's and must outlive the model; they are only pointed to. read() may be
// called from any thread; calls of one model run one after the other.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "edgepersona/kv_cache.h"
#include "edgepersona/lm_kernels.h"
#include "edgepersona/packed_matrix.h"
#include "edgepersona/worker_team.h"

namespace edgepersona {

enum class Activation { kSilu, kGelu };

// Angles of the positions; pairs (i, i + width/2) of a head's first `width` values are rotated.
struct Rope {
    const float* cos;  // (positions, width / 2)
    const float* sin;
    std::size_t width;
};

struct TransformerLayer {
    const float* attention_norm;
    PackedMatrix qkv;                 // rows of all query heads, key heads, value heads
    const float* qkv_bias;            // or null
    const float* query_norm;          // (head_dim,) or null
    const float* key_norm;            // (head_dim,) or null
    PackedMatrix output;
    const float* after_attention;     // a norm before the sum (Gemma), or null
    const float* mlp_norm;
    PackedMatrix gate_up;             // the gate's rows, then those of up
    PackedMatrix down;
    const float* after_mlp;           // or null
    std::size_t window;               // positions that a token sees, itself too; 0: all
    std::size_t rope;                 // which of the model's
};

struct TransformerModel {
    std::size_t hidden, intermediate, heads, kv_heads, head_dim, vocab, positions;
    float norm_eps, attention_scale;
    float attention_cap, logits_cap;  // 0: none
    Activation activation;
    std::vector<Rope> ropes;
    std::vector<TransformerLayer> layers;
    const float* final_norm;
    PackedMatrix head;
};

class Transformer {
  public:
    // Throws InvalidInput where the parts do not fit together.
    Transformer(TransformerModel model, std::size_t threads);
    ~Transformer();

    // Reads `count` tokens (count, hidden) at the positions from `position` on: writes their rows
    // of the cache, and the logits after the last `wanted` of them (wanted, vocab). Throws
    // InvalidInput, before anything is written, where they do not fit the cache or the model.
    void read(KvCache& cache, const float* embeddings, std::size_t count, std::size_t position,
              std::size_t wanted, float* logits);

    const TransformerModel& model() const { return model_; }

  private:
    struct Scratch;  // one thread's own
    struct Room;     // of all: written in disjoint parts
    struct Call;
    struct AttendedPart;

    void check(const KvCache& cache, std::size_t count, std::size_t position,
               std::size_t wanted) const;
    void work(std::size_t thread, const Call& call);
    void run_layer(std::size_t index, Scratch& own, const Call& call);
    RoundedTokens prepare(Scratch& own, const Call& call, const float* x, const float* norm,
                          const PackedMatrix& matrix, std::size_t first);
    void multiply(Scratch& own, const PackedMatrix& matrix, const RoundedTokens& x,
                  std::size_t tokens, bool add, float* out);
    void join(Scratch& own, const Call& call, const PackedMatrix& matrix, const RoundedTokens& x,
              const float* norm, std::size_t first);
    void rotate(Scratch& own, std::size_t layer, const Call& call);
    void attend(Scratch& own, std::size_t layer, const Call& call, std::size_t first);
    void attend_part(Scratch& own, std::size_t layer, const Call& call, const AttendedPart& part);
    void multiply_gated(Scratch& own, const TransformerLayer& layer, const RoundedTokens& x,
                        std::size_t tokens, float* gated);

    TransformerModel model_;
    const LmKernels& kernels_;
    WorkerTeam team_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> scratch_;
    std::unique_ptr<Room> room_;
};

}  // namespace edgepersona
