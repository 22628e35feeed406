/* What the decoder needs of libzstd, for WebAssembly: san_wasm.c. Decompression itself is left to the page. */

#ifndef SAN_WASM_ZSTD_H
#define SAN_WASM_ZSTD_H

#include <stddef.h>

#define ZSTD_MAGICNUMBER 0xFD2FB528u
#define ZSTD_CONTENTSIZE_UNKNOWN (0ULL - 1)
#define ZSTD_CONTENTSIZE_ERROR (0ULL - 2)

unsigned long long ZSTD_getFrameContentSize(const void *frame, size_t length);
size_t ZSTD_findFrameCompressedSize(const void *frame, size_t length);
size_t ZSTD_decompress(void *content, size_t capacity, const void *frame, size_t length);

#endif
