/* One rank's part of an attention: the shape, who holds which queries and keys, inputs drawn or read, and the ways in
 * which ranks share the work. The workloads are in attention_prefill.c, attention_backward.c, attention_layer.c and
 * attention_decode.c. */
#ifndef ATTENTION_RANK_H
#define ATTENTION_RANK_H

#include "driver.h"
#include "sable_attention.h"
#include "sable_attention_rows.h"

enum attention_strategy { STRATEGY_HEADS, STRATEGY_ULYSSES, STRATEGY_RING, STRATEGY_ALLGATHER };
enum attention_phase { PHASE_COMPUTE, PHASE_COMMUNICATE, PHASE_WAIT };
enum attention_fault {
    FAULT_SKIP_BLOCK = 1,
    FAULT_STALE_KEYS,
    FAULT_WRONG_SCALE,
    FAULT_WRONG_RESCALE,
    FAULT_LOST_RANK,
    FAULT_FLIP_BIT,
    FAULT_NAN
};
enum attention_tensor { TENSOR_Q, TENSOR_K, TENSOR_V, TENSORS, TENSOR_DOUT = TENSORS }; /* TENSORS: of the forward */

struct attention_params {
    int64_t batch, heads, kv_heads, queries, keys, dim, dim_v, leaf;
    double scale;
    int model, causal, strategy, bf16;
};

extern const char *const attention_models[], *const attention_masks[], *const attention_types[];

/* What workloads of this layer can be told: rows of their tables of parameters. */
#define ATTENTION_PARAM(field) offsetof(struct attention_params, field)
/* clang-format off */
#define ATTENTION_MODEL \
    {"model", SABLE_CHOICE, ATTENTION_PARAM(model), "", 0, 0, 0, 0, attention_models, "gpt2", \
     "heads and head sizes of: 12 x 64; 32:8 x 128; 16 x 192/128; 16 x 72"}
#define ATTENTION_HEADS \
    {"heads", SABLE_INT, ATTENTION_PARAM(heads), "", 0, 1e6, 0, 0, NULL, "0", "query heads; 0: of the model"}, \
    {"kv_heads", SABLE_INT, ATTENTION_PARAM(kv_heads), "", 0, 1e6, 0, 0, NULL, "0", \
     "key heads, a divisor of heads; 0: as many as `heads`, or of the model"}
#define ATTENTION_DIMS \
    {"dim", SABLE_INT, ATTENTION_PARAM(dim), "", 0, 65536, 0, 0, NULL, "0", "head size; 0: of the model"}, \
    {"dim_v", SABLE_INT, ATTENTION_PARAM(dim_v), "", 0, 65536, 0, 0, NULL, "0", "head size of v; 0: `dim`, or of the model"}, \
    {"scale", SABLE_REAL, ATTENTION_PARAM(scale), "", -1e6, 1e6, 0, 0, NULL, "0", "factor of q.k; 0: 1/sqrt(dim)"}
/* `leaf_help`, `help`: what a leaf is to the workload, and what its ranks share; `what`: the arrays that may be bf16. */
#define ATTENTION_LEAF(standard, leaf_help) \
    {"leaf", SABLE_INT, ATTENTION_PARAM(leaf), "tokens", 16, 1e6, 0, 0, NULL, standard, leaf_help}
#define ATTENTION_STRATEGY(names, standard, help) \
    {"strategy", SABLE_CHOICE, ATTENTION_PARAM(strategy), "", 0, 0, 0, 0, names, standard, help}
#define ATTENTION_TYPE(what) \
    {"dtype", SABLE_CHOICE, ATTENTION_PARAM(bf16), "", 0, 0, 0, 0, attention_types, "fp32", \
     "how " what " are stored: bf16 is rounded to nearest even, and computed with in fp32"}
/* Sequences of one length. */
#define ATTENTION_PARAMETERS(strategy_names, leaf_help) \
    ATTENTION_MODEL, \
    {"mask", SABLE_CHOICE, ATTENTION_PARAM(causal), "", 0, 0, 0, 0, attention_masks, "causal", \
     "causal: query r sees keys up to r + keys - queries"}, \
    {"batch", SABLE_INT, ATTENTION_PARAM(batch), "", 1, 1e9, 0, 0, NULL, "1", "independent sequences"}, \
    ATTENTION_HEADS, \
    {"queries", SABLE_INT, ATTENTION_PARAM(queries), "tokens", 1, 1e9, 0, 0, NULL, "1024", "length of the sequence of queries"}, \
    {"keys", SABLE_INT, ATTENTION_PARAM(keys), "tokens", 0, 1e9, 0, 0, NULL, "0", "length of the keys; 0: as many as queries"}, \
    ATTENTION_DIMS, \
    ATTENTION_LEAF("512", leaf_help), \
    ATTENTION_STRATEGY(strategy_names, "heads", "how ranks share the work")
