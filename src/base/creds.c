/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "creds.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread uid_t cur_uid;
static __thread gid_t cur_gid;
static __thread bool known;	/* a new thread inherits its maker's */

static int raise_permitted(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		d[i].effective = d[i].permitted;
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

int creds_set_fs(uid_t uid, gid_t gid)
{
	if (uid == (uid_t)-1 || gid == (gid_t)-1)
		return -EOVERFLOW;
	if (!known || gid != cur_gid) {
		syscall(SYS_setfsgid, gid);
		cur_gid = gid;
	}
	if (!known || uid != cur_uid) {
		syscall(SYS_setfsuid, uid);
		cur_uid = uid;
		known = true;
		if (uid != 0)
			return raise_permitted();
	}
	return 0;
}

int creds_private_umask(void)
{
	return unshare(CLONE_FS) ? -errno : 0;
}
