/* A wire between two network namespaces of its own: packets pass, or are lost, late, in disorder, slow or changed, as lines on
 * standard input say. All of it ends with standard input.
 *
 * Prints the ids of two processes, one in each namespace. Then a line each:
 *   to 0|1 loss PERMILLE delay MS jitter MS rate BYTES_PER_S corrupt PERMILLE   what is on its way to that end; 0 for none
 *   idle MS      forgets all connections when nothing passed for so long, as a box on the way does; 0 for never
 *   stats        answers a line of numbers, see below */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_MAX = 512, PACKET_BYTES_MAX = 2048, QUIET_MS = 4000 };

struct packet { int64_t due; uint64_t number; int length; unsigned char bytes[PACKET_BYTES_MAX]; };
struct way {
    long loss, delay, jitter, rate, corrupt;
    int64_t free_at;
    struct packet *queue[QUEUE_MAX];
    int waiting;
    uint64_t passed, lost, changed, overtaken, next, last_out;
};

static struct way ways[2];
static int ends[2];
static long idle_ms;
static int64_t last_at;
static int is_forgotten;
static uint64_t quiet, forgotten;
static uint64_t random_state = 88172645463325252u;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static long chance(long below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return below > 0 ? (long)(random_state % (uint64_t)below) : 0;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Changes what TCP carries so that its checksum, a sum of words, does not notice. */
static int change(unsigned char *ip, int length) {
    int head = (ip[0] & 15) * 4, from, at, other;
    if (length < head + 20 || ip[9] != 6) return 0;
    from = head + (ip[head + 12] >> 4) * 4;
    if (length - from < 32) return 0;
    at = from + 8;
    for (other = at + 2; other + 1 < length; other += 2) {
        if (ip[at] != ip[other] || ip[at + 1] != ip[other + 1]) {
            unsigned char kept[2] = {ip[at], ip[at + 1]};
            ip[at] = ip[other], ip[at + 1] = ip[other + 1];
            ip[other] = kept[0], ip[other + 1] = kept[1];
            return 1;
        }
    }
    return 0;
}

/* False when a box on the way does not know the connection any more: only a new one begins anew. */
static int is_known(const unsigned char *ip, int length) {
    int head = (ip[0] & 15) * 4;
    int is_first = length >= head + 20 && ip[9] == 6 && (ip[head + 13] & 0x12) == 2;
    int64_t at = now();
    if (last_at && at - last_at >= QUIET_MS) quiet++;
    if (idle_ms && last_at && at - last_at >= idle_ms) is_forgotten = 1;
    last_at = at;
    if (is_first) is_forgotten = 0;
    if (is_forgotten) forgotten++;
    return !is_forgotten;
}

static void take(int to, int from_file) {
    struct way *way = &ways[to];
    struct packet *packet = malloc(sizeof *packet);
    int64_t at = now();
    if (!packet) die("malloc");
    packet->length = (int)read(from_file, packet->bytes, sizeof packet->bytes);
    if (packet->length < 20 || packet->bytes[0] >> 4 != 4) {
        free(packet);
        return;
    }
    if (!is_known(packet->bytes, packet->length) || chance(1000) < way->loss || way->waiting == QUEUE_MAX) {
        way->lost++;
        free(packet);
        return;
    }
    if (chance(1000) < way->corrupt && change(packet->bytes, packet->length)) way->changed++;
    if (way->rate) {
        way->free_at = (way->free_at > at ? way->free_at : at) + packet->length * 1000L / way->rate;
        at = way->free_at;
    }
    packet->due = at + way->delay + chance(way->jitter + 1);
    packet->number = ++way->next;
    way->queue[way->waiting++] = packet;
}

/* Sends what is due; how long until the next. */
static int64_t give(int to) {
    struct way *way = &ways[to];
    for (;;) {
        int first = -1, each;
        struct packet *packet;
        for (each = 0; each < way->waiting; each++)
            if (first < 0 || way->queue[each]->due < way->queue[first]->due
                || (way->queue[each]->due == way->queue[first]->due
                    && way->queue[each]->number < way->queue[first]->number))
                first = each;
        if (first < 0) return 1000;
        packet = way->queue[first];
        if (packet->due > now()) return packet->due - now();
        way->queue[first] = way->queue[--way->waiting];
        if (write(ends[to], packet->bytes, (size_t)packet->length) == packet->length) way->passed++;
        if (packet->number < way->last_out) way->overtaken++;
        else way->last_out = packet->number;
        free(packet);
    }
}

static void obey(const char *line) {
    int to;
    long loss, delay, jitter, rate, corrupt;
    if (sscanf(line, "to %d loss %ld delay %ld jitter %ld rate %ld corrupt %ld", &to, &loss, &delay, &jitter, &rate, &corrupt)
            == 6 && (to == 0 || to == 1)) {
        ways[to].loss = loss, ways[to].delay = delay, ways[to].jitter = jitter;
        ways[to].rate = rate, ways[to].corrupt = corrupt;
    } else if (sscanf(line, "idle %ld", &idle_ms) != 1 && strncmp(line, "stats", 5) != 0) {
        fprintf(stderr, "no such command: %s", line);
        exit(1);
    }
    /* Every command is answered, so that whoever gave it knows that it holds. */
    for (to = 0; to < 2; to++)
        printf("%lu %lu %lu %lu ", ways[to].passed, ways[to].lost, ways[to].changed, ways[to].overtaken);
    printf("%lu %lu\n", quiet, forgotten);
    fflush(stdout);
}

/* Makes a namespace with one end of the wire; the process that keeps it. */
static pid_t end(int number) {
    struct ifreq request;
    char command[256];
    pid_t keeper, parent = getpid();
    if (unshare(CLONE_NEWNET)) die("unshare");
    ends[number] = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (ends[number] < 0) die("/dev/net/tun");
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "wire");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(ends[number], TUNSETIFF, &request)) die("TUNSETIFF");
    snprintf(command, sizeof command,
             "ip link set lo up && ip link set wire up && ip address add 10.63.0.%d/24 dev wire", number + 1);
    if (system(command)) die("ip");
    keeper = fork();
    if (keeper < 0) die("fork");
    if (keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        for (;;) pause();
    }
    return keeper;
}

int main(void) {
    char line[512];
    size_t filled = 0;
    pid_t keepers[2];
    struct pollfd polled[3];
    keepers[0] = end(0);
    keepers[1] = end(1);
    printf("%d %d\n", keepers[0], keepers[1]);
    fflush(stdout);
    for (;;) {
        int64_t wait = give(0), other = give(1);
        int each;
        polled[0].fd = ends[0], polled[1].fd = ends[1], polled[2].fd = 0;
        for (each = 0; each < 3; each++) polled[each].events = POLLIN, polled[each].revents = 0;
        poll(polled, 3, (int)(wait < other ? wait : other));
        for (each = 0; each < 2; each++)
            if (polled[each].revents & POLLIN) take(1 - each, ends[each]);
        if (polled[2].revents) {
            ssize_t got = read(0, line + filled, sizeof line - 1 - filled);
            char *rest = line, *stop;
            if (got <= 0) break;
            filled += (size_t)got;
            line[filled] = 0;
            while ((stop = strchr(rest, '\n'))) {
                *stop = 0;
                obey(rest);
                rest = stop + 1;
            }
            filled = strlen(rest);
            memmove(line, rest, filled + 1);
        }
    }
    kill(keepers[0], SIGKILL);
    kill(keepers[1], SIGKILL);
    return 0;
}
