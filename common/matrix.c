#include "matrix.h"
#include "maths.h"
#include "threads.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- making and viewing ------------------------------------------------------------------------------------------- */

Matrix mat_over(real *at, int rows, int cols)
{
    CHECK(rows >= 0 && cols >= 0, "a matrix of (%d,%d)", rows, cols);
    return (Matrix){ .rows = rows, .cols = cols, .stride = cols, .at = at };
}

Matrix mat_take(Arena *arena, int rows, int cols)
{
    Matrix m = mat_over(NULL, rows, cols);
    m.at = arena_take(arena, mat_size(m) * sizeof(real));
    return m;
}

Matrix mat_new(int rows, int cols)
{
    Matrix m = mat_over(NULL, rows, cols);
    m.at = allocate(mat_size(m), sizeof(real));
    return m;
}

void mat_free(Matrix *m)
{
    free(m->at);
    *m = (Matrix){ 0 };
}

Matrix mat_rows(Matrix m, int first, int count) { return mat_every(m, first, 1, count); }

Matrix mat_every(Matrix m, int first, int step, int count)
{
    long last = first + (count - 1L) * step;                             /* long: an int could overflow */
    CHECK(first >= 0 && first <= m.rows && step >= 1 && count >= 0 && last < m.rows, "rows %d to %ld of (%d,%d)", first, last + 1,
          m.rows, m.cols);
    return (Matrix){ .rows = count, .cols = m.cols, .stride = step * m.stride, .at = mat_row(m, first) };
}

Matrix mat_cols(Matrix m, int first, int count)
{
    CHECK(first >= 0 && count >= 0 && first <= m.cols - count, "columns %d to %d of (%d,%d)", first, first + count,
          m.rows, m.cols);
    return (Matrix){ .rows = m.rows, .cols = count, .stride = m.stride, .at = m.at + first };
}

/* ---- products -----------------------------------------------------------------------------------------------------
 *
 * A processor core multiplies and adds two whole vector registers a cycle, but fetches a few numbers only. So a product is
 * fast when what is fetched is used many times, and that is what the three levels below are for:
 *
 *     tile      ROWS × PANEL elements of C stay in registers while k runs; each number fetched from A serves PANEL
 *               products and each from B serves ROWS of them
 *     panel     PANEL columns of B, DEPTH rows deep, copied side by side so that they fit the first-level cache, stay there
 *               for all the rows of C, and need no special case at B's edge: missing columns are zeros
 *     task      one panel's columns for a block of rows: what one thread takes at a time
 *
 * None of this changes a bit. The sum of an element still runs over k in order: between two panels it rests in C, which
 * holds a real exactly. A and B transposed differ only in how A is stepped through and how the panel is copied.
 *
 * The compiler keeps s[][] in registers because its bounds are constants and its loops unroll. PANEL is what 32 registers
 * of 64 bytes hold (AVX-512), or else 16 of 32 bytes (AVX2) and 32 of 16 (AArch64).                                       */

enum {
    VECTOR = 64 / (int)sizeof(real),
#ifdef __AVX512F__
    WIDEST = 4,                                    /* vectors across a tile */
#else
    WIDEST = 1,
#endif
    PANEL = WIDEST * VECTOR,
    ROWS = 6,
    DEPTH = 128,
};

typedef struct { const real *at; ptrdiff_t row, col; } Steps;      /* element (i,p) at[i·row + p·col]: A, or A turned */

/* What the sums of a tile begin with: C itself, zeros, or a row that all its rows have. */
typedef struct { const real *at; int stride; } Start;

/* What a tile computes: C (…) = from + A (…,k) B (k,…), C in steps of `stride` from row to row. It is handed over by address:
 * as arguments some of this would be copied on the stack, and a copy wider than the stores it reads waits for all of those. */
typedef struct {
    int k, b_stride, stride;
    Steps a;
    const real *b;
    real *c;
    Start from;
} Tile;
typedef void TileFn(const Tile *t);

/* A tile of R rows and V vectors. The rows are variables of their own, s0 … s5, and not an array of rows: only then do both
 * gcc and clang see that they may live in registers. */
