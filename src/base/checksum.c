/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "checksum.h"

#include <string.h>
#include <xxhash.h>

enum { CHUNK_SHIFT = 20, CHUNKS_MAX = 1 << 20 };

unsigned checksum_shift(uint64_t size)
{
	unsigned shift = CHUNK_SHIFT;

	while (size >> shift >= CHUNKS_MAX)
		shift++;
	return shift;
}

uint32_t checksum_chunks(uint64_t size)
{
	unsigned shift = checksum_shift(size);

	return (uint32_t)((size + (1ull << shift) - 1) >> shift);
}

uint64_t checksum_seed(uint32_t chunks, uint32_t i)
{
	return chunks <= 1 ? 0 : (uint64_t)i + 1;
}

static void put(XXH128_hash_t h, uint8_t out[CHECKSUM_SIZE])
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, h);
	memcpy(out, c.digest, CHECKSUM_SIZE);
}

void checksum_of(const void *data, size_t n, uint64_t seed, uint8_t out[CHECKSUM_SIZE])
{
	put(XXH3_128bits_withSeed(data, n, seed), out);
}

/* struct checksum_stream is xxHash's state under a name of our own. */
static XXH3_state_t *state(struct checksum_stream *s)
{
	return (XXH3_state_t *)s;
}

struct checksum_stream *checksum_stream_new(uint64_t seed)
{
	struct checksum_stream *s = (struct checksum_stream *)XXH3_createState();

	if (s)
		checksum_stream_restart(s, seed);
	return s;
}

void checksum_stream_restart(struct checksum_stream *s, uint64_t seed)
{
	XXH3_128bits_reset_withSeed(state(s), seed);
}

void checksum_stream_update(struct checksum_stream *s, const void *data, size_t n)
{
	XXH3_128bits_update(state(s), data, n);
}

void checksum_stream_zeros(struct checksum_stream *s, uint64_t n)
{
	static const char zeros[65536];

	while (n) {
		size_t piece = n < sizeof zeros ? (size_t)n : sizeof zeros;

		checksum_stream_update(s, zeros, piece);
		n -= piece;
	}
}

void checksum_stream_digest(const struct checksum_stream *s, uint8_t out[CHECKSUM_SIZE])
{
	put(XXH3_128bits_digest((const XXH3_state_t *)s), out);
}

void checksum_stream_free(struct checksum_stream *s)
{
	XXH3_freeState(state(s));
}

void checksum_add(uint8_t sum[CHECKSUM_SIZE], const uint8_t more[CHECKSUM_SIZE])
{
	unsigned carry = 0;

	for (int i = CHECKSUM_SIZE; i--; carry >>= 8) {
		carry += (unsigned)sum[i] + more[i];
		sum[i] = (uint8_t)carry;
	}
}
