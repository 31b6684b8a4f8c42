/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Faults from the environment, for tests: DMM_SOURCE_FAULTS, rules for the source's fault decorator
 * (source.h), and DMM_POINTS, rules for named fault points (base/point.h).  Either may be @FILE, a file that
 * holds the rules; SIGHUP makes the worker read both again.
 */
#ifndef DMM_WORKER_FAULTS_H
#define DMM_WORKER_FAULTS_H

#include "source/source.h"

/* spec NULL: no rules. */
int faults_source(struct source *fault, const char *spec, struct err *e);
int faults_points(const char *spec, struct err *e);

/* One line a point on stdout: its name and the actions it takes. */
void faults_print_points(void);

#endif
