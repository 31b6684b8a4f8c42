/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Power cuts, simulated at the level of files: a disk keeps what a flush that
 * ended has covered, and of everything written since then any mixture of old
 * and new sectors, and the old or the new length.
 *
 * The flush hook keeps a copy of each file as of its last flush.  Cuts are
 * made at the beginning of every n-th flush (so also between the steps of a
 * checkpoint) and between commits; the mixture is opened as a catalog of its own,
 * and every commit that had returned must be there.
 *
 * Each of the three flushes of a checkpoint was left out once by hand: this test failed each time.
 *
 * Control: the same with a flush that does nothing must lose commits, or the
 * simulation would prove nothing.
 */
#include "help.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

struct image {
	uint8_t *data;
	size_t size;
};

struct disk {
	struct help *h;
	struct image durable[2];	/* database, WAL */
	bool lies;			/* the control: flushes do nothing */
	unsigned seed, every, count, cuts, lost, refused;
	uint64_t promised;		/* oids 2 .. promised are committed and returned */
};

static const char *const names[] = { CATALOG_FILE, CATALOG_WAL };

static unsigned dice(struct disk *d)
{
	d->seed = d->seed * 1103515245 + 12345;
	return d->seed >> 12;
}

static struct image load(int fd)
{
	struct image m = { 0 };
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	m.size = (size_t)st.st_size;
	m.data = malloc(m.size + 1);
	assert_int_equal(pread(fd, m.data, m.size, 0), m.size);
	return m;
}

static void keep(struct disk *d, int which, int fd)
{
	free(d->durable[which].data);
	d->durable[which] = load(fd);
}

/* What the disk may hold of one file. */
static void write_mixture(struct disk *d, const char *dir, int which, int fd)
{
	struct image now = load(fd), *old = &d->durable[which];
	size_t size = dice(d) % 2 ? now.size : old->size;
	unsigned odds = dice(d) % 5;		/* of 4: new pieces */
	size_t piece = SECTOR << dice(d) % 8;
	char path[160];
	uint8_t *mix = calloc(1, size + 1);
	int out;

	for (size_t at = 0; at < size; at += piece) {
		/* nobody wrote beyond the end of now: there is what was there before */
		const struct image *from = dice(d) % 4 < odds && at < now.size ? &now : old;
		size_t n = size - at < piece ? size - at : piece;

		if (at < from->size)
			memcpy(mix + at, from->data + at, n < from->size - at ? n : from->size - at);
	}
	snprintf(path, sizeof path, "%s/%s", dir, names[which]);
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(out, mix, size), size);
	close(out);
	free(mix);
	free(now.data);
}

static int no_flush(void *arg, int fd)
{
	(void)arg;
	(void)fd;
	return 0;
}

static void inspect(struct disk *d, struct help *cut)
{
	struct catalog_row row;
	unsigned lost = 0;

	for (uint64_t oid = 2; oid <= d->promised; oid++)
		lost += catalog_get(cut->c, oid, &row) != 0 || row.oid != oid;
	if (d->lies) {
		d->lost += lost != 0;
		return;
	}
	assert_int_equal(lost, 0);
	help_check_ledger(cut);
	assert_int_equal(help_value(cut, "SELECT count(*) FROM pragma_integrity_check"
				    " WHERE integrity_check='ok'"), 1);
}

static void cut(struct disk *d)
{
	struct help other = { .id = d->h->id };
	struct err e = { 0 };
	char path[160];

	d->cuts++;
	snprintf(other.dir, sizeof other.dir, "%s/cut", d->h->dir);
	assert_int_equal(mkdir(other.dir, 0700), 0);
	write_mixture(d, other.dir, 0, d->h->c->db_fd);
	write_mixture(d, other.dir, 1, d->h->c->wal_fd);
	catalog_default_hooks(&other.hooks);
	other.hooks.flush = no_flush;
	if (!help_open(&other, false, NULL, &e)) {
		inspect(d, &other);
		catalog_close(other.c);
	} else if (d->lies)
		d->refused++;
	else
		fail_msg("after cut %u: %s", d->cuts, e.text);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", other.dir, i < 2 ? names[i] : CATALOG_BALLAST);
		unlink(path);
	}
	assert_int_equal(rmdir(other.dir), 0);
}

static int watched_flush(void *arg, int fd)
{
	struct disk *d = arg;
	int which = fd == d->h->c->wal_fd;

	if (++d->count % d->every == 0)
		for (int i = 0; i < 5; i++)
			cut(d);
	if (!d->lies)
		keep(d, which, fd);
	return 0;
}

static void commit_some(struct disk *d, unsigned n)
{
	struct catalog_row row;
	char name[32];

	assert_int_equal(catalog_begin(d->h->c), 0);
	for (uint64_t oid = d->promised + 1; oid <= d->promised + n; oid++) {
		snprintf(name, sizeof name, "%lu", (unsigned long)(oid * 7919));
		help_row(&row, oid, 1 + oid / 40, name);
		assert_int_equal(catalog_add(d->h->c, &row), 0);
		if (oid > 40)
			assert_int_equal(catalog_transition(d->h->c, oid - 30, 1u << CATALOG_FOUND,
							    CATALOG_CLEANING, NULL), 0);
		if (oid > 40 && oid % 2 == 0)
			assert_int_equal(catalog_transition(d->h->c, oid - 30, 1u << CATALOG_CLEANING,
							    CATALOG_MIGRATED, NULL), 0);
	}
	assert_int_equal(catalog_commit(d->h->c), 0);
	d->promised += n;
}

/* What a committer that has not come to its flush leaves: the checkpoint copies it, too. */
static const char not_flushed[] =
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200)"
	" INSERT INTO event(time,oid,kind,text) SELECT i,i,'k',hex(randomblob(60)) FROM n";

static void run(struct disk *d)
{
	struct help *h = d->h;

	for (int i = 0; i < 2; i++)
		keep(d, i, i ? h->c->wal_fd : h->c->db_fd);	/* help_setup() flushed them */
	h->c->hooks.flush = watched_flush;
	h->c->hooks.arg = d;
	d->promised = 1;
	for (int i = 0; i < 50; i++) {
		commit_some(d, 1 + dice(d) % 40);
		if (i % 4 == 3)
			cut(d);
		if (i % 5 == 4) {
			help_sql(h, not_flushed);
			assert_int_equal(catalog_checkpoint(h->c), 0);
		}
	}
	h->c->hooks.flush = no_flush;
	for (int i = 0; i < 2; i++)
		free(d->durable[i].data);
}

static void test_cuts(void **state)
{
	struct disk d = { .h = *state, .seed = 1, .every = 1 };

	run(&d);
	assert_true(d.cuts > 70);
	assert_true(d.promised > 500);
}

static void quiet(void *arg, enum log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void test_control(void **state)
{
	struct disk d = { .h = *state, .seed = 3, .every = 4, .lies = true };

	log_set_sink(quiet, NULL);
	run(&d);
	log_set_sink(NULL, NULL);
	print_message("flushes that do nothing: of %u cuts %u lose commits, %u cannot be opened\n",
		      d.cuts, d.lost, d.refused);
	assert_true(d.lost + d.refused > d.cuts / 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_cuts), T(test_control) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
