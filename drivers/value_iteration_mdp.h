/* Decision processes with stored transitions over ranks: what value_iteration/model, garnet, … share. A workload brings
 * a `struct mdp_source`, the rows of its model; this layer partitions the states, builds storage and halo lists, solves
 * to a proven bound, verifies and stores. Mathematics and parallel scheme: docs/value_iteration_mdp.md.
 *
 * States are cut into contiguous ranges, in units of MDP_BLOCK, or renumbered by a partition into ranges of any size. A
 * vector of values holds a rank's own states first, padded to whole lanes, then its ghosts: the states of other ranks
 * that its rows lead to, ascending. */
#ifndef VALUE_ITERATION_MDP_H
#define VALUE_ITERATION_MDP_H

#include "driver.h"
#include "sable_mdp.h"

enum { MDP_BLOCK = 64 }; /* states: unit of the partition, and of sums with fixed bits */

enum mdp_phase { MDP_PHASE_COMPUTE, MDP_PHASE_HALO, MDP_PHASE_REDUCE };
enum mdp_fault { MDP_FAULT_STALE_HALO = 1, MDP_FAULT_LOST_ROWS, MDP_FAULT_GAMMA, MDP_FAULT_FLIP_BIT, MDP_FAULT_NAN };
enum mdp_method { MDP_VI, MDP_MODIFIED, MDP_INEXACT, MDP_POLICY, MDP_COLOURED, MDP_ANDERSON, MDP_AUTO };
enum mdp_krylov { MDP_GMRES, MDP_BICGSTAB, MDP_PETSC /* variant petsc: one of them by PETSc */ };
enum mdp_probabilities { MDP_FLOAT64, MDP_CODED };
enum mdp_reads { MDP_READS_AUTO, MDP_READS_GATHERS, MDP_READS_LOADS };
enum mdp_partition_kind { MDP_PARTITION_BLOCK, MDP_PARTITION_SCOTCH };
enum mdp_start { MDP_START_ZERO, MDP_START_LOW, MDP_START_HIGH };

extern const char *const mdp_phases[];
extern const struct sable_fault mdp_faults[];
extern const struct sable_field mdp_outputs[];
extern const char *const mdp_methods[], *const mdp_stops[], *const mdp_starts[], *const mdp_krylovs[];
extern const char *const mdp_preconditioners[], *const mdp_probabilities[], *const mdp_partitions[];
extern const char *const mdp_reads[];

/* Parameters that every workload of this layer has: the first member of its own params struct. */
struct mdp_params {
    double tol, forcing;
    int method, stop, start; /* stop: 0 span, 1 residual */
    int krylov, jacobi;      /* jacobi: 0 no preconditioner, 1 the diagonal */
    int probabilities;       /* enum mdp_probabilities */
    int reads;               /* enum mdp_reads */
    int64_t inner, restart, colours, depth, max_sweeps;
    int partition; /* enum mdp_partition_kind, of models that are generated */
};

