/* Random bytes that depend on the seed alone. Hash maps, thread-local generators and the runtime all ask getrandom; std
 * looks it up so that it can be replaced. Only the simulator and its tests are linked with this. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

static _Thread_local uint64_t state;
static _Thread_local int begun;

static uint64_t next(void) {
    uint64_t z;
    if (!begun) {
        const char *seed = getenv("ISOBAR_SIM_SEED");
        state = seed ? strtoull(seed, NULL, 10) : 0;
        begun = 1;
    }
    z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    unsigned char *bytes = buffer;
    size_t at;
    (void)flags;
    for (at = 0; at < length; at++) bytes[at] = (unsigned char)(next() >> 32);
    return (ssize_t)length;
}
