/* PETSc's Krylov solvers for the evaluation of a policy, (I − γ P_π) x = r_π: the peer variant `petsc`. Sweeps,
 * improvement and bound are sable's; the matrix is made anew where the policy has changed, as madupite does, by each
 * rank from the rows that it owns. PETSc is loaded when the variant is asked for, so that no other run carries it.
 * Source: S. Balay et al., PETSc/TAO Users Manual (2022). */
#include "value_iteration_mdp.h"

#ifdef SABLE_HAVE_PETSC

#include <dlfcn.h>
#include <limits.h>
#include <petscksp.h>
#undef MPI_Allreduce /* a macro of PETSc that counts calls, in a variable of the library */
#include <stdlib.h>
#include <string.h>

/* What is called, by its own name. */
#define FUNCTIONS(X)                                                                                                   \
    X(PetscInitialize)                                                                                                 \
    X(PetscFinalize)                                                                                                   \
    X(PetscGetVersionNumber)                                                                                           \
    X(PetscPushErrorHandler)                                                                                           \
    X(PetscReturnErrorHandler)                                                                                         \
    X(PetscErrorMessage)                                                                                               \
    X(VecCreateMPI)                                                                                                    \
    X(VecDuplicate)                                                                                                    \
    X(VecGetArray)                                                                                                     \
    X(VecRestoreArray)                                                                                                 \
    X(VecDestroy)                                                                                                      \
    X(MatCreateAIJ)                                                                                                    \
    X(MatSetValues)                                                                                                    \
    X(MatAssemblyBegin)                                                                                                \
    X(MatAssemblyEnd)                                                                                                  \
    X(MatDestroy)                                                                                                      \
    X(KSPCreate)                                                                                                       \
    X(KSPSetType)                                                                                                      \
    X(KSPGMRESSetRestart)                                                                                              \
    X(KSPGetPC)                                                                                                        \
    X(PCSetType)                                                                                                       \
    X(KSPSetInitialGuessNonzero)                                                                                       \
    X(KSPConvergedDefaultSetUIRNorm)                                                                                   \
    X(KSPSetTolerances)                                                                                                \
    X(KSPSetOperators)                                                                                                 \
    X(KSPSolve)                                                                                                        \
    X(KSPGetIterationNumber)                                                                                           \
    X(KSPDestroy)

struct mdp_ksp {
    void *library;
#define DECLARE(name) __typeof__(name) *name;
    FUNCTIONS(DECLARE)
#undef DECLARE
    bool initialized, bicgstab;
    KSP solver;
    Vec solution, right;
    Mat matrix;              /* I − γ P_π … */
    int32_t *policy;         /* … of this policy */
    PetscInt *own, *foreign; /* entries of each row among own columns, and others */
    PetscInt *column;        /* a row's */
    PetscScalar *entry;
};

static void check(const struct mdp_ksp *k, const char *what, PetscErrorCode code, struct sable_error *error)
{
    const char *text = NULL;
    if (!code)
        return;
    k->PetscErrorMessage(code, &text, NULL);
    sable_fail(error, SABLE_ENVIRONMENT, "PETSc: %s: %s", what, text ? text : "unknown error");
}

