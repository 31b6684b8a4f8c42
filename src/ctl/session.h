/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dmm's side of a running worker: events to the display, signals to the worker.
 *
 * Ctrl-C (SIGINT, SIGTERM, SIGHUP, or a display that cannot be written to) asks for a clean stop,
 * once; again: it says that it is still stopping.  After the detach there is nothing to stop: dmm leaves and the
 * worker serves old descriptors in the background.  SIGUSR1 is passed on as "force-detach".
 */
#ifndef DMM_CTL_SESSION_H
#define DMM_CTL_SESSION_H

#include <stdbool.h>

#include "display.h"
#include "spawn.h"

struct session_config {
	struct spawn *worker;
	struct display *display;
	bool exit_when_detached;
};

/* Block the signals it takes; before the worker is started, so that none is missed. */
void session_block_signals(void);

/* Until the worker has ended (or may be left alone).  Returns an exit status of dmm. */
int session_run(const struct session_config *cfg);

#endif
