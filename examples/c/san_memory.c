/* Memory that is freed in one go, and the way out when the file is wrong. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "san_internal.h"

/* Before each piece of memory; aligned for whatever may follow. */
struct Block {
    union {
        struct {
            Block *before;
            size_t size;
        } is;
        int64_t integer;
        double real;
        void *pointer;
    } u;
};

#ifdef __wasm__
/* There is no longjmp, but whoever calls from JavaScript has exceptions: examples/js/san.js. */
__attribute__((import_module("env"), import_name("attempt"))) void env_attempt(void (*)(San *, void *), San *, void *);
__attribute__((import_module("env"), import_name("leave"), noreturn)) void env_leave(void);

void san_attempt(San *san, void (*work)(San *san, void *task), void *task) { env_attempt(work, san, task); }
#else
void san_attempt(San *san, void (*work)(San *san, void *task), void *task) {
    if (!setjmp(san->exit)) work(san, task);
}
#endif

void san_refuse(San *san, SanStatus status, const char *format, ...) {
    va_list arguments;
    int length = snprintf(san->message, sizeof san->message, "%s%s", san->where, *san->where ? ": " : "");
    va_start(arguments, format);
    vsnprintf(san->message + length, sizeof san->message - (size_t)length, format, arguments);
    va_end(arguments);
    for (char *at = san->message; *at; at++) /* it may quote the file */
        if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
    san->status = status;
#ifdef __wasm__
    env_leave();
#else
    longjmp(san->exit, 1);
#endif
}

void san_charge(San *san, uint64_t bytes) {
    size_t limit = san->options.memory_limit;
    if (bytes > limit || san->memory > limit - (size_t)bytes)
        san_refuse(san, SAN_MEMORY, "decoding takes more than the %zu bytes of memory that are allowed", limit);
    san->memory += (size_t)bytes;
    if (san->memory > san->peak_memory) san->peak_memory = san->memory;
}

void san_give_back(San *san, uint64_t bytes) { san->memory -= (size_t)bytes; }

void *san_take(San *san, uint64_t count, size_t size) {
    uint64_t most = (uint64_t)SIZE_MAX / 2 / size;
    uint64_t bytes = (count < most ? count : most) * size + sizeof(Block);
    san_charge(san, bytes);
    Block *block = calloc(1, (size_t)bytes);
    if (!block) {
        san_give_back(san, bytes);
        san_refuse(san, SAN_MEMORY, "there is no memory for %zu bytes more", (size_t)bytes);
    }
    block->u.is.before = san->blocks;
    block->u.is.size = (size_t)bytes;
    san->blocks = block;
    return block + 1;
}

void san_release(San *san, const Block *mark) {
    while (san->blocks != mark) {
        Block *block = san->blocks;
        san->blocks = block->u.is.before;
        san_give_back(san, block->u.is.size);
        free(block);
    }
}