#define ROWS_1(DO, V) DO(0, V)
#define ROWS_2(DO, V) ROWS_1(DO, V) DO(1, V)
#define ROWS_3(DO, V) ROWS_2(DO, V) DO(2, V)
#define ROWS_4(DO, V) ROWS_3(DO, V) DO(3, V)
#define ROWS_5(DO, V) ROWS_4(DO, V) DO(4, V)
#define ROWS_6(DO, V) ROWS_5(DO, V) DO(5, V)

#ifdef __GNUC__
#define PREFETCH(p) __builtin_prefetch(p, 1)       /* asks for C early, so that it is there when the sums are stored */
#else
#define PREFETCH(p) (void)(p)
#endif

#define DECLARE(i, V) real s##i[V * VECTOR];
#define LOAD(i, V)    for (int j = 0; j < V * VECTOR; j++) s##i[j] = from[i * from_stride + j];
#define FETCH(i, V)   for (int v = 0; v < V; v++) PREFETCH(c + i * stride + v * VECTOR);
#define STORE(i, V)   for (int j = 0; j < V * VECTOR; j++) c[i * stride + j] = s##i[j];
#define GATHER(i, V)  for (int j = 0; j < V * VECTOR; j++) s##i[j] = real_fma(a[i * a_row], b[j], s##i[j]);

#define TILE(R, V)                                                                                      \
static void tile_##R##x##V(const Tile *t)                                                               \
{                                                                                                       \
    const real *a = t->a.at, *b = t->b, *from = t->from.at;                                             \
    real *c = t->c;                                                                                     \
    ptrdiff_t a_row = t->a.row, a_col = t->a.col, b_stride = t->b_stride, stride = t->stride;           \
    ptrdiff_t from_stride = t->from.stride;                                                             \
    int k = t->k;                                                                                       \
    ROWS_##R(FETCH, V)                                                                                  \
    ROWS_##R(DECLARE, V)                                                                                \
    ROWS_##R(LOAD, V)                                                                                   \
    do {                                                                                                \
        ROWS_##R(GATHER, V)                                                                             \
        a += a_col;                                                                                     \
        b += b_stride;                                                                                  \
    } while (--k > 0);                                                                                  \
    ROWS_##R(STORE, V)                                                                                  \
}
#define TILES(V) TILE(1, V) TILE(2, V) TILE(3, V) TILE(4, V) TILE(5, V) TILE(6, V)
#define TILE_ROW(V) { tile_1x##V, tile_2x##V, tile_3x##V, tile_4x##V, tile_5x##V, tile_6x##V }

TILES(1)
#ifdef __AVX512F__
TILES(2)
TILES(3)
TILES(4)
static TileFn *const tiles[][ROWS] = { TILE_ROW(1), TILE_ROW(2), TILE_ROW(3), TILE_ROW(4) };
#else
static TileFn *const tiles[][ROWS] = { TILE_ROW(1) };
#endif

/* One product: C (m,n) = A (m,k) B (k,n), each of which may lie turned in memory. */
typedef struct {
    int m, k, n;
    Steps A, C;                                    /* of C only the steps count: it is written through c */
    real *c;
    Matrix B;                                      /* (k,n), or (n,k) where turn_b            */
    bool turn_b;
    Into into;                                     /* SET: or what the sums begin with is …   */
    const real *bias;                              /* … this (n), for every row; NULL: zeros  */
    int panels, block;                             /* panels across C; rows of C in a task    */
} Product;

/* The part of B that is at work: columns j0 …, terms p0 … of the sum. */
typedef struct {
    const real *at;                                /* (depth, width), `stride` from row to row */
    int stride, width, depth;
    int j0, cols, p0;                              /* cols ≤ width: the columns that B has     */
    real begin[PANEL];                             /* what each row of C begins with, if not with C */
} Panel;

/* room = B[p0 …, j0 …], zeros beyond its last column */
static void pack(real *room, const Panel *to, Matrix B)
{
    for (int p = 0; p < to->depth; p++) {
        const real *b = mat_row(B, to->p0 + p) + to->j0;
        real *row = room + p * to->width;
        int j = 0;
        for (; j + VECTOR <= to->cols; j += VECTOR) memcpy(row + j, b + j, VECTOR * sizeof(real));
        for (; j < to->width; j++) row[j] = j < to->cols ? b[j] : 0;
    }
}