/* clang-format on */

/* Variants: other libraries' products by `run`, on ranks as `shared` says. */
#ifdef SABLE_HAVE_OPENBLAS
#define ATTENTION_OPENBLAS(run, shared)                                                                                \
    {"openblas", "OpenBLAS's sgemm by blocks of rows with our softmax, all threads, " shared, run, true},
#else
#define ATTENTION_OPENBLAS(run, shared)
#endif
#ifdef SABLE_HAVE_ONEDNN
#define ATTENTION_ONEDNN(run, shared)                                                                                  \
    {"onednn", "oneDNN's matmul by blocks of rows with our softmax, all threads, " shared, run, true},
#else
#define ATTENTION_ONEDNN(run, shared)
#endif
#ifdef SABLE_HAVE_LIBXSMM
#define ATTENTION_LIBXSMM(run, shared)                                                                                 \
    {"libxsmm", "LIBXSMM's small products by tiles of blocks of rows with our softmax, all threads, " shared, run,     \
     true},
#else
#define ATTENTION_LIBXSMM(run, shared)
#endif
#define ATTENTION_PEERS(run, shared)                                                                                   \
    ATTENTION_OPENBLAS(run, shared) ATTENTION_ONEDNN(run, shared) ATTENTION_LIBXSMM(run, shared)
#if defined SABLE_HAVE_OPENBLAS || defined SABLE_HAVE_ONEDNN || defined SABLE_HAVE_LIBXSMM
#define ATTENTION_HAS_PEERS
#endif

/* Keys of a rank: up to two segments, each of whole leaves. */
struct attention_keys {
    struct sable_attention_rows segment[2];
};

struct attention_rank;
typedef int attention_fetcher(const struct attention_rank *a, const struct sable_context *context,
                              enum attention_tensor tensor, int64_t head, int64_t first, int64_t count, float *to,
                              struct sable_error *error);

struct attention_rank {
    struct sable_attention_shape shape;
    attention_fetcher *fetch; /* where q, k and v come from, if they are neither drawn nor read: attention_fetch() */
    bool reference, from_file, finite; /* reference: the textbook or a peer; finite: all inputs of this rank are */
    bool rounded;                      /* inputs are rounded to bf16; they are stored as such if shape.bf16 */
    int strategy;
    struct sable_layout layout;
    struct sable_attention_part part;  /* computed here; and, but for ulysses, held here */
    struct attention_keys keys;        /* held here */
    int64_t kv_first, kv_count;        /* key heads held here (of the B·Hk) */
    float *q, *k, *v, *out, *lse;      /* [heads][rows][dim] …; k, v: both segments one after the other; of bf16,
                                          q, k and v are rows of attention_words() words, seen as if they were floats */
    float *other_k[2], *other_v[2];    /* ring: what arrives; allgather: [0] all ranks' keys, by rank */
    float *parcel[2];                  /* ulysses: what is sent and what arrives, of each exchange */
    struct sable_attention_part shard; /* ulysses: the rows of all heads that are held here */
    float *shard_q, *shard_k, *shard_v, *shard_out, *shard_lse;
    struct sable_attention *attention;
    struct sable_attention_rows_peer *peer; /* another library's products, or NULL */
    double bytes_memory;
};

/* The shape that the parameters give; --input may change it. */
struct sable_attention_shape attention_shape(const struct attention_params *params);
/* The shape that the arrays of --input have. */
int attention_read_shape(struct sable_input *input, struct sable_attention_shape *shape, struct sable_error *error);
/* Its attributes causal and scale, where it has them. */
int attention_read_rules(struct sable_input *input, struct sable_attention_shape *shape, struct sable_error *error);
/* The two as a workload's `adopt`, and its `check`: `params` are a struct attention_params. */
int attention_adopt(void *params, struct sable_input *input, struct sable_error *error);
int attention_check(const void *params, struct sable_layout layout, struct sable_error *error);
/* The shape of a run: that of the parameters, or of the input if there is one; refused if it makes no sense. */
int attention_shape_of(const struct attention_params *params, struct sable_input *input,
                       struct sable_attention_shape *shape, struct sable_error *error);
void attention_adopt_shape(const struct sable_attention_shape *shape, struct attention_params *params);
/* Refuses shapes that make no sense, with one line. */
int attention_check_shape(const struct sable_attention_shape *shape, struct sable_error *error);

