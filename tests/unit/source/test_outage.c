/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A real server that dies, hangs, or is not there:
 *
 *   test_source_outage nfs3 | nfs4
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "call.h"
#include "ganesha.h"
#include "tree.h"

#define FILES 64

static struct world {
	unsigned version;
	char dir[256], url[400];
	struct ganesha *server;
	struct source *source;
} w;

/* ---- a load that goes on until it is told to stop ---- */

struct reader {
	struct source_req req;
	struct load *load;
	unsigned file;
};

struct load {
	struct reader readers[FILES];
	struct call_gate *ended;
	_Atomic unsigned answers, wrong;
	_Atomic bool stop;
};

static void reader_done(struct source_req *req)
{
	struct reader *r = req->user;
	char want[20];
	int n = snprintf(want, sizeof want, "file %u", r->file);

	if (req->err || (int)req->out_length != n || memcmp(req->data, want, (size_t)n))
		r->load->wrong++;
	r->load->answers++;
	if (r->load->stop)
		call_gate_pass(r->load->ended);
	else
		source_submit(w.source, req);
}

static struct load *load_start(void)
{
	struct load *l = calloc(1, sizeof *l);
	struct call_list list;
	unsigned i;

	l->ended = call_gate_new();
	assert_int_equal(call_readdir(w.source, &w.source->root, &list), 0);
	assert_int_equal(list.count, FILES);
	for (i = 0; i < FILES; i++) {
		struct reader *r = &l->readers[i];

		r->load = l;
		r->file = (unsigned)atoi(list.entries[i].name);
		r->req = (struct source_req){ .op = SOURCE_READ, .lane = i & 1, .length = 100,
					      .fh = list.entries[i].fh, .done = reader_done,
					      .user = r };
	}
	call_list_free(&list);
	for (i = 0; i < FILES; i++)
		source_submit(w.source, &l->readers[i].req);
	return l;
}

static void load_stop(struct load *l)
{
	l->stop = true;
	assert_true(call_gate_wait(l->ended, FILES, 20));
	assert_int_equal(l->wrong, 0);
	call_gate_free(l->ended);
	free(l);
}

