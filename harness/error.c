#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int sable_fail(struct sable_error *error, enum sable_exit code, const char *format, ...)
{
    if (error->code == SABLE_OK) {
        va_list arguments;
        va_start(arguments, format);
        error->code = (int)code;
        vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
        for (char *c = error->text; *c; c++) /* file names may hold anything; an error is one line */
            if (*c == '\n' || *c == '\r')
                *c = ' ';
    }
    return error->code;
}

int sable_agree(MPI_Comm comm, struct sable_error *error)
{
    int rank, ranks, first;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    int mine = error->code ? rank : ranks;
    if (MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm) != MPI_SUCCESS)
        return sable_fail(error, SABLE_ENVIRONMENT, "MPI_Allreduce failed while agreeing on an error");
    if (first < ranks && MPI_Bcast(error, sizeof *error, MPI_BYTE, first, comm) != MPI_SUCCESS)
        return sable_fail(error, SABLE_ENVIRONMENT, "MPI_Bcast failed while agreeing on an error");
    return error->code;
}

int sable_check_mpi(int result, const char *operation, struct sable_error *error)
{
    if (result == MPI_SUCCESS)
        return SABLE_OK;
    char text[MPI_MAX_ERROR_STRING + 1] = "unknown error";
    int length = 0;
    if (MPI_Error_string(result, text, &length) == MPI_SUCCESS)
        text[length] = '\0';
    return sable_fail(error, SABLE_ENVIRONMENT, "%s failed: %s", operation, text);
}
