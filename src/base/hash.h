/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hashes for in-memory tables and for the catalog's name index (not for checksums). */
#ifndef DMM_BASE_HASH_H
#define DMM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Finaliser of splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* FNV-1a over bytes, finished by hash_u64(); stable across versions: the catalog stores it. */
static inline uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *b = p;
	uint64_t h = 0xcbf29ce484222325ull ^ hash_u64(seed);

	while (n--) {
		h ^= *b++;
		h *= 0x100000001b3ull;
	}
	return hash_u64(h);
}

#endif
