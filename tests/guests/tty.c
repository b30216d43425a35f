/* A pty's line discipline: echo, erase, lines, end of file, signals of keys, raw mode, window size, hang-up. */
#include "guest.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;
static volatile int ints, winches, hups;
static void note(int signal) { *(signal == SIGINT ? &ints : signal == SIGHUP ? &hups : &winches) += 1; }

static void say_bytes(const char *what, const unsigned char *text, long got)
{
    say("%s: ", what);
    for (int i = 0; i < got; i++)
        say(text[i] < ' ' || text[i] > '~' ? "\\%03o" : "%c", text[i]);
    say(got == -1 ? "%s\n" : " (%ld)\n", got == -1 ? (long)strerrorname_np(errno) : got);
}

static void show(const char *what, int fd)
{
    unsigned char text[200];
    struct pollfd polled = {fd, POLLIN, 0};
    say_bytes(what, text, poll(&polled, 1, 500) ? read(fd, text, sizeof text) : -2);
}

/* What the terminal shows, which may come piece by piece: the host has somebody else bring it. */
static void show_output(const char *what, long size)
{
    unsigned char text[200];
    long got = 0, more;
    while (got < size && (more = read(master, text + got, sizeof text - got)) > 0)
        got += more;
    say_bytes(what, text, got);
}

static void type(const char *keys) { CHECK(write(master, keys, strlen(keys)) == (ssize_t)strlen(keys)); }

/* One read of the controlling side in packet mode: the byte before it, and what is ready. */
static void packet(const char *what)
{
    unsigned char bytes[100];
    struct pollfd ready = {master, POLLIN | POLLPRI, 0};
    CHECK(poll(&ready, 1, 10000) == 1);
    long got = read(master, bytes, sizeof bytes);
    CHECK(got > 0);
    say("%s: ready %x, first %d: %.*s\n", what, ready.revents & (POLLIN | POLLPRI), bytes[0], (int)got - 1, bytes + 1);
}

/* What was before struct termios: half as many bits, eight characters. */
static void old_modes(int terminal)
{
    struct termios before, after;
    struct termio old;
    CHECK(tcgetattr(terminal, &before) == 0 && ioctl(terminal, TCGETA, &old) == 0);
    CHECK(old.c_lflag == (before.c_lflag & 0xffff) && old.c_iflag == (before.c_iflag & 0xffff));
    CHECK(memcmp(old.c_cc, before.c_cc, sizeof old.c_cc) == 0);
    TRY(ioctl(terminal, TCGETA, BAD));
    old.c_lflag ^= ECHO;
    old.c_cc[VERASE] = 'z';
    CHECK(ioctl(terminal, TCSETAW, &old) == 0 && tcgetattr(terminal, &after) == 0);
    CHECK(after.c_lflag == (before.c_lflag ^ ECHO) && after.c_oflag == before.c_oflag);
    CHECK(after.c_cc[VERASE] == 'z' && after.c_cc[VSUSP] == before.c_cc[VSUSP]);
    old.c_lflag ^= ECHO;
    old.c_cc[VERASE] = before.c_cc[VERASE];
    CHECK(ioctl(terminal, TCSETAF, &old) == 0 && tcgetattr(terminal, &after) == 0);
    CHECK(after.c_lflag == before.c_lflag && memcmp(after.c_cc, before.c_cc, VEOL2 + 1) == 0);
}

static void packets(int terminal)
{
    struct termios mode;
    int on = 1, is;
    char byte = 'x';
    CHECK(tcgetattr(terminal, &mode) == 0);
    TRY(ioctl(terminal, TIOCPKT, &on));
    TRY(ioctl(master, TIOCPKT, BAD));
    TRY(ioctl(master, TIOCPKT, &on));
    CHECK(ioctl(master, TIOCGPKT, &is) == 0 && is == 1);
    CHECK(poll(&(struct pollfd){master, POLLIN | POLLPRI, 0}, 1, 0) == 0);
    CHECK(write(terminal, "shown", 5) == 5);
    packet("output");
    CHECK(write(terminal, "y", 1) == 1 && read(master, &byte, 1) == 1 && byte == 0);
    packet("after a read of one byte");
    CHECK(tcflush(terminal, TCIFLUSH) == 0);
    packet("input flushed");
    CHECK(tcflush(terminal, TCIOFLUSH) == 0);
    packet("both flushed");
    CHECK(tcflow(terminal, TCOOFF) == 0);
    packet("stopped");
    CHECK(tcflow(terminal, TCOON) == 0);
    packet("started");
    type("\023");
    packet("^S");
    type("\021");
    packet("^Q");
    mode.c_iflag &= ~IXON;
    CHECK(tcsetattr(terminal, TCSANOW, &mode) == 0);
    packet("no ^S");
    mode.c_iflag |= IXON;
    CHECK(tcsetattr(terminal, TCSANOW, &mode) == 0);
    packet("^S again");
    mode.c_cc[VSTOP] = 'S';
    CHECK(tcsetattr(terminal, TCSADRAIN, &mode) == 0 && tcflush(terminal, TCIFLUSH) == 0);
    packet("two at once");
    on = 0;
    CHECK(ioctl(master, TIOCPKT, &on) == 0 && tcflush(terminal, TCIFLUSH) == 0 && write(terminal, "plain", 5) == 5);
    show_output("without packets", 5);
}

