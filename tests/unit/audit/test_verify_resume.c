/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Interrupted: a verification goes on where it was stopped or killed, and what it had found is told again. */
#include "verify_rig.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

static void test_resume(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t early = rig_file(g, "early", 8192), gone, late, files = 40;
	char name[16];

	for (unsigned i = 0; i < files; i++) {
		snprintf(name, sizeof name, "n%u", i);
		rig_file(g, name, 256 << 10);
	}
	late = rig_file(g, "late", 8192);
	rig_damage(g, "early", 4096);
	rig_damage(g, "late", 4096);
	g->stop_at = clock_mono() + 700 * CLOCK_MS;
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .rate = 4 * MIB, .depth = 2 }, &p), -EINTR);
	print_message("stopped after %llu of %llu files\n", (unsigned long long)p.done_files, (unsigned long long)p.total_files);
	assert_true(p.done_files > 3 && p.done_files < files);
	rig_expect(g, early, rig_damaged(g), "early");
	assert_null(rig_finding(g, late));
	/* what was verified is not read again: this would be found */
	gone = 3;
	assert_int_equal(unlink(rig_path(g->target_dir, "n0")), 0);
	g->stop_at = 0;
	assert_int_equal(rig_run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	rig_expect(g, early, rig_damaged(g), "early");		/* told again */
	rig_expect(g, late, rig_damaged(g), "late");
	assert_null(rig_finding(g, gone));
	assert_int_equal(p.files[AUDIT_SAME], files);
	assert_int_equal(p.files[rig_damaged(g)], 2);
	assert_int_equal(p.done_files, p.total_files);
	/* finished: the next one begins anew; and so does one that is told to */
	assert_int_equal(rig_run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_false(p.resumed);
	rig_expect(g, gone, AUDIT_GONE, "n0");
	assert_int_equal(p.files[AUDIT_SAME], files - 1);
	g->stop_at = clock_mono() + 300 * CLOCK_MS;
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .rate = 4 * MIB }, &p), -EINTR);
	g->stop_at = 0;
	rig_run_all(g, &p);
	assert_false(p.resumed);
	assert_int_equal(p.files[AUDIT_SAME], files - 1);
}

static void stop_in_the_middle(struct rig *g, struct audit_verify_progress *p)
{
	g->stop_at = clock_mono() + 900 * CLOCK_MS;
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .rate = 8 * MIB, .restart = true }, p), -EINTR);
	assert_int_equal(p->files[AUDIT_SAME], 0);
	g->stop_at = 0;
}

/* A large file goes on in its middle, unless it was touched. */
static void test_resume_in_a_file(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t oid;

	if (rig_damaged(g) != AUDIT_DAMAGED)
		skip();
	oid = rig_file(g, "large", 40 * MIB);
	stop_in_the_middle(g, &p);
	rig_damage(g, "large", 100 * 4096);		/* what was read already: nobody sees it */
	assert_int_equal(rig_run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	assert_int_equal(p.files[AUDIT_SAME], 1);
	rig_undo_damage(g);
	stop_in_the_middle(g, &p);
	rig_damage(g, "large", 100 * 4096);
	usleep(20000);
	assert_int_equal(chmod(rig_path(g->target_dir, "large"), 0600), 0);
	assert_int_equal(rig_run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	rig_expect(g, oid, AUDIT_SUSPECT, "large");		/* begun anew */
}

/* kill -9: at most what came after the last save is done again. */
static void test_killed(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	struct catalog_identity id;
	struct err e = { 0 };
	unsigned files = 48;
	uint64_t early = rig_file(g, "early", 8192);
	bool created;
	pid_t pid;
	int status;

	for (unsigned i = 0; i < files; i++) {
		char name[16];

		snprintf(name, sizeof name, "n%u", i);
		rig_file(g, name, 256 << 10);
	}
	rig_damage(g, "early", 4096);
	assert_int_equal(catalog_close(g->c), 0);
	g->c = NULL;
	pid = fork();
	if (!pid) {
		if (catalog_open(g->state, false, &id, &g->c, &created, &e))
			_exit(1);
		rig_run(g, (struct audit_verify_config){ .rate = 3 * MIB }, &p);
		_exit(2);	/* too early */
	}
	usleep(2600000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(catalog_open(g->state, false, &id, &g->c, &created, &e), 0);
	assert_int_equal(unlink(rig_path(g->target_dir, "n0")), 0);	/* before the place: not looked at again */
	assert_int_equal(rig_run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	rig_expect(g, early, rig_damaged(g), "early");
	assert_int_equal(g->nfound, 1);
	assert_int_equal(p.files[AUDIT_SAME], files);
}

int test_verify_resume(struct rig *g)
{
	const struct CMUnitTest tests[] = { TEST(test_resume, g), TEST(test_resume_in_a_file, g) };
	const struct CMUnitTest once[] = { TEST(test_killed, g) };
	int failed = RIG_RUN(g, "verify, interrupted,", tests);

	if (rig_first(g))
		failed += RIG_RUN(g, "verify, killed,", once);
	return failed;
}
