/* 2: the container, and the public functions. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "residual_mixing.h"
#include "san_internal.h"

enum { HEADER = 1, MODEL = 2, CODING = 3, CHUNK = 4, INDEX = 5, ANCILLARY = 0x80 };
enum { PREFIX_BYTES = 12, TRAILER_BYTES = 12, FRAMING_BYTES = 9, MAX_LEADING_SECTIONS = 64 };

static const uint32_t max_section_bytes = UINT32_C(1) << 30;
static const uint8_t signature[8] = {0x89, 'S', 'A', 'N', '\r', '\n', 0x1A, '\n'};

/* --- Sections --- */

typedef struct {
    int kind;
    const uint8_t *payload;
    uint32_t length;
    uint64_t end;
} Section;

/* Without its CRC, which takes as long as reading it. */
static Section head_at(San *san, uint64_t offset) {
    if (san->length < FRAMING_BYTES || offset > san->length - FRAMING_BYTES)
        san_refuse(san, SAN_TRUNCATED, "the file ends where a section should begin, at byte %" PRIu64, offset);
    const uint8_t *head = san->content + offset;
    Section section = {head[0], head + 5, san_u32(head + 1), 0};
    if (section.length > max_section_bytes)
        san_refuse(san, SAN_LIMIT, "a section of %" PRIu32 " bytes at byte %" PRIu64, section.length, offset);
    section.end = offset + FRAMING_BYTES + section.length;
    if (section.end > san->length)
        san_refuse(san, SAN_TRUNCATED, "the file ends within the section at byte %" PRIu64, offset);
    return section;
}

static Section section_at(San *san, uint64_t offset) {
    Section section = head_at(san, offset);
    const uint8_t *head = section.payload - 5;
    if (san_crc32(0, head, 5 + (size_t)section.length) != san_u32(section.payload + section.length))
        san_refuse(san, SAN_CORRUPT, "the section at byte %" PRIu64 " is damaged: its CRC is another", offset);
    return section;
}

/* --- Opening --- */

static void check_prefix(San *san) {
    if (!san->length) san_refuse(san, SAN_CORRUPT, "it is empty");
    if (memcmp(san->content, signature, san->length < 8 ? (size_t)san->length : 8)) {
        if (san->length >= 4 && !memcmp(san->content + 1, "SAN", 3))
            san_refuse(san, SAN_CORRUPT, "its signature is damaged, as by a transfer in text mode");
        san_refuse(san, SAN_CORRUPT, "it is no .san file");
    }
    if (san->length < PREFIX_BYTES) san_refuse(san, SAN_TRUNCATED, "it ends within its signature");
    uint32_t version = san_u16(san->content + 8), flags = san_u16(san->content + 10);
    if (version != 1 || flags)
        san_refuse(san, SAN_UNSUPPORTED, "format version %u with flags %#x; version 1 without flags can be read",
                   (unsigned)version, (unsigned)flags);
}

/* Up to the first CODING section, whose offset it gives; models that the file carries are put in their place. */
static uint64_t read_leading(San *san) {
    uint64_t offset = PREFIX_BYTES;
    const uint8_t *carried[MAX_MODELS];
    size_t lengths[MAX_MODELS];
    int n_carried = 0, has_header = 0;
    for (int i = 0;; i++) {
        if (i == MAX_LEADING_SECTIONS)
            san_refuse(san, SAN_LIMIT, "more than 64 sections come before the first chunk");
        Section section = section_at(san, offset);
        if (section.kind == CODING && has_header) break;
        offset = section.end;
        if (section.kind & ANCILLARY) continue;
        if (section.kind != (has_header ? MODEL : HEADER) || n_carried == MAX_MODELS)
            san_refuse(san, SAN_CORRUPT, "a section of type %d; HEADER, at most 16 MODEL, CODING are expected first",
                       section.kind);
        if (has_header) {
            carried[n_carried] = section.payload;
            lengths[n_carried++] = section.length;
        } else {
            has_header = 1;
            strcpy(san->where, "HEADER");
            san_read_header(san, section.payload, section.length);
            *san->where = 0;
        }
    }
    for (int i = 0; i < n_carried; i++) {
        uint8_t digest[32];
        san_sha256(digest, carried[i], lengths[i]);
        int model = 0;
        while (model < san->n_models && memcmp(digest, san->digests[model], 32)) model++;
        if (model == san->n_models || san->models[model]) continue;
        strcpy(san->where, "MODEL");
        san->models[model] = san_read_model(san, carried[i], lengths[i], digest);
        *san->where = 0;
    }
    return offset;
}