/* A perfect shuffle of a deck of VECTOR² cards, done log2(VECTOR) times, turns the square that they lie in: card rc, two
 * digits in base VECTOR, moves to the place whose index has the bits of rc rotated by one, so in the end to place cr.
 * Compilers know the instruction that riffles two vectors together. */
static inline void riffle(real *restrict out, const real *restrict in, int half)
{
    for (int i = 0; i < half; i++) {
        out[2 * i] = in[i];
        out[2 * i + 1] = in[half + i];
    }
}

/* room = B[j0 …, p0 …]ᵀ, zeros beyond its last column */
static void pack_turned(real *room, const Panel *to, Matrix B)
{
    _Alignas(64) real deck[2][VECTOR * VECTOR];
    for (int j = 0; j < to->width; j += VECTOR)
        for (int p = 0; p < to->depth; p += VECTOR) {
            int now = 0, wide = to->depth - p < VECTOR ? to->depth - p : VECTOR;
            for (int r = 0; r < VECTOR; r++) {
                real *row = deck[now] + r * VECTOR;
                const real *b = j + r < to->cols ? mat_row(B, to->j0 + j + r) + to->p0 + p : NULL;
                if (b && wide == VECTOR) memcpy(row, b, VECTOR * sizeof(real));
                else for (int l = 0; l < VECTOR; l++) row[l] = b && l < wide ? b[l] : 0;
            }
            for (int side = 1; side < VECTOR; side *= 2, now = !now) riffle(deck[!now], deck[now], VECTOR * VECTOR / 2);
            for (int r = 0; r < wide; r++)
                memcpy(room + (p + r) * to->width + j, deck[now] + r * VECTOR, VECTOR * sizeof(real));
        }
}

/* Points the panel at B itself where B lies right and so few rows of C will use it that a copy would not pay. */
static void panel_fetch(Panel *panel, real *room, const Product *x, int rows)
{
    enum { FEW = 64 };
    if (!x->turn_b && panel->cols == panel->width && rows <= FEW) {
        panel->at = mat_row(x->B, panel->p0) + panel->j0;
        panel->stride = x->B.stride;
        return;
    }
    panel->at = room;
    panel->stride = panel->width;
    (x->turn_b ? pack_turned : pack)(room, panel, x->B);
}

/* to (rows, cols) = from (rows, cols), each with steps of its own */
static void edge_copy(real *to, ptrdiff_t to_row, ptrdiff_t to_col, const real *from, ptrdiff_t row, ptrdiff_t col,
                      int rows, int cols)
{
    if (to_col == 1 && col == 1)
        for (int r = 0; r < rows; r++) memcpy(to + r * to_row, from + r * row, (size_t)cols * sizeof *to);
    else
        for (int j = 0; j < cols; j++)
            for (int r = 0; r < rows; r++) to[r * to_row + j * to_col] = from[r * row + j * col];
}

/* Rows i0 … i1 of a product under one panel, into c, which points at row i0 and the panel's first column. */
static void multiply_rows(const Product *x, const Panel *panel, int i0, int i1, real *c, int stride, Into into)
{
    TileFn *const *tile = tiles[panel->width / VECTOR - 1];
    bool add = into == ADD;
    Tile t = { .k = panel->depth, .b_stride = panel->stride, .stride = stride, .b = panel->at, .c = c,
               .a = { x->A.at + i0 * x->A.row + panel->p0 * x->A.col, x->A.row, x->A.col },
               .from = { add ? c : panel->begin, add ? stride : 0 } };
    for (int i = i0; i < i1; i += ROWS) {
        tile[(i1 - i < ROWS ? i1 - i : ROWS) - 1](&t);
        t.a.at += ROWS * t.a.row;
        t.c += ROWS * (ptrdiff_t)stride;
        t.from.at += ROWS * (ptrdiff_t)t.from.stride;
    }
}

/* The same, into C. Where the tiles do not lie in C as they are computed, because C is turned or ends before the panel does,
 * they go through `edge`, MANY rows at a time, so that a turned C is written in long runs. */
