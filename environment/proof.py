"""Shows that the runtime works: both frameworks in one process, a Python layer in Caffe's command.

environment/build.py runs it. It works in the folder proof/ of the current one, and prints one line
of versions.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

NET = '''
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 2 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param {
          num_output: 4 kernel_size: 3 weight_filler { type: "constant" value: 1 } } }
layer { name: "twice" type: "Python" bottom: "conv" top: "twice"
        python_param { module: "proof_layer" layer: "Twice" } }
'''
LAYER = '''
import caffe
import numpy
import scipy.linalg


class Twice(caffe.Layer):
    def setup(self, bottom, top):
        # NumPy's wheel brings its own OpenBLAS, and SciPy shares Caffe's.
        matrix = numpy.eye(100) + 1 / 200
        assert numpy.allclose(numpy.linalg.inv(matrix) @ matrix, numpy.eye(100))
        assert numpy.allclose(scipy.linalg.inv(matrix) @ matrix, numpy.eye(100))

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 2 * top[0].diff
'''


def check_libraries() -> str:
    import caffe
    import mxnet
    import numpy
    net = caffe.Net('net.prototxt', caffe.TEST)
    net.blobs['data'].data[...] = 1
    net.forward()
    assert numpy.all(net.blobs['twice'].data == 2 * 27), 'Caffe computes wrongly'
    product = mxnet.nd.dot(mxnet.nd.ones((64, 64)), mxnet.nd.ones((64, 64)))
    assert numpy.all(product.asnumpy() == 64), 'MXNet computes wrongly'
    return f'Caffe {caffe.__version__}, MXNet {mxnet.__version__}, NumPy {numpy.__version__}'


def check_commands() -> None:
    for name, *arguments in (['caffe', 'time', '-model', 'net.prototxt', '-iterations', '1'],
                             ['upgrade_net_proto_text', 'old.prototxt', 'new.prototxt']):
        command = Path(sys.executable).with_name(name)
        subprocess.run([str(command), *arguments], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, PYTHONPATH=os.getcwd()))
    assert 'type: "Silence"' in Path('new.prototxt').read_text(), 'an old net is not converted'


def main() -> None:
    folder = Path('proof').resolve()
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    Path('net.prototxt').write_text(NET)
    Path('old.prototxt').write_text('layers { name: "old" type: SILENCE bottom: "data" }')
    Path('proof_layer.py').write_text(LAYER)
    sys.path.insert(0, str(folder))
    os.environ['GLOG_logtostderr'] = '1'  # else Caffe's command leaves logs in /tmp
    os.environ['GLOG_minloglevel'] = '2'
    check_commands()
    versions = check_libraries()
    shutil.rmtree(folder)
    print(versions)


if __name__ == '__main__':
    main()
