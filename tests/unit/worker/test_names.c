/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text, paths, state directories and options of the worker. */
#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/options.h"
#include "worker/paths.h"
#include "worker/process.h"
#include "worker/statedir.h"
#include "worker/text.h"

/* ---- a scratch directory per test ---- */

static char base[PATH_MAX];

static const char *in(const char *name)
{
	static char ring[4][PATH_MAX * 2];
	static unsigned turn;
	char *out = ring[turn++ % 4];

	snprintf(out, sizeof ring[0], "%s/%s", base, name);
	return out;
}

static int setup(void **state)
{
	char template[] = "/tmp/dmm-test-XXXXXX";

	(void)state;
	return mkdtemp(template) && realpath(template, base) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", base);
	return system(command);
}

/* ---- text ---- */

static void test_text(void **state)
{
	char out[64], tiny[6];

	(void)state;
	assert_string_equal(text_clean(out, sizeof out, "ok caf\xc3\xa9"), "ok caf\xc3\xa9");
	assert_string_equal(text_clean(out, sizeof out, "a\\b\n\x7f"), "a\\x5cb\\x0a\\x7f");
	assert_string_equal(text_clean(out, sizeof out, "\xc0\xaf"), "\\xc0\\xaf");	/* overlong */
	assert_string_equal(text_clean(out, sizeof out, "\xed\xa0\x80"), "\\xed\\xa0\\x80");
	assert_string_equal(text_clean(out, sizeof out, "\xf4\x90\x80\x80"),
			    "\\xf4\\x90\\x80\\x80");
	assert_string_equal(text_clean(out, sizeof out, "\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
	assert_string_equal(text_clean(out, sizeof out, "cut \xe2\x82"), "cut \\xe2\\x82");
	assert_string_equal(text_clean(tiny, sizeof tiny, "ab\n"), "ab");	/* no half escape */
	assert_string_equal(text_clean(tiny, sizeof tiny, "abcd\xc3\xa9"), "abcd");
}

/* ---- paths ---- */

static void test_canonical(void **state)
{
	char out[PATH_MAX];
	struct err e;

	(void)state;
	assert_int_equal(mkdir(in("a"), 0755), 0);
	assert_int_equal(symlink("a", in("link")), 0);
	assert_int_equal(paths_canonical(in("link/../a/./"), out, &e), 0);
	assert_string_equal(out, in("a"));
	assert_int_equal(paths_canonical(in("missing"), out, &e), -ENOENT);

	assert_int_equal(paths_canonical_new(in("link/x/y/"), out, &e), 0);
	assert_string_equal(out, in("a/x/y"));
	assert_int_equal(paths_canonical_new(in("missing/../a"), out, &e), -ENOENT);
	assert_int_equal(paths_canonical_new("/", out, &e), 0);
	assert_string_equal(out, "/");
}

static void test_inside(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in("d"), 0755), 0);
	assert_int_equal(mkdir(in("d/sub"), 0755), 0);
	assert_int_equal(mkdir(in("dd"), 0755), 0);
	assert_true(paths_inside(in("d"), in("d")));
	assert_true(paths_inside(in("d/sub"), in("d")));
	assert_true(paths_inside(in("d/sub/not/yet"), in("d")));
	assert_true(paths_inside(in("d"), "/"));
	assert_false(paths_inside(in("dd"), in("d")));	/* a prefix is not a parent */
	assert_false(paths_inside(in("d"), in("d/sub")));
	assert_false(paths_inside(in("d"), in("missing")));
	/* the same directory under another name */
	assert_int_equal(symlink("d", in("alias")), 0);
	assert_true(paths_inside(in("d/sub"), in("alias")));
}

/* ---- state directory ---- */

static void test_default_state(void **state)
{
	char a[PATH_MAX], b[PATH_MAX], target[PATH_MAX];

	(void)state;
	statedir_default("/srv/my data/x", a);
	assert_non_null(strstr(a, "/var/lib/dmm/srv-my_data-x-"));
	statedir_default("/srv/my_data/x", b);
	assert_string_not_equal(a, b);
	statedir_default("/srv-my_data-x", b);
	assert_string_not_equal(a, b);
	memset(target, 'n', sizeof target);
	target[0] = '/';
	target[sizeof target - 1] = 0;
	statedir_default(target, a);
	assert_true(strlen(strrchr(a, '/') + 1) < 128);
	statedir_default("/", a);
	assert_non_null(strstr(a, "/var/lib/dmm/-"));
}

static void test_state_place(void **state)
{
	struct err e;

	(void)state;
	mkdir(in("src"), 0755);
	mkdir(in("tgt"), 0755);
	assert_int_equal(statedir_check(in("state"), in("tgt"), in("src"), &e), 0);
	assert_int_equal(statedir_check(in("tgt/state"), in("tgt"), NULL, &e), -EINVAL);
	assert_int_equal(statedir_check(in("tgt"), in("tgt"), NULL, &e), -EINVAL);
	assert_int_equal(statedir_check(base, in("tgt"), NULL, &e), -EINVAL);
	assert_int_equal(statedir_check(in("src/state"), in("tgt"), in("src"), &e), -EINVAL);
}