#define MDP_PARAM(field) offsetof(struct mdp_params, field)
/* clang-format off */
#define MDP_PARAMETERS \
    {"tol", SABLE_REAL, MDP_PARAM(tol), "", 0, 1e9, 0, 0, NULL, "1e-6", "guaranteed bound of max |V - V*|"}, \
    {"method", SABLE_CHOICE, MDP_PARAM(method), "", 0, 0, 0, 0, mdp_methods, "mpi", \
     "vi: value iteration; mpi: modified policy iteration; ipi: inexact policy iteration, Krylov; pi: policy iteration; " \
     "gs: Gauss-Seidel by colours; anderson: accelerated value iteration; auto: vi or mpi, as it pays"}, \
    {"stop", SABLE_CHOICE, MDP_PARAM(stop), "", 0, 0, 0, 0, mdp_stops, "span", \
     "which bound: MacQueen-Porteus, or residual"}, \
    {"start", SABLE_CHOICE, MDP_PARAM(start), "", 0, 0, 0, 0, mdp_starts, "zero", \
     "V before the first sweep: 0, or the least or largest value that the rewards allow"}, \
    {"inner", SABLE_INT, MDP_PARAM(inner), "", 0, 1e6, 0, 0, NULL, "10", \
     "mpi, gs: sweeps between two that improve the policy and prove the bound, at most"}, \
    {"forcing", SABLE_REAL, MDP_PARAM(forcing), "", 1e-12, 1, 0, 0, NULL, "0.1", \
     "mpi, gs, ipi: what lies between ends when its residual has fallen to this share"}, \
    {"krylov", SABLE_CHOICE, MDP_PARAM(krylov), "", 0, 0, 0, 0, mdp_krylovs, "gmres", "ipi, pi: method of evaluation"}, \
    {"restart", SABLE_INT, MDP_PARAM(restart), "", 1, 1000, 0, 0, NULL, "30", "ipi, pi: GMRES vectors"}, \
    {"preconditioner", SABLE_CHOICE, MDP_PARAM(jacobi), "", 0, 0, 0, 0, mdp_preconditioners, "none", \
     "ipi, pi: of the evaluation; jacobi: its diagonal, for models whose states often stay"}, \
    {"colours", SABLE_INT, MDP_PARAM(colours), "", 2, 1024, 0, 0, NULL, "4", \
     "gs: blocks of 64 states of one colour are swept together, one colour after the other"}, \
    {"depth", SABLE_INT, MDP_PARAM(depth), "", 1, 32, 0, 0, NULL, "5", "anderson: earlier sweeps that are combined"}, \
    {"probabilities", SABLE_CHOICE, MDP_PARAM(probabilities), "", 0, 0, 0, 0, mdp_probabilities, "float64", \
     "sable; codes: a byte each, where a rank has 256 different ones at most: less memory, more look-ups, the same bits"}, \
    {"reads", SABLE_CHOICE, MDP_PARAM(reads), "", 0, 0, 0, 0, mdp_reads, "auto", \
     "sable, level v4: values by gather instructions or single loads, the same bits; auto: each rank tries both"}, \
    {"max_sweeps", SABLE_INT, MDP_PARAM(max_sweeps), "", 2, 1e15, 0, 0, NULL, "1000000", \
     "give up (FAIL) after so many sweeps and products"}
/* Where any rank can make any row. */
#define MDP_PARTITION \
    {"partition", SABLE_CHOICE, MDP_PARAM(partition), "", 0, 0, 0, 0, mdp_partitions, "block", \
     "states of a rank: a range of the model's, or by PT-Scotch, so that few values travel (vi, mpi, auto)"}
/* clang-format on */

/* The variant of another project, where it was found; `run` is the workload's. */
#ifdef SABLE_HAVE_PETSC
#define MDP_PEER(run)                                                                                                  \
    {"petsc", "policies evaluated by PETSc's KSP (method=pi, else as ipi), improved by sable's sweeps", run, true},
#else
#define MDP_PEER(run)
#endif

/* ---- The model ---- */

struct mdp_partition; /* value_iteration_mdp_partition.h */

struct mdp_source {
    int64_t states, actions;
    int64_t longest; /* transitions of the longest row */
    double gamma;
    bool few;                        /* its probabilities are SABLE_MDP_CODES at most, for the prediction of memory */
    bool minimise;                   /* rewards are costs: they are negated on the way in, values on the way out */
    struct mdp_partition *partition; /* by which states were renumbered; NULL: ranges, mdp_part_of() */
    const void *self;
    /* Row (state, action) for a state of this rank: reward, global successors, probabilities (`longest` elements each).
     * An unavailable action has reward −∞ and length 0. Threads call it at the same time. Returns the length. */
    int64_t (*row)(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                   double *probability);
    /* Collective. Rows that are stored, not made, go to the ranks that own their states by a partition, before it asks
     * for any of them; NULL where any rank can make any row. */
    int (*move)(void *stored, const struct mdp_partition *partition, MPI_Comm comm, struct sable_error *error);
    void *stored; /* what `move` moves */
};

struct mdp_part {
    int64_t first, count; /* this rank's states */
};

/* In ranges. */
struct mdp_part mdp_part_of(int64_t states, int rank, int ranks);
int mdp_owner_of(int64_t states, int ranks, int64_t state);

