/* Huffman-coded JPEG data, one restart interval at a time: read coefficients of some MCUs, and write the interval
 * anew with other coefficients there; every other bit is copied.
 *
 * Plain C99 without Python.h and without a C library's headers: loaded by ctypes, tied to no Python version, compiled
 * wherever a compiler is (hatch_build.py). Owns bits only; it knows no files, no
 * pixels and no memory: every buffer comes from the caller with its size, and nothing outside is read or written,
 * whatever the bytes say. fallback.py does the same in Python, bit for bit; tests/contract/test_splice_coders.py compares.
 */
#include <stddef.h>
#include <stdint.h>

/* The process has them. As builtins, since a copy of 8 bytes must become one instruction. */
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memchr __builtin_memchr
#define memcmp __builtin_memcmp

#define EXPORT __attribute__((visibility("default")))

enum {
    BAD_CODE = -1,    /* bits that are no code of the table */
    BAD_BLOCK = -2,   /* more than 64 coefficients */
    SHORT = -3,       /* the bits end inside an MCU */
    RANGE = -4,       /* a coefficient beyond 16 bits */
    MISSING = -5,     /* a symbol is needed that the table has no code for (marked in `missing`) */
    NO_ROOM = -6,     /* the output buffer is too small */
    BAD_CALL = -7,    /* arguments that contradict each other */
    BAD_TABLE = -8,   /* no prefix code */
    FILL = -9,        /* 0xFF that is followed by no zero: a marker, or a fill byte */
    DIFFERS = -10,    /* bits that were to stay the same did not */
    BEHIND = -11      /* bits behind the last block */
};

enum { FAST_BITS = 10, SEVERAL_BITS = 12, MAX_BLOCKS = 10, MAX_COMPONENTS = 4, END_OF_BLOCK = 128, RUN_FIELDS = 7 };

typedef struct {
    uint32_t fast[1 << FAST_BITS]; /* by the next bits: an entry, 0 for codes that are longer */
    uint16_t several[1 << SEVERAL_BITS]; /* by the next bits: as many whole symbols as they hold, 0 for none */
    int32_t largest[17];           /* the largest code of each length, -1 for none */
    int32_t offset[17];            /* from a code to its place in values */
    uint8_t values[256];
    uint16_t code[256]; /* by symbol */
    uint8_t length[256]; /* by symbol; 0: it has no code */
    int32_t is_dc;
    int32_t count;
} Table;

typedef struct {
    const uint8_t *bytes;
    uint64_t size;
} Bits;

typedef struct {
    uint8_t *bytes;
    uint64_t size, used;
    uint64_t pending; /* the lowest `count` bits, fewer than 8 between calls */
    int count;
    int full;
} Writer;

typedef struct {
    int32_t blocks;
    int32_t components;
    uint8_t component[MAX_BLOCKS]; /* of each block of an MCU */
    const Table *dc[MAX_COMPONENTS], *ac[MAX_COMPONENTS];
} Stream;

EXPORT uint64_t fb_version(void) { return 2; }
EXPORT uint64_t fb_table_size(void) { return sizeof(Table); }
EXPORT uint64_t fb_stream_size(void) { return sizeof(Stream); }

/* --- tables */

/* length of the code | length with the extra bits << 5 | coefficients to step over << 10 | symbol << 18 */
static uint32_t entry(int length, int symbol, int is_dc)
{
    int size = is_dc ? symbol : symbol & 15, step;
    if (is_dc)
        step = size <= 15 ? 1 : 0;
    else if (size)
        step = (symbol >> 4) + 1;
    else
        step = symbol == 0xF0 ? 16 : symbol == 0 ? END_OF_BLOCK : 0;
    if (!step)
        size = 0; /* no such symbol in a sequential scan: whoever meets it sees a step of 0 */
    return (uint32_t)(length | (length + size) << 5 | step << 10 | symbol << 18);
}

static void fill_several(Table *table);

