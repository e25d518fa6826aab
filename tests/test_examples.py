"""The programs in examples/ run, and learn."""
import numpy as np
from examples import gluon_loop, module_fit
from examples.shapes import images


def test_module_learns_and_survives_saving():
    assert module_fit.main(epochs=4) > 0.6  # a third would be background alone


def test_gluon_loop_learns_on_two_devices():
    assert gluon_loop.main(epochs=4) > 0.6


def test_images_hold_every_class_and_are_those_of_their_seed():
    image, label = images(4, seed=3)
    assert image.shape == (4, 1, 32, 32) and label.shape == (4, 32, 32)
    assert all(set(np.unique(each)) == {0, 1, 2} for each in label)
    assert np.array_equal(images(4, seed=3)[0], image)
    assert not np.array_equal(images(4, seed=4)[0], image)
