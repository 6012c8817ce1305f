/* Holds a program, and all that it starts, to AVX2: a home server's processor, on one that knows more.
 *
 * cc -O2 -shared -fPIC -o avx2.so avx2.c; LD_PRELOAD=./avx2.so PROGRAM
 *
 * Libraries choose their code by the instruction `cpuid`. Linux can let it fault (arch_prctl(2), ARCH_SET_CPUID; on Intel
 * since Ivy Bridge); then the answer is the processor's own without AVX-512, AVX-VNNI and AMX. This works
 * for libraries that have no switch of their own. Exits with status 3 where the processor cannot do that.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

/* Bits of leaf 7, by Intel's Software Developer's Manual, volume 2, CPUID. */
#define AVX512_EBX (1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31)
#define AVX512_ECX (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
#define AVX512_EDX (1u << 2 | 1u << 3 | 1u << 8 | 1u << 23)
#define AMX_EDX (1u << 22 | 1u << 24 | 1u << 25)
#define NEWER_EAX (1u << 4 | 1u << 5 | 1u << 21 | 1u << 23) /* of sub-leaf 1: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA */

static int let_cpuid(int work) { return (int)syscall(SYS_arch_prctl, ARCH_SET_CPUID, work); }

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (code[0] != 0x0f || code[1] != 0xa2) { /* not cpuid: a fault of the program's own */
        signal(number, SIG_DFL);
        return;
    }
    unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX], a, b, c, d;
    let_cpuid(1);
    __cpuid_count(leaf, part, a, b, c, d);
    let_cpuid(0);
    if (leaf == 7 && part == 0) b &= ~AVX512_EBX, c &= ~AVX512_ECX, d &= ~(AVX512_EDX | AMX_EDX);
    if (leaf == 7 && part == 1) a &= ~NEWER_EAX, d = 0;
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, 0);
    if (let_cpuid(0)) _exit(3);
}
