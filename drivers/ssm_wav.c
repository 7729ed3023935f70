/* The format (IBM & Microsoft, Multimedia Programming Interface and Data Specifications 1.0, 1991;
 * WAVE_FORMAT_EXTENSIBLE: Multiple Channel Audio Data and WAVE Files, 2001): "RIFF", length, "WAVE", then chunks of a
 * name, a length and so many bytes, padded to an even number; all little-endian. "fmt " tells what "data" after it
 * holds. */
#include "ssm_wav.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sable_array.h"

enum { PCM = 1, FLOATS = 3, EXTENSIBLE = 0xfffe };
enum { HEAD = 12, CHUNK = 8, FORMAT = 16, EXTENDED_FORMAT = 40, ROOM = 1 << 16 };
/* The rest of the identifier whose first two bytes are the format. */
static const unsigned char subformat[14] = {0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71};

static uint64_t integer_of(const unsigned char *bytes, int width)
{
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static int refuse(const struct ssm_wav *wav, const char *what, struct sable_error *error)
{
    return sable_fail(error, SABLE_BAD_INPUT, "%s: %s", wav->path, what);
}

static int read_at(const struct ssm_wav *wav, FILE *file, int64_t offset, unsigned char *bytes, int64_t count,
                   struct sable_error *error)
{
    if (fseeko(file, (off_t)offset, SEEK_SET) || fread(bytes, 1, (size_t)count, file) != (size_t)count)
        return refuse(wav, "the WAV file is truncated", error);
    return SABLE_OK;
}

/* What the `length` bytes of "fmt " say. */
static int read_format(struct ssm_wav *wav, FILE *file, int64_t offset, int64_t length, struct sable_error *error)
{
    unsigned char format[EXTENDED_FORMAT] = {0};
    if (length < FORMAT)
        return refuse(wav, "the format chunk of the WAV file is too short", error);
    if (read_at(wav, file, offset, format, length < EXTENDED_FORMAT ? length : EXTENDED_FORMAT, error))
        return error->code;
    int64_t code = (int64_t)integer_of(format, 2), align = (int64_t)integer_of(format + 12, 2);
    wav->channels = (int64_t)integer_of(format + 2, 2);
    wav->bits = (int)integer_of(format + 14, 2);
    if (code == EXTENSIBLE) {
        if (length < EXTENDED_FORMAT || memcmp(format + 26, subformat, sizeof subformat) != 0)
            return refuse(wav, "the WAV file's extended format is neither PCM nor floats", error);
        code = (int64_t)integer_of(format + 24, 2);
    }
    wav->floats = code == FLOATS;
    const bool known = wav->floats ? wav->bits == 32 || wav->bits == 64
                                   : code == PCM && wav->bits >= 8 && wav->bits <= 32 && wav->bits % 8 == 0;
    if (!known)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%s: WAV format %lld of %d bits: neither PCM of 8, 16, 24, 32 bits nor floats of 32, 64",
                          wav->path, (long long)code, wav->bits);
    if (wav->channels == 0)
        return refuse(wav, "the WAV file has no channels", error);
    if (align != wav->channels * wav->bits / 8)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: %lld bytes a frame of %lld channels of %d bits", wav->path,
                          (long long)align, (long long)wav->channels, wav->bits);
    return SABLE_OK;
}

/* Walks the chunks up to "data". Lengths are at most 2^32, so no sum overflows. */
static int read_head(struct ssm_wav *wav, FILE *file, struct sable_error *error)
{
    unsigned char head[HEAD];
    if (fseeko(file, 0, SEEK_END))
        return refuse(wav, "not a file that can be read anywhere", error);
    const int64_t size = (int64_t)ftello(file);
    if (size < HEAD)
        return refuse(wav, "neither an HDF5 nor a WAV file", error);
    if (read_at(wav, file, 0, head, HEAD, error))
        return error->code;
    if (memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0)
        return refuse(wav, "neither an HDF5 nor a WAV file", error);
    const int64_t end = (int64_t)integer_of(head + 4, 4) + 8;
    if (end > size)
        return refuse(wav, "the WAV file is truncated, or its length is wrong", error);
    for (int64_t at = HEAD; at + CHUNK <= end;) {
        if (read_at(wav, file, at, head, CHUNK, error))
            return error->code;
        const int64_t length = (int64_t)integer_of(head + 4, 4);
        at += CHUNK;
        if (length > end - at)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: a chunk of %lld bytes goes beyond the WAV file's end",
                              wav->path, (long long)length);
        if (memcmp(head, "fmt ", 4) == 0) {
            if (wav->channels > 0)
                return refuse(wav, "the WAV file has two format chunks", error);
            if (read_format(wav, file, at, length, error))
                return error->code;
        } else if (memcmp(head, "data", 4) == 0) {
            if (wav->channels == 0)
                return refuse(wav, "the WAV file's samples come before their format", error);
            const int64_t frame = wav->channels * wav->bits / 8;
            if (length == 0 || length % frame != 0)
                return sable_fail(error, SABLE_BAD_INPUT, "%s: %lld bytes of samples are no frames of %lld bytes",
                                  wav->path, (long long)length, (long long)frame);
            wav->data = at, wav->frames = length / frame;
            return SABLE_OK;
        }
        at += length + length % 2;
    }
    return refuse(wav, "the WAV file has no samples", error);
}

int ssm_wav_open(const char *path, struct ssm_wav *wav, struct sable_error *error)
{
    *wav = (struct ssm_wav){.path = path};
    FILE *file = fopen(path, "rb");
    if (!file)
        return refuse(wav, "could not be opened", error);
    read_head(wav, file, error);
    fclose(file);
    return error->code;
}

static float sample_of(const struct ssm_wav *wav, const unsigned char *bytes)
{
    const uint64_t value = integer_of(bytes, wav->bits / 8);
    if (wav->floats && wav->bits == 64) {
        double real;
        memcpy(&real, &value, sizeof real);
        return (float)real;
    }
    if (wav->floats) {
        const uint32_t half = (uint32_t)value;
        float real;
        memcpy(&real, &half, sizeof real);
        return real;
    }
    if (wav->bits == 8) /* 8 bits are unsigned */
        return ((float)value - 128) / 128;
    const double scale = ldexp(1, wav->bits - 1), whole = (double)value;
    return (float)((whole < scale ? whole : whole - 2 * scale) / scale);
}

int ssm_wav_read(const struct ssm_wav *wav, int64_t first, int64_t count, float *signal, struct sable_error *error)
{
    const int64_t width = wav->bits / 8, frame = wav->channels * width;
    const int64_t at_once = frame < ROOM ? ROOM / frame : 1;
    if (count == 0)
        return SABLE_OK;
    unsigned char *bytes = sable_array(at_once, frame, 1);
    FILE *file = fopen(wav->path, "rb");
    if (!bytes)
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for a frame", wav->path);
    else if (!file)
        refuse(wav, "could not be opened", error);
    for (int64_t t = 0; t < wav->frames && !error->code; t += at_once) {
        const int64_t frames = wav->frames - t < at_once ? wav->frames - t : at_once;
        if (read_at(wav, file, wav->data + t * frame, bytes, frames * frame, error))
            break;
        for (int64_t i = 0; i < frames * count && !error->code; i++) {
            float x = sample_of(wav, bytes + i / count * frame + (first + i % count) * width);
            signal[t * count + i] = x;
            if (!isfinite(x))
                refuse(wav, "a sample is not finite in single precision", error);
        }
    }
    if (file)
        fclose(file);
    sable_array_free(bytes);
    return error->code;
}
