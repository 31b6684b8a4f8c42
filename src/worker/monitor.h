/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The thread that stays awake: takes signals and commands, and reports the
 * status, whatever the main thread is waiting for.
 *
 * Stopping.  A stop may be asked by SIGTERM, SIGINT, the command "stop" or the
 * display going away.  Until monitor_touch() nothing has been changed and
 * the process simply ends, even if the main thread hangs in a connect.  After it, the main
 * thread takes everything down in order.  Once detached there is nothing left to stop: the
 * worker only serves old descriptors, and requests to stop are ignored.
 *
 * Signals: SIGUSR1 (or the command "force-detach") does not wait for working
 * directories; SIGUSR2 releases a held background; SIGHUP calls reload().
 * They must be blocked before the first thread is started: monitor_block_signals().
 *
 * Threads: one caller (the main thread), besides the monitor's own.
 */
#ifndef DMM_WORKER_MONITOR_H
#define DMM_WORKER_MONITOR_H

#include <stdbool.h>

#include "events.h"
#include "status.h"

struct monitor;

enum monitor_phase {
	MONITOR_STARTING, MONITOR_MIGRATING, MONITOR_DETACH_WAITING, MONITOR_DETACHING,
	MONITOR_DETACHED, MONITOR_STOPPING,
};

void monitor_block_signals(void);
int monitor_start(struct events *ev, unsigned status_ms, struct monitor **out, struct err *e);
void monitor_end(struct monitor *m);

/* What to report on from now on; reload(arg) is called on SIGHUP.  After monitor_unwatch() has
 * returned nothing of it is looked at any more. */
void monitor_watch(struct monitor *m, const struct status_view *v);
void monitor_unwatch(struct monitor *m);
void monitor_on_reload(struct monitor *m, void (*reload)(void *arg), void *arg);

void monitor_set_phase(struct monitor *m, enum monitor_phase phase);
/* From here on a stop is orderly.  Does not return when one has been asked for already. */
void monitor_touch(struct monitor *m);

/* The fields of a status event of this moment; NULL: there is nothing to look at yet.  Any thread. */
json_t *monitor_status(struct monitor *m);

bool monitor_stopping(struct monitor *m);
bool monitor_forced(struct monitor *m);
/* Wait ms, or less when something is asked for. */
void monitor_sleep(struct monitor *m, unsigned ms);

/* The text of the stopped event. */
#define MONITOR_STOPPED_EARLY "stopped before there was a mount; nothing was changed"
#define MONITOR_STOPPED "stopped; the target stays closed (mode 0000) until the same command continues"

#endif
