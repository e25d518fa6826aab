"""What is changed in the sources of Caffe before they are compiled.

brocolli-caffe 9.0.2 is Caffe as of 2016, with layers of SSD and others, and with some lines of
later Caffe. Two thirds of its files are Caffe's own to the letter. Of the rest, these would lose
work or compute with what is not there; each change puts back what Caffe has.
"""
from pathlib import Path
from typing import List, NamedTuple

from runtime import Problem


class Change(NamedTuple):
    file: str
    old: str
    new: str
    times: int = 1


CHANGES: List[Change] = [
    # `caffe train -weights` took the file and began from random weights all the same.
    Change('tools/caffe.cpp', '''\
    solver->Restore(FLAGS_snapshot.c_str());
  }
''', '''\
    solver->Restore(FLAGS_snapshot.c_str());
  } else if (FLAGS_weights.size()) {
    vector<string> models;
    boost::split(models, FLAGS_weights, boost::is_any_of(","));
    for (int i = 0; i < models.size(); ++i) {
      LOG(INFO) << "Finetuning from " << models[i];
      solver->net()->CopyTrainedLayersFrom(models[i]);
    }
  }
'''),
    # Bottoms of different shapes were read past their ends.
    Change('src/caffe/layers/eltwise_layer.cpp', '''\
  // for (int i = 1; i < bottom.size(); ++i) {
  //   CHECK(bottom[i]->shape() == bottom[0]->shape());
  // }
''', '''\
  for (int i = 1; i < bottom.size(); ++i) {
    CHECK(bottom[i]->shape() == bottom[0]->shape());
  }
'''),
    Change('src/caffe/layers/scale_layer.cpp', '''\
  // for (int i = 0; i < scale->num_axes(); ++i) {
  //   CHECK_EQ(bottom[0]->shape(axis_ + i), scale->shape(i))
  //       << "dimension mismatch between bottom[0]->shape(" << axis_ + i
  //       << ") and scale->shape(" << i << ")";
  // }
''', '''\
  for (int i = 0; i < scale->num_axes(); ++i) {
    CHECK_EQ(bottom[0]->shape(axis_ + i), scale->shape(i))
        << "dimension mismatch between bottom[0]->shape(" << axis_ + i
        << ") and scale->shape(" << i << ")";
  }
'''),
    # The fillers "xavier" and "msra" ended the process on the weights of a 3-D convolution.
    Change('include/caffe/filler.hpp', 'int fan_in = blob->count() / blob->num();',
           'int fan_in = blob->count() / blob->shape(0);', times=2),
    Change('include/caffe/filler.hpp', 'int fan_out = blob->count() / blob->channels();',
           'int fan_out = blob->num_axes() > 1 ? blob->count() / blob->shape(1) : blob->count();',
           times=2),
]


def apply_changes(sources: Path) -> None:
    for change in CHANGES:
        file = sources / change.file
        text = file.read_text()
        if text.count(change.old) != change.times:
            raise Problem(f'{change.file} of Caffe is not what environment/caffe_changes.py '
                          'changes.')
        file.write_text(text.replace(change.old, change.new))
