/* value_iteration/model: anyone's decision process, from a file in the sable-mdp format, of PETSc's binary matrices or
 * in PRISM's explicit text (`--input`), solved to a proven bound. Without --input a class solves one of the models in
 * data/. Mathematics, work model, parallel scheme: docs/value_iteration_mdp.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "value_iteration_mdp_input.h"

struct model_params {
    struct mdp_params mdp;
    char file[SABLE_TEXT_SIZE], rewards[SABLE_TEXT_SIZE];
    double gamma;
    int sense;
};

static const char *const senses[] = {"max", "min", NULL};

static const struct sable_param parameters[] = {
    {"file", SABLE_TEXT, offsetof(struct model_params, file), "", 0, 0, 0, 0, NULL, "taxi.h5",
     "model of sable's own data that is solved without --input"},
    {"rewards", SABLE_TEXT, offsetof(struct model_params, rewards), "", 0, 0, 0, 0, NULL, "",
     "rewards of an input by PETSc or PRISM; empty: in the same file, or beside it as NAME.rews, .srew, .trew"},
    {"gamma", SABLE_REAL, offsetof(struct model_params, gamma), "", 0, 0.9999999, 0, 0, NULL, "0.99",
     "discount of an input by PETSc or PRISM, which tells none"},
    {"sense", SABLE_CHOICE, offsetof(struct model_params, sense), "", 0, 0, 0, 0, senses, "max",
     "max or min: are rewards of such an input earned or paid"},
    MDP_PARAMETERS,
    MDP_PARTITION,
    {0},
};

/* Real models of fixed size: what grows to clusters is value_iteration/garnet. */
static const struct sable_class classes[] = {
    {"T", "file=taxi.h5 tol=1e-9 max_sweeps=1000"}, {"S", "file=jacks_car_rental.h5 tol=1e-9"}, {0}};
static const struct sable_field inputs[] = {
    {"indptr", "[states·actions + 1] int64", "first transition of each row s·A + a"},
    {"indices", "[transitions] int32/int64", "successors"},
    {"probs", "[transitions]", "probabilities; rows sum to 1 within 1e-9"},
    {"rewards", "[states, actions]", "-inf marks an unavailable action"},
    {"transition_rewards", "[transitions]", "added to `rewards`, or instead (then with an attribute `actions`)"},
    {"transition_terminal", "[transitions] uint8", "1: the episode ends (optional)"},
    {"terminal", "[states] uint8", "1: nothing follows, value 0 (optional)"},
    {"FILE.bin", "PETSc binary", "Mat [states·actions, states], then Mat [states, actions] or Vec of rewards"},
    {"FILE.tra", "PRISM text", "explicit transitions, with rewards in FILE.rews, or FILE.srew and FILE.trew"},
    {"format, gamma, sense", "attributes of /", "\"sable-mdp\", discount in [0, 1), \"max\" (default) or \"min\""},
    {0},
};
static const struct sable_field outputs[] = {
    {"v", "[states]", "value of each state (--keep full)"},
    {"policy", "[states] int32", "greedy action of each state (--keep full)"},
    {"q", "[states, actions]", "value of each action, -inf where unavailable (--keep full)"},
    {"bound", "[1]", "guaranteed bound of max |V - V*|; the policy loses at most twice that"},
    {"sweeps", "[3]", "Bellman sweeps, sweeps of evaluation, products of GMRES"},
    {0},
};

struct model_state {
    struct model_params params;
    struct mdp_file file;
    struct mdp_source source;
    struct mdp_rank rank;
};

/* Opens the model of sable's own data that is named by `file`. */
static int open_own(const struct model_params *p, struct sable_input **input, struct sable_error *error)
{
    char path[1024];
    if (strchr(p->file, '/'))
        return sable_fail(error, SABLE_BAD_INPUT, "file=%s is not the name of a model in data/: give paths to --input",
                          p->file);
    if (sable_data_path(p->file, path, sizeof path, error))
        return error->code;
    return sable_input_open(path, input, error);
}

/* Bytes of a rank: the solver's, and the rows as read; or the most while they are partitioned. */
static double memory_of(const struct model_params *p, const struct mdp_source *source, struct sable_layout layout,
                        struct mdp_part part, double entries, double ghosts)
{
    const double rows = (double)part.count * (double)source->actions;
    const double row = rows > 0 ? entries / rows : 0, kept = 16 * entries + 16 * rows;
    const double memory = mdp_memory(&p->mdp, source, part, row, ghosts) + kept;
    if (p->mdp.partition == MDP_PARTITION_BLOCK || layout.ranks == 1)
        return memory;
    /* The graph beside what was read; then that, the message and what came, twice. */
    const double most = fmax(mdp_graph_memory(source, part, row), 3 * kept);
    return fmax(memory + mdp_partition_memory(part, ghosts), kept + most);
}

/* Before anything is read, from the shapes in the file: rows of average length, and every state of other ranks a ghost.
 * With --input that file is another; setup refuses what doesn't fit. */
static double predicted_memory(const struct model_params *p, struct sable_layout layout)
{
    struct sable_error ignored = {0}; /* setup tells */
    struct sable_input *input = NULL;
    struct mdp_file file = {0};
    int64_t transitions;
    double memory = 0;
    if (!open_own(p, &input, &ignored) && !mdp_file_sizes(input, &file, &transitions, &ignored)) {
        const struct mdp_source source = {.states = file.states, .actions = file.actions};
        const struct mdp_part part = mdp_part_of(file.states, layout.rank, layout.ranks);
        double share = (double)part.count / (double)file.states;
        memory = memory_of(p, &source, layout, part, share * (double)transitions, (1 - share) * (double)file.states);
    }
    sable_input_close(input);
    return memory;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct model_params *p = params;
    const struct model_state *s = state;
    *work = (struct sable_work){0};
    if (!s) {
        work->memory = predicted_memory(p, layout);
        return;
    }
    work->memory = memory_of(p, &s->source, layout, s->rank.part, (double)s->rank.entries, (double)s->rank.ghosts);
    mdp_work(&s->rank, work);
}

