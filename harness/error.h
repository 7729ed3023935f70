/* Errors: a function that can fail returns an exit status (0 is success) and leaves one line of text that says what
 * failed, with which value, and what to do. Nobody below `main` prints, exits or aborts. */
#ifndef SABLE_ERROR_H
#define SABLE_ERROR_H

#include <mpi.h>

enum sable_exit {
    SABLE_OK = 0,
    SABLE_WRONG = 1,       /* a wrong answer */
    SABLE_BAD_INPUT = 2,   /* a bad command line or bad input */
    SABLE_ENVIRONMENT = 3, /* I/O, memory, MPI; with --strict also bad binding */
    SABLE_REGRESSION = 4,  /* `compare` found one */
    SABLE_BUG = 5          /* a bug of ours */
};

struct sable_error {
    int code; /* enum sable_exit */
    char text[1000];
};

/* Stores the code and the formatted line, unless `error` already holds an earlier failure; returns the stored code, so
 * that a caller can write `return sable_fail(error, SABLE_BAD_INPUT, "n=%lld is odd", n);`. */
int sable_fail(struct sable_error *error, enum sable_exit code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Collective over `comm`. All ranks leave with the same code and text: those of the lowest rank that failed, or success
 * if none did. Returns the agreed code. One small allreduce if all is well. */
int sable_agree(MPI_Comm comm, struct sable_error *error);

/* Turns an MPI return value into an error that names the operation. Returns 0 for MPI_SUCCESS. */
int sable_check_mpi(int result, const char *operation, struct sable_error *error);

#endif
