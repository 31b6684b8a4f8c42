/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fault_rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define ANY (-1)

struct rule {
	int op;			/* enum source_op or ANY */
	char *name;		/* glob; NULL = every name, and none */
	uint64_t after, count, every;	/* count 0 = for ever */
	struct fault_plan plan;
	uint64_t seen, acted;
};

struct fault_rules {
	struct rule *rules;
	size_t count;
};

static const char *const op_names[] = {
	[SOURCE_GETATTR] = "getattr", [SOURCE_LOOKUP] = "lookup", [SOURCE_READDIR] = "readdir",
	[SOURCE_READLINK] = "readlink", [SOURCE_READ] = "read", [SOURCE_STATFS] = "statfs",
};

static int parse_op(const char *s, int *op, struct err *e)
{
	int i;

	*op = ANY;
	if (!strcmp(s, "any"))
		return 0;
	for (i = 0; i < (int)(sizeof op_names / sizeof *op_names); i++) {
		if (!strcmp(s, op_names[i])) {
			*op = i;
			return 0;
		}
	}
	return err_set(e, EINVAL, "unknown operation \"%s\"", s);
}

static int parse_whole(const char *key, const char *s, uint64_t min, uint64_t *out, struct err *e)
{
	if (parse_count(s, out) || *out < min)
		return err_set(e, EINVAL, "%s=%s: a number from %d", key, s, (int)min);
	return 0;
}

static int parse_delay(const char *s, uint64_t *ns, struct err *e)
{
	if (parse_duration(s, ns))
		return err_set(e, EINVAL, "delay=%s: a number with ms, s or min, a day at most", s);
	return 0;
}

static int parse_error(const char *s, int *out, struct err *e)
{
	int code;

	if (parse_errno(s, &code))
		return err_set(e, EINVAL, "err=%s: not the name of an error", s);
	*out = -code;
	return 0;
}

/* One word after the operation.  *acts: the rule has an action. */
static int parse_word(char *word, struct rule *r, unsigned *actions, struct err *e)
{
	char *v = strchr(word, '=');

	if (v)
		*v++ = 0;
	if (v && !strcmp(word, "name")) {
		free(r->name);
		r->name = strdup(v);
		return r->name ? 0 : err_sys(e, ENOMEM, "fault rules");
	}
	if (v && !strcmp(word, "after"))
		return parse_whole("after", v, 0, &r->after, e);
	if (v && !strcmp(word, "count"))
		return parse_whole("count", v, 1, &r->count, e);
	if (v && !strcmp(word, "every"))
		return parse_whole("every", v, 1, &r->every, e);
	++*actions;
	if (v && !strcmp(word, "delay"))
		return parse_delay(v, &r->plan.delay_ns, e);
	if (v && !strcmp(word, "err"))
		return parse_error(v, &r->plan.err, e);
	if (!v && !strcmp(word, "stall"))
		r->plan.stall = true;
	else if (!v && !strcmp(word, "short"))
		r->plan.shorten = true;
	else if (!v && !strcmp(word, "flip"))
		r->plan.flip = true;
	else if (!v && !strcmp(word, "touch"))
		r->plan.touch = true;
	else
		return err_set(e, EINVAL, "unknown word \"%s\"%s", word,
			       v ? "" : " (or its value is missing)");
	return 0;
}

static int parse_rule(char *text, struct rule *r, struct err *e)
{
	char *save, *word = strtok_r(text, " \t\r", &save);
	unsigned actions = 0;
	int err = parse_op(word, &r->op, e);

	while (!err && (word = strtok_r(NULL, " \t\r", &save)))
		err = parse_word(word, r, &actions, e);
	if (!err && actions != 1)
		err = err_set(e, EINVAL, "a rule has exactly one action (delay err short flip touch stall)");
	if (!err && r->op != SOURCE_READ && r->op != ANY && (r->plan.shorten || r->plan.flip))
		err = err_set(e, EINVAL, "short and flip are for read");
	return err;
}

void fault_rules_free(struct fault_rules *r)
{
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->count; i++)
		free(r->rules[i].name);
	free(r->rules);
	free(r);
}

static int add_rule(struct fault_rules *r, char *text, struct err *e)
{
	struct rule *more = reallocarray(r->rules, r->count + 1, sizeof *more);

	if (!more)
		return err_sys(e, ENOMEM, "fault rules");
	r->rules = more;
	more[r->count] = (struct rule){ .every = 1 };
	return parse_rule(text, &more[r->count++], e);
}

struct fault_rules *fault_rules_parse(const char *text, struct err *e)
{
	_cleanup_free_ char *copy = strdup(text);
	struct fault_rules *r = calloc(1, sizeof *r);
	char *line, *save;
	unsigned n = 0;
	int err = copy && r ? 0 : err_sys(e, ENOMEM, "fault rules");

	for (line = err ? NULL : strtok_r(copy, ";\n", &save); line && !err;
	     line = strtok_r(NULL, ";\n", &save)) {
		line += strspn(line, " \t\r");
		if (!*line)
			continue;
		n++;
		err = add_rule(r, line, e);
		if (err)
			err_wrap(e, "fault rule %u", n);
	}
	if (err) {
		fault_rules_free(r);
		return NULL;
	}
	return r;
}

static bool matches(const struct rule *r, const struct source_req *req)
{
	if (r->op != ANY && r->op != (int)req->op)
		return false;
	return !r->name || (req->name && !fnmatch(r->name, req->name, 0));
}

static bool acts(struct rule *r)
{
	uint64_t n = r->seen++;

	if (n < r->after || (n - r->after) % r->every != r->every - 1)
		return false;
	if (r->count && r->acted >= r->count)
		return false;
	r->acted++;
	return true;
}

struct fault_plan fault_rules_apply(struct fault_rules *r, const struct source_req *req)
{
	struct fault_plan all = { .delay_ns = 0 };
	size_t i;

	for (i = 0; i < r->count; i++) {
		const struct fault_plan *p = &r->rules[i].plan;

		if (!matches(&r->rules[i], req) || !acts(&r->rules[i]))
			continue;
		all.delay_ns += p->delay_ns;
		all.stall |= p->stall;
		all.shorten |= p->shorten;
		all.flip |= p->flip;
		all.touch |= p->touch;
		if (p->err)
			all.err = p->err;
	}
	return all;
}
