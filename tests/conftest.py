"""What every test shares.  Both frameworks are required: without one the suite fails, not skips."""
import os

os.environ.setdefault('GLOG_minloglevel', '2')  # Caffe prints every layer it makes otherwise

import caffe  # noqa: E402
import mxnet  # noqa: E402

caffe.set_mode_cpu()
mxnet.random.seed(0)