/* auto: the last sweep that evaluation came after, how often that did not pay, and how many sweeps to come without. */
struct mdp_choice {
    double extent; /* of its change; 0 if it was without evaluation */
    int64_t evaluations, failures, without;
};

/* Blocks of one colour: as `list`, `inner` and `outer` of all. */
struct mdp_colour {
    int32_t *list;
    int64_t inner, outer;
};

struct mdp_halo; /* value_iteration_mdp_halo.c */
struct mdp_ksp;  /* value_iteration_mdp_ksp.c */

struct mdp_rank {
    struct mdp_params params;
    const struct mdp_source *source;
    struct mdp_part part;
    bool reference; /* textbook sweeps over compressed rows; else states in SIMD lanes */
    double gamma;
    struct sable_mdp_facts facts;
    double reward_low, reward_high; /* extent of the available rewards, over all ranks */
    struct sable_mdp model, rows;   /* rows: of the policy */
    struct sable_mdp_csr csr;
    double *no_reward;              /* zeros as long as the rewards of what evaluates; ipi, pi */
    struct sable_mdp_values values; /* different probabilities, while built */
    int64_t transitions;            /* stored on this rank, padding included … */
    int64_t entries;                /* … and without */
    int64_t evaluated;              /* of one policy */
    int64_t padded;                 /* own states in whole lanes: ghosts begin there */
    int64_t ghosts;                 /* states of other ranks that rows lead to … */
    int64_t *ghost;                 /* … ascending */
    int32_t *list;                  /* blocks of eight states without ghosts, then those with */
    int64_t inner, outer;           /* how many of each */
    struct mdp_colour *colour;      /* [colours]; gs */
    int32_t *coloured;              /* their lists */
    struct mdp_halo *halo;
    struct mdp_ksp *ksp; /* variant petsc */
    double *value[2];
    int32_t *policy;
    double **vector;          /* those of the method, of `padded` values; ipi, pi, anderson */
    double *diagonal;         /* of I − γ P_π; the last of them, for preconditioner=jacobi */
    double last_extent;       /* anderson: change of the last sweep that was extrapolated from … */
    int64_t kept;             /* … and how many differences are kept */
    double *gram;             /* … and their products, [depth][depth] */
    struct mdp_choice choice; /* auto */
    double *scratch;          /* a block sum per MDP_BLOCK states */
    /* Of the last run. */
    double *v; /* one of `value` */
    double bound;
    int64_t exchanges, sweeps, evaluations, products, vectors; /* vectors: passes over one vector in GMRES */
    double halo_bytes, halo_messages;                          /* of one exchange */
};

/* Bytes of a rank, predicted: `row` transitions a row on average, so many ghosts. */
double mdp_memory(const struct mdp_params *params, const struct mdp_source *source, struct mdp_part part, double row,
                  double ghosts);

/* This rank's states, ghosts and storage, without a message. Freed by mdp_free() in any case. */
int mdp_build_own(const struct mdp_params *params, const struct mdp_source *source, struct sable_layout layout,
                  bool reference, struct mdp_rank *rank, struct sable_error *error);
/* Collective. The same, what bounds must know of all ranks, and the exchange. */
int mdp_build(const struct mdp_params *params, const struct mdp_source *source, struct sable_context *context,
              struct mdp_rank *rank, struct sable_error *error);
void mdp_free(struct mdp_rank *rank);

/* Index in a vector of values of a state that is owned or a ghost; −1 if it is neither. */
int64_t mdp_local(const struct mdp_rank *rank, int64_t state);

/* ---- Exchange ---- */

/* Collective. Makes the lists of what each rank sends from every rank's ghosts. */
int mdp_halo_create(MPI_Comm comm, struct mdp_rank *rank, struct sable_error *error);
void mdp_halo_free(struct mdp_halo *halo);
/* Sends the values that others need of v, one of rank->value; its ghosts are valid after finish. */
int mdp_halo_start(struct mdp_rank *rank, struct sable_context *context, const double *v, struct sable_error *error);
int mdp_halo_finish(struct mdp_rank *rank, const double *v, struct sable_error *error);

