/* Soft ellipses over the blocks of one component of a JPEG: read what they are to be filled with, and lay them over.
 *
 * What laying_fallback.py does with numpy, block by block, so that nothing is held but the block at hand: no array of
 * all blocks of a large face has to go through the memory a dozen times. Plain C99 with the vectors of GCC and Clang,
 * without Python.h; compiled with splice.c into one library. Owns no memory; every place that a caller names is checked
 * against the size that came with it.
 */
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { BAD_CALL = -7, BLOCK = 8, SAMPLES = 64, LARGEST = 1023 };

static const float TOP = 255, MIDDLE = 128, HARD = 1e-6f;
static const float ROUNDS = 12582912; /* added and taken away, it leaves the nearest whole number, as rint does */

typedef float Row __attribute__((vector_size(32)));
typedef float Half __attribute__((vector_size(16)));
typedef int32_t Whole __attribute__((vector_size(16)));
typedef union {
    Row row[BLOCK];
    Half half[BLOCK][2];
    Whole whole[BLOCK][2];
    float at[SAMPLES];
    int32_t number[SAMPLES];
} Block;

typedef struct {
    int64_t across, down;         /* MCUs */
    int64_t horizontal, vertical; /* blocks of this component in an MCU */
    int64_t blocks, first;        /* of all components in an MCU; the number of the first of these among them */
    int64_t width, height;        /* samples that belong to the picture */
    int64_t mcus;                 /* in `coefficients` */
    const int32_t *place;         /* by MCU: where in `coefficients` */
    const float *steps;           /* 64, zigzag */
    int16_t *coefficients;
} Component;

/* Along one axis, for each cover and each block that it meets there (covers.Side). */
typedef struct {
    int64_t count;
    const float *off, *share;   /* 8 each */
    const float *least, *most;  /* the squares of the least and the largest `off` */
    const int64_t *start;       /* by cover: its first row in these arrays */
    const int64_t *from, *upto; /* by cover: the blocks that it meets */
} Side;

typedef struct {
    int64_t count;
    Side rows, columns;
    const float *whole;
    const float *surface; /* 4 each: base, right, down, both (covers.Surface) */
    int64_t seen_rows, seen_columns;
} Covers;

/* Bound the values of a block; in vectors of 16 bytes, which every processor has. */
static inline void clip(Block *values, float most)
{
    const Half none = {0}, top = none + most;
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < 2; x++) {
            Half value = values->half[y][x];
            Whole high;
            value = (Half)((value > none) & (Whole)value);
            high = value < top;
            values->half[y][x] = (Half)((high & (Whole)value) | (~high & (Whole)top));
        }
}

/* --- transforms */

static const uint8_t ZIGZAG[SAMPLES] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* Halves of cosines of multiples of pi / 16. */
#define C1 0.490392640201615f
#define C2 0.461939766255643f
#define C3 0.415734806151273f
#define C4 0.353553390593274f
#define C5 0.277785116509801f
#define C6 0.191341716182545f
#define C7 0.097545161008064f

/* The first four samples of each wave; the other four mirror them, with another sign for the odd waves. */
static const Half WAVE[BLOCK] = {{C4, C4, C4, C4},   {C1, C3, C5, C7},   {C2, C6, -C6, -C2}, {C3, -C7, -C1, -C5},
                                 {C4, -C4, -C4, C4}, {C5, -C1, C7, C3},  {C6, -C2, C2, -C6}, {C7, -C5, C3, -C1}};
/* The same by sample: of the even waves, and of the odd ones. */
static const Half EVEN[4] = {{C4, C2, C4, C6}, {C4, C6, -C4, -C2}, {C4, -C6, -C4, C2}, {C4, -C2, C4, -C6}};
static const Half ODD[4] = {{C1, C3, C5, C7}, {C3, -C7, -C1, -C5}, {C5, -C1, C7, C3}, {C7, -C5, C3, -C1}};

