/* Reads of much at once: every byte comes from where it should, however often files, threads and processes change. */
#include "guest.h"

enum { BIG = 1 << 20, FILES = 20, THREADS = 6, PIECE = 40000 };
static unsigned char buffer[BIG + 4096], other[BIG];

static unsigned char byte_of(int file, long at) { return (unsigned char)((at * 7 + at / 251 + file * 13) ^ (at >> 8)); }

static int make(int number, long size)
{
    char name[] = "/tmp/large-XXXXXX";
    int fd = mkstemp(name);

    CHECK(fd >= 0 && unlink(name) == 0);
    for (long at = 0; at < size; at++)
        other[at] = byte_of(number, at);
    for (long at = 0, n; at < size; at += n)
        CHECK((n = write(fd, other + at, size - at > 60000 ? 60000 : (size_t)(size - at))) > 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void compare(int number, const unsigned char *bytes, long at, long size)
{
    for (long i = 0; i < size; i++)
        CHECK(bytes[i] == byte_of(number, at + i));
}

static void sizes(int fd)
{
    static const long all[] = {2047, 2048, 16384, 20000, 32768, 65535, 65536, 65537, 131072, 300000, BIG - 1, BIG, BIG + 4096};

    for (int i = 0; i < COUNT(all); i++) {
        for (long at = 0; at <= BIG; at += 262143) {
            long wanted = all[i] < BIG - at ? all[i] : BIG - at;

            memset(buffer, 0, sizeof buffer);
            CHECK(pread(fd, buffer, (size_t)all[i], at) == wanted);
            compare(1, buffer, at, wanted);
            CHECK(wanted == (long)sizeof buffer || buffer[wanted] == 0);
        }
    }
    CHECK(lseek(fd, 0, SEEK_CUR) == 0);
    for (long at = 0, n; at < BIG; at += n) {
        CHECK((n = read(fd, buffer, 100000)) == (BIG - at < 100000 ? BIG - at : 100000));
        compare(1, buffer, at, n);
        CHECK(lseek(fd, 0, SEEK_CUR) == at + n);
    }
    CHECK(read(fd, buffer, 100000) == 0);
    CHECK(pread(fd, buffer, 100000, BIG + 5) == 0);
}

/* A buffer that ends in nothing: what could be read was read, or nothing; the offset says which. */
static void half_a_buffer(int fd)
{
    unsigned char *memory = mmap(NULL, 65536 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long n, at;

    CHECK(memory != MAP_FAILED && mprotect(memory + 65536, 4096, PROT_NONE) == 0);
    for (int i = 0; i < 20; i++) {
        CHECK(lseek(fd, 1000 * i, SEEK_SET) == 1000 * i);
        n = read(fd, memory + 30000, 65536);
        CHECK(n == -1 ? errno == EFAULT : n <= 35536);
        at = lseek(fd, 0, SEEK_CUR);
        CHECK(at == 1000 * i + (n < 0 ? 0 : n));
        compare(1, memory + 30000, 1000 * i, n < 0 ? 0 : n);
        CHECK(read(fd, buffer, 50000) == 50000);
        compare(1, buffer, at, 50000);
    }
    CHECK(read(fd, BAD, 100000) == -1 && errno == EFAULT);
    munmap(memory, 65536 + 4096);
}

/* The file changes between reads, and gets shorter and longer. */
static void changes(int fd)
{
    CHECK(pwrite(fd, "changed", 7, 50000) == 7);
    CHECK(pread(fd, buffer, 100000, 0) == 100000);
    CHECK(memcmp(buffer + 50000, "changed", 7) == 0);
    CHECK(ftruncate(fd, 70000) == 0);
    CHECK(pread(fd, buffer, 100000, 0) == 70000 && pread(fd, buffer, 100000, 70000) == 0);
    CHECK(ftruncate(fd, 200000) == 0);
    CHECK(pread(fd, buffer, 190000, 0) == 190000);
    CHECK(buffer[69999] == byte_of(1, 69999) && buffer[70000] == 0 && buffer[189999] == 0);
}

static int shared, taken[BIG / PIECE + 2];

/* Threads share an offset: each piece is read by one of them. */
static void *take_pieces(void *unused)
{
    unsigned char *mine = malloc(PIECE);
    long n;

    while ((n = read(shared, mine, PIECE)) > 0) {
        long at = 0;

        memcpy(&at, mine, 4);
        CHECK(at % PIECE == 0 && __atomic_fetch_add(&taken[at / PIECE], 1, __ATOMIC_SEQ_CST) == 0);
        CHECK(mine[n - 1] == byte_of(7, at + n - 1));
    }
    CHECK(n == 0);
    free(mine);
    return unused;
}

static void share(void)
{
    pthread_t threads[THREADS];

    shared = make(7, BIG);
    for (unsigned at = 0; at < BIG; at += PIECE)
        CHECK(pwrite(shared, &at, 4, at) == 4);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, take_pieces, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i <= (BIG - 1) / PIECE; i++)
        CHECK(taken[i] == 1);
    close(shared);
}

static int files[FILES];

/* More files than any cache, by several threads at once; some map and fork meanwhile, which needs descriptors, too. */
static void *mix(void *argument)
{
    unsigned long seed = (unsigned long)argument;
    unsigned char *mine = malloc(70000);

    for (int i = 0; i < 150; i++) {
        int file = (int)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % FILES;
        long at = (long)(seed >> 20) % 30000, size = i % 3 ? 40000 : 69000;

        CHECK(pread(files[file], mine, (size_t)size, at) == size);
        for (long k = 0; k < size; k += 97)
            CHECK(mine[k] == byte_of(file, at + k));
        if (i % 25 == 0) {
            unsigned char *map = mmap(NULL, 65536, PROT_READ, MAP_SHARED, files[file], 0);

            CHECK(map != MAP_FAILED && map[5000] == byte_of(file, 5000));
            munmap(map, 65536);
        }
    }
    free(mine);
    return NULL;
}

static void mix_all(void)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < FILES; i++)
        files[i] = make(i, 100000);
    for (long i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, mix, (void *)(i + 1)) == 0);
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        int status;

        CHECK(child >= 0);
        if (child == 0) {
            CHECK(syscall(9999) == -1); /* nothing that fast paths know, before anything else */
            for (int k = 0; k < 2 * FILES; k++) {
                if (pread(files[k % FILES], buffer, 70000, k) != 70000 || buffer[69999] != byte_of(k % FILES, k + 69999))
                    _exit(1);
            }
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < FILES; i++)
        close(files[i]);
}

/* A file in the place of another: neither its number nor its name matters. */
static void again(void)
{
    for (int i = 0; i < 30; i++) {
        int fd = make(i, 90000);

        for (int k = 0; k < 3; k++)
            CHECK(pread(fd, buffer, 80000, k) == 80000);
        compare(i, buffer, 2, 80000);
        close(fd);
    }
}

int main(void)
{
    int fd = make(1, BIG);

    sizes(fd);
    half_a_buffer(fd);
    changes(fd);
    close(fd);
    share();
    mix_all();
    again();
    return done();
}