static void multiply_panel(const Product *x, const Panel *panel, int i0, int i1)
{
    enum { MANY = 8 * ROWS };
    Into into = panel->p0 > 0 ? ADD : x->into;
    real *c = x->c + i0 * x->C.row + panel->j0 * x->C.col;
    if (x->C.col == 1 && panel->cols == panel->width) {
        multiply_rows(x, panel, i0, i1, c, (int)x->C.row, into);
        return;
    }
    for (int i = i0; i < i1; i += MANY, c += MANY * x->C.row) {
        _Alignas(64) real edge[MANY * PANEL];
        int rows = i1 - i < MANY ? i1 - i : MANY;
        if (into == ADD) edge_copy(edge, panel->width, 1, c, x->C.row, x->C.col, rows, panel->cols);
        multiply_rows(x, panel, i, i + rows, edge, panel->width, into);
        edge_copy(c, x->C.row, x->C.col, edge, panel->width, 1, rows, panel->cols);
    }
}

/* At most PANEL columns of C, under a panel no wider than they need. */
static void multiply_block(const Product *x, int first, int last, int i0, int i1)
{
    _Alignas(64) real room[DEPTH * PANEL];
    Panel panel = { .j0 = first, .cols = last - first, .width = (last - first + VECTOR - 1) / VECTOR * VECTOR };
    int deepest = DEPTH * PANEL / panel.width;
    if (x->bias) memcpy(panel.begin, x->bias + first, (size_t)panel.cols * sizeof(real));
    for (; panel.p0 < x->k; panel.p0 += panel.depth) {
        panel.depth = x->k - panel.p0 < deepest ? x->k - panel.p0 : deepest;
        panel_fetch(&panel, room, x, i1 - i0);
        multiply_panel(x, &panel, i0, i1);
    }
}

static void multiply_tasks(int begin, int end, void *arg)
{
    const Product *x = arg;
    for (int task = begin; task < end; task++) {
        int first = task % x->panels * PANEL, last = first + PANEL;
        int i0 = task / x->panels * x->block, i1 = i0 + x->block;
        multiply_block(x, first, last < x->n ? last : x->n, i0, i1 < x->m ? i1 : x->m);
    }
}

/* Cut C into tasks: by panels alone where they are enough for the threads, else by blocks of rows too. A product that
 * takes less time than waking a thread (SMALL multiply-adds, some microseconds) is one piece. */
static void multiply(Product x)
{
    enum { SMALL = 1 << 18 };
    int threads = threads_count();
    bool small = threads == 1 || (double)x.m * x.n * x.k < SMALL;
    x.panels = (x.n + PANEL - 1) / PANEL;
    int cuts = small || x.panels >= 2 * threads ? 1 : 2 * threads / x.panels;
    x.block = ((x.m + cuts - 1) / cuts + ROWS - 1) / ROWS * ROWS;
    int tasks = x.panels * ((x.m + x.block - 1) / x.block);
    parallel_for(tasks, small ? tasks : 1, multiply_tasks, &x);
}

static Steps steps(Matrix m)  { return (Steps){ m.at, m.stride, 1 }; }
static Steps turned(Matrix m) { return (Steps){ m.at, 1, m.stride }; }

/* A product of nothing is nothing, and no tile need think of it. */
static bool is_empty(Matrix C, int k, Into into)
{
    if (k == 0 && into == SET) mat_fill(C, 0);
    return k == 0 || C.rows == 0 || C.cols == 0;
}

#define FITS(ok, name) CHECK(ok, "%s: C (%d,%d) from A (%d,%d) and B (%d,%d)", name, \
                             C.rows, C.cols, A.rows, A.cols, B.rows, B.cols)

void matmul_nn(Matrix C, Matrix A, Matrix B, Into into)
{
    FITS(A.cols == B.rows && C.rows == A.rows && C.cols == B.cols, "A B");
    if (is_empty(C, A.cols, into)) return;
    multiply((Product){ .m = C.rows, .k = A.cols, .n = C.cols, .A = steps(A), .C = steps(C), .c = C.at, .B = B, .into = into });
}

void matmul_bias(Matrix C, Matrix A, Matrix B, Matrix b)
{
    FITS(A.cols == B.rows && C.rows == A.rows && C.cols == B.cols && b.rows == 1 && b.cols == C.cols, "A B + b");
    for (int r = 0; r < C.rows && A.cols == 0; r++) memcpy(mat_row(C, r), b.at, (size_t)C.cols * sizeof(real));
    if (is_empty(C, A.cols, ADD)) return;
    multiply((Product){ .m = C.rows, .k = A.cols, .n = C.cols, .A = steps(A), .C = steps(C), .c = C.at, .B = B, .bias = b.at });
}

