/* FUTEX_WAKE_OP, out of an atomic operation and the two wakes that the keyhole has.
 *
 * Who waits on the second futex has either queued before its word changed, and is woken, or sees the new value. */

#include "guest.h"

#define FUTEX_WAKE 1
#define FUTEX_PRIVATE 128
#define OPARG_SHIFT 8

enum { OP_SET, OP_ADD, OP_OR, OP_ANDN, OP_XOR };
enum { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE };

static uint32_t
operate(uint32_t op, uint32_t old, uint32_t operand)
{
    switch (op) {
    case OP_SET:
        return operand;
    case OP_ADD:
        return old + operand;
    case OP_OR:
        return old | operand;
    case OP_ANDN:
        return old & ~operand;
    default:
        return old ^ operand;
    }
}

/* Whether the old value compares as asked, or -ENOSYS. */
static int
compare(uint32_t how, int32_t old, int32_t with)
{
    switch (how) {
    case CMP_EQ:
        return old == with;
    case CMP_NE:
        return old != with;
    case CMP_LT:
        return old < with;
    case CMP_GE:
        return old >= with;
    case CMP_LE:
        return old <= with;
    case CMP_GT:
        return old > with;
    default:
        return -ENOSYS;
    }
}

/* Carry out the operation that `what` encodes on a word; whether the wake there is due, or -errno. */
static int
operate_on(uint64_t address, uint32_t what)
{
    const uint32_t op = what >> 28 & 7;
    uint32_t operand = (uint32_t)((int32_t)(what << 8) >> 20), old;
    const int32_t with = (int32_t)(what << 20) >> 20;
    long other;

    if (what >> 28 & OPARG_SHIFT)
        operand = 1U << (operand & 31);
    if (op > OP_XOR)
        return -ENOSYS;
    if (copy_bytes(&old, (void *)address, 4) != 0)
        return -EFAULT;
    do {
        other = compare_exchange((uint32_t *)address, &old, operate(op, old, operand));
        if (other < 0)
            return -EFAULT;
    } while (other);
    return compare(what >> 24 & 15, (int32_t)old, with);
}

/* futex(2) with its six arguments, of which the second is FUTEX_WAKE_OP, PRIVATE or not. */
int64_t
futex_wake_op(const uint64_t *a)
{
    const uint64_t wake = FUTEX_WAKE | (a[1] & FUTEX_PRIVATE);
    uint32_t word;
    int due;
    long first, second;

    if ((a[0] | a[4]) & 3)
        return -EINVAL;
    if (!range_ok(a[0], 4) || !range_ok(a[4], 4))
        return -EFAULT;
    if (!(a[1] & FUTEX_PRIVATE) && copy_bytes(&word, (void *)a[0], 4) != 0) /* what is not mapped has no name */
        return -EFAULT;
    due = operate_on(a[4], (uint32_t)a[5]);
    if (due < 0)
        return due;
    first = host(__NR_futex, a[0], wake, a[2], 0);
    if (first < 0 || !due)
        return first;
    second = host(__NR_futex, a[4], wake, a[3], 0);
    return second < 0 ? second : first + second;
}
