/* Faults below Python and SQLite alike, for processes that are started with LD_PRELOAD=faults.so.
 *
 * Every call that changes something below FINETUNED_FAULTS_BELOW is counted, and so is every word on a socket, each by the
 * role of the process: daemon, worker or decoder, as its command line says.  The counts and the traps lie in a file that all
 * of them map (FINETUNED_FAULTS; shim.py has the same layout), so that a trap can be set while they run.  At the call that a
 * trap names the process is killed before it, after it or in the middle of a write, or the call fails with an error.
 * The same file says by how much the wall clock goes wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FILES, WORDS, KINDS };
enum { NOTHING, KILL_BEFORE, KILL_AFTER, TORN, FAIL };
struct slot { uint64_t calls, at, times, fired; uint32_t what; int32_t error; char where[88]; };
struct control { int64_t clock_ns; char rest[120]; struct slot slots[3][KINDS]; };

static const char *const ROLES[] = {"finetuned.edge.daemon", "finetuned.service.worker", "finetuned.service.decoder"};
static struct control *control;
static int role = -1;
static const char *below;
static size_t below_size;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FINETUNED_FAULTS");
    below = getenv("FINETUNED_FAULTS_BELOW");
    if (!path || !below) return;
    below_size = strlen(below);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return;
    char line[4096];
    int told = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = told < 0 ? 0 : read(told, line, sizeof line);
    if (told >= 0) close(told);
    for (int each = 0; each < 3 && size > 0; each++)
        if (memmem(line, (size_t)size, ROLES[each], strlen(ROLES[each]))) role = each;
    control = mapped;
}

/* ── which calls count ─────────────────────────────────────────────────────────────────────────── */
static int is_below(const char *path) {
    return !strncmp(path, below, below_size) && (path[below_size] == '/' || !path[below_size]);
}

static int named(int descriptor, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0;
}

static int counts(int descriptor, char *path) {
    return control && role >= 0 && named(descriptor, path) && is_below(path);
}

static int counts_at(int folder, const char *name, char *path) {
    if (!control || role < 0 || !name) return 0;
    if (*name == '/') { snprintf(path, PATH_MAX, "%s", name); return is_below(path); }
    if (folder == AT_FDCWD || !named(folder, path)) return 0;
    size_t size = strlen(path);
    snprintf(path + size, PATH_MAX - size, "/%s", name);
    return is_below(path);
}

/* ── what happens at them ──────────────────────────────────────────────────────────────────────── */
static int struck(int kind, const char *call, const char *path) {
    int kept = errno;
    struct slot *slot = &control->slots[role][kind];
    uint64_t now = __atomic_add_fetch(&slot->calls, 1, __ATOMIC_SEQ_CST);
    uint64_t at = __atomic_load_n(&slot->at, __ATOMIC_SEQ_CST);
    if (!at || now < at || now >= at + slot->times) return NOTHING;
    if (!__atomic_fetch_add(&slot->fired, 1, __ATOMIC_SEQ_CST))
        snprintf(slot->where, sizeof slot->where, "%s %s", call, kind == FILES ? path + below_size : "");
    errno = slot->what == FAIL ? slot->error : kept;
    return (int)slot->what;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define MEET(kind, name, path, half, whole)                                          \
    switch (struck(kind, name, path)) {                                              \
    case KILL_BEFORE: die(); __attribute__((fallthrough));                           \
    case TORN: half; die(); __attribute__((fallthrough));                            \
    case FAIL: return -1;                                                            \
    case KILL_AFTER: { __typeof__(whole) done = whole; die(); return done; }         \
    default: return whole;                                                           \
    }
#define CALL(type, name, parameters, condition, kind, half, ...)                     \
    type name parameters {                                                           \
        REAL(name);                                                                  \
        char path[PATH_MAX]; path[0] = 0;                                            \
        if (!(condition)) return real(__VA_ARGS__);                                  \
        MEET(kind, #name, path, half, real(__VA_ARGS__))                             \
    }
#define ON(type, name, parameters, half, ...) CALL(type, name, parameters, counts(fd, path), FILES, half, __VA_ARGS__)
#define AT(name, parameters, folder, which, ...) \
    CALL(int, name, parameters, counts_at(folder, which, path), FILES, (void)0, __VA_ARGS__)
#define SAID(type, name, parameters, half, ...) CALL(type, name, parameters, control && role >= 0, WORDS, half, __VA_ARGS__)
#define PART(value) do { if ((value) < 0) {} } while (0)

ON(ssize_t, write, (int fd, const void *data, size_t size), PART(real(fd, data, size / 2)), fd, data, size)
ON(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t to), PART(real(fd, data, size / 2, to)), fd, data, size, to)
ON(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t to), PART(real(fd, data, size / 2, to)), fd, data, size, to)
ON(ssize_t, writev, (int fd, const struct iovec *parts, int count), PART(real(fd, parts, count / 2)), fd, parts, count)
ON(int, fsync, (int fd), (void)0, fd)
ON(int, fdatasync, (int fd), (void)0, fd)
ON(int, ftruncate, (int fd, off_t size), (void)0, fd, size)
ON(int, ftruncate64, (int fd, off64_t size), (void)0, fd, size)
ON(int, fchmod, (int fd, mode_t mode), (void)0, fd, mode)

