/* eventfd and timerfd: counters, semaphores, overflow, blocking, and timers once, repeated, absolute, disarmed. */
#include "guest.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static int fd;
static void *later(void *argument)
{
    nap(30);
    eventfd_write(fd, (long)argument);
    return NULL;
}

int main(void)
{
    uint64_t value = 0, huge = ~0ul - 1, ones = ~0ul;
    pthread_t thread;
    fd = TRY(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
    TRY(read(fd, &value, 8));
    say("value %lu\n", value);
    TRY(read(fd, &value, 8));
    TRY(read(fd, &value, 7));
    TRY(write(fd, &huge, 8));
    TRY(write(fd, &(uint64_t){1}, 8));
    TRY(write(fd, &ones, 8));
    TRY(write(fd, &ones, 4));
    struct pollfd polled = {fd, POLLIN | POLLOUT, 0};
    poll(&polled, 1, 0);
    say("poll %x\n", polled.revents);
    TRY(pread(fd, &value, 8, 0));
    close(fd);
    fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    for (int i = 0; i < 3; i++) {
        value = 99;
        TRY(read(fd, &value, 8));
        say("semaphore %lu\n", value);
    }
    close(fd);
    fd = eventfd(0, 0);
    pthread_create(&thread, NULL, later, (void *)6);
    TRY(read(fd, &value, 8));
    say("blocked for %lu\n", value);
    pthread_join(thread, NULL);
    TRY(eventfd(0, 2));

    int timer = TRY(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    struct itimerspec spec = {{0, 0}, {0, 20000000}}, left;
    TRY(read(timer, &value, 8));
    TRY(timerfd_settime(timer, 0, &spec, NULL));
    TRY(read(timer, &value, 8));
    polled = (struct pollfd){timer, POLLIN, 0};
    TRY(poll(&polled, 1, 5000));
    TRY(read(timer, &value, 8));
    say("fired %lu\n", value);
    TRY(poll(&polled, 1, 40));
    spec = (struct itimerspec){{0, 5000000}, {0, 5000000}};
    timerfd_settime(timer, 0, &spec, NULL);
    nap(60);
    CHECK(read(timer, &value, 8) == 8 && value >= 11);
    CHECK(timerfd_gettime(timer, &left) == 0 && left.it_interval.tv_nsec == 5000000 && left.it_value.tv_nsec <= 5000000);
    spec = (struct itimerspec){{0, 0}, {0, 0}};
    CHECK(timerfd_settime(timer, 0, &spec, &left) == 0 && left.it_interval.tv_nsec == 5000000);
    TRY(poll(&polled, 1, 20));
    spec.it_value = (struct timespec){1, 0};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
    TRY(poll(&polled, 1, 5000));
    spec.it_value.tv_nsec = 1000000000;
    TRY(timerfd_settime(timer, 0, &spec, NULL));
    TRY(timerfd_settime(fd, 0, &spec, NULL));
    TRY(timerfd_create(99, 0));
    TRY(timerfd_create(CLOCK_REALTIME, 1));
    TRY(write(timer, &value, 8));
    return done();
}
