/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The checksum of a file's content, taken while it moves and compared by verify.
 *
 * A file is cut into chunks of 1 << checksum_shift(size) bytes.  A file of one chunk has the plain XXH3-128
 * of its bytes (what xxh128sum prints).  A larger one has the sum modulo 2^128 of the XXH3-128 of its
 * chunks, chunk i with the seed i + 1: chunks arrive in any order and over several lives of a worker, and sums of
 * parts can be added up.  It finds damage; it does not withstand an attacker who may change the file.
 *
 * Chunks are 1 MiB up to 1 TiB, so that a cold read in the middle of a huge file moves little
 * (a READ is at most 1 MiB, FACTS); beyond that they grow so that no file has more than 2^20.
 *
 * All checksums are 16 bytes, big-endian (xxHash's canonical form).  Threads: no shared state; a stream belongs to one
 * thread at a time.
 */
#ifndef DMM_BASE_CHECKSUM_H
#define DMM_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_SIZE 16

unsigned checksum_shift(uint64_t size);
uint32_t checksum_chunks(uint64_t size);
/* The seed of chunk i of a file with so many chunks. */
uint64_t checksum_seed(uint32_t chunks, uint32_t i);

void checksum_of(const void *data, size_t n, uint64_t seed, uint8_t out[CHECKSUM_SIZE]);

/* A chunk that comes in pieces, in order. */
struct checksum_stream;
struct checksum_stream *checksum_stream_new(uint64_t seed);	/* NULL: no memory */
void checksum_stream_restart(struct checksum_stream *s, uint64_t seed);
void checksum_stream_update(struct checksum_stream *s, const void *data, size_t n);
void checksum_stream_zeros(struct checksum_stream *s, uint64_t n);	/* a hole */
void checksum_stream_digest(const struct checksum_stream *s, uint8_t out[CHECKSUM_SIZE]);
void checksum_stream_free(struct checksum_stream *s);

/* sum += more */
void checksum_add(uint8_t sum[CHECKSUM_SIZE], const uint8_t more[CHECKSUM_SIZE]);

#endif