AT(rename, (const char *from, const char *to), AT_FDCWD, to, from, to)
AT(renameat, (int old, const char *from, int new, const char *to), new, to, old, from, new, to)
AT(renameat2, (int old, const char *from, int new, const char *to, unsigned flags), new, to, old, from, new, to, flags)
AT(unlink, (const char *name), AT_FDCWD, name, name)
AT(unlinkat, (int folder, const char *name, int flags), folder, name, folder, name, flags)
AT(rmdir, (const char *name), AT_FDCWD, name, name)
AT(link, (const char *from, const char *to), AT_FDCWD, to, from, to)
AT(symlink, (const char *target, const char *name), AT_FDCWD, name, target, name)
AT(mkdir, (const char *name, mode_t mode), AT_FDCWD, name, name, mode)
AT(mkdirat, (int folder, const char *name, mode_t mode), folder, name, folder, name, mode)
AT(chmod, (const char *name, mode_t mode), AT_FDCWD, name, name, mode)

SAID(ssize_t, send, (int fd, const void *data, size_t size, int flags), PART(real(fd, data, size / 2, flags)), fd, data, size, flags)
SAID(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (void)0, fd, message, flags)

/* Opening counts where it makes or empties a file. */
#define OPENED(name, folder, first, ...)                                             \
    int name(first const char *which, int flags, ...) {                              \
        REAL(name);                                                                  \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        char path[PATH_MAX];                                                         \
        if (!(flags & (O_CREAT | O_TRUNC)) || !counts_at(folder, which, path)) return real(__VA_ARGS__); \
        MEET(FILES, #name, path, (void)0, real(__VA_ARGS__))                         \
    }
#define NONE
#define FOLDER int folder,
OPENED(open, AT_FDCWD, NONE, which, flags, mode)
OPENED(open64, AT_FDCWD, NONE, which, flags, mode)
OPENED(openat, folder, FOLDER, folder, which, flags, mode)
OPENED(openat64, folder, FOLDER, folder, which, flags, mode)

/* ── the wall clock ────────────────────────────────────────────────────────────────────────────── */
int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int done = real(clock, now);
    if (done || !control || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return done;
    int64_t shown = now->tv_sec * 1000000000LL + now->tv_nsec + __atomic_load_n(&control->clock_ns, __ATOMIC_SEQ_CST);
    now->tv_sec = shown / 1000000000LL;
    now->tv_nsec = shown % 1000000000LL;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec fine;
    if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept) {
    struct timespec fine;
    if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
    if (kept) *kept = fine.tv_sec;
    return fine.tv_sec;
}
