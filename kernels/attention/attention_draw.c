#include "sable_attention.h"
#include "sable_random.h"

void sable_attention_draw(uint64_t seed, uint32_t purpose, int64_t first, int64_t count, float *to)
{
    for (int64_t i = 0; i < count;) {
        int64_t element = first + i;
        struct sable_random_block drawn = sable_random(seed, purpose, (uint64_t)(element / 4), 0);
        for (int64_t w = element % 4; w < 4 && i < count; w++, i++)
            to[i] = (float)((int32_t)(drawn.word[w] >> 8) - (1 << 23)) * 0x1p-22F;
    }
}
