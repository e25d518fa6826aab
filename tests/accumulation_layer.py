"""A Caffe data layer that serves the same eight images in turn, in batches of any size."""
import caffe
import numpy as np

RNG = np.random.RandomState(5)
IMAGES = RNG.standard_normal((8, 2, 6, 5))
LABELS = RNG.randint(0, 3, (8, 1, 6, 5))
LABELS[1], LABELS[2, 0, 0, 0] = 0, 255  # an empty image, and a pixel to ignore


class Images(caffe.Layer):
    """param_str: the batch size."""

    def setup(self, bottom, top):
        self.batch, self.next = int(self.param_str), 0

    def reshape(self, bottom, top):
        top[0].reshape(self.batch, *IMAGES.shape[1:])
        top[1].reshape(self.batch, *LABELS.shape[1:])

    def forward(self, bottom, top):
        rows = np.arange(self.next, self.next + self.batch) % len(IMAGES)
        top[0].data[...], top[1].data[...] = IMAGES[rows], LABELS[rows]
        self.next += self.batch

    def backward(self, top, propagate_down, bottom):
        pass
