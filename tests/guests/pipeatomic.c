/* Writes of up to PIPE_BUF bytes never mix, whatever the number of writers and the size of reads. */
#include "guest.h"

enum { WRITERS = 4, RECORDS = 200 };

int main(void)
{
    int end[2], next[WRITERS] = {0};
    CHECK(pipe(end) == 0);
    pid_t child[WRITERS];
    for (int w = 0; w < WRITERS; w++)
        child[w] = CHILD(close(end[0]); for (int i = 0; i < RECORDS; i++) {
            unsigned char record[PIPE_BUF];
            memset(record, w * 16 + i % 16, sizeof record);
            CHECK(write(end[1], record, sizeof record) == sizeof record);
        });
    close(end[1]);
    static unsigned char all[WRITERS * RECORDS * PIPE_BUF];
    size_t total = 0;
    for (ssize_t got; (got = read(end[0], all + total, 1 + total % 7777)) > 0;)
        total += got;
    CHECK(total == sizeof all);
    for (size_t at = 0; at < total; at += PIPE_BUF) {
        int w = all[at] / 16;
        CHECK(w < WRITERS && all[at] % 16 == next[w]++ % 16);
        for (int i = 1; i < PIPE_BUF; i++)
            CHECK(all[at + i] == all[at]);
    }
    for (int w = 0; w < WRITERS; w++)
        say("writer %d: %d records, status %d\n", w, next[w], reap(child[w]));
    return done();
}