/* From quantised coefficients to samples from 0 to 255, not rounded. */
static void decode(const int16_t *block, const float *steps, Block *out)
{
    Block wave, part;
    int last = SAMPLES;
    uint64_t four = 0;
    while (!four && last) { /* most blocks end early */
        last -= 4;
        __builtin_memcpy(&four, block + last, sizeof four);
    }
    for (int y = 0; y < BLOCK; y++)
        wave.row[y] = (Row){0};
    for (int k = 0; k < last + 4; k++)
        wave.at[ZIGZAG[k]] = (float)block[k] * steps[k];
    for (int y = 0; y < 4; y++) {
        Row even = wave.row[0] * WAVE[0][y], odd = wave.row[1] * WAVE[1][y];
        for (int v = 2; v < BLOCK; v += 2) {
            even += wave.row[v] * WAVE[v][y];
            odd += wave.row[v + 1] * WAVE[v + 1][y];
        }
        part.row[y] = even + odd;
        part.row[7 - y] = even - odd;
    }
    for (int y = 0; y < BLOCK; y++) {
        const float *from = part.at + BLOCK * y;
        Half even = WAVE[0] * from[0], odd = WAVE[1] * from[1];
        for (int u = 2; u < BLOCK; u += 2) {
            even += WAVE[u] * from[u];
            odd += WAVE[u + 1] * from[u + 1];
        }
        out->half[y][0] = even + odd;
        even -= odd;
        out->half[y][1] = (Half){even[3], even[2], even[1], even[0]};
    }
    for (int y = 0; y < BLOCK; y++)
        out->row[y] += MIDDLE;
    clip(out, TOP);
}

/* From samples to quantised coefficients. `order`: the steps in the order of what the transform leaves. */
static void encode(const Block *samples, const Block *order, int16_t *block)
{
    Block part, out;
    Row sum[4], difference[4];
    for (int y = 0; y < 4; y++) {
        sum[y] = samples->row[y] + samples->row[7 - y] - 2 * MIDDLE;
        difference[y] = samples->row[y] - samples->row[7 - y];
    }
    for (int v = 0; v < BLOCK; v += 2) {
        Row even = sum[0] * WAVE[v][0], odd = difference[0] * WAVE[v + 1][0];
        for (int y = 1; y < 4; y++) {
            even += sum[y] * WAVE[v][y];
            odd += difference[y] * WAVE[v + 1][y];
        }
        part.row[v] = even;
        part.row[v + 1] = odd;
    }
    for (int v = 0; v < BLOCK; v++) {
        Half first = part.half[v][0], last = part.half[v][1];
        last = (Half){last[3], last[2], last[1], last[0]};
        Half both = first + last, apart = first - last, even = EVEN[0] * both[0], odd = ODD[0] * apart[0];
        for (int x = 1; x < 4; x++) {
            even += EVEN[x] * both[x];
            odd += ODD[x] * apart[x];
        }
        out.half[v][0] = even;
        out.half[v][1] = odd;
    }
    for (int v = 0; v < BLOCK; v++)
        for (int half = 0; half < 2; half++) {
            Half nearest = out.half[v][half] / order->half[v][half] + ROUNDS - ROUNDS;
            out.whole[v][half] = __builtin_convertvector(nearest, Whole);
        }
    block[0] = (int16_t)out.number[0];
    for (int k = 1; k < SAMPLES; k++) {
        int at = ZIGZAG[k] & 7, value = out.number[(ZIGZAG[k] & ~7) + (at & 1) * 4 + at / 2];
        value = value > LARGEST ? LARGEST : value;
        block[k] = (int16_t)(value < -LARGEST ? -LARGEST : value);
    }
}

/* Put the steps into the order in which `encode` has the coefficients: of each row, even waves first. */
static void set_order(const float *steps, Block *order)
{
    for (int k = 0; k < SAMPLES; k++) {
        int at = ZIGZAG[k] & 7;
        order->at[(ZIGZAG[k] & ~7) + (at & 1) * 4 + at / 2] = steps[k];
    }
}

/* --- blocks */

static int is_sound(const Component *it)
{
    return it->across > 0 && it->down > 0 && it->horizontal > 0 && it->vertical > 0 && it->first >= 0 &&
           it->first + it->horizontal * it->vertical <= it->blocks && it->width > 0 && it->height > 0;
}

/* NULL where there is none. */
static int16_t *block_at(const Component *it, int64_t row, int64_t column)
{
    int64_t down = row / it->vertical, right = column / it->horizontal, slot;
    if (row < 0 || column < 0 || down >= it->down || right >= it->across)
        return NULL;
    slot = it->place[down * it->across + right];
    if (slot < 0 || slot >= it->mcus)
        return NULL;
    return it->coefficients +
           SAMPLES * (slot * it->blocks + it->first + row % it->vertical * it->horizontal + column % it->horizontal);
}

/* Let what lies beyond the picture's edge repeat it, as encoders do; whole blocks there become flat. */
static void repeat_edges(const Component *it, int64_t row, int64_t column, Block *values)
{
    int64_t below = it->height - BLOCK * row, beyond = it->width - BLOCK * column;
    for (int64_t y = below; below > 0 && y < BLOCK; y++)
        values->row[y] = values->row[below - 1];
    for (int y = 0; beyond > 0 && y < BLOCK; y++)
        for (int64_t x = beyond; x < BLOCK; x++)
            values->at[BLOCK * y + x] = values->at[BLOCK * y + beyond - 1];
    if (below <= 0 || beyond <= 0) {
        float sum = 0;
        for (int k = 0; k < SAMPLES; k++)
            sum += values->at[k];
        for (int y = 0; y < BLOCK; y++)
            values->row[y] = (Row){0} + sum / SAMPLES;
    }
}

