// A library to preload: fdatasync and fsync fail while the file that FSYNC_FAILS names exists.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int sync_or_fail(const char *name, int fd) {
    const char *flag = getenv("FSYNC_FAILS");
    if (flag && access(flag, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}

int fdatasync(int fd) { return sync_or_fail("fdatasync", fd); }
int fsync(int fd) { return sync_or_fail("fsync", fd); }
