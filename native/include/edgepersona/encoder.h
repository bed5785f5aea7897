// A text encoder of the BERT kind (Devlin et al. 2019) on packed weights: the sums of a text's
// embeddings in, its last hidden states out.
//
// Texts lie one behind the other, without padding. Each token sees its own text, all of it: what
// comes out does not depend, to the last bit, on the texts beside it or the number of threads.
//
// Texts are shared out: a thread takes some through all layers by itself. Those that are left when
// there are fewer than threads are encoded by all together, which share out their tokens.
//
// The weights are the caller's and must outlive the encoder; they are only pointed to. encode()
// may be called from any thread; calls of one encoder run one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "edgepersona/lm_kernels.h"
#include "edgepersona/packed_matrix.h"
#include "edgepersona/worker_team.h"

namespace edgepersona {

struct EncoderNorm {
    const float* weight;
    const float* bias;
};

struct EncoderLayer {
    PackedMatrix qkv;  // rows of all queries, keys, values
    const float* qkv_bias;
    PackedMatrix output;
    const float* output_bias;
    EncoderNorm after_attention;
    PackedMatrix up;
    const float* up_bias;
    PackedMatrix down;
    const float* down_bias;
    EncoderNorm after_mlp;
};

struct EncoderModel {
    std::size_t hidden, intermediate, heads;
    float norm_eps;
    EncoderNorm embedding_norm;
    std::vector<EncoderLayer> layers;
};

class Encoder {
  public:
    // Throws InvalidInput where the parts do not fit together.
    Encoder(EncoderModel model, std::size_t threads);
    ~Encoder();

    // Turns embeddings, (tokens, hidden), into hidden states in place; `lengths` says how many
    // tokens each of the texts has. Throws InvalidInput, before anything is written, where one has
    // none.
    void encode(float* states, const std::int64_t* lengths, std::size_t texts);

    const EncoderModel& model() const { return model_; }

  private:
    struct Room;
    struct Hand;  // one thread's part in encoding some texts

    void encode_part(Hand& hand) const;
    void multiply(Hand& hand, const PackedMatrix& matrix, const RoundedTokens& x, bool add,
                  float* out) const;
    void attend(Hand& hand, const EncoderLayer& layer, const float* qkv) const;
    void take_keys(Room& own, const float* keys, const float* bias, std::size_t count) const;
    void normalise(Hand& hand, const float* bias, const EncoderNorm& norm,
                   const PackedMatrix& next, const RoundedTokens& to) const;

    EncoderModel model_;
    const LmKernels& kernels_;
    WorkerTeam team_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Room>> rooms_;  // one a thread
};

}  // namespace edgepersona