/* Part `index` of `parts` of n elements in whole units. */
struct sable_attention_rows attention_cut(int64_t n, int64_t unit, int64_t index, int64_t parts);
/* The parts of rank `rank`. */
struct sable_attention_part attention_part_of(const struct sable_attention_shape *shape, int strategy, int rank,
                                              int ranks);
struct sable_attention_part attention_shard_of(const struct sable_attention_shape *shape, int rank, int ranks);
struct attention_keys attention_keys_of(const struct sable_attention_shape *shape, int strategy, int rank, int ranks);
int64_t attention_rows_count(const struct sable_attention_part *part);
int64_t attention_keys_count(const struct attention_keys *keys);
/* Key heads [*first, *first + *count) of the B·Hk that the part's heads read. */
void attention_kv_of(const struct sable_attention_shape *shape, const struct sable_attention_part *part, int64_t *first,
                     int64_t *count);

/* Bytes that a rank holds, and those it sends in a repetition with the number of messages. */
double attention_memory(const struct sable_attention_shape *shape, int strategy, struct sable_layout layout,
                        bool reference);
void attention_traffic(const struct sable_attention_shape *shape, int strategy, struct sable_layout layout,
                       double *bytes, double *messages);

/* Words of four bytes of a row of q, k or v with `dim` channels. */
int64_t attention_words(const struct sable_attention_shape *shape, int64_t dim);
/* Values as bfloat16 has them, in place. */
void attention_round(int64_t count, float *values);
/* Element d of row r of q, k or v. */
float attention_element(const struct sable_attention_shape *shape, int64_t dim, const float *array, int64_t r,
                        int64_t d);

/* Rows [first, first + count) of one head of one tensor, drawn, or read from context->input. */
int attention_fetch(const struct attention_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                    int64_t head, int64_t first, int64_t count, float *to, struct sable_error *error);

/* The same as they are stored, rounded if shape.bf16; clears *finite if something is not. */
int attention_fetch_rows(const struct attention_rank *a, const struct sable_context *context,
                         enum attention_tensor tensor, int64_t head, struct sable_attention_rows rows, float *to,
                         bool *finite, struct sable_error *error);

/* The heads [head, head + heads) and two segments of rows of a tensor as they are stored; notes what is not finite. */
int attention_fill(struct attention_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                   int64_t head, int64_t heads, const struct sable_attention_rows rows[2], float *to,
                   struct sable_error *error);

/* Collective. Room for an attention of this shape, without its inputs; attention_make() also fills these. */
int attention_prepare(const struct sable_attention_shape *shape, int strategy, struct sable_context *context,
                      bool reference, struct attention_rank *a, struct sable_error *error);
int attention_make(const struct attention_params *params, struct sable_context *context, bool reference,
                   struct attention_rank *a, struct sable_error *error);
void attention_free(struct attention_rank *a);

/* Collective, timed. Fill out and lse of the part (ulysses: of the shard). */
int attention_run(struct attention_rank *a, struct sable_context *context, struct sable_error *error);
int attention_run_reference(struct attention_rank *a, struct sable_context *context, struct sable_error *error);
int attention_run_by_rows(struct attention_rank *a, struct sable_context *context, struct sable_error *error);
/* sable_attention_by_rows() with the faults that lie in the computation. */
int attention_by_rows(struct sable_attention_rows_peer *peer, const struct sable_attention_shape *shape, int fault,
                      int64_t head, int64_t heads, const float *q, const float *k, const float *v, float *out,
                      float *lse, struct sable_error *error);
/* The peer that the variant names, for sable_attention_by_rows() of these sequences (none: of the whole shape), with a
 * note of its library; NULL for other variants. The caller's to close. */
int attention_open_peer(struct sable_context *context, const struct sable_attention_shape *shape, int64_t sequences,
                        const struct sable_attention_sequence *sequence, struct sable_attention_rows_peer **peer,
                        struct sable_error *error);

/* One row by the textbook, over keys [0, seen) of its head, as the fault has it. room: [shape->keys] and [dim_v]. */
void attention_reference_row(const struct sable_attention_shape *shape, int fault, const float *q, int64_t seen,
                             const float *k, const float *v, double *room, double *out, double *lse);

/* Where the result lies. */
struct sable_attention_part attention_result(const struct attention_rank *a, float **out, float **lse);

/* Collective. The verification of docs/attention.md. */
int attention_verify(struct attention_rank *a, struct sable_context *context, struct sable_checks *checks,
                     struct sable_error *error);

#endif