static void find_models(San *san) {
    for (int i = 0; i < san->n_models; i++) {
        for (int before = 0; before < i && !san->models[i]; before++)
            if (!memcmp(san->digests[i], san->digests[before], 32)) san->models[i] = san->models[before];
        if (san->models[i]) continue;
        size_t length = 0;
        const uint8_t *content = NULL, *digest = san->digests[i];
        uint8_t found[32];
        if (san->options.find_model) content = san->options.find_model(san->options.user, digest, &length);
        if (content) san_sha256(found, content, length);
        if (!content || memcmp(found, digest, 32)) {
            char text[65];
            for (int byte = 0; byte < 32; byte++) snprintf(text + 2 * byte, 3, "%02x", digest[byte]);
            san_refuse(san, SAN_MODEL, "it needs the model with SHA-256 %s", text);
        }
        strcpy(san->where, "model");
        san->models[i] = san_read_model(san, content, length, digest);
        *san->where = 0;
    }
}

/* Go on to the section of a segment behind one that the index says the length of. */
static uint64_t pass_section(San *san, uint64_t offset, int kind, uint64_t length, uint64_t end) {
    if (offset > end || length > end - offset) san_refuse(san, SAN_CORRUPT, "the chunks of the index lie beyond it");
    Section section = head_at(san, offset);
    if (section.kind != kind || section.end != offset + length)
        san_refuse(san, SAN_CORRUPT, "there is no section of type %d and %" PRIu64 " bytes at byte %" PRIu64
                   ", as the index says", kind, length, offset);
    return section.end;
}

/* 2.2: where everything is, all of it checked against the sections themselves. */
static void read_index(San *san, uint64_t first_coding) {
    uint64_t end = san->length - TRAILER_BYTES, n_chunks = san->info.n_chunks, n_found = 0;
    if (san->length < PREFIX_BYTES + TRAILER_BYTES || memcmp(san->content + end + 8, "SANe", 4))
        san_refuse(san, SAN_TRUNCATED, "it does not end with a trailer: it was cut short, or more was appended");
    uint64_t index_offset = san_u32(san->content + end) | (uint64_t)san_u32(san->content + end + 4) << 32;
    if (index_offset >= end) san_refuse(san, SAN_CORRUPT, "the trailer places the index beyond it");
    Section index = section_at(san, index_offset);
    if (index.kind != INDEX || index.end != end)
        san_refuse(san, SAN_CORRUPT, "there is no index where the trailer says");
    Bytes fields = san_bytes(san, index.payload, index.length);
    uint64_t offset = san_varint(&fields), n_segments = san_varint(&fields);
    if (offset != first_coding) san_refuse(san, SAN_CORRUPT, "the first CODING section is not where the index says");
    if (n_chunks > index.length) san_refuse(san, SAN_TRUNCATED, "the index has fewer chunks than HEADER says");
    if (n_segments < 1 || n_segments > n_chunks)
        san_refuse(san, SAN_CORRUPT, "an index of %" PRIu64 " segments for %" PRIu64 " chunks", n_segments, n_chunks);
    san->segments = san_take(san, n_segments, sizeof *san->segments);
    san->chunks = san_take(san, n_chunks, sizeof *san->chunks);
    for (Place *place = san->segments; place < san->segments + n_segments; place++) {
        uint64_t length = san_varint(&fields), n = san_varint(&fields);
        if (n < 1 || n > n_chunks - n_found)
            san_refuse(san, SAN_CORRUPT, "a segment of %" PRIu64 " chunks in the index; %" PRIu64 " are left", n,
                       n_chunks - n_found);
        *place = (Place){(uint32_t)n_found, (uint32_t)n, offset};
        offset = pass_section(san, offset, CODING, length, index_offset);
        for (; n; n--) {
            san->chunks[n_found++] = offset;
            offset = pass_section(san, offset, CHUNK, san_varint(&fields), index_offset);
        }
    }
    san_finish_bytes(&fields);
    if (n_found < n_chunks)
        san_refuse(san, SAN_TRUNCATED, "chunk %" PRIu64 " of %" PRIu64 " is missing", n_found, n_chunks);
    san->info.n_segments = (uint32_t)n_segments;
    while (offset < index_offset) {
        Section section = section_at(san, offset);
        if (!(section.kind & ANCILLARY) || section.end > index_offset)
            san_refuse(san, SAN_CORRUPT, "a section of type %d between the last chunk and the index", section.kind);
        offset = section.end;
    }
}