EXPORT int64_t fb_table(Table *table, const uint8_t *counts, const uint8_t *values, uint64_t count, int32_t is_dc)
{
    uint32_t code = 0, place = 0;
    memset(table, 0, sizeof *table);
    table->is_dc = is_dc;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->offset[length] = (int32_t)place - (int32_t)code;
        table->largest[length] = -1;
        for (int i = 0; i < counts[length - 1]; i++, code++, place++) {
            if (place >= count || place >= 256 || code >= (1u << length))
                return BAD_TABLE;
            uint8_t symbol = values[place];
            table->values[place] = symbol;
            table->code[symbol] = (uint16_t)code;
            table->length[symbol] = (uint8_t)length;
            table->largest[length] = (int32_t)code;
            if (length <= FAST_BITS) {
                uint32_t from = code << (FAST_BITS - length), upto = (code + 1) << (FAST_BITS - length);
                for (uint32_t at = from; at < upto; at++)
                    table->fast[at] = entry(length, symbol, is_dc);
            }
        }
    }
    table->count = (int32_t)place;
    if (!is_dc)
        fill_several(table);
    return place == count ? 0 : BAD_TABLE;
}

EXPORT int64_t fb_stream(Stream *stream, int32_t blocks, const uint8_t *component, int32_t components,
                         const Table *const *dc, const Table *const *ac)
{
    if (blocks < 1 || blocks > MAX_BLOCKS || components < 1 || components > MAX_COMPONENTS)
        return BAD_CALL;
    memset(stream, 0, sizeof *stream);
    stream->blocks = blocks;
    stream->components = components;
    for (int b = 0; b < blocks; b++) {
        if (component[b] >= components)
            return BAD_CALL;
        stream->component[b] = component[b];
    }
    for (int c = 0; c < components; c++) {
        if (!dc[c] || !ac[c] || !dc[c]->is_dc || ac[c]->is_dc)
            return BAD_CALL;
        stream->dc[c] = dc[c];
        stream->ac[c] = ac[c];
    }
    return 0;
}

/* --- reading */

/* Take the stuffing out of `size` bytes: every 0xFF must be followed by a zero, which goes. `output` is as large.
 * Returns how many are left. bytes.replace needs 6 ms for 2.4 MB, this 1. */
EXPORT int64_t fb_unstuff(const uint8_t *bytes, uint64_t size, uint8_t *output)
{
    uint64_t at = 0, used = 0;
    while (at < size) {
        const uint8_t *found = memchr(bytes + at, 0xFF, (size_t)(size - at));
        uint64_t upto = found ? (uint64_t)(found - bytes) + 1 : size;
        memcpy(output + used, bytes + at, (size_t)(upto - at));
        used += upto - at;
        at = upto;
        if (found && (at >= size || bytes[at++] != 0))
            return FILL;
    }
    return (int64_t)used;
}

/* The other way: `output` has room for twice as much. */
EXPORT int64_t fb_stuff(const uint8_t *bytes, uint64_t size, uint8_t *output)
{
    uint64_t at = 0, used = 0;
    while (at < size) {
        const uint8_t *found = memchr(bytes + at, 0xFF, (size_t)(size - at));
        uint64_t upto = found ? (uint64_t)(found - bytes) + 1 : size;
        memcpy(output + used, bytes + at, (size_t)(upto - at));
        used += upto - at;
        at = upto;
        if (found)
            output[used++] = 0;
    }
    return (int64_t)used;
}

