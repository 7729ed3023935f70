#include "reduce.h"

enum { TAG_NODES = 7101 };

int sable_sum_ranks(MPI_Comm comm, const struct sable_sum_nodes *nodes, double *total, struct sable_error *error)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    struct sable_sum_nodes mine = *nodes, other;
    for (int step = 1; step < ranks; step *= 2) {
        if (rank % (2 * step) != 0) {
            if (sable_check_mpi(MPI_Send(&mine, sizeof mine, MPI_BYTE, rank - step, TAG_NODES, comm), "MPI_Send",
                                error))
                return error->code;
            break;
        }
        if (rank + step < ranks) {
            if (sable_check_mpi(
                    MPI_Recv(&other, sizeof other, MPI_BYTE, rank + step, TAG_NODES, comm, MPI_STATUS_IGNORE),
                    "MPI_Recv", error))
                return error->code;
            sable_sum_join(&mine, &other);
        }
    }
    *total = sable_sum_total(&mine);
    return sable_check_mpi(MPI_Bcast(total, 1, MPI_DOUBLE, 0, comm), "MPI_Bcast", error);
}