static void fill_tables(void) {
    static int are_filled;
    if (are_filled) return;
    san_hash_tables();
    mixing_tables();
    residual_tables();
    are_filled = 1;
}

static void read_file(San *san, void *task) {
    (void)task;
    check_prefix(san);
    uint64_t first_coding = read_leading(san);
    find_models(san);
    read_index(san, first_coding);
    san->before_segment = san->blocks;
}

SanStatus san_open(San **opened, const void *content, size_t length, const SanOptions *options) {
    San *san = *opened = calloc(1, sizeof *san);
    if (!san) return SAN_MEMORY;
    san->content = content;
    san->length = length;
    if (options) san->options = *options;
    if (!san->options.memory_limit) san->options.memory_limit = (size_t)1 << 30;
    fill_tables();
    san_attempt(san, read_file, NULL);
    return san->status;
}

/* --- Chunks --- */

static const Place *place_of(const San *san, uint32_t chunk) {
    uint32_t low = 0, high = san->info.n_segments;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (san->segments[middle].first_chunk <= chunk)
            low = middle;
        else
            high = middle;
    }
    return &san->segments[low];
}

static const Segment *segment_at(San *san, const Place *place) {
    if (san->segment && san->segment->first_chunk == place->first_chunk) return san->segment;
    san->segment = NULL;
    san_release(san, san->before_segment);
    snprintf(san->where, sizeof san->where, "CODING for chunk %" PRIu32, place->first_chunk);
    Section section = section_at(san, place->offset);
    const Segment *segment = san_read_coding(san, section.payload, section.length);
    if (segment->first_chunk != place->first_chunk || segment->n_chunks != place->n_chunks)
        san_refuse(san, SAN_CORRUPT, "it is for %" PRIu32 " chunks from %" PRIu32 " on", segment->n_chunks,
                   segment->first_chunk);
    return san->segment = segment;
}

/* What the functions below attempt. */
typedef struct {
    uint32_t number; /* of a chunk, channel or segment */
    int is_in_steps;
    SanSegment *segment;
    const int32_t *approximation;
    const int64_t *component;
    int32_t *samples;
} Task;

static void drop_chunk(San *san) {
    if (san->chunk) san_release(san, san->before_chunk);
    san->chunk = NULL;
}

/* After a failure all is read anew that belongs to chunks. */
static SanStatus attempt(San *san, void (*work)(San *san, void *task), Task *task) {
    if (!san->before_segment) return san->status;
    san->status = SAN_OK;
    *san->message = 0;
    san_attempt(san, work, task);
    san_free_states(san);
    if (!san->status) return SAN_OK;
    san->segment = NULL;
    san->chunk = NULL;
    san_release(san, san->before_segment);
    return san->status;
}

static void tell_segment(San *san, void *given) {
    const Task *task = given;
    drop_chunk(san);
    *san->where = 0;
    if (task->number >= san->info.n_segments)
        san_refuse(san, SAN_LIMIT, "there is no segment %" PRIu32 " of %" PRIu32, task->number, san->info.n_segments);
    const Segment *found = segment_at(san, &san->segments[task->number]);
    *task->segment = (SanSegment){found->first_chunk, found->n_chunks,        (uint32_t)found->coder,
                                  found->n_groups,    found->kernel_lengths, found->measured};
}

