// Finds and words a fault.  A slow walk over the batch will do: this happens once, then never again.
#include "faults.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>

namespace soft_dice {
namespace {

template <class T> T element(const void *data, int64_t index) {
  return static_cast<const T *>(data)[index];
}

double value_at(const void *data, int32_t type, int64_t index) {
  switch (type) {
    case SOFT_DICE_FLOAT32: return element<float>(data, index);
    case SOFT_DICE_FLOAT64: return element<double>(data, index);
    case SOFT_DICE_INT8: return element<int8_t>(data, index);
    case SOFT_DICE_UINT8: return element<uint8_t>(data, index);
    case SOFT_DICE_INT16: return element<int16_t>(data, index);
    case SOFT_DICE_INT32: return element<int32_t>(data, index);
    default: return static_cast<double>(element<int64_t>(data, index));
  }
}

// As Python prints it: the shortest digits that give the number back, without an exponent from 1e-4
// to 1e16.
template <class Float> std::string shortest(Float value) {
  if (isnan(value)) return "nan";
  if (isinf(value)) return value < 0 ? "-inf" : "inf";
  char text[40];
  int digits = -1;  // behind the first
  do {
    snprintf(text, sizeof text, "%.*e", ++digits, static_cast<double>(value));
  } while (static_cast<Float>(strtod(text, nullptr)) != value);
  const double size = fabs(strtod(text, nullptr));
  if (size >= 1e16 || (size < 1e-4 && size > 0)) return text;
  const int decimals = digits - atoi(strchr(text, 'e') + 1);
  snprintf(text, sizeof text, "%.*f", decimals < 1 ? 1 : decimals, strtod(text, nullptr));
  return text;
}

std::string text_at(const void *data, int32_t type, int64_t index) {
  if (type == SOFT_DICE_FLOAT32) return shortest(element<float>(data, index));
  if (type == SOFT_DICE_FLOAT64) return shortest(element<double>(data, index));
  if (type == SOFT_DICE_INT64) return std::to_string(element<int64_t>(data, index));
  return std::to_string(static_cast<int64_t>(value_at(data, type, index)));
}

std::string in_sample(int64_t sample) { return " in sample " + std::to_string(sample); }

// The batch, with the place of any of its numbers.
struct Walk {
  const soft_dice_batch &batch;
  const soft_dice_settings &settings;

  int64_t pixels() const { return batch.outer * batch.inner; }
  int64_t place(int64_t sample, int64_t klass, int64_t pixel) const {
    const int64_t outer = pixel / batch.inner, inner = pixel % batch.inner;
    return ((sample * batch.outer + outer) * batch.classes + klass) * batch.inner + inner;
  }
  bool ignored(double label) const {
    return settings.has_ignore && label == settings.ignore_label;
  }
  double label(int64_t sample, int64_t klass, int64_t pixel) const {
    const int64_t index =
        settings.dense_label ? place(sample, klass, pixel) : sample * pixels() + pixel;
    return value_at(batch.label, batch.label_type, index);
  }
  // Whether the prediction is in no sum.
  bool counts_nowhere(int64_t sample, int64_t klass, int64_t pixel) const {
    if (ignored(label(sample, klass, pixel))) return true;
    if (!batch.weight) return false;
    return value_at(batch.weight, batch.weight_type, sample * pixels() + pixel) == 0;
  }

  std::string or_ignored() const {
    if (!settings.has_ignore) return "";
    return " or ignore_label=" + std::to_string(static_cast<int64_t>(settings.ignore_label));
  }
  std::string at_index(int64_t index) const {  // among the pixels of all samples
    return in_sample(index / pixels()) + ", pixel " + std::to_string(index % pixels()) + " of " +
           std::to_string(pixels());
  }
  std::string index_label() const;
  std::string dense_label() const;
  std::string weight() const;
  std::string prediction() const;
};

std::string Walk::index_label() const {
  const int64_t classes = batch.classes < 2 ? 2 : batch.classes;
  for (int64_t i = 0; i < batch.samples * pixels(); ++i) {
    const double v = value_at(batch.label, batch.label_type, i);
    if ((v >= 0 && v < classes && v == floor(v)) || ignored(v)) continue;
    return "label must be a whole number in [0, " + std::to_string(classes) + ")" + or_ignored() +
           ", for example " + std::to_string(classes - 1) + "; got " +
           text_at(batch.label, batch.label_type, i) + at_index(i);
  }
  return "";
}

std::string Walk::dense_label() const {
  for (int64_t sample = 0; sample < batch.samples; ++sample)
    for (int64_t klass = 0; klass < batch.classes; ++klass)
      for (int64_t pixel = 0; pixel < pixels(); ++pixel) {
        const double v = label(sample, klass, pixel);
        if ((v >= 0 && v <= 1) || ignored(v)) continue;
        return "a dense label must lie in [0, 1]" + or_ignored() + ", for example 0.5; got " +
               text_at(batch.label, batch.label_type, place(sample, klass, pixel)) +
               in_sample(sample) + ", class " + std::to_string(klass) + ", pixel " +
               std::to_string(pixel) + " of " + std::to_string(pixels());
      }
  return "";
}

std::string Walk::weight() const {
  for (int64_t i = 0; batch.weight && i < batch.samples * pixels(); ++i) {
    const double v = value_at(batch.weight, batch.weight_type, i);
    if (v >= 0 && isfinite(v)) continue;
    return "pixel_weight must be finite and not negative, for example 0.5; got " +
           text_at(batch.weight, batch.weight_type, i) + at_index(i);
  }
  return "";
}

std::string Walk::prediction() const {
  for (int64_t sample = 0; sample < batch.samples; ++sample)
    for (int64_t klass = 0; klass < batch.classes; ++klass)
      for (int64_t pixel = 0; pixel < pixels(); ++pixel) {
        const int64_t at = place(sample, klass, pixel);
        const double v = value_at(batch.pred, batch.pred_type, at);
        if (!(v < 0) || counts_nowhere(sample, klass, pixel)) continue;
        char power[40];
        snprintf(power, sizeof power, "%g", settings.exponent);
        return std::string("a negative prediction has no power ") + power +
               ": with activation='none' use predictions in [0, 1] or a whole exponent, for "
               "example 2; got " + text_at(batch.pred, batch.pred_type, at) + in_sample(sample) +
               ", class " + std::to_string(klass) + ", pixel " + std::to_string(pixel);
      }
  return "";
}

}  // namespace

void describe_fault(const soft_dice_batch &batch, const soft_dice_settings &settings,
                    char *message, size_t message_size) {
  const Walk walk{batch, settings};
  std::string text = settings.dense_label ? walk.dense_label() : walk.index_label();
  if (text.empty()) text = walk.weight();
  if (text.empty()) text = walk.prediction();
  if (message_size) snprintf(message, message_size, "%s", text.c_str());
}

}  // namespace soft_dice
