// A library to preload: appends each write, truncation and fsync of a SQLite file to the file that WRITE_JOURNAL names.
// A record: time (CLOCK_MONOTONIC, ns), operation, 1 for the write-ahead log, offset or size, length, then the bytes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE, TRUNCATE, SYNC };
struct record { uint64_t time_ns; uint32_t operation, is_log; uint64_t offset, length; };

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && !strcmp(text + length - wanted, end);
}

static void note(int fd, uint32_t operation, uint64_t offset, const void *bytes, uint64_t length) {
    static int journal = -1;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return;
    path[size] = 0;
    int is_log = ends_with(path, ".db-wal");
    if (!is_log && !ends_with(path, ".db")) return;
    if (journal < 0) journal = open(getenv("WRITE_JOURNAL"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct record record = {now.tv_sec * 1000000000ull + now.tv_nsec, operation, is_log, offset, length};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)bytes, bytes ? length : 0}};
    if (syscall(SYS_writev, journal, parts, 2) < 0) abort();
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

static ssize_t noted(int fd, const void *bytes, size_t length, off_t offset) {
    note(fd, WRITE, offset, bytes, length);
    return syscall(SYS_pwrite64, fd, bytes, length, offset);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return noted(fd, bytes, length, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return noted(fd, bytes, length, offset); }
ssize_t write(int fd, const void *bytes, size_t length) {
    off_t offset = lseek(fd, 0, SEEK_CUR);
    if (offset >= 0) note(fd, WRITE, offset, bytes, length);
    return REAL("write", ssize_t(*)(int, const void *, size_t))(fd, bytes, length);
}

static int cut(int fd, off_t size) {
    note(fd, TRUNCATE, size, 0, 0);
    return syscall(SYS_ftruncate, fd, size);
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off_t size) { return cut(fd, size); }

static int synced(const char *name, int fd) {
    int result = REAL(name, int (*)(int))(fd);
    if (!result) note(fd, SYNC, 0, 0, 0);
    return result;
}
int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
