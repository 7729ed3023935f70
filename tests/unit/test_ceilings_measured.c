/* Ceilings as the harness measures and lists them, the same on every rank. runs: mpirun */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "ceilings.h"

static void same_class_is_measured_once(void **state)
{
    (void)state;
    struct sable_ceilings *ceilings = calloc(1, sizeof *ceilings);
    struct sable_error error = {0};
    int first, again, other;
    assert_int_equal(sable_ceilings_stream(MPI_COMM_WORLD, 1, SABLE_COPY, 70000, ceilings, &first, &error), SABLE_OK);
    assert_string_equal(ceilings->list[first].name, "copy_64KiB");
    assert_int_equal(sable_ceilings_stream(MPI_COMM_WORLD, 1, SABLE_COPY, 131071, ceilings, &again, &error), SABLE_OK);
    assert_int_equal(first, again);
    assert_int_equal(sable_ceilings_random(MPI_COMM_WORLD, 1, 131072, ceilings, &other, &error), SABLE_OK);
    assert_string_equal(ceilings->list[other].name, "random_128KiB");
    assert_int_equal(ceilings->count, 2);
    for (int i = 0; i < ceilings->count; i++) {
        const struct sable_ceiling *c = &ceilings->list[i];
        assert_true(c->value > 0 && c->low > 0 && c->low <= c->value && c->value <= c->high);
        assert_true(c->threads == 1 && c->nodes >= 1 && c->ranks >= c->nodes);
    }
    free(ceilings);
}

static void quick_ceilings_have_what_work_models_name(void **state)
{
    (void)state;
    struct sable_ceilings *ceilings = calloc(1, sizeof *ceilings);
    struct sable_error error = {0};
    int ranks;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    assert_int_equal(sable_ceilings_measure(MPI_COMM_WORLD, 1, SABLE_CEILINGS_QUICK, ceilings, &error), SABLE_OK);
    static const char *const name[] = {"fma_fp64",      "fma_fp32",    "exp_fp32",    "omp_barrier",
                                       "mpi_bandwidth", "mpi_latency", "mpi_alltoall"};
    for (int i = 0; i < 7; i++) {
        int index = sable_ceilings_find(ceilings, name[i]);
        assert_int_equal(index >= 0, i < 4 || ranks > 1);
        assert_true(index < 0 || ceilings->list[index].value > 0);
    }
    assert_int_equal(sable_ceilings_find(ceilings, "fma"), -1);
    free(ceilings);
}

static void the_hdf5_ceiling_leaves_no_file(void **state)
{
    (void)state;
    struct sable_ceilings *ceilings = calloc(1, sizeof *ceilings);
    struct sable_error error = {0};
    char folder[] = "/tmp/sable-ceilings-XXXXXX", path[sizeof folder + 10];
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0)
        assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.h5", folder);
    assert_int_equal(sable_ceilings_hdf5(MPI_COMM_WORLD, path, ceilings, &error), SABLE_OK);
    assert_true(ceilings->list[sable_ceilings_find(ceilings, "hdf5_write")].value > 0);
    if (rank == 0)
        assert_int_equal(rmdir(folder), 0); /* fails if anything is left in it */
    free(ceilings);
}

static void a_missing_folder_is_an_error_on_all_ranks(void **state)
{
    (void)state;
    struct sable_ceilings *ceilings = calloc(1, sizeof *ceilings);
    struct sable_error error = {0};
    assert_int_equal(sable_ceilings_hdf5(MPI_COMM_WORLD, "/nonexistent/x.h5", ceilings, &error), SABLE_ENVIRONMENT);
    assert_non_null(strstr(error.text, "/nonexistent/x.h5"));
    assert_int_equal(ceilings->count, 0);
    free(ceilings);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_class_is_measured_once),
        cmocka_unit_test(quick_ceilings_have_what_work_models_name),
        cmocka_unit_test(the_hdf5_ceiling_leaves_no_file),
        cmocka_unit_test(a_missing_folder_is_an_error_on_all_ranks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
