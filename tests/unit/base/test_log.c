/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Log lines: hostile bytes stay inside one line, levels filter, and a full pipe never blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

struct got {
	int calls;
	enum log_level level;
	char line[2000];
};

static void sink(void *arg, enum log_level level, const char *line)
{
	struct got *g = arg;

	g->calls++;
	g->level = level;
	strncpy(g->line, line, sizeof g->line - 1);
}

static void test_one_line(void **state)
{
	struct got g = { 0 };
	char longer[3000];

	(void)state;
	log_set_sink(sink, &g);
	log_error("file \"%s\": bad", "a\nb\x1b[31m\r\t\x7f\xff\x01");
	assert_string_equal(g.line, "file \"a?b?[31m???\xff?\": bad");
	assert_int_equal(g.level, LOG_LEVEL_ERROR);
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	log_warn("%s", longer);
	assert_int_equal(strlen(g.line), 1023);
	log_info("%s", "");
	assert_int_equal(g.calls, 3);
	log_set_sink(NULL, NULL);
}

static void test_level(void **state)
{
	struct got g = { 0 };

	(void)state;
	log_set_sink(sink, &g);
	log_debug("too much");
	assert_int_equal(g.calls, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now");
	assert_int_equal(g.calls, 1);
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("no");
	log_error("yes");
	assert_int_equal(g.calls, 2);
	log_set_level(LOG_LEVEL_INFO);
	log_set_sink(NULL, NULL);
}

/* stderr of a child, whole. */
static size_t child_stderr(void (*f)(void), char *buf, size_t n)
{
	size_t used = 0;
	ssize_t r;
	pid_t pid;
	int p[2], status;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (!pid) {
		dup2(p[1], STDERR_FILENO);
		alarm(10);	/* a log that blocks kills the child */
		f();
		_exit(0);
	}
	close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	while (used < n && (r = read(p[0], buf + used, n - used)) > 0)
		used += (size_t)r;
	close(p[0]);
	return used;
}

static void two_lines(void)
{
	char longer[3000];

	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	log_warn("careful\n%s", "dmm: error: forged");
	log_error("%s", longer);
}

static void test_stderr(void **state)
{
	static const char first[] = "dmm: warning: careful?dmm: error: forged\ndmm: error: xxx";
	static char buf[10000];
	size_t n = child_stderr(two_lines, buf, sizeof buf - 1);

	(void)state;
	assert_memory_equal(buf, first, sizeof first - 1);
	assert_int_equal(buf[n - 1], '\n');
	assert_ptr_equal(strchr(strchr(buf, '\n') + 1, '\n'), buf + n - 1);	/* two lines */
}

static void flood(void)
{
	for (int i = 0; i < 100000; i++)
		log_error("line %d that nobody reads", i);
}

static void test_never_blocks(void **state)
{
	static char buf[1 << 20];
	size_t n = child_stderr(flood, buf, sizeof buf);

	(void)state;
	assert_true(n > 4096 && n <= 65536);	/* what a pipe holds; the rest was dropped */
	assert_int_equal(buf[n - 1], '\n');	/* and no line is torn */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_line), cmocka_unit_test(test_level),
		cmocka_unit_test(test_stderr), cmocka_unit_test(test_never_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