/* --- covers */

typedef struct {
    int64_t cover, row, column; /* the last two: places in the tables of sides */
} Pair;

EXPORT uint64_t fb_component_size(void) { return sizeof(Component); }
EXPORT uint64_t fb_covers_size(void) { return sizeof(Covers); }
EXPORT uint64_t fb_pair_size(void) { return sizeof(Pair); }

/* Say whether a cover hides anything of a block; find its places then. */
static int meets(const Covers *all, int64_t cover, int64_t row, int64_t column, Pair *pair)
{
    const Side *rows = &all->rows, *columns = &all->columns;
    if (row < rows->from[cover] || row >= rows->upto[cover] || column < columns->from[cover] ||
        column >= columns->upto[cover])
        return 0;
    pair->cover = cover;
    pair->row = rows->start[cover] + row - rows->from[cover];
    pair->column = columns->start[cover] + column - columns->from[cover];
    return rows->least[pair->row] + columns->least[pair->column] < 1 || row >= all->seen_rows ||
           column >= all->seen_columns; /* what nobody sees is hidden with the rest */
}

static int is_full(const Covers *all, const Pair *pair)
{
    float whole = all->whole[pair->cover];
    return all->rows.most[pair->row] + all->columns.most[pair->column] <= whole * whole;
}

static void fill(const Covers *all, const Pair *pair, Block *values)
{
    const float *surface = all->surface + 4 * pair->cover, *down = all->rows.share + BLOCK * pair->row;
    Row share, alone, sloped;
    __builtin_memcpy(&share, all->columns.share + BLOCK * pair->column, sizeof share);
    alone = share * surface[1] + surface[0];
    sloped = share * surface[3] + surface[2];
    for (int y = 0; y < BLOCK; y++)
        values->row[y] = sloped * down[y] + alone;
    clip(values, TOP);
}

/* Lay a cover over samples: its rim rises as a parabola (soft.Ellipse.cover). */
static void blend(const Covers *all, const Pair *pair, Block *values)
{
    const float *down = all->rows.off + BLOCK * pair->row;
    const float rim = 1 - all->whole[pair->cover], narrow = rim > HARD ? rim : HARD;
    Block painted, cover;
    Row across;
    fill(all, pair, &painted);
    __builtin_memcpy(&across, all->columns.off + BLOCK * pair->column, sizeof across);
    across *= across;
    for (int y = 0; y < BLOCK; y++)
        cover.row[y] = across + down[y] * down[y];
    for (int k = 0; k < SAMPLES; k++)
        cover.at[k] = __builtin_sqrtf(cover.at[k]);
    for (int y = 0; y < BLOCK; y++)
        cover.row[y] = (1 - cover.row[y]) / narrow;
    clip(&cover, 1);
    for (int y = 0; y < BLOCK; y++)
        values->row[y] += (painted.row[y] - values->row[y]) * (cover.row[y] * cover.row[y]);
}

static int is_flat(const float *surface) { return surface[1] == 0 && surface[2] == 0 && surface[3] == 0; }

/* Write a block that one flat cover hides whole. */
static void write_flat(float shade, float step, int16_t *block)
{
    shade = shade < 0 ? 0 : shade > TOP ? TOP : shade;
    __builtin_memset(block, 0, SAMPLES * sizeof *block);
    block[0] = (int16_t)((shade - MIDDLE) * BLOCK / step + ROUNDS - ROUNDS);
}

/* List the covers whose boxes meet that of one, itself among them, in their order. */
static int64_t list_beside(const Covers *all, int64_t cover, int32_t *beside)
{
    int64_t count = 0;
    for (int64_t other = 0; other < all->count; other++)
        if (all->rows.from[other] < all->rows.upto[cover] && all->rows.from[cover] < all->rows.upto[other] &&
            all->columns.from[other] < all->columns.upto[cover] && all->columns.from[cover] < all->columns.upto[other])
            beside[count++] = (int32_t)other;
    return count;
}