/* At least 57 bits from `position` on, the first one on top; zeros beyond the end. */
static inline uint64_t peek(const Bits *bits, uint64_t position)
{
    uint64_t at = position >> 3, word = 0;
    if (bits->size >= 8 && at <= bits->size - 8) {
        memcpy(&word, bits->bytes + at, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        word = __builtin_bswap64(word);
#endif
    } else {
        for (int i = 0; i < 8; i++)
            word = word << 8 | (at + (uint64_t)i < bits->size ? bits->bytes[at + (uint64_t)i] : 0);
    }
    return word << (position & 7);
}

static uint32_t look_up_long(const Table *table, uint64_t word)
{
    for (int length = FAST_BITS + 1; length <= 16; length++) {
        int32_t code = (int32_t)(word >> (64 - length));
        if (code <= table->largest[length]) {
            int32_t place = code + table->offset[length];
            if (place < 0 || place >= table->count)
                return 0;
            return entry(length, table->values[place], table->is_dc);
        }
    }
    return 0;
}

static inline uint32_t look_up(const Table *table, uint64_t word)
{
    uint32_t found = table->fast[word >> (64 - FAST_BITS)];
    return found ? found : look_up_long(table, word);
}

#define LENGTH(entry) ((int)((entry) & 31))
#define TOTAL(entry) ((int)((entry) >> 5 & 31))
#define STEP(entry) ((int)((entry) >> 10 & 255))
#define SYMBOL(entry) ((int)((entry) >> 18))

#define BITS(several) ((int)((several) & 15))
#define STEPS(several) ((int)((several) >> 4 & 255))
#define ENDS(several) ((int)((several) >> 15))

/* bits | coefficients to step over << 4 | whether the end of the block comes after them << 15 */
static void fill_several(Table *table)
{
    for (uint32_t index = 0; index < 1u << SEVERAL_BITS; index++) {
        uint64_t word = (uint64_t)index << (64 - SEVERAL_BITS);
        int used = 0, steps = 0, ends = 0;
        while (!ends) {
            uint32_t found = look_up(table, word);
            if (!found || !STEP(found) || used + TOTAL(found) > SEVERAL_BITS)
                break;
            ends = STEP(found) == END_OF_BLOCK;
            steps += ends ? 0 : STEP(found);
            used += TOTAL(found);
            word <<= TOTAL(found);
        }
        table->several[index] = (uint16_t)(used | steps << 4 | ends << 15);
    }
}

/* The number in the `size` bits after a code of `length` bits. */
static inline int32_t extra(uint64_t word, int length, int size)
{
    int32_t value;
    if (!size)
        return 0;
    value = (int32_t)((word << length) >> (64 - size));
    return value < (1 << (size - 1)) ? value - (1 << size) + 1 : value;
}

static int64_t read_dc(const Bits *bits, uint64_t *position, const Table *table, int32_t *last)
{
    uint64_t word = peek(bits, *position);
    uint32_t found = look_up(table, word);
    if (!found || !STEP(found))
        return BAD_CODE;
    *last += extra(word, LENGTH(found), SYMBOL(found));
    *position += (uint64_t)TOTAL(found);
    return *last < INT16_MIN || *last > INT16_MAX ? RANGE : 0;
}

static int64_t skip_ac(const Bits *bits, uint64_t *position, const Table *table)
{
    int k = 1;
    while (k < 64) {
        uint64_t word = peek(bits, *position);
        int used = 0;
        do { /* a symbol has at most 31 bits, a word at least 57 */
            uint32_t several = table->several[word >> (64 - SEVERAL_BITS)];
            /* What comes after the 64th coefficient is another block's. */
            if (several && k + STEPS(several) + ENDS(several) <= 64) {
                k = ENDS(several) ? END_OF_BLOCK : k + STEPS(several);
                word <<= BITS(several);
                used += BITS(several);
                continue;
            }
            uint32_t found = look_up(table, word);
            if (!found || !STEP(found))
                return BAD_CODE;
            k += STEP(found);
            word <<= TOTAL(found);
            used += TOTAL(found);
        } while (k < 64 && used <= 26);
        *position += (uint64_t)used;
    }
    return k == 64 || k >= END_OF_BLOCK ? 0 : BAD_BLOCK;
}

static int64_t read_ac(const Bits *bits, uint64_t *position, const Table *table, int16_t *block)
{
    int k = 1;
    while (k < 64) {
        uint64_t word = peek(bits, *position);
        uint32_t found = look_up(table, word);
        int step = found ? STEP(found) : 0;
        if (!step)
            return BAD_CODE;
        *position += (uint64_t)TOTAL(found);
        k += step;
        if (step == END_OF_BLOCK)
            return 0;
        if (k > 64)
            return BAD_BLOCK;
        if (SYMBOL(found) & 15)
            block[k - 1] = (int16_t)extra(word, LENGTH(found), SYMBOL(found) & 15);
    }
    return 0;
}

static int64_t read_mcu(const Stream *stream, const Bits *bits, uint64_t *position, int32_t *last, int16_t *blocks)
{
    for (int b = 0; b < stream->blocks; b++) {
        int c = stream->component[b];
        int64_t error = read_dc(bits, position, stream->dc[c], &last[c]);
        if (!error && blocks) {
            blocks[64 * b] = (int16_t)last[c];
            error = read_ac(bits, position, stream->ac[c], blocks + 64 * b);
        } else if (!error) {
            error = skip_ac(bits, position, stream->ac[c]);
        }
        if (error)
            return error;
        if (*position > 8 * bits->size)
            return SHORT;
    }
    return 0;
}

/* Read `mcus` MCUs. Those with wanted[i] go to `coefficients` (zeros before the call, `stream->blocks` * 64 each), and
 * each row of them to `runs`: first bit, bit after the last, how many, and the DC values before them by component.
 * Returns the number of runs; `end` is the bit after the last MCU. */
EXPORT int64_t fb_walk(const Stream *stream, const uint8_t *bytes, uint64_t size, uint64_t mcus, const uint8_t *wanted,
                       int16_t *coefficients, uint64_t room, int64_t *runs, uint64_t runs_room, uint64_t *end)
{
    const Bits bits = {bytes, size};
    uint64_t position = 0, taken = 0, found = 0;
    int32_t last[MAX_COMPONENTS] = {0, 0, 0, 0};
    for (uint64_t m = 0; m < mcus; m++) {
        int16_t *target = NULL;
        int64_t error;
        if (wanted[m]) {
            if (taken >= room)
                return BAD_CALL;
            if (m == 0 || !wanted[m - 1]) {
                if (found >= runs_room)
                    return BAD_CALL;
                int64_t *run = runs + RUN_FIELDS * found++;
                run[0] = (int64_t)position;
                run[2] = 0;
                for (int c = 0; c < MAX_COMPONENTS; c++)
                    run[3 + c] = last[c];
            }
            target = coefficients + 64 * (uint64_t)stream->blocks * taken++;
        }
        error = read_mcu(stream, &bits, &position, last, target);
        if (error)
            return error;
        if (target) {
            int64_t *run = runs + RUN_FIELDS * (found - 1);
            run[1] = (int64_t)position;
            run[2]++;
        }
    }
    *end = position;
    return (int64_t)found;
}

/* --- reading again */

static int64_t expect_same(const Bits *one, uint64_t from, const Bits *other, uint64_t at, uint64_t length)
{
    if (from > 8 * one->size || length > 8 * one->size - from || at > 8 * other->size ||
        length > 8 * other->size - at)
        return SHORT;
    for (; length >= 56; length -= 56, from += 56, at += 56)
        if ((peek(one, from) ^ peek(other, at)) >> 8)
            return DIFFERS;
    return length && (peek(one, from) ^ peek(other, at)) >> (64 - length) ? DIFFERS : 0;
}

/* Read the interval that `fb_write` made of an old one: what stands in the place of its runs goes to `coefficients`
 * (zeros before the call), all else must be the old bits. */
EXPORT int64_t fb_reread(const Stream *stream, const uint8_t *old, uint64_t old_size, uint64_t end,
                         const int64_t *runs, uint64_t run_count, const uint8_t *bytes, uint64_t size,
                         int16_t *coefficients, uint64_t mcus)
{
    const Bits before = {old, old_size}, after = {bytes, size};
    uint64_t from = 0, at = 0, taken = 0;
    for (uint64_t r = 0; r <= run_count; r++) {
        const int64_t *run = runs + RUN_FIELDS * r;
        uint64_t upto = r < run_count ? (uint64_t)run[0] : end;
        int32_t last[MAX_COMPONENTS];
        int64_t error;
        if (upto < from || upto > end)
            return BAD_CALL;
        if ((error = expect_same(&before, from, &after, at, upto - from)))
            return error;
        at += upto - from;
        if (r == run_count)
            break;
        if (run[1] < run[0] || (uint64_t)run[1] > end || run[2] < 0 || (uint64_t)run[2] > mcus - taken)
            return BAD_CALL;
        for (int c = 0; c < MAX_COMPONENTS; c++)
            last[c] = (int32_t)run[3 + c];
        for (int64_t m = 0; m < run[2]; m++, taken++)
            if ((error = read_mcu(stream, &after, &at, last, coefficients + 64 * (uint64_t)stream->blocks * taken)))
                return error;
        from = (uint64_t)run[1];
    }
    return 8 * size - at < 8 ? 0 : BEHIND; /* what fills up the last byte */
}

/* --- writing */

static inline void put(Writer *out, uint32_t value, int count) /* at most 32 bits */
{
    out->pending = out->pending << count | value;
    out->count += count;
    while (out->count >= 8) {
        out->count -= 8;
        if (out->used < out->size)
            out->bytes[out->used++] = (uint8_t)(out->pending >> out->count);
        else
            out->full = 1;
    }
    out->pending &= 0xFF; /* fewer than 8 are pending */
}

static void copy(Writer *out, const Bits *bits, uint64_t from, uint64_t upto)
{
    while (upto - from >= 56 && out->size - out->used >= 8) {
        uint64_t above = out->count ? (out->pending & ((1u << out->count) - 1)) << (64 - out->count) : 0;
        uint64_t word = above | (peek(bits, from) & ~(uint64_t)0xFF) >> out->count, ordered = word;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        ordered = __builtin_bswap64(word);
#endif
        memcpy(out->bytes + out->used, &ordered, 8); /* 56 bits count, the rest is overwritten */
        out->used += 7;
        out->pending = (word & 0xFF) >> (8 - out->count);
        from += 56;
    }
    while (from < upto && !out->full) {
        int count = upto - from > 24 ? 24 : (int)(upto - from);
        put(out, (uint32_t)(peek(bits, from) >> (64 - count)), count);
        from += (uint64_t)count;
    }
}

static inline void put_symbol(Writer *out, const Table *table, int symbol, uint8_t *missing)
{
    if (table->length[symbol])
        put(out, table->code[symbol], table->length[symbol]);
    else
        missing[symbol] = 1;
}

static inline int bits_of(int32_t value)
{
    uint32_t magnitude = (uint32_t)(value < 0 ? -value : value);
    return magnitude ? 32 - __builtin_clz(magnitude) : 0;
}

static inline void put_value(Writer *out, int32_t value, int size)
{
    if (size)
        put(out, (uint32_t)(value < 0 ? value - 1 : value) & ((1u << size) - 1), size);
}

static int64_t put_block(Writer *out, const Table *dc, const Table *ac, const int16_t *block, int32_t *last,
                         uint8_t *missing)
{
    int32_t difference = block[0] - *last;
    int size = bits_of(difference), zeros = 0;
    if (size > 15)
        return RANGE;
    *last = block[0];
    put_symbol(out, dc, size, missing);
    put_value(out, difference, size);
    for (int k = 1; k < 64; k++) {
        if (!block[k]) {
            zeros++;
            continue;
        }
        for (; zeros > 15; zeros -= 16)
            put_symbol(out, ac, 0xF0, missing + 256);
        size = bits_of(block[k]);
        if (size > 15)
            return RANGE;
        put_symbol(out, ac, zeros << 4 | size, missing + 256);
        put_value(out, block[k], size);
        zeros = 0;
    }
    if (zeros)
        put_symbol(out, ac, 0, missing + 256);
    return 0;
}

/* Copy one symbol with its extra bits from one table to the other; returns its entry. */
static uint32_t recode_symbol(Writer *out, const Bits *bits, uint64_t *position, const Table *from, const Table *to,
                              uint8_t *missing)
{
    uint64_t word = peek(bits, *position);
    uint32_t found = look_up(from, word);
    int size = found ? TOTAL(found) - LENGTH(found) : 0;
    if (!found || !STEP(found))
        return 0;
    put_symbol(out, to, SYMBOL(found), missing);
    if (size)
        put(out, (uint32_t)((word << LENGTH(found)) >> (64 - size)), size);
    *position += (uint64_t)TOTAL(found);
    return found;
}

static int64_t recode(Writer *out, const Stream *source, const Stream *target, const Bits *bits, uint64_t from,
                      uint64_t upto, uint8_t *missing)
{
    while (from < upto && !out->full) {
        for (int b = 0; b < source->blocks; b++) {
            int c = source->component[b];
            uint8_t *marks = missing + 512 * c;
            if (!recode_symbol(out, bits, &from, source->dc[c], target->dc[c], marks))
                return BAD_CODE;
            for (int k = 1; k < 64;) {
                uint32_t found = recode_symbol(out, bits, &from, source->ac[c], target->ac[c], marks + 256);
                if (!found)
                    return BAD_CODE;
                k += STEP(found);
            }
            if (from > upto)
                return BAD_CALL;
        }
    }
    return 0;
}

/* Write the interval anew: runs from `coefficients`, everything between them copied, or recoded when `source` is not
 * NULL (then the bits were written with its tables). `missing`: 512 bytes for each component, DC symbols and AC
 * symbols. Returns the number of bytes; they are filled up by ones, and not stuffed. */
EXPORT int64_t fb_write(const Stream *stream, const Stream *source, const uint8_t *bytes, uint64_t size, uint64_t end,
                        const int64_t *runs, uint64_t run_count, const int16_t *coefficients, uint64_t mcus,
                        uint8_t *output, uint64_t room, uint8_t *missing)
{
    const Bits bits = {bytes, size};
    Writer out = {output, room, 0, 0, 0, 0};
    uint64_t position = 0, taken = 0;
    int64_t error = 0;
    if (end > 8 * size || (source && (source->blocks != stream->blocks ||
                                      memcmp(source->component, stream->component, MAX_BLOCKS) != 0)))
        return BAD_CALL;
    for (uint64_t r = 0; r <= run_count; r++) {
        const int64_t *run = runs + RUN_FIELDS * r;
        uint64_t upto = r < run_count ? (uint64_t)run[0] : end;
        int32_t last[MAX_COMPONENTS];
        if (upto < position || upto > end)
            return BAD_CALL;
        if (source)
            error = recode(&out, source, stream, &bits, position, upto, missing);
        else
            copy(&out, &bits, position, upto);
        if (error || r == run_count)
            break;
        if (run[1] < run[0] || (uint64_t)run[1] > end || run[2] < 0 || (uint64_t)run[2] > mcus - taken)
            return BAD_CALL;
        for (int c = 0; c < MAX_COMPONENTS; c++)
            last[c] = (int32_t)run[3 + c];
        for (int64_t m = 0; m < run[2] && !out.full; m++, taken++)
            for (int b = 0; b < stream->blocks && !error; b++) {
                int c = stream->component[b];
                const int16_t *block = coefficients + 64 * ((uint64_t)stream->blocks * taken + (uint64_t)b);
                error = put_block(&out, stream->dc[c], stream->ac[c], block, &last[c], missing + 512 * c);
            }
        if (error)
            break;
        position = (uint64_t)run[1];
    }
    if (error)
        return error;
    if (out.count)
        put(&out, (1u << (8 - out.count)) - 1, 8 - out.count);
    if (out.full)
        return NO_ROOM;
    for (int i = 0; i < 512 * stream->components; i++)
        if (missing[i])
            return MISSING;
    return (int64_t)out.used;
}