static void test_state_make(void **state)
{
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(statedir_make(in("one/two/three"), &e), 0);
	assert_int_equal(stat(in("one/two/three"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(statedir_make(in("one/two/three"), &e), 0);
	assert_false(statedir_has_catalog(in("one/two/three")));
	fclose(fopen(in("one/file"), "w"));
	assert_int_equal(statedir_make(in("one/file"), &e), -ENOTDIR);
	assert_int_equal(statedir_make(in("one/file/below"), &e), -ENOTDIR);
}

/* ---- options ---- */

#define ARGV(...) (char *[]){ (char *)"dmm-worker", __VA_ARGS__, NULL }

static void test_options(void **state)
{
	struct options o;
	struct err e;
	char a[] = "--channel-fd", three[] = "3", w[] = "--whole-file-limit", k[] = "64K";
	char dash[] = "--", src[] = "file:///x", tgt[] = "/t", rel[] = "t", junk[] = "--junk";
	char minus[] = "-1", s[] = "--state", t[] = "--source-timeout", long_[] = "31622401", job[] = "--job";

	(void)state;
	assert_int_equal(options_parse(&o, 8, ARGV(a, three, w, k, dash, src, tgt), &e), 0);
	assert_int_equal(o.channel_fd, 3);
	assert_int_equal(o.whole_file_limit, 65536);
	assert_string_equal(o.target, "/t");
	assert_int_equal(options_parse(&o, 5, ARGV(a, three, src, tgt), &e), 0);
	assert_int_equal(o.whole_file_limit, OPTIONS_WHOLE_FILE_LIMIT);
	assert_int_equal(options_parse(&o, 3, ARGV(src, tgt), &e), -EINVAL);
	assert_string_equal(e.text, "dmm-worker is started by dmm");
	assert_int_equal(options_parse(&o, 5, ARGV(a, minus, src, tgt), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 4, ARGV(a, three, src), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 5, ARGV(a, three, src, rel), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 7, ARGV(a, three, s, rel, src, tgt), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 6, ARGV(a, three, junk, src, tgt), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 5, ARGV(a, three, src, tgt), &e), 0);
	assert_int_equal(o.source_timeout_ms, 0);
	assert_int_equal(options_parse(&o, 7, ARGV(a, three, t, three, src, tgt), &e), 0);
	assert_int_equal(o.source_timeout_ms, 3000);
	assert_int_equal(options_parse(&o, 7, ARGV(a, three, t, long_, src, tgt), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 7, ARGV(a, three, t, minus, src, tgt), &e), -EINVAL);
	/* a job takes what the user said, whatever it looks like, and nothing else */
	assert_int_equal(options_parse(&o, 6, ARGV(job, s, junk, a, three), &e), 0);
	assert_true(o.job);
	assert_string_equal(o.state, "--junk");
	assert_int_equal(options_parse(&o, 4, ARGV(job, a, three), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 4, ARGV(job, s, rel), &e), -EINVAL);
	assert_int_equal(options_parse(&o, 7, ARGV(job, s, rel, a, three, tgt), &e), -EINVAL);
}

/* ---- processes ---- */

static void test_users_of_a_directory(void **state)
{
	const char *how = NULL;
	pid_t pid = 0, child;
	int gate[2];
	char c;

	(void)state;
	assert_int_equal(mkdir(in("used"), 0755), 0);
	assert_false(process_uses_dir(in("used"), &pid, &how));
	assert_int_equal(pipe(gate), 0);
	child = fork();
	if (!child) {
		if (chdir(in("used")) || write(gate[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(gate[0], &c, 1), 1);
	assert_true(process_uses_dir(in("used"), &pid, &how));
	assert_int_equal(pid, child);
	assert_string_equal(how, "its working directory");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_int_equal(process_worker_of(in("used")), 0);
}

/* What text_clean() has made of any bytes can be taken back. */
static void test_text_bytes(void **state)
{
	char bytes[256], text[1100], back[300];

	(void)state;
	for (int i = 1; i < 256; i++)
		bytes[i - 1] = (char)i;
	bytes[255] = 0;
	assert_int_equal(text_bytes(back, sizeof back, text_clean(text, sizeof text, bytes)), 0);
	assert_string_equal(back, bytes);
	assert_int_equal(text_bytes(back, sizeof back, "caf\xc3\xa9 \\x5cx"), 0);
	assert_string_equal(back, "caf\xc3\xa9 \\x");
	assert_int_equal(text_bytes(back, sizeof back, ""), 0);
	assert_string_equal(back, "");
	assert_int_equal(text_bytes(back, sizeof back, "a\\"), -EINVAL);
	assert_int_equal(text_bytes(back, sizeof back, "a\\x4"), -EINVAL);
	assert_int_equal(text_bytes(back, sizeof back, "a\\n"), -EINVAL);
	assert_int_equal(text_bytes(back, sizeof back, "a\\x00"), -EINVAL);
	assert_int_equal(text_bytes(back, 3, "ab"), 0);
	assert_int_equal(text_bytes(back, 3, "abc"), -ENAMETOOLONG);
	assert_int_equal(text_bytes(back, 0, ""), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_bytes),
		cmocka_unit_test(test_text),
		cmocka_unit_test_setup_teardown(test_canonical, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inside, setup, teardown),
		cmocka_unit_test(test_default_state),
		cmocka_unit_test_setup_teardown(test_state_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_make, setup, teardown),
		cmocka_unit_test(test_options),
		cmocka_unit_test_setup_teardown(test_users_of_a_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