static void begin(San *san, void *given) {
    const Task *task = given;
    drop_chunk(san);
    *san->where = 0;
    if (task->number >= san->info.n_chunks)
        san_refuse(san, SAN_LIMIT, "there is no chunk %" PRIu32 " of %" PRIu32, task->number, san->info.n_chunks);
    const Segment *segment = segment_at(san, place_of(san, task->number));
    san->before_chunk = san->blocks;
    snprintf(san->where, sizeof san->where, "chunk %" PRIu32, task->number);
    Section section = section_at(san, san->chunks[task->number]);
    Bytes payload = san_bytes(san, section.payload, section.length);
    san->chunk = san_begin_chunk(san, segment, task->number, payload, task->is_in_steps);
}

static void need_chunk(San *san) {
    if (san->chunk && !san->chunk->is_finished) return;
    *san->where = 0;
    san_refuse(san, SAN_LIMIT, "no chunk was begun");
}

static void approximate(San *san, void *given) {
    const Task *task = given;
    need_chunk(san);
    san_approximate(san->chunk, task->number, task->approximation);
}

static void give_component(San *san, void *given) {
    const Task *task = given;
    need_chunk(san);
    san_give_component(san->chunk, task->number, task->component);
}

static void finish(San *san, void *given) {
    const Task *task = given;
    need_chunk(san);
    san_finish_chunk(san->chunk, task->samples);
    san->chunk->is_finished = 1;
}

static SanStatus samples_or_zeros(San *san, int32_t *samples, SanStatus status) {
    if (status && san->before_segment) memset(samples, 0, san->info.chunk_samples * sizeof *samples);
    return status;
}

SanStatus san_chunk_begin(San *san, uint32_t chunk) {
    Task task = {.number = chunk, .is_in_steps = 1};
    return attempt(san, begin, &task);
}

SanStatus san_chunk_approximate(San *san, uint32_t channel, const int32_t *samples) {
    Task task = {.number = channel, .approximation = samples};
    return attempt(san, approximate, &task);
}

SanStatus san_chunk_component(San *san, uint32_t channel, const int64_t *values) {
    Task task = {.number = channel, .component = values};
    return attempt(san, give_component, &task);
}

SanStatus san_chunk_finish(San *san, int32_t *samples) {
    Task task = {.samples = samples};
    return samples_or_zeros(san, samples, attempt(san, finish, &task));
}

SanStatus san_decode_chunk(San *san, uint32_t chunk, int32_t *samples) {
    Task task = {.number = chunk};
    if (attempt(san, begin, &task)) return samples_or_zeros(san, samples, san->status);
    return san_chunk_finish(san, samples);
}

SanStatus san_segment(San *san, uint32_t number, SanSegment *segment) {
    Task task = {.number = number, .segment = segment};
    return attempt(san, tell_segment, &task);
}

const int32_t *san_chunk_starts(const San *san, uint32_t channel, uint32_t *n) {
    *n = 0;
    if (!san->chunk || channel >= san->info.n_channels) return NULL;
    const LeadGroup *group = &san->chunk->groups[san->chunk->segment->channels[channel].group];
    *n = group->n_starts;
    return group->starts;
}

const SanCoded *san_chunk_coded(const San *san, uint32_t channel) {
    if (!san->chunk || !san->chunk->coded || channel >= san->info.n_channels) return NULL;
    return san->chunk->coded[channel].model_sha256 ? &san->chunk->coded[channel] : NULL;
}

const SanInfo *san_info(const San *san) { return &san->info; }

uint64_t san_chunk_frames(const San *san, uint32_t chunk) {
    uint64_t left = san->info.n_frames - chunk * san->info.chunk_frames;
    return left < san->info.chunk_frames ? left : san->info.chunk_frames;
}

const char *san_message(const San *san) { return san->message; }

size_t san_peak_memory(const San *san) { return san->peak_memory; }

void san_close(San *san) {
    if (!san) return;
    san_release(san, NULL);
    free(san);
}
