/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The target on real file systems: the same tests on ext4, xfs and btrfs (disk.h). */
#include "env.h"

#include <stdlib.h>

#include "disk.h"

static int all_on(const char *dir, const char *kind)
{
	struct env *e = calloc(1, sizeof *e);
	int failed;

	e->kind = kind;
	e->seed = 20081117;
	disk_mount(dir, kind, e->mount, sizeof e->mount);
	failed = test_open(e) + test_handle(e) + test_mark(e) + test_stub(e) + test_torn(e) +
		 test_land(e) + test_holder(e);
	disk_umount(e->mount);
	free(e);
	return failed;
}

int main(void)
{
	return disk_everywhere("target", test_unsuitable, all_on);
}