static void free_state(void *state)
{
    struct model_state *s = state;
    mdp_free(&s->rank);
    mdp_partition_free(s->source.partition);
    mdp_file_free(&s->file);
    free(s);
}

static int read_model(struct model_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct mdp_foreign foreign = {s->params.rewards, s->params.gamma, s->params.sense == 1};
    if (context->input && !sable_input_is_hdf5(context->input))
        return mdp_file_read_other(sable_input_path(context->input), &foreign, context, &s->file, &s->source, error);
    if (context->input)
        return mdp_file_read(context->input, context, &s->file, &s->source, error);
    struct sable_input *input = NULL;
    open_own(&s->params, &input, error);
    if (!sable_agree(context->comm, error))
        mdp_file_read(input, context, &s->file, &s->source, error);
    sable_input_close(input);
    return error->code;
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    return mdp_partition_check(&((const struct model_params *)params)->mdp, error);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct model_state *s = calloc(1, sizeof *s);
    if (!s)
        sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/model: out of memory");
    *state = s;
    if (sable_agree(context->comm, error))
        return error->code;
    s->params = *(const struct model_params *)params;
    if (read_model(s, context, error))
        return error->code;
    if (s->params.mdp.partition == MDP_PARTITION_SCOTCH && context->layout.ranks > 1 &&
        mdp_partition_create(context, &s->source, error))
        return error->code;
    return mdp_build(&s->params.mdp, &s->source, context, &s->rank, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    mdp_start(&((struct model_state *)state)->rank);
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return mdp_solve(&((struct model_state *)state)->rank, context, error);
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    return mdp_verify(&((struct model_state *)state)->rank, context, checks, error);
}

/* q[s·A + a] of this rank's states, for values whose ghosts are there. */
static bool fill_q(const struct mdp_rank *g, double *q)
{
    const struct mdp_source *source = g->source;
    int64_t *column = malloc(((size_t)source->longest + 1) * sizeof *column);
    double *probability = malloc(((size_t)source->longest + 1) * sizeof *probability), reward;
    const bool fits = column && probability;
    for (int64_t s = 0; fits && s < g->part.count; s++)
        for (int64_t a = 0; a < source->actions; a++) {
            const int64_t length = source->row(source->self, g->part.first + s, a, &reward, column, probability);
            double sum = 0;
            for (int64_t j = 0; j < length; j++)
                sum += probability[j] * g->v[mdp_local(g, column[j])];
            q[s * source->actions + a] = reward + source->gamma * (source->minimise ? -sum : sum);
        }
    free(column);
    free(probability);
    return fits;
}

/* q of the result, whose ghosts verification has filled in, or are filled in here. */
static int put_q(struct model_state *s, struct sable_context *context, struct sable_sink *sink,
                 struct sable_error *error)
{
    const int64_t actions = s->file.actions, rows = s->rank.part.count * actions;
    double *q = malloc(((size_t)rows + 1) * sizeof *q);
    MPI_Datatype type = MPI_DATATYPE_NULL;
    if (!q)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the values of %lld actions", (long long)rows);
    if (!sable_agree(context->comm, error) && !mdp_halo_start(&s->rank, context, s->rank.v, error) &&
        !mdp_halo_finish(&s->rank, s->rank.v, error) && !fill_q(&s->rank, q))
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the longest row");
    if (!sable_agree(context->comm, error) &&
        !sable_check_mpi(MPI_Type_contiguous((int)actions, MPI_DOUBLE, &type), "MPI_Type_contiguous", error) &&
        !sable_check_mpi(MPI_Type_commit(&type), "MPI_Type_commit", error)) {
        struct sable_array array = {.name = "q",
                                    .unit = "",
                                    .help = "value of each action, -inf where unavailable",
                                    .keep = SABLE_KEEP_FULL,
                                    .type = SABLE_F64,
                                    .dims = 2,
                                    .global = {s->file.states, actions},
                                    .count = {0, actions},
                                    .labels = {"state", "action"},
                                    .data = q};
        mdp_put_states(&s->rank, context, sink, &array, type, error);
    }
    if (type != MPI_DATATYPE_NULL)
        MPI_Type_free(&type);
    free(q);
    return error->code;
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    if (mdp_output(&((struct model_state *)state)->rank, context, sink, error))
        return error->code;
    return put_q(state, context, sink, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook's loops over compressed rows, one thread a rank", run},
    {"sable", "eight states in SIMD lanes, all threads, overlapped halos; the same bits", run},
    MDP_PEER(run){0},
};

const struct sable_workload sable_value_iteration_model = {
    .name = "value_iteration/model",
    .summary = "a decision process from a file, solved to a guaranteed bound",
    .source = "Puterman, Markov Decision Processes (1994); Gargiani et al., inexact policy iteration (2024)",
    .fom = {"transitions", "Gtransition/s", 1e9},
    .params_size = sizeof(struct model_params),
    .params = parameters,
    .classes = classes,
    .variants = variants,
    .phases = mdp_phases,
    .faults = mdp_faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .other_inputs = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
