/* The kernels as an MXNet external operator: stage 1 is its forward, stage 3 its backward.
 *
 *   soft_dice_counts(pred, label[, pixel_weight]) -> intersection, pred_sum, label_sum
 *                                                    [, entropy, entropy_weight]
 *
 * the former each (N, C) float64, the latter (N,), where the attribute entropy asks for them; the
 * weight has no gradient.  Attributes, all of them text: activation, overlap, exponent, axis,
 * sparse_label, ignore_label (empty for none), weighted (whether there is a pixel_weight) and
 * zero_gradients (whether the gradients of label and pixel_weight are filled with zeros, or left
 * alone because nobody can read them).  Optional, as graphs without them have been exported: entropy,
 * and with it entropy_weights (numbers with commas between them, or empty), smoothing and gamma.
 *
 * MXNet does not tell an external operator whether a gradient is to be written or added: it must be
 * used only where it is to be written (gluon_dice/native/__init__.py sees to that).
 *
 * The kernels themselves come as two pointers from Python, so that a process holds them once, and
 * a third is Python's: it is asked, in the thread that builds or calls a graph, whether shapes belong
 * together, so that no rule and no sentence about them stands here.
 */
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels.h"
#include "lib_api.h"

namespace {

using mxnet::ext::MXTensor;
using mxnet::ext::MXReturnValue;
using Attributes = std::unordered_map<std::string, std::string>;
using Shape = std::vector<unsigned>;

decltype(&soft_dice_count) count_kernel = nullptr;
decltype(&soft_dice_gradient) gradient_kernel = nullptr;
/* Attributes and shapes, and a place for the sentence that refuses them. */
using Ask = void (*)(const char *question, char *answer, size_t answer_size);
Ask ask_python = nullptr;

/* MXNet asks for messages after each call, in the thread that made it.  What lib_api.cc offers for
 * that is one list for all threads, which only ever grows; build.py renames it out of the way. */
thread_local std::string last_error;

template <typename Body>
MXReturnValue guarded(Body body) {
  last_error.clear();
  try {
    body();
    return mxnet::ext::MX_SUCCESS;
  } catch (const std::exception &error) {
    last_error = error.what();
    return mxnet::ext::MX_FAIL;
  }
}

[[noreturn]] void refuse(const std::string &sentence) { throw std::invalid_argument(sentence); }

/* ---- attributes ---- */

const std::string &text(const Attributes &attributes, const char *name) {
  const auto found = attributes.find(name);
  if (found == attributes.end()) refuse(std::string("soft_dice_counts needs the attribute ") + name);
  return found->second;
}

int choice(const Attributes &attributes, const char *name, const std::vector<std::string> &known) {
  const std::string &value = text(attributes, name);
  for (size_t i = 0; i < known.size(); ++i) {
    if (value == known[i]) return static_cast<int>(i);
  }
  refuse(std::string(name) + " must not be '" + value + "'");
}

double number(const Attributes &attributes, const char *name) {
  return std::stod(text(attributes, name));
}

bool flag(const Attributes &attributes, const char *name) {
  return text(attributes, name) != "0";
}

bool wants_entropy(const Attributes &attributes) {
  return attributes.count("entropy") && flag(attributes, "entropy");
}

size_t outputs_of(const Attributes &attributes) { return wants_entropy(attributes) ? 5 : 3; }

std::vector<double> numbers(const Attributes &attributes, const char *name) {
  std::vector<double> values;
  std::istringstream text_of(text(attributes, name));
  for (std::string value; std::getline(text_of, value, ',');) values.push_back(std::stod(value));
  return values;
}

/* With what its pointer points to. */
struct Settings : soft_dice_settings {
  std::vector<double> weights;

  Settings() : soft_dice_settings() {}
  Settings(Settings &&) = default;
};

Settings settings_of(const Attributes &attributes) {
  Settings settings;
  settings.activation = choice(attributes, "activation", {"softmax", "sigmoid", "none"});
  settings.overlap = choice(attributes, "overlap", {"product", "l1"});
  settings.dense_label = !flag(attributes, "sparse_label");
  settings.exponent = number(attributes, "exponent");
  settings.has_ignore = !text(attributes, "ignore_label").empty();
  if (settings.has_ignore) settings.ignore_label = number(attributes, "ignore_label");
  settings.entropy = wants_entropy(attributes);
  if (settings.entropy) {
    settings.weights = numbers(attributes, "entropy_weights");
    if (!settings.weights.empty()) settings.entropy_weights = settings.weights.data();
    settings.smoothing = number(attributes, "smoothing");
    settings.gamma = number(attributes, "gamma");
  }
  return settings;
}

/* ---- shapes ---- */

bool known(const Shape &shape) {
  for (unsigned size : shape) {
    if (size == 0) return false;
  }
  return !shape.empty();
}

/* Of a prediction that Python has not refused. */
int class_axis(const Attributes &attributes, const Shape &pred) {
  const int axis = static_cast<int>(number(attributes, "axis"));
  return axis < 0 ? axis + static_cast<int>(pred.size()) : axis;
}

/* Python's rules and words (checks.py), for shapes that are all known. */
void check_shapes(const Attributes &attributes, const std::vector<Shape> &inputs) {
  std::string question;
  for (const char *name : {"activation", "axis", "sparse_label", "entropy_weights"}) {
    if (attributes.count(name)) question += name + ("=" + text(attributes, name)) + "\n";
  }
  const char *names[] = {"pred=", "label=", "pixel_weight="};
  for (size_t i = 0; i < inputs.size(); ++i) {
    question += names[i];
    for (unsigned size : inputs[i]) question += std::to_string(size) + ",";
    question += "\n";
  }
  char answer[1024] = "";
  ask_python(question.c_str(), answer, sizeof answer);
  if (*answer) refuse(answer);
}

/* ---- one call ---- */

float from_half(uint16_t half) {
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  float value = exponent == 31  ? (fraction ? NAN : INFINITY)
                : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return half & 0x8000 ? -value : value;
}

/* An array as the kernels take it: of one of their types, so that float16 is converted. */
struct Operand {
  const void *data = nullptr;
  size_t size = 0;
  int32_t type = 0;
  std::vector<float> converted;

