#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked; /* the number of the signal that came last */

static void remember(int number)
{
    asked = number;
}

void sable_interrupt_watch(void)
{
    const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM};
    struct sigaction action = {.sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
    action.sa_handler = remember;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

int sable_interrupt_check(struct sable_error *error)
{
    if (!asked)
        return SABLE_OK;
    const char *name = asked == SIGUSR1 ? "SIGUSR1" : asked == SIGUSR2 ? "SIGUSR2" : "SIGTERM";
    return sable_fail(error, SABLE_ENVIRONMENT, "%s asked this run to end: what had finished is kept for --resume",
                      name);
}
