/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "point.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "parse.h"

enum action { ACTION_KILL, ACTION_STOP, ACTION_DELAY, ACTION_ERROR, ACTION_SKIP };

struct rule {
	char name[64];
	enum action action;
	uint64_t ns;
	int code;
	uint64_t after, times;		/* times 0: for ever */
	uint64_t seen, acted;
};

struct rules {
	struct rule *v;
	size_t n;
};

/* The rules in force. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rules rules;

/* The section, as the linker names its ends; weak: a program may have no point at all. */
extern struct point __start_dmm_points[] __attribute__((weak));
extern struct point __stop_dmm_points[] __attribute__((weak));

void point_each(void (*fn)(void *arg, const struct point *p), void *arg)
{
	for (struct point *p = __start_dmm_points; p != __stop_dmm_points; p++)
		fn(arg, p);
}

/* ---- parsing ---- */

static int parse_action(char *word, struct rule *r, struct err *e)
{
	char *v = strchr(word, '=');

	if (v)
		*v++ = 0;
	if (!v && !strcmp(word, "kill"))
		r->action = ACTION_KILL;
	else if (!v && !strcmp(word, "stop"))
		r->action = ACTION_STOP;
	else if (!v && !strcmp(word, "skip"))
		r->action = ACTION_SKIP;
	else if (v && !strcmp(word, "delay") && !parse_duration(v, &r->ns))
		r->action = ACTION_DELAY;
	else if (v && !strcmp(word, "error") && !parse_errno(v, &r->code))
		r->action = ACTION_ERROR;
	else
		return err_set(e, EINVAL, "\"%s%s%s\": not an action (kill stop skip delay=1s error=EIO)",
			       word, v ? "=" : "", v ? v : "");
	return 0;
}

static int parse_option(char *word, struct rule *r, struct err *e)
{
	char *v = strchr(word, '=');

	if (v)
		*v++ = 0;
	if (v && !strcmp(word, "after") && !parse_count(v, &r->after))
		return 0;
	if (v && !strcmp(word, "times") && !parse_count(v, &r->times) && r->times)
		return 0;
	return err_set(e, EINVAL, "\"%s%s%s\": neither after=N nor times=N", word, v ? "=" : "", v ? v : "");
}

/* Every use of the point must be able to do it. */
static int check_point(const struct rule *r, struct err *e)
{
	enum point_kind least = POINT_MAY_SKIP;
	bool known = false;

	for (struct point *p = __start_dmm_points; p != __stop_dmm_points; p++) {
		if (strcmp(p->name, r->name))
			continue;
		known = true;
		if (p->kind < least)
			least = p->kind;
	}
	if (!known)
		return err_set(e, EINVAL, "there is no fault point \"%s\"", r->name);
	if (r->action == ACTION_ERROR && least < POINT_MAY_FAIL)
		return err_set(e, EINVAL, "fault point \"%s\" cannot fail", r->name);
	if (r->action == ACTION_SKIP && least < POINT_MAY_SKIP)
		return err_set(e, EINVAL, "fault point \"%s\" cannot be skipped", r->name);
	return 0;
}

static int parse_rule(char *text, struct rule *r, struct err *e)
{
	char *save, *word = strtok_r(text, " \t\r", &save);
	int err;

	if (strlen(word) >= sizeof r->name)
		return err_set(e, EINVAL, "there is no fault point \"%.70s\"", word);
	strcpy(r->name, word);
	word = strtok_r(NULL, " \t\r", &save);
	if (!word)
		return err_set(e, EINVAL, "\"%s\": an action is missing (kill stop skip delay=1s error=EIO)", r->name);
	err = parse_action(word, r, e);
	while (!err && (word = strtok_r(NULL, " \t\r", &save)))
		err = parse_option(word, r, e);
	return err ? err : check_point(r, e);
}

static int add_rule(struct rules *to, char *text, struct err *e)
{
	struct rule *more = reallocarray(to->v, to->n + 1, sizeof *more);

	if (!more)
		return err_sys(e, ENOMEM, "fault points");
	to->v = more;
	more[to->n] = (struct rule){ 0 };
	return parse_rule(text, &more[to->n++], e);
}

static int parse(const char *text, struct rules *out, struct err *e)
{
	_cleanup_free_ char *copy = strdup(text);
	char *save, *line;
	int err = copy ? 0 : err_sys(e, ENOMEM, "fault points");

	for (line = err ? NULL : strtok_r(copy, ";\n", &save); line && !err; line = strtok_r(NULL, ";\n", &save)) {
		line += strspn(line, " \t\r");
		if (*line)
			err = add_rule(out, line, e);
	}
	return err;
}

/* ---- arming ---- */

static bool has_rule(const char *name)
{
	for (size_t i = 0; i < rules.n; i++)
		if (!strcmp(rules.v[i].name, name))
			return true;
	return false;
}

int point_set(const char *text, struct err *e)
{
	struct rules fresh = { 0 };
	int err = parse(text, &fresh, e);

	if (err) {
		free(fresh.v);
		return err;
	}
	pthread_mutex_lock(&lock);
	free(rules.v);
	rules = fresh;
	for (struct point *p = __start_dmm_points; p != __stop_dmm_points; p++)
		atomic_store(&p->armed, has_rule(p->name));
	pthread_mutex_unlock(&lock);
	return 0;
}

/* ---- acting ---- */

static bool acts(struct rule *r)
{
	if (r->seen++ < r->after || (r->times && r->acted >= r->times))
		return false;
	r->acted++;
	return true;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec left = { (time_t)(ns / CLOCK_SEC), (long)(ns % CLOCK_SEC) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

int point_act(struct point *p)
{
	struct rule found;
	bool any = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < rules.n && !any; i++) {
		if (strcmp(rules.v[i].name, p->name) || !acts(&rules.v[i]))
			continue;
		found = rules.v[i];
		any = true;
	}
	pthread_mutex_unlock(&lock);
	if (!any)
		return 0;
	switch (found.action) {
	case ACTION_KILL:
		kill(getpid(), SIGKILL);
		for (;;)
			pause();	/* not one instruction further */
	case ACTION_STOP:
		kill(getpid(), SIGSTOP);
		return 0;
	case ACTION_DELAY:
		sleep_ns(found.ns);
		return 0;
	case ACTION_ERROR:
		return -found.code;
	case ACTION_SKIP:
		return POINT_SKIP;
	}
	return 0;
}
