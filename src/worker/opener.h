/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opening a source without being held up by it: a server that is frozen keeps source_open() for ten
 * seconds and more.  It runs in a thread of its own, which is left alone when nobody wants the result any more.
 */
#ifndef DMM_WORKER_OPENER_H
#define DMM_WORKER_OPENER_H

#include "reply.h"
#include "source/source.h"

/* As source_open(); -EINTR when the request is withdrawn meanwhile. */
int opener_source(const char *url, struct reply *r, struct source **out, struct err *e);

#endif
