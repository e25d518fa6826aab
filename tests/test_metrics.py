import numpy as np
import pytest

from soft_dice import hard_dice


def test_counts_by_hand():
    pred = np.array([[0, 1, 1], [2, 0, 0]])
    label = np.array([[0, 1, 2], [2, 0, 1]])
    np.testing.assert_array_equal(hard_dice(pred, label, 4), [4 / 5, 2 / 4, 2 / 3, np.nan])


def test_ignored_pixels():
    pred, label = np.array([0, 1, 1, 9]), np.array([0, 1, 0, 255])
    np.testing.assert_array_equal(hard_dice(pred, label, 2, ignore_label=255), [2 / 3, 2 / 3])


@pytest.mark.parametrize('pred, label, message', [
    (np.zeros((2, 3)), np.zeros((3, 2)), r'one shape.*got \(2, 3\) and \(3, 2\)'),
    (np.array([2]), np.array([0]), r'pred must hold whole numbers in \[0, 2\); got 2'),
    (np.array([0]), np.array([-1]), 'label must hold whole numbers'),
    (np.array([0.5]), np.array([0]), 'got 0.5'),
    (np.array([0]), np.array([np.nan]), 'got nan'),
])
def test_bad_input(pred, label, message):
    with pytest.raises(ValueError, match=message):
        hard_dice(pred, label, 2)