  explicit Operand(const MXTensor &tensor) : data(tensor.data_ptr), size(tensor.size()) {
    switch (static_cast<int>(tensor.dtype)) {
      case mxnet::ext::kFloat32: type = SOFT_DICE_FLOAT32; break;
      case mxnet::ext::kFloat64: type = SOFT_DICE_FLOAT64; break;
      case mxnet::ext::kInt8: type = SOFT_DICE_INT8; break;
      case mxnet::ext::kInt32: type = SOFT_DICE_INT32; break;
      case mxnet::ext::kInt64: type = SOFT_DICE_INT64; break;
      case mxnet::ext::kUint8: type = SOFT_DICE_UINT8; break;
      case mxnet::ext::kFloat16: convert(tensor); break;
      default: refuse("arrays must be of one of MXNet's number types");
    }
  }

 private:
  void convert(const MXTensor &tensor) {
    const auto *half = static_cast<const uint16_t *>(tensor.data_ptr);
    converted.resize(tensor.size());
    for (size_t i = 0; i < converted.size(); ++i) converted[i] = from_half(half[i]);
    data = converted.data();
    type = SOFT_DICE_FLOAT32;
  }
};

/* The operands must outlive it. */
soft_dice_batch batch_of(const Attributes &attributes, const MXTensor &pred,
                         const std::vector<Operand> &operands) {
  const Shape shape(pred.shape.begin(), pred.shape.end());
  const int axis = class_axis(attributes, shape);
  soft_dice_batch batch{};
  batch.samples = pred.shape[0];
  batch.classes = pred.shape[axis];
  batch.outer = batch.inner = 1;
  for (int i = 1; i < axis; ++i) batch.outer *= pred.shape[i];
  for (size_t i = axis + 1; i < shape.size(); ++i) batch.inner *= pred.shape[i];
  batch.pred = operands[0].data;
  batch.pred_type = operands[0].type;
  batch.label = operands[1].data;
  batch.label_type = operands[1].type;
  if (operands.size() > 2) {
    batch.weight = operands[2].data;
    batch.weight_type = operands[2].type;
  }
  return batch;
}

/* Whether the operands are as large as they must be; of a single number MXNet does not ask. */
bool fit(const soft_dice_batch &batch, const Settings &settings,
         const std::vector<Operand> &operands) {
  const size_t pixels = batch.samples * batch.outer * batch.inner, weights = settings.weights.size();
  return operands[1].size == (settings.dense_label ? pixels * batch.classes : pixels) &&
         (operands.size() < 3 || operands[2].size == pixels) &&
         (!weights || weights == static_cast<size_t>(batch.classes));
}

std::vector<Operand> operands_of(const Attributes &attributes, const std::vector<MXTensor> &inputs,
                                 size_t first) {
  const size_t inputs_used = 2 + flag(attributes, "weighted");
  return {inputs.begin() + first, inputs.begin() + first + inputs_used};
}

size_t bytes_of(const MXTensor &tensor) {
  const size_t element[] = {4, 8, 2, 1, 4, 1, 8};  // by MXDType
  return tensor.size() * element[tensor.dtype];
}

/* MXNet takes large arrays anew from the system at every pass.  That costs a page fault for every
 * 4 kB, twice as long as the kernel takes, unless the system is told that 2 MB will do as well. */
void prefer_huge_pages(void *data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  const uintptr_t huge = uintptr_t{1} << 21, begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (begin + huge - 1) / huge * huge, last = (begin + bytes) / huge * huge;
  if (first < last) madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE);
#endif
}

void fill_with_nan(const MXTensor &tensor) {
  std::memset(tensor.data_ptr, 0xff, bytes_of(tensor));  // which is one in every floating type
}

/* ---- what MXNet calls ---- */

MXReturnValue parse_attributes(const Attributes &attributes, int *inputs, int *outputs) {
  return guarded([&] {
    settings_of(attributes);
    *inputs = 2 + flag(attributes, "weighted");
    *outputs = static_cast<int>(outputs_of(attributes));
  });
}

