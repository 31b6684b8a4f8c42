/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Landing: the bytes are those of the source, and its holes stay holes. */
#include "env.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BLOCK = 4096, SIZE = 96 * BLOCK + 777 };

struct model {
	struct env *e;
	int fd;
	unsigned char *bytes, *again;
	bool written[SIZE / BLOCK + 1];	/* blocks that something was landed on */
};

static struct model *model_new(struct env *e)
{
	struct model *m = calloc(1, sizeof *m);

	m->e = e;
	m->bytes = calloc(1, SIZE);
	m->again = malloc(SIZE);
	m->fd = openat(e->root, "f", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	assert_true(m->fd >= 0);
	assert_int_equal(ftruncate(m->fd, SIZE), 0);
	return m;
}

static void model_free(struct model *m)
{
	close(m->fd);
	unlinkat(m->e->root, "f", 0);
	free(m->bytes);
	free(m->again);
	free(m);
}

static void model_check(struct model *m)
{
	struct stat st = env_stat(m->fd, "");

	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(pread(m->fd, m->again, SIZE, 0), SIZE);
	if (memcmp(m->bytes, m->again, SIZE))
		for (unsigned i = 0; i < SIZE; i++)
			if (m->bytes[i] != m->again[i])
				fail_msg("byte %u is %#x instead of %#x", i, m->again[i], m->bytes[i]);
}

static uint64_t allocated(int fd)
{
	assert_int_equal(fsync(fd), 0);
	return (uint64_t)env_stat(fd, "").st_blocks * 512;
}

/* Random bytes with runs of zeros, some aligned in the file, some not. */
static void fill(struct env *e, unsigned char *p, size_t n, uint64_t off)
{
	env_bytes(e, p, n < 64 ? n : 64);
	for (size_t i = 64; i < n; i++)
		p[i] = (unsigned char)(p[i - 64] * 5 + i);
	for (unsigned runs = (unsigned)(env_random(e) % 4); runs && n; runs--) {
		size_t start = env_random(e) % n, len = env_random(e) % (n - start + 1);

		if (env_random(e) % 2) {
			size_t skip = (BLOCK - (off + start) % BLOCK) % BLOCK;

			start = start + skip < n ? start + skip : start;
			len = len < n - start ? len : n - start;
		}
		memset(p + start, 0, len);
	}
}

static void land_random(struct model *m, bool always_fresh)
{
	uint64_t off = env_random(m->e) % SIZE;
	size_t n = env_random(m->e) % ((env_random(m->e) % 2 ? SIZE : 3 * BLOCK) + 1);
	bool fresh = true;

	if (env_random(m->e) % 2)
		off -= off % BLOCK;
	if (n > SIZE - off)
		n = SIZE - off;
	for (uint64_t b = off / BLOCK; n && b <= (off + n - 1) / BLOCK; b++) {
		fresh &= !m->written[b];
		m->written[b] = true;
	}
	if (!fresh && always_fresh)
		return;
	fill(m->e, m->bytes + off, n, off);
	assert_int_equal(target_land(m->fd, m->bytes + off, n, off, fresh), 0);
}

static void test_model(void **state)
{
	struct env *e = *state;

	for (unsigned round = 0; round < 16; round++) {
		struct model *m = model_new(e);

		for (unsigned i = 0; i < 25; i++) {
			land_random(m, round % 4 == 0);
			model_check(m);
		}
		model_free(m);
	}
}

/* Alternating 64 KiB of zeros and of data, in one call. */
static void test_holes_stay(void **state)
{
	struct env *e = *state;
	enum { RUN = 65536, N = 8 };	/* four extents: more need a block of their own on ext4 */
	_cleanup_free_ unsigned char *p = malloc(RUN * N);

	for (unsigned i = 0; i < N; i++)
		memset(p + i * RUN, i % 2 ? 0x55 : 0, RUN);
	for (int fresh = 0; fresh < 2; fresh++) {
		_cleanup_close_ int fd = openat(e->root, fresh ? "a" : "b", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

		assert_int_equal(ftruncate(fd, RUN * N), 0);
		assert_int_equal(target_land(fd, p, RUN * N, 0, fresh), 0);
		assert_int_equal(allocated(fd), RUN * N / 2);
		assert_int_equal(lseek(fd, 0, SEEK_DATA), RUN);
		assert_int_equal(lseek(fd, RUN, SEEK_HOLE), 2 * RUN);
	}
}

/* A block is the smallest hole; zeros beside data in one block are data. */
static void test_smallest_hole(void **state)
{
	struct env *e = *state;
	unsigned char p[4 * BLOCK] = { 0 };
	_cleanup_close_ int fd = openat(e->root, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	p[0] = p[4 * BLOCK - 1] = 1;
	assert_int_equal(ftruncate(fd, sizeof p), 0);
	assert_int_equal(target_land(fd, p, sizeof p, 0, true), 0);
	assert_int_equal(allocated(fd), 2 * BLOCK);
	assert_int_equal(target_land(fd, p + 1, 2 * BLOCK, BLOCK + 1, true), 0);	/* odd ends, too */
	assert_int_equal(allocated(fd), 2 * BLOCK);
}

/* After a crash bytes may be there that no record knows: zeros must win over them. */
static void test_stale_data(void **state)
{
	struct env *e = *state;
	enum { N = 64 * BLOCK + 100 };
	_cleanup_free_ unsigned char *p = malloc(N), *back = malloc(N);
	_cleanup_close_ int fd = openat(e->root, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	memset(p, 0xaa, N);
	assert_int_equal(pwrite(fd, p, N, 0), N);
	assert_true(allocated(fd) >= N);
	memset(p, 0, N);
	assert_int_equal(target_land(fd, p + 10, N - 10, 10, false), 0);	/* all but ten bytes */
	assert_int_equal(pread(fd, back, N, 0), N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(back[i], i < 10 ? 0xaa : 0);
	/* the whole blocks in it are holes again; its first and last piece are not whole */
	assert_true(allocated(fd) <= 2 * BLOCK);
	assert_int_equal(env_stat(fd, "").st_size, N);
}

static void test_nothing(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int fd = openat(e->root, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_int_equal(target_land(fd, NULL, 0, 0, true), 0);
	assert_int_equal(target_land(fd, NULL, 0, 4097, false), 0);
	assert_int_equal(env_stat(fd, "").st_size, 0);
}

/* Far into a file of the size that only sparse files have. */
static void test_far(void **state)
{
	struct env *e = *state;
	const uint64_t off = (1ull << 42) + 123;
	_cleanup_close_ int fd = openat(e->root, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	char back[5];

	assert_int_equal(ftruncate(fd, (off_t)off + 5), 0);
	assert_int_equal(target_land(fd, "bytes", 5, off, true), 0);
	assert_int_equal(pread(fd, back, 5, (off_t)off), 5);
	assert_memory_equal(back, "bytes", 5);
	assert_true(allocated(fd) <= 16 * BLOCK);
}

static void test_errors(void **state)
{
	struct env *e = *state;
	unsigned char p[BLOCK] = { 0 };
	int fd = openat(e->root, "f", O_CREAT | O_RDONLY | O_CLOEXEC, 0600);

	assert_int_equal(target_land(fd, "x", 1, 0, true), -EBADF);
	assert_int_equal(target_land(fd, p, BLOCK, 0, false), -EBADF);
	close(fd);
	assert_int_equal(target_land(-1, "x", 1, 0, true), -EBADF);
}

static void test_times(void **state)
{
	struct env *e = *state;
	const struct timespec a = { -315619200, 999999999 }, m = { 4102444800, 1 };

	for (unsigned i = 0; i < 7; i++) {
		struct stat st;
		int fd;

		env_object(e->root, "x", env_types[i]);
		fd = env_path(e->root, "x");
		assert_int_equal(target_set_times(fd, &a, &m), 0);
		st = env_stat(e->root, "x");
		assert_memory_equal(&st.st_atim, &a, sizeof a);
		assert_memory_equal(&st.st_mtim, &m, sizeof m);
		close(fd);
		assert_int_equal(unlinkat(e->root, "x", S_ISDIR(env_types[i]) ? AT_REMOVEDIR : 0), 0);
	}
}

int test_land(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_model, e), TEST(test_holes_stay, e), TEST(test_smallest_hole, e),
		TEST(test_stale_data, e), TEST(test_nothing, e), TEST(test_far, e),
		TEST(test_errors, e), TEST(test_times, e),
	};

	return ENV_RUN(e, "landing", tests);
}