/* Lay all covers that meet a block over it, if this one is the uppermost. */
static int64_t lay_on(const Component *it, const Covers *all, int64_t cover, int64_t row, int64_t column,
                      const int32_t *beside, int64_t count, Pair *pairs, const Block *order)
{
    Pair pair;
    Block values;
    int64_t depth = 0, at = count - 1;
    int16_t *block;
    for (; beside[at] > cover; at--)
        if (meets(all, beside[at], row, column, &pair))
            return 0;
    if (!meets(all, cover, row, column, &pair))
        return 0;
    if (!(block = block_at(it, row, column)))
        return BAD_CALL;
    for (; at >= 0; at--) /* down to one that hides the block whole */
        if (meets(all, beside[at], row, column, &pairs[depth]) && is_full(all, &pairs[depth++]))
            break;
    if (at >= 0 && depth == 1 && is_flat(all->surface + 4 * cover)) {
        write_flat(all->surface[4 * cover], it->steps[0], block);
        return 0;
    }
    if (at >= 0) {
        fill(all, &pairs[--depth], &values);
    } else {
        decode(block, it->steps, &values);
        repeat_edges(it, row, column, &values);
    }
    while (depth > 0)
        blend(all, &pairs[--depth], &values);
    encode(&values, order, block);
    return 0;
}

static int fits(const Side *side, int64_t covers)
{
    for (int64_t i = 0; i < covers; i++)
        if (side->from[i] < 0 || side->upto[i] < side->from[i] || side->start[i] < 0 ||
            side->start[i] > side->count || side->upto[i] - side->from[i] > side->count - side->start[i])
            return 0;
    return 1;
}

/* Lay covers over the blocks of a component, the last on top. `beside`, `pairs`: room for one entry for each cover. */
EXPORT int64_t fb_lay(const Component *it, const Covers *all, int32_t *beside, Pair *pairs)
{
    Block order;
    if (!is_sound(it) || !fits(&all->rows, all->count) || !fits(&all->columns, all->count))
        return BAD_CALL;
    set_order(it->steps, &order);
    for (int64_t cover = 0; cover < all->count; cover++) {
        int64_t count = list_beside(all, cover, beside);
        for (int64_t row = all->rows.from[cover]; row < all->rows.upto[cover]; row++)
            for (int64_t column = all->columns.from[cover]; column < all->columns.upto[cover]; column++) {
                int64_t error = lay_on(it, all, cover, row, column, beside, count, pairs, &order);
                if (error)
                    return error;
            }
    }
    return 0;
}

/* --- what is read */

typedef struct {
    int64_t begin, end, step;
} Span;

static inline int64_t after(const Span *span, int64_t at, int64_t bound) /* the first place from `bound` on */
{
    return at + (bound - at + span->step - 1) / span->step * span->step;
}

/* Add up the rounded samples of one block at some rows and columns. */
static double sum_of(const Block *samples, Span rows, Span columns)
{
    double sum = 0;
    for (int64_t y = rows.begin; y < rows.end; y += rows.step)
        for (int64_t x = columns.begin; x < columns.end; x += columns.step)
            sum += (double)(samples->at[BLOCK * y + x] + ROUNDS - ROUNDS);
    return sum;
}

static int64_t mean_of(const Component *it, const Span *rows, const Span *columns, double *mean)
{
    double sum = 0;
    Block samples;
    for (int64_t y = rows->begin, next_y; y < rows->end; y = next_y) {
        int64_t row = y / BLOCK, bottom = BLOCK * (row + 1) < rows->end ? BLOCK * (row + 1) : rows->end;
        next_y = after(rows, y, bottom);
        for (int64_t x = columns->begin, next_x; x < columns->end; x = next_x) {
            int64_t column = x / BLOCK;
            int64_t right = BLOCK * (column + 1) < columns->end ? BLOCK * (column + 1) : columns->end;
            const int16_t *block = block_at(it, row, column);
            if (!block)
                return BAD_CALL;
            decode(block, it->steps, &samples);
            sum += sum_of(&samples, (Span){y - BLOCK * row, bottom - BLOCK * row, rows->step},
                          (Span){x - BLOCK * column, right - BLOCK * column, columns->step});
            next_x = after(columns, x, right);
        }
    }
    *mean = sum / (double)(((rows->end - rows->begin + rows->step - 1) / rows->step) *
                           ((columns->end - columns->begin + columns->step - 1) / columns->step));
    return 0;
}

/* Read the means of quarters. `spans`: for each cover two halves of its rows, and two of its columns. */
EXPORT int64_t fb_means(const Component *it, int64_t covers, const Span *spans, double *means)
{
    if (!is_sound(it))
        return BAD_CALL;
    for (int64_t i = 0; i < 4 * covers; i++)
        if (spans[i].begin < 0 || spans[i].step < 1 || spans[i].end <= spans[i].begin || spans[i].end > 1 << 24)
            return BAD_CALL;
    for (int64_t i = 0; i < 4 * covers; i++) {
        const Span *four = spans + i / 4 * 4;
        int64_t error = mean_of(it, four + i % 4 / 2, four + 2 + i % 2, means + i);
        if (error)
            return error;
    }
    return 0;
}
