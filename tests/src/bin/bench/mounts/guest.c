/* Runs in a guest as its first process: measures file systems, and writes a line for each phase to the console:
 * "@ NAME PHASE NANOSECONDS". Rounds and file systems are interleaved, so a busy host slows all of them.
 *
 * Arguments, from the kernel's command line: rounds=N, only=NAME,NAME…, folders=N. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Fewer folders make a quicker, coarser run. */
static int folders = 100;
enum { FILES = 100, RANDOM_READS = 2000, PAUSE_SECONDS = 2 };
enum { MIB = 1 << 20, STREAM_MIB = 128 };

struct file_system {
    const char *name, *source, *kind, *options, *folder;
};

/* The first two are folders of one device, as in a sandbox. */
static const struct file_system file_systems[] = {
    {"mount", "msb-mounts", "virtiofs", NULL, "/0"},
    {"volume", NULL, NULL, NULL, "/1"},
    {"disk", "/dev/vda", "ext4", NULL, ""},
    {"virtiofsd", "virtiofsd", "virtiofs", NULL, ""},
    {"virtiofsd-always", "virtiofsd-always", "virtiofs", NULL, ""},
    {"9p", "9p", "9p", "trans=virtio,version=9p2000.L,msize=512000", ""},
};
enum { COUNT = sizeof file_systems / sizeof *file_systems };

static char buffer[MIB];

static void fail(const char *what, const char *path) {
    printf("! %s %s: %s\n", what, path, strerror(errno));
    fflush(stdout);
    reboot(RB_AUTOBOOT);
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static void put(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) fail("write", path);
    close(file);
}

/* Cold: nothing of any file is cached, and the servers have been told so. */
static void drop_caches(void) {
    sync();
    put("/proc/sys/vm/drop_caches", "3");
    usleep(300 * 1000);
}

static void path_of(char *path, const char *root, const char *tree, int folder, int file) {
    if (file < 0)
        sprintf(path, "%s/%s/folder%02d", root, tree, folder);
    else
        sprintf(path, "%s/%s/folder%02d/file%02d.txt", root, tree, folder, file);
}

static void each(const char *root, const char *tree, void (*call)(const char *)) {
    char path[256];
    for (int folder = 0; folder < folders; folder++)
        for (int file = 0; file < FILES; file++) {
            path_of(path, root, tree, folder, file);
            call(path);
        }
}

static void stat_one(const char *path) {
    struct stat status;
    if (lstat(path, &status)) fail("stat", path);
}

static void create_one(const char *path) {
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (file < 0) fail("create", path);
    close(file);
}

static void delete_one(const char *path) {
    if (unlink(path)) fail("delete", path);
}

/* Lists all folders, with the status of each entry. */
static void list(const char *root) {
    char path[256];
    int entries = 0;
    for (int folder = 0; folder < folders; folder++) {
        path_of(path, root, "tree", folder, -1);
        DIR *directory = opendir(path);
        if (!directory) fail("list", path);
        for (struct dirent *entry; (entry = readdir(directory));) {
            struct stat status;
            if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW)) fail("stat in", path);
            entries++;
        }
        closedir(directory);
    }
    if (entries != folders * (FILES + 2)) fail("entries are missing in", root);
}

