/* Stages 1 and 3 of the soft Dice loss in compiled code: the C interface.
 *
 * Stage 1, soft_dice_count, goes once over the prediction and gives the three sums of
 * soft_dice/counts.py and, where it is asked for, on the way the two of soft_dice/entropy.py; stage
 * 3, soft_dice_gradient, goes over it once more and takes the sums' derivatives back to it.  Nothing
 * of the size of the prediction is allocated.  Stage 2 is not here.
 *
 * Both are safe from several threads at once and after a fork, use OpenMP's number of threads
 * (OMP_NUM_THREADS), and give the same bits whatever that number is.
 */
#ifndef SOFT_DICE_KERNELS_H
#define SOFT_DICE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOFT_DICE_API __attribute__((visibility("default")))

enum soft_dice_type {
  SOFT_DICE_FLOAT32, SOFT_DICE_FLOAT64, /* a prediction is one of these two */
  SOFT_DICE_INT8, SOFT_DICE_UINT8, SOFT_DICE_INT16, SOFT_DICE_INT32, SOFT_DICE_INT64,
  SOFT_DICE_TYPES
};
enum soft_dice_activation { SOFT_DICE_SOFTMAX, SOFT_DICE_SIGMOID, SOFT_DICE_NONE };
enum soft_dice_overlap { SOFT_DICE_PRODUCT, SOFT_DICE_L1 };

/* One batch, C-contiguous.  pred is (samples, outer, classes, inner): outer is the product of the
 * axes between the batch and the class axis (1 for NCHW), inner that of those behind the class axis
 * (1 for NHWC).  A sample has outer * inner pixels. */
typedef struct {
  int64_t samples, outer, classes, inner;
  const void *pred;
  const void *label;  /* (samples, pixels) class indices; with dense_label as pred */
  const void *weight; /* (samples, pixels) pixel weights, or NULL for 1 everywhere */
  int32_t pred_type, label_type, weight_type;
} soft_dice_batch;

typedef struct {
  int32_t activation;  /* enum soft_dice_activation */
  int32_t overlap;     /* enum soft_dice_overlap */
  int32_t dense_label; /* 0: class indices, 0 or 1 where there is one class; 1: values in [0, 1] */
  int32_t has_ignore;  /* whether ignore_label means anything */
  double ignore_label; /* a whole number, no larger than 2^24 */
  double exponent;     /* >= 1 */
  int32_t entropy;     /* whether the cross-entropy is wanted; not with SOFT_DICE_NONE */
  const double *entropy_weights; /* (classes), >= 0, or NULL for 1 everywhere */
  double smoothing;    /* of the label, in [0, 1) */
  double gamma;        /* focal exponent, >= 0 */
} soft_dice_settings;

/* counts (3, samples, classes): intersection, pred_sum, label_sum.
 * entropy (2, samples), with settings->entropy: the weighted sum of the pixels' cross-entropies, and
 * that of their weights.
 *
 * Returns 0; 1 for a label, pixel weight or prediction that is not allowed, with a sentence in
 * message that names its value and its place, the same whatever the threads; or 2 without memory. */
SOFT_DICE_API int soft_dice_count(const soft_dice_batch *batch, const soft_dice_settings *settings,
                                  double *counts, double *entropy, char *message,
                                  size_t message_size);

/* d_counts (2, samples, classes): the derivatives of intersection and pred_sum.
 * d_entropy (samples), with settings->entropy: those of the first of entropy.
 * gradient: of pred's type and layout; what is there is overwritten, or added to where add is not 0.
 *
 * The batch must be one that soft_dice_count has accepted.  Returns 0, or 2 without memory. */
SOFT_DICE_API int soft_dice_gradient(const soft_dice_batch *batch,
                                     const soft_dice_settings *settings, const double *d_counts,
                                     const double *d_entropy, void *gradient, int32_t add);

/* The instruction sets compiled in that this machine has, best first, separated by commas. */
SOFT_DICE_API const char *soft_dice_instruction_sets(void);

/* Use this instruction set from now on; returns 1 where soft_dice_instruction_sets() lacks it. */
SOFT_DICE_API int soft_dice_use(const char *instruction_set);

/* The one in use. */
SOFT_DICE_API const char *soft_dice_instruction_set(void);

/* How many threads a call from this thread may use. */
SOFT_DICE_API int soft_dice_threads(void);

#ifdef __cplusplus
}
#endif

#endif