/* Turning B costs as much as using it 16 times. Where A has the fewer rows, Cᵀ = B Aᵀ turns A instead, and C's tiles. */
void matmul_nt(Matrix C, Matrix A, Matrix B, Into into)
{
    FITS(A.cols == B.cols && C.rows == A.rows && C.cols == B.rows, "A Bᵀ");
    if (is_empty(C, A.cols, into)) return;
    if (C.rows < C.cols / 2)
        multiply((Product){ .m = C.cols, .k = A.cols, .n = C.rows, .A = steps(B), .C = turned(C), .c = C.at, .B = A,
                            .turn_b = true, .into = into });
    else
        multiply((Product){ .m = C.rows, .k = A.cols, .n = C.cols, .A = steps(A), .C = steps(C), .c = C.at, .B = B,
                            .turn_b = true, .into = into });
}

void matmul_tn(Matrix C, Matrix A, Matrix B, Into into)
{
    FITS(A.rows == B.rows && C.rows == A.cols && C.cols == B.cols, "Aᵀ B");
    if (is_empty(C, A.rows, into)) return;
    multiply((Product){ .m = C.rows, .k = A.rows, .n = C.cols, .A = turned(A), .C = steps(C), .c = C.at, .B = B, .into = into });
}

/* ---- element by element ------------------------------------------------------------------------------------------- */

enum { PIECE = 1 << 13 };                          /* elements that one thread takes at a time */

typedef struct {
    RowFn *f;
    Matrix Y;
    const Matrix *A, *B;
    real s;
} Map;

static void map_rows(int begin, int end, void *arg)
{
    const Map *x = arg;
    for (int r = begin; r < end; r++)
        x->f(x->Y.cols, mat_row(x->Y, r), x->A ? mat_row(*x->A, r) : NULL, x->B ? mat_row(*x->B, r) : NULL, x->s);
}

static void map_flat(int begin, int end, void *arg)
{
    const Map *x = arg;
    x->f(end - begin, x->Y.at + begin, x->A ? x->A->at + begin : NULL, x->B ? x->B->at + begin : NULL, x->s);
}

static bool gapless(const Matrix *m)
{
    return !m || m->stride == m->cols || m->rows <= 1;
}

void mat_map(RowFn *f, Matrix Y, const Matrix *A, const Matrix *B, real s)
{
    CHECK(!A || mat_same_shape(Y, *A), "Y (%d,%d), A (%d,%d)", Y.rows, Y.cols, A->rows, A->cols);
    CHECK(!B || mat_same_shape(Y, *B), "Y (%d,%d), B (%d,%d)", Y.rows, Y.cols, B->rows, B->cols);
    CHECK(mat_size(Y) < INT32_MAX, "Y (%d,%d) has too many elements", Y.rows, Y.cols);
    Map map = { .f = f, .Y = Y, .A = A, .B = B, .s = s };
    if (gapless(&Y) && gapless(A) && gapless(B)) parallel_for(Y.rows * Y.cols, PIECE, map_flat, &map);
    else parallel_for(Y.rows, PIECE / (Y.cols + 1) + 1, map_rows, &map);
}

static void fill_row(int n, real *y, const real *a, const real *b, real s)
{
    (void)a, (void)b;
    for (int j = 0; j < n; j++) y[j] = s;
}

static void copy_row(int n, real *y, const real *a, const real *b, real s)
{
    (void)b, (void)s;
    memcpy(y, a, (size_t)n * sizeof(real));
}

static void axpy_row(int n, real *y, const real *a, const real *b, real s)
{
    (void)b;
    for (int j = 0; j < n; j++) y[j] = real_fma(s, a[j], y[j]);
}

static void tanh_row(int n, real *y, const real *a, const real *b, real s)
{
    (void)b, (void)s;
    for (int j = 0; j < n; j++) y[j] = r_tanh(a[j]);
}

void mat_fill(Matrix Y, real s)            { mat_map(fill_row, Y, NULL, NULL, s); }
void mat_copy(Matrix Y, Matrix A)          { mat_map(copy_row, Y, &A, NULL, 0); }
void mat_axpy(Matrix Y, real s, Matrix A)  { mat_map(axpy_row, Y, &A, NULL, s); }
void mat_tanh(Matrix Y, Matrix A)          { mat_map(tanh_row, Y, &A, NULL, 0); }