static void progresses(struct load *l)
{
	unsigned before = l->answers;
	uint64_t end = clock_mono() + 10 * CLOCK_SEC;

	while (l->answers < before + 1000 && clock_mono() < end)
		usleep(1000);
	assert_true(l->answers >= before + 1000);
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_killed(void **state)
{
	struct load *l = load_start();
	struct source_stats s;
	unsigned before;
	double used;

	(void)state;
	progresses(l);
	ganesha_signal(w.server, SIGKILL);
	usleep(200000);
	before = l->answers;
	used = cpu();
	usleep(2800000);
	used = cpu() - used;
	assert_int_equal(l->answers, before);
	if (used > 0.2)
		fail_msg("%.2f s of CPU in 2.8 s without a server", used);
	source_stats(w.source, &s);
	assert_false(s.connected);
	assert_non_null(strstr(s.trouble, "127.0.0.1"));
	assert_true(ganesha_restart(w.server));
	progresses(l);
	load_stop(l);
	usleep(1200000);	/* connections that were idle come back within a second */
	source_stats(w.source, &s);
	assert_true(s.connected);
	assert_string_equal(s.trouble, "");
	assert_true(s.reconnects > 0);
}

static void test_stopped(void **state)
{
	struct load *l = load_start();
	struct source_stats s;
	double used;

	(void)state;
	progresses(l);
	ganesha_signal(w.server, SIGSTOP);
	usleep(200000);
	used = cpu();
	usleep(4600000);
	used = cpu() - used;
	if (used > 0.2)
		fail_msg("%.2f s of CPU in 4.6 s of silence", used);
	source_stats(w.source, &s);
	assert_false(s.connected);
	assert_non_null(strstr(s.trouble, "no answer"));
	ganesha_signal(w.server, SIGCONT);
	progresses(l);
	source_stats(w.source, &s);
	assert_true(s.connected);
	load_stop(l);
}

/* Closing while the server is away does not wait for it. */
static void away_done(struct source_req *req)
{
	if (req->err == -ECANCELED)
		call_gate_pass(req->user);
}

static void test_close_while_away(void **state)
{
	struct call_gate *g = call_gate_new();
	struct source_req reqs[10];
	struct source *s;
	struct err e;
	uint64_t start;
	int i;

	(void)state;
	assert_int_equal(source_open(w.url, &s, &e), 0);
	ganesha_signal(w.server, SIGSTOP);
	usleep(100000);
	for (i = 0; i < 10; i++) {
		reqs[i] = (struct source_req){ .op = SOURCE_GETATTR, .lane = i & 1, .fh = s->root,
					       .done = away_done, .user = g };
		source_submit(s, &reqs[i]);
	}
	usleep(50000);
	start = clock_mono();
	source_close(s);
	start = clock_mono() - start;
	ganesha_signal(w.server, SIGCONT);
	assert_true(start < CLOCK_SEC);
	assert_int_equal(call_gate_count(g), 10);
	call_gate_free(g);
}

/* ---- opening what is not there ---- */

static void refused(const char *url, int code, const char *words)
{
	uint64_t start = clock_mono();
	struct source *s;
	struct err e;
	int r = source_open(url, &s, &e);

	if (!r)
		source_close(s);
	assert_int_equal(r, code);
	if (!strstr(e.text, words))
		fail_msg("%s: \"%s\" says nothing of \"%s\"", url, e.text, words);
	assert_null(strchr(e.text, '\n'));
	assert_true(clock_mono() - start < 3 * CLOCK_SEC);
}

static void test_refused(void **state)
{
	unsigned nobody = ganesha_free_port();
	char url[400];

	(void)state;
	ganesha_url(w.server, w.version, "/nosuch", url, sizeof url);
	refused(url, w.version == 4 ? -ENOENT : -EACCES, "does not export /nosuch");
	ganesha_url(w.server, w.version, "/tree/nosuch", url, sizeof url);
	refused(url, -ENOENT, "/tree/nosuch");
	ganesha_url(w.server, w.version, "/tree/7", url, sizeof url);
	refused(url, -ENOTDIR, "7");
	if (w.version == 4) {
		snprintf(url, sizeof url, "nfs://127.0.0.1:%u/tree?version=4", nobody);
		refused(url, -ECONNREFUSED, "connection refused at 127.0.0.1");
		return;
	}
	snprintf(url, sizeof url, "nfs://127.0.0.1:%u/tree?mountport=%u",
		 ganesha_nfs_port(w.server), nobody);
	refused(url, -ECONNREFUSED, "MOUNT service: connection refused at 127.0.0.1");
	snprintf(url, sizeof url, "nfs://127.0.0.1:%u/tree?mountport=%u", nobody,
		 ganesha_mount_port(w.server));
	refused(url, -ECONNREFUSED, "NFS service: connection refused at 127.0.0.1");
	/* one port for both, but MOUNT does not live there */
	snprintf(url, sizeof url, "nfs://127.0.0.1:%u/tree?mountport=%u",
		 ganesha_nfs_port(w.server), ganesha_nfs_port(w.server));
	refused(url, -EIO, "Program not available");
}

static void test_wrong_service(void **state)
{
	char url[400];

	(void)state;
	if (w.version != 4)
		skip();
	/* the MOUNT port speaks RPC, but not NFS */
	snprintf(url, sizeof url, "nfs://127.0.0.1:%u/tree?version=4", ganesha_mount_port(w.server));
	refused(url, -EIO, "127.0.0.1");
}

static int setup(void **state)
{
	char path[400];
	struct err e;
	int i;

	(void)state;
	snprintf(w.dir, sizeof w.dir, "%s/dmm-outage-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(w.dir))
		return -1;
	snprintf(path, sizeof path, "%s/tree", w.dir);
	mkdir(path, 0755);
	for (i = 0; i < FILES; i++) {
		FILE *f;

		snprintf(path, sizeof path, "%s/tree/%d", w.dir, i);
		f = fopen(path, "we");
		fprintf(f, "file %d", i);
		fclose(f);
	}
	snprintf(path, sizeof path, "%s/tree", w.dir);
	w.server = ganesha_start(w.dir, path);
	if (!w.server)
		return -1;
	ganesha_url(w.server, w.version, "/tree", w.url, sizeof w.url);
	if (source_open(w.url, &w.source, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	source_close(w.source);
	ganesha_stop(w.server);
	tree_remove(w.dir);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_close_while_away),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_wrong_service),
	};
	const char *variant = argc > 1 ? argv[1] : "nfs3";

	w.version = !strcmp(variant, "nfs4") ? 4 : 3;
	if (!ganesha_possible()) {
		fprintf(stderr, "needs root and nfs-ganesha\n");
		return 77;
	}
	return cmocka_run_group_tests_name(variant, tests, setup, teardown);
}
