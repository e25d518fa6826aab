#pragma once

#include "kernels.h"

namespace soft_dice {

// Writes a sentence about the first value of a batch that is not allowed: label before pixel weight
// before prediction, each in memory order.  The wording is that of soft_dice/inputs.py.
void describe_fault(const soft_dice_batch &batch, const soft_dice_settings &settings,
                    char *message, size_t message_size);

}  // namespace soft_dice