static void git_status(const char *root) {
    char tree[256];
    sprintf(tree, "%s/tree", root);
    int status;
    pid_t child = fork();
    if (child == 0) {
        int output = open("/git-output", O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(output, 1);
        execl("/git", "git", "-c", "safe.directory=*", "-C", tree, "status", "--porcelain", NULL);
        _exit(127);
    }
    if (waitpid(child, &status, 0) < 0 || status != 0) fail("git status", root);
    struct stat output;
    if (stat("/git-output", &output) || output.st_size != 0) fail("git sees changes", root);
}

static void stream(const char *root, int write_it) {
    char path[256];
    sprintf(path, "%s/stream", root);
    int file = open(path, write_it ? O_CREAT | O_EXCL | O_WRONLY : O_RDONLY, 0644);
    if (file < 0) fail("open", path);
    for (int mib = 0; mib < STREAM_MIB; mib++) {
        ssize_t length = write_it ? write(file, buffer, MIB) : read(file, buffer, MIB);
        if (length != MIB) fail("stream", path);
    }
    /* The others write through, but a disk's data would stay in the guest. */
    if (write_it && strcmp(root, "/m/disk") == 0 && fsync(file)) fail("sync", path);
    close(file);
}

static void random_reads(const char *root) {
    char path[256];
    sprintf(path, "%s/stream", root);
    int file = open(path, O_RDONLY);
    if (file < 0) fail("open", path);
    posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    uint64_t state = 1;
    for (int count = 0; count < RANDOM_READS; count++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        off_t page = (state >> 33) % (STREAM_MIB * 256);
        if (pread(file, buffer, 4096, page * 4096) != 4096) fail("read", path);
    }
    close(file);
}

static const char *name_now;
static uint64_t began;

static void begin(void) { began = now(); }

static void end(const char *phase) {
    uint64_t took = now() - began;
    printf("@ %s %s %llu\n", name_now, phase, (unsigned long long)took);
    fflush(stdout);
}

static void metadata(const char *root) {
    drop_caches();
    begin(), each(root, "tree", stat_one), end("stat-cold");
    /* Longer than virtiofsd's timeout, which is 1 s. */
    sleep(PAUSE_SECONDS);
    begin(), each(root, "tree", stat_one), end("stat-warm");
    drop_caches();
    begin(), list(root), end("list-cold");
    drop_caches();
    begin(), git_status(root), end("git-cold");
    sleep(PAUSE_SECONDS);
    begin(), git_status(root), end("git-warm");
    drop_caches();
    begin(), each(root, "made", create_one), end("create");
    begin(), each(root, "made", delete_one), end("delete");
}

static void data(const char *root) {
    char path[256];
    sprintf(path, "%s/stream", root);
    unlink(path);
    drop_caches();
    begin(), stream(root, 1), end("write");
    drop_caches();
    begin(), stream(root, 0), end("read");
    drop_caches();
    begin(), random_reads(root), end("random-read");
}

/* As agentd does for its mounts; the others have the kernel's default, which is 128 KiB. */
static void read_ahead(const char *target) {
    struct stat status;
    char path[64];
    if (stat(target, &status)) fail("stat", target);
    sprintf(path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(status.st_dev), minor(status.st_dev));
    put(path, "1024");
}

static void mount_all(void) {
    char target[64];
    mkdir("/m", 0755);
    for (int index = 0; index < COUNT; index++) {
        const struct file_system *fs = &file_systems[index];
        if (!fs->source) continue;
        sprintf(target, "/m/.%s", fs->name);
        mkdir(target, 0755);
        if (mount(fs->source, target, fs->kind, MS_NOATIME, fs->options)) fail("mount", fs->name);
        if (index == 0) read_ahead(target);
    }
    for (int index = 0; index < COUNT; index++) {
        const struct file_system *fs = &file_systems[index];
        char source[128];
        sprintf(source, "/m/.%s%s", fs->source ? fs->name : file_systems[index - 1].name, fs->folder);
        sprintf(target, "/m/%s", fs->name);
        mkdir(target, 0755);
        if (mount(source, target, NULL, MS_BIND, NULL)) fail("bind", source);
    }
}

static int is_named(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) return 1;
    }
    return 0;
}

static int argument(const char *name, int other) {
    char *text = getenv(name);
    return text ? atoi(text) : other;
}

int main(void) {
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mkdir("/sys", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL)) fail("mount", "/proc");
    if (mount("sysfs", "/sys", "sysfs", 0, NULL)) fail("mount", "/sys");
    /* It may be there already. */
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    setenv("HOME", "/", 1);
    put("/proc/sys/kernel/printk", "1");
    int rounds = argument("rounds", 1);
    folders = argument("folders", folders);
    const char *only = getenv("only");
    memset(buffer, 'x', sizeof buffer);
    mount_all();
    /* Round 0 is not reported: git notes the status of all files in each file system, and the host's caches get warm. */
    for (int round = 0; round <= rounds; round++) {
        printf("round %d\n", round);
        for (int index = 0; index < COUNT; index++) {
            char root[64];
            if (only && !is_named(only, file_systems[index].name)) continue;
            sprintf(root, "/m/%s", file_systems[index].name);
            name_now = round ? file_systems[index].name : "warming";
            metadata(root);
        }
        for (int index = 0; index < COUNT; index++) {
            char root[64];
            if (only && !is_named(only, file_systems[index].name)) continue;
            sprintf(root, "/m/%s", file_systems[index].name);
            name_now = round ? file_systems[index].name : "warming";
            data(root);
        }
    }
    printf("done\n");
    fflush(stdout);
    reboot(RB_AUTOBOOT);
}
