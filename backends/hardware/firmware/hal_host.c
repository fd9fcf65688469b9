/* The board as a process: its link is a pseudo-terminal, its converters and switches end in the emulated chip
 * (docs/emulator.md) at the other end of a Unix socket. When the process goes, however it goes, the socket closes and all
 * lines are at rest. Floating point is found here alone: what is a code above is volts and amperes below. */
#define _GNU_SOURCE /* cfmakeraw, posix_openpt */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "board.h"
#include "hal.h"
#include "hal_chip.h"
#include "hal_options.h"

enum { WRITE_MS = 200, PLACE_BYTES = 4096 };

static struct options options;
static volatile sig_atomic_t stop;
static int link_fd = -1, slave_fd = -1;
static uint8_t *store;
static char slave[128];

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static bool complain(const char *what, const char *which)
{
    fprintf(stderr, "board: %s %s: %s\n", what, which, strerror(errno));
    return false;
}

static bool open_link(void)
{
    struct termios raw;
    link_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (link_fd < 0 || grantpt(link_fd) || unlockpt(link_fd) || ptsname_r(link_fd, slave, sizeof slave))
        return complain("cannot make a", "pseudo-terminal");
    slave_fd = open(slave, O_RDWR | O_NOCTTY); /* kept open: a host that closes its end is no hang-up */
    if (slave_fd < 0 || tcgetattr(slave_fd, &raw))
        return complain("cannot open", slave);
    cfmakeraw(&raw);
    return tcsetattr(slave_fd, TCSANOW, &raw) == 0 || complain("cannot set", slave);
}

/* Put the name that hosts use in place; an old link is replaced, anything else is left alone. */
static bool publish(const char *path)
{
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISLNK(found.st_mode))
        unlink(path);
    return symlink(slave, path) == 0 || complain("cannot link", path);
}

static void withdraw(void)
{
    char target[sizeof slave] = "";
    if (options.link && readlink(options.link, target, sizeof target - 1) > 0 && strcmp(target, slave) == 0)
        unlink(options.link);
}

/* The store is a file in memory: what was written is there after SIGKILL, for the pages are the kernel's. */
static bool open_store(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return complain("cannot open the store", path);
    if (flock(fd, LOCK_EX | LOCK_NB))
        return complain("another board uses the store", path);
    const int failed = posix_fallocate(fd, 0, 2 * PLACE_BYTES); /* a full disk is found now */
    if (failed) {
        errno = failed;
        return complain("no room for the store", path);
    }
    store = mmap(NULL, 2 * PLACE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return store != MAP_FAILED || complain("cannot map the store", path); /* the descriptor stays open for the lock */
}

bool hal_open(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    if (!options_read(argc, argv, &options))
        return false;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!chip_open(&options, &stop) || !open_store(options.store) || !open_link())
        return false;
    if (options.link && !publish(options.link))
        return false;
    atexit(withdraw);
    printf("%s\n", slave);
    fflush(stdout);
    return true;
}

bool hal_running(void) { return !stop; }

uint32_t hal_link_read(uint8_t *data, uint32_t room, uint32_t wait_ms)
{
    struct pollfd fds[2] = {{.fd = link_fd, .events = POLLIN}, {.fd = chip_descriptor(), .events = POLLIN}};
    if (poll(fds, 2, (int)wait_ms) <= 0)
        return 0;
    if (fds[1].revents)
        chip_lost("the emulated chip is gone");
    const ssize_t count = read(link_fd, data, room);
    return count > 0 ? (uint32_t)count : 0;
}

bool hal_link_write(const uint8_t *data, uint32_t size)
{
    const uint32_t start = hal_millis();
    while (size) {
        const ssize_t count = write(link_fd, data, size);
        if (count > 0) {
            data += count;
            size -= (uint32_t)count;
            continue;
        }
        const uint32_t spent = hal_millis() - start;
        struct pollfd fd = {.fd = link_fd, .events = POLLOUT};
        if (spent >= WRITE_MS || stop)
            return false;
        poll(&fd, 1, (int)(WRITE_MS - spent));
    }
    return true;
}

uint32_t hal_millis(void)
{
    static struct timespec start;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (start.tv_sec == 0 && start.tv_nsec == 0)
        start = now;
    return (uint32_t)((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
}

uint32_t hal_boot(void)
{
    uint32_t number = options.boot;
    const int fd = open("/dev/urandom", O_RDONLY);
    while (number == 0 && fd >= 0 && read(fd, &number, sizeof number) == sizeof number)
        continue;
    close(fd);
    return number ? number : (uint32_t)getpid();
}

bool hal_store_read(int place, uint8_t *data, uint32_t size)
{
    memcpy(data, store + place * PLACE_BYTES, size);
    return true;
}

bool hal_store_write(int place, const uint8_t *data, uint32_t size)
{
    memcpy(store + place * PLACE_BYTES, data, size);
    return true;
}