/* ---- rows and columns --------------------------------------------------------------------------------------------- */

/* x[0] = op over all LANES of x, in pairs: 0+8, 1+9 …, then 0+4 … */
#define IN_PAIRS(x, op) \
    for (int half = LANES / 2; half > 0; half /= 2) \
        for (int l = 0; l < half; l++) x[l] = op(x[l], x[l + half])
#define PLUS(a, b)  ((a) + (b))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

/* result[r] = op over the LANES numbers of row r of a square, in pairs as IN_PAIRS takes them: the square is turned first, so
 * that all rows are reduced at once. */
#define REDUCE(result, square, op)                                                                              \
    do {                                                                                                        \
        _Alignas(64) real other[LANES * LANES], *x = (square)[0];                                               \
        for (int i = 0; i < 2; i++) riffle(other, x, LANES * LANES / 2), riffle(x, other, LANES * LANES / 2);   \
        for (int half = LANES / 2; half > 0; half /= 2)                                                         \
            for (int i = 0; i < half * LANES; i++) x[i] = op(x[i], x[i + half * LANES]);                        \
        memcpy(result, x, LANES * sizeof(real));                                                                \
    } while (0)

static inline void add_lanes(real *restrict lane, const real *restrict x, int n)
{
    int j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += x[j + l];
    for (int l = 0; j + l < n; l++) lane[l] += x[j + l];
}

real sum_lanes(const real *x, int n)
{
    real lane[LANES] = { 0 };
    add_lanes(lane, x, n);
    IN_PAIRS(lane, PLUS);
    return lane[0];
}

void sum_each_row(real *sum, Matrix A)
{
    for (int first = 0; first < A.rows; first += LANES) {
        _Alignas(64) real part[LANES][LANES] = { 0 }, total[LANES];
        int rows = A.rows - first < LANES ? A.rows - first : LANES;
        for (int r = 0; r < rows; r++) add_lanes(part[r], mat_row(A, first + r), A.cols);
        REDUCE(total, part, PLUS);
        memcpy(sum + first, total, (size_t)rows * sizeof *sum);
    }
}

double sum_squares(const real *x, size_t n)
{
    double lane[LANES] = { 0 };
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] = fma(x[j + l], x[j + l], lane[l]);
    for (size_t l = 0; j + l < n; l++) lane[l] = fma(x[j + l], x[j + l], lane[l]);
    IN_PAIRS(lane, PLUS);
    return lane[0];
}

/* LANES rows at a time. Each goes through its columns LANES at a time, which leaves it LANES partial results; those of all
 * rows together are a square, which is turned and reduced for all rows at once. The columns at the end that are short of
 * LANES lie turned in `tail`, so that there, too, LANES numbers are worked on together, one of each row. Nothing here is done
 * one number at a time but moving the tail, and each sum is still the one that sum_lanes would give. */
typedef struct {
    Matrix Y;                              /* the rows; Y.rows ≤ LANES */
    int whole, rest;                       /* columns before the tail, and in it */
    _Alignas(64) real part[LANES][LANES], tail[LANES][LANES];            /* part[row][lane], tail[column][row] */
} Group;

static void group_load(Group *g, Matrix A, const Matrix *mask)
{
    for (int l = 0; l < g->rest; l++)
        for (int r = 0; r < LANES; r++) g->tail[l][r] = -INFINITY;
    for (int r = 0; r < g->Y.rows; r++) {
        real *y = mat_row(g->Y, r);
        const real *a = mat_row(A, r), *m = mask ? mat_row(*mask, r) : NULL;
        for (int j = 0; j < g->whole && m; j++) y[j] = m[j] == 0 ? -INFINITY : a[j];
        if (!m && y != a) memcpy(y, a, (size_t)g->whole * sizeof *y);
        for (int l = 0; l < g->rest; l++) g->tail[l][r] = m && m[g->whole + l] == 0 ? -INFINITY : a[g->whole + l];
    }
}

static inline void block_top(const real *restrict y, real *restrict part, real unused)
{
    (void)unused;
    for (int l = 0; l < LANES; l++) {
        real now = y[l], best = part[l];
        part[l] = now > best ? now : best;
    }
}

static inline void block_exp(real *restrict y, real *restrict part, real top)
{
    for (int l = 0; l < LANES; l++) part[l] += y[l] = r_exp(y[l] - top);
}

