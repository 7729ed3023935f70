/* Writes the words that rollouts draw, for a battery of tests to read: random-quality ORDER SEED | dieharder -g 200 -a
 *
 *   steps     episode after episode, 64 steps of each: what one lane consumes
 *   lanes     32 episodes side by side, step after step: what a vector consumes; neighbours are neighbouring counters
 *
 * Ends when its reader does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sable_rollouts.h"

enum { WORDS = 4, BLOCKS = 16 };

/* The words of 32 episodes' block. */
static void draw(uint64_t seed, uint64_t episode, uint32_t block, uint32_t *words)
{
    uint32_t low[SABLE_DRAW_LANES], high[SABLE_DRAW_LANES], blocks[SABLE_DRAW_LANES];
    for (uint64_t l = 0; l < SABLE_DRAW_LANES; l++) {
        low[l] = (uint32_t)(episode + l), high[l] = (uint32_t)((episode + l) >> 32);
        blocks[l] = block;
    }
    sable_rollouts_draw(seed, SABLE_ROLLOUTS_STEP, low, high, blocks, words);
}

int main(int count, char **argument)
{
    uint32_t words[BLOCKS][WORDS * SABLE_DRAW_LANES], out[BLOCKS * WORDS * SABLE_DRAW_LANES];
    if (count != 3 || (strcmp(argument[1], "steps") != 0 && strcmp(argument[1], "lanes") != 0))
        return fprintf(stderr, "usage: random-quality steps|lanes SEED\n"), 2;
    const bool lanes = argument[1][0] == 'l';
    const uint64_t seed = strtoull(argument[2], NULL, 10), turns = UINT64_C(1) << (lanes ? 20 : 40);
    for (uint32_t block = 0;; block += BLOCKS)
        for (uint64_t episode = 0; episode < turns; episode += SABLE_DRAW_LANES) {
            for (uint32_t b = 0; b < BLOCKS; b++)
                draw(seed, episode, lanes ? (block + b) : b, words[b]);
            for (int l = 0; l < SABLE_DRAW_LANES; l++)
                for (int b = 0; b < BLOCKS; b++)
                    for (int j = 0; j < WORDS; j++) {
                        int at = lanes ? (b * WORDS + j) * SABLE_DRAW_LANES + l : (l * BLOCKS + b) * WORDS + j;
                        out[at] = words[b][j * SABLE_DRAW_LANES + l];
                    }
            if (fwrite(out, sizeof out, 1, stdout) != 1)
                return 0;
        }
}
