/* Decodes a .san file to raw samples: see the usage below. POSIX only for the folder of models. */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "san.h"

#ifndef SAN_MODELS
#define SAN_MODELS "models"
#endif

enum { MAX_PATH_BYTES = 4096 };

static const char usage[] =
    "Usage: san_decode [-s] [-c] [-m DIR] [-M MIB] FILE.san [OUT]\n\n"
    "Prints what FILE.san holds, as a table with tabs, and writes the samples to OUT: integers of 32 bits, little\n"
    "endian, frame after frame, of each frame the samples of the first channel, then those of the second ...\n"
    "Without OUT, everything is decoded and checked, and nothing written.\n\n"
    "  -s      integers of 16 bits\n"
    "  -c      a file for each channel: OUT.0, OUT.1 ...\n"
    "  -m DIR  folder of models (*.sanm), residual.prior and events.prior; by default " SAN_MODELS "\n"
    "  -M MIB  memory for the samples of a chunk, and as much for decoding it; by default 1024\n";

typedef struct {
    const char *path, *output, *models;
    size_t memory_limit;
    int is_short, is_split;
} Options;

typedef struct {
    uint8_t *bytes;
    size_t length;
} File;

static int failed(const char *what, const char *why) {
    fprintf(stderr, "san_decode: %s: %s\n", what, why);
    return 0;
}

static int read_file(const char *path, File *file) {
    FILE *from = fopen(path, "rb");
    *file = (File){NULL, 0};
    if (!from) return 0;
    size_t room = 0;
    for (;;) {
        if (file->length == room) {
            uint8_t *more = realloc(file->bytes, room = 2 * room + 65536);
            if (!more) break;
            file->bytes = more;
        }
        size_t n = fread(file->bytes + file->length, 1, room - file->length, from);
        file->length += n;
        if (!n) break;
    }
    int is_ok = !ferror(from) && feof(from);
    fclose(from);
    return is_ok;
}

/* --- The folder of models --- */

typedef struct {
    const char *folder;
    File kept[16], residual_prior, events_prior;
    int n_kept;
} Shelf;

static int path_of(char path[MAX_PATH_BYTES], const char *folder, const char *name) {
    int length = snprintf(path, MAX_PATH_BYTES, "%s/%s", folder, name);
    return length > 0 && length < MAX_PATH_BYTES;
}

static int is_model(const char *name) {
    size_t length = strlen(name);
    return length > 5 && !strcmp(name + length - 5, ".sanm");
}

static const uint8_t *find_model(void *user, const uint8_t sha256[32], size_t *length) {
    Shelf *shelf = user;
    char path[MAX_PATH_BYTES];
    const uint8_t *found = NULL;
    DIR *folder = shelf->n_kept < 16 ? opendir(shelf->folder) : NULL;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
        uint8_t digest[32];
        File file;
        if (!is_model(entry->d_name) || !path_of(path, shelf->folder, entry->d_name)) continue;
        int is_read = read_file(path, &file);
        if (is_read) san_sha256(digest, file.bytes, file.length);
        if (is_read && !memcmp(digest, sha256, sizeof digest)) {
            shelf->kept[shelf->n_kept++] = file;
            found = file.bytes;
            *length = file.length;
        } else {
            free(file.bytes);
        }
    }
    if (folder) closedir(folder);
    return found;
}

static void empty_shelf(Shelf *shelf) {
    free(shelf->residual_prior.bytes);
    free(shelf->events_prior.bytes);
    while (shelf->n_kept) free(shelf->kept[--shelf->n_kept].bytes);
}

/* --- Output: under other names until all of it is there --- */

typedef struct {
    FILE **files;
    uint32_t n_files;
    const Options *options;
} Output;

static int name_of(char path[MAX_PATH_BYTES], const Output *output, uint32_t number, const char *suffix) {
    const char *name = output->options->output;
    int length = output->options->is_split ? snprintf(path, MAX_PATH_BYTES, "%s.%" PRIu32 "%s", name, number, suffix)
                                           : snprintf(path, MAX_PATH_BYTES, "%s%s", name, suffix);
    return length > 0 && length < MAX_PATH_BYTES;
}

static int open_output(Output *output, uint32_t n_channels) {
    char path[MAX_PATH_BYTES];
    uint32_t n = !output->options->output ? 0 : output->options->is_split ? n_channels : 1;
    output->files = calloc((size_t)n + 1, sizeof *output->files);
    if (!output->files) return failed(output->options->path, "there is no memory");
    for (; output->n_files < n; output->n_files++) {
        FILE *file = name_of(path, output, output->n_files, ".part") ? fopen(path, "wb") : NULL;
        if (!file) return failed(output->options->output, strerror(errno));
        output->files[output->n_files] = file;
    }
    return 1;
}

/* The names become the right ones, or the files are removed. */
static int close_output(Output *output, int is_ok) {
    char part[MAX_PATH_BYTES], path[MAX_PATH_BYTES];
    for (uint32_t i = 0; i < output->n_files; i++)
        if (fclose(output->files[i]) && is_ok) is_ok = failed(output->options->output, strerror(errno));
    for (uint32_t i = 0; i < output->n_files; i++) {
        name_of(part, output, i, ".part");
        if (is_ok && name_of(path, output, i, "") && rename(part, path))
            is_ok = failed(output->options->output, strerror(errno));
        if (!is_ok) remove(part);
    }
    free(output->files);
    return is_ok;
}

