/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "probe.h"

#include <pthread.h>
#include <stdbool.h>

struct answer {
	pthread_mutex_t lock;
	pthread_cond_t come;
	bool here;
	int err;
};

static void done(struct source_req *req)
{
	struct answer *a = req->user;

	pthread_mutex_lock(&a->lock);
	a->here = true;
	a->err = req->err;
	pthread_cond_signal(&a->come);
	pthread_mutex_unlock(&a->lock);
}

int probe_source(struct source *s, const char *url, struct err *e)
{
	struct answer a = { .lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER };
	struct source_req req = {
		.op = SOURCE_READDIR,
		.lane = SOURCE_DEMAND,
		.fh = s->root,
		.done = done,
		.user = &a,
	};

	source_submit(s, &req);
	pthread_mutex_lock(&a.lock);
	while (!a.here)
		pthread_cond_wait(&a.come, &a.lock);
	pthread_mutex_unlock(&a.lock);
	return a.err ? err_sys(e, a.err, "source \"%s\": its root directory cannot be listed", url)
		     : 0;
}