static inline void block_scale(real *restrict y, real *restrict unused, real scale)
{
    (void)unused;
    for (int l = 0; l < LANES; l++) y[l] *= scale;
}

/* work(y, part, s[r]) for every whole block y of every row r of the group */
#define EACH_BLOCK(work, g, s)                                                                                  \
    for (int r = 0; r < (g)->Y.rows; r++) {                                                                     \
        real *row = mat_row((g)->Y, r);                                                                         \
        for (int j = 0; j < (g)->whole; j += LANES) work(row + j, (g)->part[r], (s)[r]);                        \
    }

static void fill_parts(Group *g, real x)
{
    for (int r = 0; r < LANES; r++)
        for (int l = 0; l < LANES; l++) g->part[r][l] = x;
}

/* Y = exp(A - top), top the largest of each row; leaves the sums in total. */
static void group_exp(Group *g, Matrix A, const Matrix *mask, real top[LANES], real total[LANES])
{
    group_load(g, A, mask);
    fill_parts(g, -INFINITY);
    EACH_BLOCK(block_top, g, top)
    REDUCE(top, g->part, LARGER);
    for (int l = 0; l < g->rest; l++) block_top(g->tail[l], top, 0);
    for (int r = 0; r < LANES; r++) top[r] = top[r] == -INFINITY ? 0 : top[r];
    fill_parts(g, 0);
    EACH_BLOCK(block_exp, g, top)
    for (int l = 0; l < g->rest; l++) {
        for (int r = 0; r < LANES; r++) g->tail[l][r] = r_exp(g->tail[l][r] - top[r]);
        for (int r = 0; r < LANES; r++) g->part[r][l] += g->tail[l][r];
    }
    REDUCE(total, g->part, PLUS);
}

static void group_scale(Group *g, const real scale[LANES])
{
    EACH_BLOCK(block_scale, g, scale)
    for (int l = 0; l < g->rest; l++)
        for (int r = 0; r < g->Y.rows; r++) mat_row(g->Y, r)[g->whole + l] = g->tail[l][r] * scale[r];
}

typedef struct { Matrix Y, A; const Matrix *mask; const int *target; real *loss; } Softmax;

static void softmax_group(const Softmax *x, int first, int rows)
{
    Group g;
    g.Y = mat_rows(x->Y, first, rows);
    g.whole = x->A.cols / LANES * LANES;
    g.rest = x->A.cols - g.whole;
    Matrix A = mat_rows(x->A, first, rows), mask = x->mask ? mat_rows(*x->mask, first, rows) : A;
    real top[LANES] = { 0 }, total[LANES], scale[LANES], loss[LANES], chosen[LANES] = { 0 };
    for (int r = 0; r < rows && x->target; r++) {
        CHECK(x->target[first + r] < A.cols, "target %d of row %d with %d classes", x->target[first + r], first + r, A.cols);
        if (x->target[first + r] >= 0) chosen[r] = mat_row(A, r)[x->target[first + r]];
    }
    group_exp(&g, A, x->mask ? &mask : NULL, top, total);
    for (int r = 0; r < LANES; r++) scale[r] = total[r] == 0 ? 0 : 1 / total[r];
    for (int r = 0; r < LANES; r++) loss[r] = r_log(total[r]) + (top[r] - chosen[r]);
    for (int r = 0; r < rows && x->target; r++) {
        bool padding = x->target[first + r] < 0;
        scale[r] = padding ? 0 : scale[r];
        x->loss[first + r] = padding ? 0 : loss[r];
    }
    group_scale(&g, scale);
    for (int r = 0; r < rows && x->target; r++)                /* 0 times infinity is no 0 */
        if (x->target[first + r] < 0) memset(mat_row(g.Y, r), 0, (size_t)A.cols * sizeof(real));
}

static void softmax_groups(int begin, int end, void *arg)
{
    const Softmax *x = arg;
    for (int r = begin * LANES; r < end * LANES && r < x->A.rows; r += LANES)
        softmax_group(x, r, x->A.rows - r < LANES ? x->A.rows - r : LANES);
}