static int put(FILE *file, int32_t sample, int is_short) {
    if (is_short && sample != (int16_t)sample) return 0;
    for (int shift = 0; shift < (is_short ? 16 : 32); shift += 8) putc((int)((uint32_t)sample >> shift & 255), file);
    return 1;
}

static int write_chunk(const Output *output, const SanInfo *info, uint64_t n_frames, const int32_t *samples) {
    int is_ok = 1, is_short = output->options->is_short;
    for (uint64_t frame = 0; output->n_files && frame < n_frames; frame++) {
        const int32_t *first = samples;
        for (uint32_t i = 0; i < info->n_channels; i++) {
            uint32_t n = info->channels[i].samples_per_frame;
            FILE *file = output->files[output->options->is_split ? i : 0];
            for (uint32_t j = 0; j < n; j++) is_ok &= put(file, first[frame * n + j], is_short);
            first += n_frames * n;
        }
    }
    return is_ok || failed(output->options->path, "a sample takes more than 16 bits; leave out -s");
}

/* --- The table --- */

/* Text of the file, without what would disturb a terminal or the table. */
static void print_text(const char *text) {
    for (; *text; text++) putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

static void print_table(const Options *options, const SanInfo *info) {
    double frames_per_second = (double)info->rate_numerator / (double)info->rate_denominator;
    printf("# %s: %" PRIu64 " frames in %" PRIu32 " chunks", options->path, info->n_frames, info->n_chunks);
    if (options->output)
        printf(", int%d little endian, %s", options->is_short ? 16 : 32,
               options->is_split ? "a file for each channel" : "interleaved");
    putchar('\n');
    printf("channel\tname\tfs_hz\tgain\tunit\tbaseline\tmissing\tn_samples\n");
    for (uint32_t i = 0; i < info->n_channels; i++) {
        const SanChannel *channel = &info->channels[i];
        printf("%" PRIu32 "\t", i);
        print_text(channel->name);
        printf("\t%.12g\t%.12g\t", frames_per_second * channel->samples_per_frame, channel->gain);
        print_text(channel->unit);
        printf("\t%" PRId32 "\t", channel->baseline);
        if (channel->has_missing)
            printf("%" PRId32, channel->missing);
        else
            putchar('-');
        printf("\t%" PRIu64 "\n", info->n_frames * channel->samples_per_frame);
    }
}

/* --- All of it --- */

static int decode(San *san, const Options *options) {
    const SanInfo *info = san_info(san);
    int32_t *samples = NULL;
    Output output = {NULL, 0, options};
    if (info->chunk_samples <= options->memory_limit / sizeof *samples)
        samples = malloc(info->chunk_samples * sizeof *samples);
    int is_ok = samples ? open_output(&output, info->n_channels)
                        : failed(options->path, "the samples of a chunk take more memory than is allowed");
    for (uint32_t chunk = 0; is_ok && chunk < info->n_chunks; chunk++) {
        if (san_decode_chunk(san, chunk, samples))
            is_ok = failed(options->path, san_message(san));
        else
            is_ok = write_chunk(&output, info, san_chunk_frames(san, chunk), samples);
    }
    is_ok = close_output(&output, is_ok);
    free(samples);
    if (is_ok) print_table(options, info);
    return is_ok;
}

static int run(const Options *options) {
    Shelf shelf = {.folder = options->models};
    char path[MAX_PATH_BYTES];
    File file;
    San *san = NULL;
    int is_ok = read_file(options->path, &file);
    if (!is_ok) {
        failed(options->path, strerror(errno));
    } else {
        if (path_of(path, options->models, "residual.prior")) read_file(path, &shelf.residual_prior);
        if (path_of(path, options->models, "events.prior")) read_file(path, &shelf.events_prior);
        const SanOptions given = {.find_model = find_model,
                                  .user = &shelf,
                                  .residual_prior = shelf.residual_prior.bytes,
                                  .residual_prior_length = shelf.residual_prior.length,
                                  .events_prior = shelf.events_prior.bytes,
                                  .events_prior_length = shelf.events_prior.length,
                                  .memory_limit = options->memory_limit};
        is_ok = san_open(&san, file.bytes, file.length, &given) == SAN_OK;
        if (is_ok)
            is_ok = decode(san, options);
        else
            failed(options->path, san ? san_message(san) : "there is no memory");
    }
    san_close(san);
    empty_shelf(&shelf);
    free(file.bytes);
    return is_ok;
}

int main(int n_arguments, char **arguments) {
    Options options = {.models = SAN_MODELS, .memory_limit = (size_t)1 << 30};
    int i = 1, is_ok = 1;
    for (; is_ok && i < n_arguments && arguments[i][0] == '-'; i++) {
        const char *option = arguments[i], *value = i + 1 < n_arguments ? arguments[i + 1] : NULL;
        if (!strcmp(option, "-s")) {
            options.is_short = 1;
        } else if (!strcmp(option, "-c")) {
            options.is_split = 1;
        } else if (!strcmp(option, "-m") && value) {
            options.models = arguments[++i];
        } else if (!strcmp(option, "-M") && value && strtoul(value, NULL, 10)) {
            options.memory_limit = (size_t)strtoul(arguments[++i], NULL, 10) << 20;
        } else {
            is_ok = 0;
        }
    }
    if (!is_ok || n_arguments - i < 1 || n_arguments - i > 2) {
        fputs(usage, stderr);
        return 2;
    }
    options.path = arguments[i];
    options.output = n_arguments - i == 2 ? arguments[i + 1] : NULL;
    return run(&options) ? 0 : 1;
}
