/* checkpoint: a model in a file, in the safetensors format, which PyTorch and Hugging Face's tools read and write.
 *
 *     8 bytes      length of the header, little-endian
 *     header       JSON: {"__metadata__": {"key": "text", …}, "name": {"dtype": "F32", "shape": [r, c],
 *                  "data_offsets": [begin, end]}, …}, filled up with blanks to a multiple of 8
 *     data         the tensors, row by row, little-endian
 *
 * (github.com/huggingface/safetensors, README, "Format".) The metadata holds what a program needs to use the weights: which
 * kind of model, its sizes, its vocabulary.
 *
 *     Checkpoint c = { 0 };                            Checkpoint c = checkpoint_read("model.safetensors");
 *     checkpoint_set(&c, "hidden", "%d", H);           int H = checkpoint_int(&c, "hidden", 1, 4096);
 *     checkpoint_add_params(&c, &params);              checkpoint_get_params(&c, &params);
 *     checkpoint_write(&c, folder, "model.safetensors");   checkpoint_free(&c);
 *
 * The file appears whole or not at all (output.h). Reading dies, naming the file, on anything that is no such file, is cut
 * short, or lacks what is asked of it. Tensors are F32 with one or two dimensions; one of [n] is read as (1,n).           */
#ifndef WORKBOOK_CHECKPOINT_H
#define WORKBOOK_CHECKPOINT_H

#include "check.h"
#include "params.h"
#include "text.h"

enum { MOST_TENSORS = 4 * MOST_PARAMS, MOST_META = 64 };

typedef struct {
    char *path;                            /* for messages */
    int tensors, metas;
    struct { char *name; int rows, cols; float *at; } tensor[MOST_TENSORS];
    struct { char *key, *text; } meta[MOST_META];
} Checkpoint;

void checkpoint_set(Checkpoint *c, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
void checkpoint_set_vocab(Checkpoint *c, const Vocab *vocab);             /* as "vocab": its symbols by id, in UTF-8 */
void checkpoint_add(Checkpoint *c, const char *name, Matrix m);          /* copies m */
void checkpoint_add_params(Checkpoint *c, const Params *p);
void checkpoint_write(const Checkpoint *c, const char *folder, const char *name);  /* folder NULL: name is a path */

Checkpoint  checkpoint_read(const char *path);
const char *checkpoint_text(const Checkpoint *c, const char *key);       /* dies when it is not there                  */
void        checkpoint_expect_model(const Checkpoint *c, const char *model);         /* dies when "model" is another     */
int         checkpoint_int(const Checkpoint *c, const char *key, int low, int high);
Vocab       checkpoint_vocab(const Checkpoint *c);     /* the ids are those that it was set with; vocab_free it */
void        checkpoint_get(const Checkpoint *c, const char *name, Matrix into);      /* dies when the shape is another */
void        checkpoint_get_params(const Checkpoint *c, Params *p);
void        checkpoint_free(Checkpoint *c);

#endif