/* Calls k->function, unless an error is there already. */
#define CALL(k, error, function, ...)                                                                                  \
    do {                                                                                                               \
        if (!(error)->code)                                                                                            \
            check((k), #function, (k)->function(__VA_ARGS__), (error));                                                \
    } while (0)

static bool load(struct mdp_ksp *k)
{
    setenv("OPENBLAS_NUM_THREADS", "1", 0); /* PETSc has no threads, its BLAS may */
    k->library = dlopen(SABLE_HAVE_PETSC, RTLD_NOW | RTLD_LOCAL);
    if (!k->library)
        return false;
    bool found = true;
    void *symbol;
#define LOAD(name)                                                                                                     \
    symbol = dlsym(k->library, #name);                                                                                 \
    memcpy(&k->name, &symbol, sizeof symbol);                                                                          \
    found = found && symbol;
    FUNCTIONS(LOAD)
#undef LOAD
    return found;
}

/* PETSc over the ranks that run, which may be fewer than the launch's. No option of the environment or of a file gets
 * in: what ran is what the parameters say. */
static void initialize(struct mdp_ksp *k, MPI_Comm comm, struct sable_error *error)
{
    static char name[] = "sable", no_file[] = "-skip_petscrc", no_signals[] = "-no_signal_handler";
    char *words[] = {name, no_file, no_signals, NULL}, **arguments = words;
    int count = 3;
    void *symbol = dlsym(k->library, "PETSC_COMM_WORLD");
    if (symbol)
        memcpy(symbol, &comm, sizeof comm);
    unsetenv("PETSC_OPTIONS");
    unsetenv("PETSC_OPTIONS_YAML");
    CALL(k, error, PetscInitialize, &count, &arguments, NULL, NULL);
    k->initialized = !error->code;
    CALL(k, error, PetscPushErrorHandler, k->PetscReturnErrorHandler, NULL);
}

static void create_solver(struct mdp_ksp *k, const struct mdp_rank *g, MPI_Comm comm, struct sable_error *error)
{
    PC preconditioner = NULL;
    CALL(k, error, VecCreateMPI, comm, (PetscInt)g->part.count, PETSC_DETERMINE, &k->solution);
    CALL(k, error, VecDuplicate, k->solution, &k->right);
    CALL(k, error, KSPCreate, comm, &k->solver);
    CALL(k, error, KSPSetType, k->solver, k->bicgstab ? KSPBCGS : KSPGMRES);
    if (!k->bicgstab)
        CALL(k, error, KSPGMRESSetRestart, k->solver, (PetscInt)g->params.restart);
    CALL(k, error, KSPGetPC, k->solver, &preconditioner);
    CALL(k, error, PCSetType, preconditioner, g->params.jacobi ? PCJACOBI : PCNONE);
    CALL(k, error, KSPSetInitialGuessNonzero, k->solver, PETSC_TRUE);
    CALL(k, error, KSPConvergedDefaultSetUIRNorm, k->solver);
}

int mdp_ksp_create(const struct mdp_params *params, struct mdp_rank *g, struct sable_context *context,
                   struct sable_error *error)
{
    struct mdp_ksp *k = g->ksp = calloc(1, sizeof *k);
    const size_t states = (size_t)g->part.count + 1, longest = (size_t)g->source->longest + 1;
    PetscInt version[3] = {0};
    if (!k)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for PETSc");
    else if (g->source->states > (sizeof(PetscInt) == 4 ? INT32_MAX : INT64_MAX))
        sable_fail(error, SABLE_BAD_INPUT, "this PETSc counts with 32 bits, and there are %lld states",
                   (long long)g->source->states);
    else if (!load(k))
        sable_fail(error, SABLE_ENVIRONMENT, "PETSc cannot be loaded from " SABLE_HAVE_PETSC);
    else {
        k->bicgstab = params->krylov == MDP_BICGSTAB;
        k->own = calloc(states, sizeof *k->own), k->foreign = calloc(states, sizeof *k->foreign);
        k->policy = calloc(states, sizeof *k->policy);
        k->column = calloc(longest, sizeof *k->column), k->entry = calloc(longest, sizeof *k->entry);
        if (!k->own || !k->foreign || !k->policy || !k->column || !k->entry)
            sable_fail(error, SABLE_ENVIRONMENT, "out of memory for PETSc");
    }
    if (sable_agree(context->comm, error))
        return error->code;
    initialize(k, context->comm, error);
    create_solver(k, g, context->comm, error);
    CALL(k, error, PetscGetVersionNumber, &version[0], &version[1], &version[2], NULL);
    if (!error->code)
        sable_note_that(context, "peer_library", "PETSc %d.%d.%d, %s, one thread a rank", (int)version[0],
                        (int)version[1], (int)version[2], k->bicgstab ? "bcgs" : "gmres");
    return sable_agree(context->comm, error);
}

void mdp_ksp_free(struct mdp_rank *g)
{
    struct mdp_ksp *k = g->ksp;
    if (!k)
        return;
    if (k->initialized) {
        (void)k->KSPDestroy(&k->solver);
        (void)k->MatDestroy(&k->matrix);
        (void)k->VecDestroy(&k->solution);
        (void)k->VecDestroy(&k->right);
        (void)k->PetscFinalize();
    }
    free(k->own);
    free(k->foreign);
    free(k->column);
    free(k->entry);
    free(k->policy);
    free(k); /* the library stays: MPI may still know functions of it */
    g->ksp = NULL;
}

/* ---- The matrix of a policy ---- */

/* The row of state s under the policy: global columns and probabilities. Returns its length. */
static PetscInt policy_row(const struct mdp_rank *g, int64_t s, PetscInt *column, PetscScalar *entry)
{
    enum { LANES = SABLE_MDP_LANES };
    const int64_t start = g->rows.start[s / LANES], end = g->rows.start[s / LANES + 1];
    PetscInt length = 0;
    for (int64_t i = start + s % LANES; i < end; i += LANES)
        if (g->rows.probability[i] != 0) { /* the others fill the lanes up */
            const int64_t local = g->rows.column[i];
            column[length] = (PetscInt)(local < g->padded ? g->part.first + local : g->ghost[local - g->padded]);
            entry[length++] = g->rows.probability[i];
        }
    return length;
}

/* Room for each row: the diagonal is always there. */
static void count_entries(const struct mdp_rank *g)
{
    struct mdp_ksp *k = g->ksp;
    for (int64_t s = 0; s < g->part.count; s++) {
        const PetscInt length = policy_row(g, s, k->column, k->entry);
        k->own[s] = 1, k->foreign[s] = 0;
        for (PetscInt j = 0; j < length; j++) {
            const bool own = k->column[j] >= g->part.first && k->column[j] < g->part.first + g->part.count;
            *(own ? &k->own[s] : &k->foreign[s]) += 1;
        }
        k->own[s] = k->own[s] < (PetscInt)g->part.count ? k->own[s] : (PetscInt)g->part.count;
    }
}

/* Collective. Is the matrix that of another policy, on any rank? */
static bool is_stale(const struct mdp_rank *g, MPI_Comm comm, struct sable_error *error)
{
    struct mdp_ksp *k = g->ksp;
    const size_t bytes = (size_t)g->part.count * sizeof *k->policy;
    int own = !k->matrix || memcmp(k->policy, g->policy, bytes) != 0, any = 1;
    memcpy(k->policy, g->policy, bytes);
    sable_check_mpi(MPI_Allreduce(&own, &any, 1, MPI_INT, MPI_MAX, comm), "MPI_Allreduce", error);
    return any;
}

/* A = I − γ P_π. */
static void make_matrix(const struct mdp_rank *g, MPI_Comm comm, struct sable_error *error)
{
    struct mdp_ksp *k = g->ksp;
    const PetscInt count = (PetscInt)g->part.count;
    const PetscScalar one = 1;
    if (!is_stale(g, comm, error) || error->code)
        return;
    count_entries(g);
    CALL(k, error, MatDestroy, &k->matrix);
    CALL(k, error, MatCreateAIJ, comm, count, count, PETSC_DETERMINE, PETSC_DETERMINE, 0, k->own, 0, k->foreign,
         &k->matrix);
    for (int64_t s = 0; s < g->part.count && !error->code; s++) {
        const PetscInt row = (PetscInt)(g->part.first + s), length = policy_row(g, s, k->column, k->entry);
        for (PetscInt j = 0; j < length; j++)
            k->entry[j] *= -g->gamma;
        CALL(k, error, MatSetValues, k->matrix, 1, &row, length, k->column, k->entry, ADD_VALUES);
        CALL(k, error, MatSetValues, k->matrix, 1, &row, 1, &row, &one, ADD_VALUES);
    }
    CALL(k, error, MatAssemblyBegin, k->matrix, MAT_FINAL_ASSEMBLY);
    CALL(k, error, MatAssemblyEnd, k->matrix, MAT_FINAL_ASSEMBLY);
}

static void set_vector(struct mdp_ksp *k, Vec vector, const double *from, int64_t count, struct sable_error *error)
{
    PetscScalar *to = NULL;
    CALL(k, error, VecGetArray, vector, &to);
    if (!error->code)
        memcpy(to, from, (size_t)count * sizeof *to);
    CALL(k, error, VecRestoreArray, vector, &to);
}

static void get_vector(struct mdp_ksp *k, Vec vector, double *to, int64_t count, struct sable_error *error)
{
    PetscScalar *from = NULL;
    CALL(k, error, VecGetArray, vector, &from);
    if (!error->code)
        memcpy(to, from, (size_t)count * sizeof *to);
    CALL(k, error, VecRestoreArray, vector, &from);
}

int mdp_ksp_solve(struct mdp_rank *g, struct sable_context *context, double forcing, int64_t most, int *now,
                  struct sable_error *error)
{
    struct mdp_ksp *k = g->ksp;
    const int64_t products = k->bicgstab ? 2 : 1; /* a step */
    PetscInt steps = 0;
    double *x = g->value[*now];
    sable_phase(context, MDP_PHASE_COMPUTE);
    make_matrix(g, context->comm, error);
    set_vector(k, k->solution, x, g->part.count, error);
    set_vector(k, k->right, g->rows.reward, g->part.count, error); /* one action: lanes are states */
    CALL(k, error, KSPSetOperators, k->solver, k->matrix, k->matrix);
    CALL(k, error, KSPSetTolerances, k->solver, forcing, 0, PETSC_DEFAULT,
         (PetscInt)(most / products < INT_MAX ? most / products + 1 : INT_MAX));
    CALL(k, error, KSPSolve, k->solver, k->right, k->solution);
    CALL(k, error, KSPGetIterationNumber, k->solver, &steps);
    get_vector(k, k->solution, x, g->part.count, error);
    for (int64_t s = g->part.count; s < g->padded && g->part.count > 0; s++)
        x[s] = x[g->part.count - 1]; /* lanes behind the last state repeat it */
    g->products += products * (int64_t)steps;
    return sable_agree(context->comm, error);
}

#else

int mdp_ksp_create(const struct mdp_params *params, struct mdp_rank *g, struct sable_context *context,
                   struct sable_error *error)
{
    (void)params, (void)g, (void)context;
    return sable_fail(error, SABLE_ENVIRONMENT, "this sable was built without PETSc");
}

void mdp_ksp_free(struct mdp_rank *g)
{
    (void)g;
}

int mdp_ksp_solve(struct mdp_rank *g, struct sable_context *context, double forcing, int64_t most, int *now,
                  struct sable_error *error)
{
    (void)g, (void)context, (void)forcing, (void)most, (void)now;
    return error->code;
}

#endif
