/* Sound files as signals: RIFF/WAVE with PCM samples of 8, 16, 24 or 32 bits or floats of 32 or 64, any channels. */
#ifndef SSM_WAV_H
#define SSM_WAV_H

#include "driver.h"

struct ssm_wav {
    const char *path; /* of the caller */
    int64_t frames, channels;
    int64_t data; /* where the samples start, bytes */
    int bits;
    bool floats;
};

/* Reads and checks the head; every length is held against the file's own before it is used. */
int ssm_wav_open(const char *path, struct ssm_wav *wav, struct sable_error *error);

/* Channels [first, first + count) of all frames into `signal` [frames, count]; PCM is scaled to [−1, 1). A sample that
 * is not finite is refused. */
int ssm_wav_read(const struct ssm_wav *wav, int64_t first, int64_t count, float *signal, struct sable_error *error);

#endif