static void softmax_run(Softmax x)
{
    CHECK(mat_same_shape(x.Y, x.A), "Y (%d,%d), A (%d,%d)", x.Y.rows, x.Y.cols, x.A.rows, x.A.cols);
    CHECK(!x.mask || mat_same_shape(*x.mask, x.A), "mask (%d,%d), A (%d,%d)", x.mask->rows, x.mask->cols, x.A.rows, x.A.cols);
    parallel_for((x.A.rows + LANES - 1) / LANES, PIECE / (LANES * (x.A.cols + 1)) + 1, softmax_groups, &x);
}

void mat_softmax(Matrix Y, Matrix A, const Matrix *mask)
{
    softmax_run((Softmax){ .Y = Y, .A = A, .mask = mask });
}

void mat_cross_entropy(Matrix P, real *loss, Matrix A, const int *target)
{
    softmax_run((Softmax){ .Y = P, .A = A, .target = target, .loss = loss });
}

void mat_gather(Matrix Y, Matrix A, const int *index)
{
    CHECK(Y.cols == A.cols, "Y (%d,%d), A (%d,%d)", Y.rows, Y.cols, A.rows, A.cols);
    for (int r = 0; r < Y.rows; r++) {
        CHECK(index[r] < A.rows, "row %d of A (%d,%d)", index[r], A.rows, A.cols);
        if (index[r] >= 0) memcpy(mat_row(Y, r), mat_row(A, index[r]), (size_t)Y.cols * sizeof(real));
        else memset(mat_row(Y, r), 0, (size_t)Y.cols * sizeof(real));
    }
}

typedef struct { Matrix A, Y; const int *index; } Scatter;

/* A thread takes columns, never rows: so every sum still runs over r in order. */
static void scatter_columns(int begin, int end, void *arg)
{
    const Scatter *x = arg;
    for (int r = 0; r < x->Y.rows; r++) {
        if (x->index[r] < 0) continue;
        real *restrict a = mat_row(x->A, x->index[r]);
        const real *y = mat_row(x->Y, r);
        for (int j = begin; j < end; j++) a[j] += y[j];
    }
}

void mat_scatter(Matrix A, const int *index, Matrix Y)
{
    CHECK(Y.cols == A.cols, "A (%d,%d), Y (%d,%d)", A.rows, A.cols, Y.rows, Y.cols);
    for (int r = 0; r < Y.rows; r++) CHECK(index[r] < A.rows, "row %d of A (%d,%d)", index[r], A.rows, A.cols);
    Scatter x = { .A = A, .Y = Y, .index = index };
    parallel_for(Y.cols, PIECE / (Y.rows + 1) / LANES * LANES + 4 * LANES, scatter_columns, &x);
}

void mat_add_row(Matrix Y, Matrix b)
{
    CHECK(b.rows == 1 && b.cols == Y.cols, "Y (%d,%d), b (%d,%d)", Y.rows, Y.cols, b.rows, b.cols);
    for (int r = 0; r < Y.rows; r++) {
        real *restrict y = mat_row(Y, r);
        for (int j = 0; j < Y.cols; j++) y[j] += b.at[j];
    }
}

typedef struct { real *sum; Matrix A; } RowSum;

/* A thread takes columns here, too. Four rows at a time, in the same order: fewer trips of the sum through memory. */
static void sum_columns(int begin, int end, void *arg)
{
    const RowSum *x = arg;
    real *restrict sum = x->sum;
    int r = 0;
    for (; r + 4 <= x->A.rows; r += 4) {
        const real *a0 = mat_row(x->A, r), *a1 = mat_row(x->A, r + 1), *a2 = mat_row(x->A, r + 2), *a3 = mat_row(x->A, r + 3);
        for (int j = begin; j < end; j++) sum[j] = sum[j] + a0[j] + a1[j] + a2[j] + a3[j];
    }
    for (; r < x->A.rows; r++)
        for (int j = begin; j < end; j++) sum[j] += mat_row(x->A, r)[j];
}

void mat_sum_rows(Matrix b, Matrix A, Into into)
{
    CHECK(b.rows == 1 && b.cols == A.cols, "b (%d,%d), A (%d,%d)", b.rows, b.cols, A.rows, A.cols);
    if (into == SET) mat_fill(b, 0);
    RowSum x = { b.at, A };
    parallel_for(A.cols, 4 * PIECE / (A.rows + 1) / LANES * LANES + 4 * LANES, sum_columns, &x);
}