MXReturnValue infer_type(const Attributes &attributes, std::vector<int> *inputs,
                         std::vector<int> *outputs) {
  return guarded([&] {
    int &pred = inputs->at(0);
    if (pred > mxnet::ext::kFloat64) {
      refuse("pred must be float32 or float64, for example pred.astype(\"float32\")");
    }
    for (int &type : *inputs) {
      if (type > mxnet::ext::kInt64) {
        refuse("label and pixel_weight must be numbers, for example label.astype('uint8'); got bool");
      }
      if (type < 0) type = mxnet::ext::kFloat32;  // as everywhere in MXNet
    }
    outputs->assign(outputs_of(attributes), mxnet::ext::kFloat64);
  });
}

MXReturnValue infer_shape(const Attributes &attributes, std::vector<Shape> *inputs,
                          std::vector<Shape> *outputs) {
  return guarded([&] {
    const Shape &pred = inputs->at(0);
    if (!known(pred)) return;  // a later round knows more
    const bool all_known = std::all_of(inputs->begin(), inputs->end(), known);
    if (all_known) check_shapes(attributes, *inputs);
    const size_t axis = class_axis(attributes, pred);
    if (axis >= pred.size()) return;
    outputs->assign(outputs_of(attributes), {pred[0]});
    for (size_t i = 0; i < 3; ++i) (*outputs)[i].push_back(pred[axis]);
  });
}

MXReturnValue forward(const Attributes &attributes, std::vector<MXTensor> *inputs,
                      std::vector<MXTensor> *outputs, const mxnet::ext::OpResource &) {
  return guarded([&] {
    const Settings settings = settings_of(attributes);
    const auto operands = operands_of(attributes, *inputs, 0);
    const soft_dice_batch batch = batch_of(attributes, inputs->at(0), operands);
    if (!fit(batch, settings, operands)) {
      refuse("label and pixel_weight must have a shape; to MXNet a single number has none");
    }
    const size_t size = batch.samples * batch.classes;
    std::vector<double> counts(3 * size), entropy(2 * batch.samples);
    char message[512] = "the kernels have no memory";
    if (count_kernel(&batch, &settings, counts.data(), entropy.data(), message, sizeof message)) {
      refuse(message);
    }
    const double *from = counts.data();
    for (size_t i = 0; i < outputs->size(); ++i) {
      const size_t numbers = i < 3 ? size : batch.samples;
      if (i == 3) from = entropy.data();
      void *to = outputs->at(i).data_ptr;
      if (to) std::memcpy(to, from, numbers * sizeof(double));
      from += numbers;
    }
  });
}

/* inputs: the derivatives of the outputs, the inputs of forward, its outputs. */
MXReturnValue backward(const Attributes &attributes, std::vector<MXTensor> *inputs,
                       std::vector<MXTensor> *outputs, const mxnet::ext::OpResource &) {
  return guarded([&] {
    const Settings settings = settings_of(attributes);
    const size_t derivatives = outputs_of(attributes);
    const auto operands = operands_of(attributes, *inputs, derivatives);
    const soft_dice_batch batch = batch_of(attributes, inputs->at(derivatives), operands);
    if (!fit(batch, settings, operands)) {
      /* The forward has said so.  MXNet would lay a second error on whatever it computes next. */
      return fill_with_nan(outputs->at(0));
    }
    const size_t size = batch.samples * batch.classes;
    std::vector<double> d_counts(2 * size);
    for (size_t i = 0; i < 2; ++i) {
      std::memcpy(&d_counts[i * size], inputs->at(i).data_ptr, size * sizeof(double));
    }
    const void *d_entropy = settings.entropy ? inputs->at(3).data_ptr : nullptr;
    if (void *gradient = outputs->at(0).data_ptr) {
      prefer_huge_pages(gradient, bytes_of(outputs->at(0)));
      if (gradient_kernel(&batch, &settings, d_counts.data(),
                          static_cast<const double *>(d_entropy), gradient, 0) != 0) {
        refuse("the kernels have no memory");
      }
    }
    for (size_t i = 1; i < outputs->size() && flag(attributes, "zero_gradients"); ++i) {
      void *unused = outputs->at(i).data_ptr;
      if (unused) std::memset(unused, 0, bytes_of(outputs->at(i)));
    }
  });
}

}  // namespace

REGISTER_OP(soft_dice_counts)
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferShape(infer_shape)
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu");

extern "C" {

/* Called once by Python before MXNet loads the library. */
void soft_dice_connect(decltype(&soft_dice_count) count, decltype(&soft_dice_gradient) gradient,
                       Ask ask) {
  count_kernel = count;
  gradient_kernel = gradient;
  ask_python = ask;
}

int _msgSize() { return !last_error.empty(); }

void _msgGet(int, const char **message) { *message = last_error.c_str(); }

MXReturnValue initialize(int) { return count_kernel ? mxnet::ext::MX_SUCCESS : mxnet::ext::MX_FAIL; }

}