int main(void)
{
    struct termios mode;
    struct winsize size = {24, 80, 0, 0};
    if (getpgrp() == getpid()) { /* a group leader cannot make a session */
        pid_t child = fork();
        if (child)
            return reap(child);
    }
    CHECK(openpty(&master, &slave, NULL, NULL, &size) == 0);
    CHECK(isatty(slave) && strncmp(ttyname(slave), "/dev/pts/", 9) == 0);
    CHECK(tcgetattr(slave, &mode) == 0);
    say("modes i %x o %x c %x l %x\n", mode.c_iflag, mode.c_oflag, mode.c_cflag & 0xfff, mode.c_lflag);
    type("ab\177c\n");
    show_output("echo", 8);
    show("line", slave);
    type("un");
    show_output("echo of half a line", 2);
    show("nothing yet", slave);
    type("done\025killed\n");
    show("line after ^U", slave);
    type("x\004");
    show("^D after a character", slave);
    type("\004");
    show("^D alone", slave);
    show_output("echo", 31);
    CHECK(write(slave, "out\n", 4) == 4);
    show_output("output is cooked", 5);
    mode.c_lflag &= ~(ICANON | ECHO);
    mode.c_cc[VMIN] = 1;
    CHECK(tcsetattr(slave, TCSANOW, &mode) == 0);
    type("q");
    show("raw", slave);
    TRY(tcgetpgrp(slave));
    CHECK(setsid() == getpid());
    TRY(ioctl(slave, TIOCSCTTY, 0));
    CHECK(tcgetpgrp(slave) == getpgrp() && tcgetsid(slave) == getpid());
    handle(SIGINT, 0, note), handle(SIGWINCH, 0, note), handle(SIGHUP, 0, note);
    type("\003");
    while (!ints)
        nap(1);
    size.ws_row = 50;
    TRY(ioctl(master, TIOCSWINSZ, &size));
    while (!winches)
        nap(1);
    CHECK(ioctl(slave, TIOCGWINSZ, &size) == 0);
    say("rows %d columns %d, SIGINT %d\n", size.ws_row, size.ws_col, ints);
    int tty = open("/dev/tty", O_RDWR);
    CHECK(tty >= 0 && write(tty, "via /dev/tty\n", 13) == 13);
    show_output("controlling terminal", 14);
    type("left");
    nap(10);
    TRY(tcflush(slave, TCIFLUSH));
    show("flushed", slave);
    handle(SIGTTOU, 0, SIG_IGN);
    TRY(tcsetpgrp(slave, getpgrp()));
    TRY(tcsetpgrp(slave, 12345678));
    CHECK(close(master) == 0);
    while (!hups)
        nap(1);
    show("after the hang-up", slave);
    TRY(write(slave, "x", 1));
    CHECK(poll(&(struct pollfd){slave, POLLIN, 0}, 1, 0) == 1);
    /* The number is given again, and is another terminal. */
    char name[PATH_MAX];
    struct stat at;
    CHECK(close(tty) == 0 && openpty(&master, &tty, name, NULL, NULL) == 0);
    CHECK((slave = open(name, O_RDWR | O_NOCTTY)) >= 0 && close(slave) == 0 && close(tty) == 0 && close(master) == 0);
    while (stat(name, &at) == 0) /* it goes a little later on the host */
        sched_yield();
    TRY(stat(name, &at));
    CHECK(openpty(&master, &tty, name, NULL, NULL) == 0 && (slave = open(name, O_RDWR | O_NOCTTY)) >= 0);
    CHECK(stat(name, &at) == 0 && strcmp(ttyname(slave), name) == 0);
    CHECK(stat("/dev/pts", &at) == 0 && at.st_mtime && stat("/dev/pts/ptmx", &at) == 0 && at.st_mtime);
    old_modes(slave);
    packets(slave);
    return done();
}