/* ---- Solving ---- */

enum mdp_step {
    MDP_SWEEP,    /* next = T v */
    MDP_IMPROVE,  /* the same, and the greedy policy and its rows */
    MDP_EVALUATE, /* next = r_π + γ P_π v */
    MDP_PRODUCT   /* next = γ P_π v */
};

/* Collective. One step over all states, the exchange of v overlapped; `change` is this rank's. */
int mdp_apply(struct mdp_rank *rank, struct sable_context *context, enum mdp_step step, double *v, double *next,
              struct sable_mdp_change *change, struct sable_error *error);
/* Collective. The largest extents, magnitude, and whether all is finite, of all ranks. */
int mdp_reduce(struct sable_context *context, struct sable_mdp_change *change, struct sable_error *error);

/* Collective. Over own states, with fixed bits: total[k] = x[k] · y for k < count. */
int mdp_dots(struct mdp_rank *rank, struct sable_context *context, int64_t count, double *const *x, const double *y,
             double *total, struct sable_error *error);
/* y += Σ_k factor[k] x[k] over `padded` values. */
void mdp_combine(struct mdp_rank *rank, int64_t count, double *const *x, const double *factor, double *y);
/* value[1 − now] = M⁻¹ x, product = (I − γ P_π) M⁻¹ x; M is the preconditioner. */
int mdp_operate(struct mdp_rank *rank, struct sable_context *context, int now, const double *x, double *product,
                struct sable_error *error);
/* r = r_π + γ P_π x − x for x = value[now], and its length. */
int mdp_residual(struct mdp_rank *rank, struct sable_context *context, int now, double *r, double *length,
                 struct sable_error *error);
/* The diagonal of I − γ P_π, if the preconditioner needs it. */
void mdp_diagonal(struct mdp_rank *rank);

/* Collective. (I − γ P_π) x = r_π from x = value[*now], until the residual's length has fallen to `forcing`, `most`
 * products are done, or rounding lets nothing be gained; leaves x in value[*now]. */
int mdp_gmres(struct mdp_rank *rank, struct sable_context *context, double forcing, int64_t most, int *now,
              struct sable_error *error);
int mdp_bicgstab(struct mdp_rank *rank, struct sable_context *context, double forcing, int64_t most, int *now,
                 struct sable_error *error);
/* Collective. The same by PETSc, variant petsc; `params` tell the method. */
int mdp_ksp_create(const struct mdp_params *params, struct mdp_rank *rank, struct sable_context *context,
                   struct sable_error *error);
int mdp_ksp_solve(struct mdp_rank *rank, struct sable_context *context, double forcing, int64_t most, int *now,
                  struct sable_error *error);
void mdp_ksp_free(struct mdp_rank *rank);
/* Collective. Bellman sweeps colour by colour, in place in value[*now] + shift, until the change of one has fallen to
 * `forcing` of `extent`. */
int mdp_gauss_seidel(struct mdp_rank *rank, struct sable_context *context, double extent, double shift, int *now,
                     struct sable_error *error);
/* Collective. After a sweep from value[1 − *now] to value[*now], whose change had this extent: replaces the latter by
 * Anderson's combination. */
int mdp_anderson(struct mdp_rank *rank, struct sable_context *context, double extent, int *now,
                 struct sable_error *error);

void mdp_start(struct mdp_rank *rank);
int mdp_solve(struct mdp_rank *rank, struct sable_context *context, struct sable_error *error);

/* ---- The workload's functions over a built rank ---- */

void mdp_work(const struct mdp_rank *rank, struct sable_work *work);
int mdp_verify(struct mdp_rank *rank, struct sable_context *context, struct sable_checks *checks,
               struct sable_error *error);
/* Collective. Puts an array of one element of `type` for each state that this rank owns, in the model's order; the
 * first dimension is set here. */
int mdp_put_states(const struct mdp_rank *rank, struct sable_context *context, struct sable_sink *sink,
                   struct sable_array *array, MPI_Datatype type, struct sable_error *error);
int mdp_output(const struct mdp_rank *rank, struct sable_context *context, struct sable_sink *sink,
               struct sable_error *error);

#endif
