"""The kernels against the reference: layouts, dtypes, messages, threads, forks, memory.

tests/test_backends.py runs the table of cases on them."""
import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from families import sums_of
from processes import HANG, surroundings
from tolerances import TOLERANCE

from soft_dice import DiceOptions, native, soft_dice_loss, soft_dice_loss_vjp
from soft_dice.gradcheck import relative_error
from soft_dice.native import library

KERNELS, REASON = native.load()
assert KERNELS, REASON
each_set = pytest.mark.parametrize('instruction_set', KERNELS.instruction_sets)
RNG = np.random.RandomState(0)
pytestmark = pytest.mark.usefixtures('kernels')


def evaluate(monkeypatch, which, arrays, options):
    monkeypatch.setenv('SOFT_DICE_NATIVE', which)
    loss, vjp = soft_dice_loss_vjp(arrays[0], arrays[1], options, arrays[2])
    return loss, vjp(np.linspace(0.5, 1.5, loss.size).reshape(loss.shape))


def assert_equals_reference(monkeypatch, arrays, options):
    """The kernels on ``arrays`` (pred, label, weight), against the reference in float64."""
    exact = [None if each is None else each.astype(np.float64) for each in arrays]
    expected_loss, expected_gradient = evaluate(monkeypatch, '0', exact, options)
    loss, gradient = evaluate(monkeypatch, '1', arrays, options)
    dtype = arrays[0].dtype.name
    assert gradient.dtype == dtype and gradient.shape == arrays[0].shape
    value = 'value, float64' if dtype == 'float64' else 'loss, float32'
    assert relative_error(loss, expected_loss) <= TOLERANCE[value]
    assert relative_error(gradient, expected_gradient) <= TOLERANCE[f'gradient, {dtype}']


# ---- values and gradients ----

NEEDS = {'avx512': {'avx2', 'fma', 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'},
         'avx2': {'avx2', 'fma'}, 'baseline': set()}  # best first


def test_what_this_machine_has_is_tested(cannot_show):
    """All that the processor has, and nothing above SOFT_DICE_MAX_ISA (`make test CPU=avx2`)."""
    with open('/proc/cpuinfo') as file:
        flags = set(file.read().split())
    limit = os.environ.get('SOFT_DICE_MAX_ISA')
    allowed = list(NEEDS)[list(NEEDS).index(limit) if limit else 0:]
    assert KERNELS.instruction_sets == [name for name in allowed if NEEDS[name] <= flags]
    assert KERNELS.instruction_set == KERNELS.instruction_sets[0]
    for name in NEEDS:
        if name not in KERNELS.instruction_sets:
            cannot_show(f'the kernels on {name}')
    with pytest.raises(ValueError, match="must be one of .*got 'mmx'"):
        KERNELS.use('mmx')


def batch(shape, options, dtype='float32', label_dtype='int64', weighted=False, ignore=False):
    """pred, label and weight with classes at options.axis of ``shape``."""
    axis = options.axis % len(shape)
    pixels = shape[:axis] + shape[axis + 1:]
    pred = (2 * RNG.standard_normal(shape)).astype(dtype)
    if options.activation == 'none':
        pred = np.abs(pred)
    if options.sparse_label:
        label = RNG.randint(0, max(shape[axis], 2), pixels)
        if ignore:
            label[RNG.uniform(size=pixels) < 0.2] = options.ignore_label
    else:
        label = RNG.uniform(size=shape)
        if ignore:
            label[RNG.uniform(size=shape) < 0.2] = options.ignore_label
    weight = RNG.uniform(0, 2, pixels).astype(dtype) if weighted else None
    return pred, label.astype(label_dtype), weight


@pytest.mark.parametrize('axis', [1, 2, -1])
@pytest.mark.parametrize('shape', [(2, 3, 5, 7), (1, 2, 130, 67), (3, 9, 2, 300), (2, 70, 3, 64),
                                   (1, 4, 1, 1), (2, 2, 9000, 2)])
@pytest.mark.parametrize('weighted', [False, True])
def test_any_layout(monkeypatch, shape, axis, weighted):
    options = DiceOptions(axis=axis, activation='sigmoid' if shape[axis] == 1 else 'softmax')
    assert_equals_reference(monkeypatch, batch(shape, options, weighted=weighted), options)
    dense = DiceOptions(axis=axis, activation='sigmoid', sparse_label=False, ignore_label=-1)
    arrays = batch(shape, dense, label_dtype='float32', weighted=weighted, ignore=True)
    assert_equals_reference(monkeypatch, arrays, dense)


@pytest.mark.parametrize('dimensions', [1, 2, 3, 4, 5])
def test_any_number_of_dimensions(monkeypatch, dimensions):
    shape = (2, 3) + (5, 4, 3, 2)[:dimensions - 1]
    if dimensions == 1:  # no pixels' axis at all
        shape = (2, 3)
    assert_equals_reference(monkeypatch, batch(shape, DiceOptions()), DiceOptions())


@each_set
@pytest.mark.parametrize('pixels', [1, 3, 15, 16, 63, 64, 65, 255, 257, 4095, 4097, 8191, 12289])
def test_any_number_of_pixels(monkeypatch, using, instruction_set, pixels):
    using(instruction_set)
    for dtype in ('float32', 'float64'):
        assert_equals_reference(monkeypatch, batch((2, 3, pixels), DiceOptions(), dtype),
                                DiceOptions())


@pytest.mark.parametrize('classes', [2, 19, 127, 128, 129, 300, 1500])
def test_any_number_of_classes(monkeypatch, classes):
    for dtype in ('float32', 'float64'):
        assert_equals_reference(monkeypatch, batch((1, classes, 301), DiceOptions(), dtype),
                                DiceOptions())


@pytest.mark.parametrize('label_dtype', ['bool', 'int8', 'uint8', 'int16', 'uint16', 'int32',
                                         'uint32', 'int64', 'uint64', 'float16', 'float32',
                                         'float64', '>i4', '>f8'])
@pytest.mark.parametrize('ignore', [None, 100])
def test_any_label_dtype(monkeypatch, label_dtype, ignore):
    options = DiceOptions(ignore_label=ignore)
    pred, label, _ = batch((2, 2, 300), options)
    if ignore is not None and label_dtype != 'bool':
        label[:, ::7] = ignore
    assert_equals_reference(monkeypatch, (pred, label.astype(label_dtype), None), options)


@pytest.mark.parametrize('ignore', [-(2 ** 24), -1, 0, 1, 200, 2 ** 24])
def test_any_ignore_label(monkeypatch, ignore):
    for label_dtype in ('int8', 'int32', 'int64', 'float64'):
        options = DiceOptions(ignore_label=ignore)
        pred, label, _ = batch((2, 3, 300), options, label_dtype=label_dtype)
        if np.can_cast(np.min_scalar_type(ignore), label_dtype):
            label[:, ::7] = ignore
        assert_equals_reference(monkeypatch, (pred, label, None), options)


@pytest.mark.parametrize('exponent', [1, 1.5, 2, 2.75, 3, 5])
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid', 'none'])
@pytest.mark.parametrize('overlap', ['product', 'l1'])
def test_any_exponent(monkeypatch, exponent, activation, overlap):
    options = DiceOptions(exponent=exponent, activation=activation, overlap=overlap,
                          sparse_label=False)
    for dtype in ('float32', 'float64'):
        pred, label, _ = batch((2, 3, 301), options, dtype, 'float64')
        if dtype == 'float64':
            label[0, 0, :50] = 0
        if activation == 'none' and exponent == int(exponent):
            pred[:, :, ::3] *= -1  # which has a whole power
        assert_equals_reference(monkeypatch, (pred, label.astype(dtype), None), options)


@pytest.mark.parametrize('exponent', [3, 4, 63, 64, 65, 100])
@each_set
def test_whole_powers_of_negative_predictions(monkeypatch, using, instruction_set, exponent):
    using(instruction_set)
    options = DiceOptions(exponent=exponent, activation='none')
    for dtype in ('float32', 'float64'):
        pred = RNG.uniform(0, 1.1, (2, 3, 301)).astype(dtype)
        pred[:, :, ::50] *= -1  # no more: what cancels in a sum leaves its rounding errors
        label = RNG.randint(0, 3, (2, 301))
        assert_equals_reference(monkeypatch, (pred, label, None), options)


@pytest.mark.parametrize('dtype, smallest', [('float32', -126), ('float64', -1020)])
def test_the_smallest_powers(monkeypatch, dtype, smallest):
    """p^1.5 from the smallest normal number on, which are the gradient of an absent class."""
    options = DiceOptions(exponent=2.5, activation='none')
    powers = 2 ** np.linspace(smallest, smallest + 6, 301)
    pred = np.broadcast_to(powers ** (1 / 1.5), (1, 2, 301)).astype(dtype)
    _, gradient = evaluate(monkeypatch, '1', (pred, np.zeros((1, 301)), None), options)
    slope = 2.5 / (2 * options.smooth) / 2  # S is 1, alpha 1/2, and there are two classes
    expected = slope * pred.astype('longdouble')[:, 1] ** 1.5
    ratio = gradient[:, 1] / expected
    assert relative_error(ratio, np.ones_like(ratio)) <= TOLERANCE[f'gradient, {dtype}']


def test_an_exponent_that_float32_rounds_to_1(monkeypatch):
    options = DiceOptions(exponent=1 + 1e-9)
    assert_equals_reference(monkeypatch, batch((2, 3, 301), options), options)


def test_the_sums_of_a_million_pixels():
    """In float32 alone, sums of this length are wrong in the fourth digit."""
    pred = np.zeros((1, 2, 1 << 20), np.float32)
    counts, _ = sums_of(pred, np.zeros((1, 1 << 20), np.uint8), DiceOptions())
    np.testing.assert_array_equal(counts.pred_sum, [[1 << 19, 1 << 19]])
    np.testing.assert_array_equal(counts.label_sum, [[1 << 20, 0]])


@each_set
@pytest.mark.parametrize('dtype, low, tolerance', [('float32', -86, 1e-6),
                                                   ('float64', -700, 1e-14)])
def test_the_exponential(using, instruction_set, dtype, low, tolerance):
    """Softmax over (x, 0) is exp(x) / (1 + exp(x)): exp(x) itself where x is very negative."""
    using(instruction_set)
    x = np.linspace(low, 0, 20001).astype(dtype)
    pred = np.stack([x, np.zeros_like(x)], axis=1)[:, :, None]
    counts, _ = sums_of(pred, np.zeros((len(x), 1)), DiceOptions())
    e = np.exp(x.astype(np.longdouble))
    assert np.max(np.abs(counts.pred_sum[:, 0] / (e / (1 + e)) - 1)) <= tolerance
    sigmoid, _ = sums_of(x[:, None, None], np.zeros((len(x), 1, 1)),
                         DiceOptions(activation='sigmoid', sparse_label=False))
    assert np.max(np.abs(sigmoid.pred_sum[:, 0] / (e / (1 + e)) - 1)) <= tolerance


@each_set
def test_extreme_logits(monkeypatch, using, instruction_set):
    using(instruction_set)
    pred = np.array([1e30, -1e30, 3e4, -3e4, 0, 88, -88, np.inf, -np.inf, 104] * 30,
                    np.float32).reshape(1, 3, 100)
    pred[:, 2, :] = 1e30  # so that no pixel is -inf throughout; with +inf the softmax is NaN
    for changed in (np.minimum(pred, 1e30), pred):
        loss, gradient = evaluate(monkeypatch, '1', (changed, np.ones((1, 100)), None),
                                  DiceOptions())
        with np.errstate(invalid='ignore'):
            expected, slope = evaluate(monkeypatch, '0', (changed, np.ones((1, 100)), None),
                                       DiceOptions())
        np.testing.assert_array_equal(np.isnan(loss), np.isnan(expected))
        if not np.isnan(loss).any():
            np.testing.assert_allclose(loss, expected, rtol=1e-6)
            np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid', 'none'])
@pytest.mark.parametrize('exponent', [1, 1.5, 2])
def test_nan(monkeypatch, activation, exponent):
    """A NaN that counts stays a NaN; one that is ignored or has weight 0 has no effect."""
    options = DiceOptions(activation=activation, exponent=exponent, sparse_label=False)
    pred, label, _ = batch((2, 3, 301), options, label_dtype='float32')
    pred[1, 1, 100] = np.nan
    assert np.isnan(soft_dice_loss(pred, label, options)).tolist() == [False, True]
    weight = np.ones((2, 301), np.float32)
    weight[1, 100] = 0
    loss, gradient = evaluate(monkeypatch, '1', (pred, label, weight), options)
    clean = np.where(np.isnan(pred), np.float32(0.5), pred)
    expected, slope = evaluate(monkeypatch, '1', (clean, label, weight), options)
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(gradient, slope)
    assert (gradient[1, :, 100] == 0).all()


# ---- bad values; all of these: refusals.py ----

def message_of(call):
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def changed(array, where, value):
    array = array.copy()
    array[where] = value
    return array


INDEX = np.zeros((2, 9000), np.float32)
HALVES = np.full((2, 3, 9000), 0.5, np.float32)


@pytest.mark.parametrize('sample, pixel', [(0, 0), (0, 8999), (1, 4321), (1, 8191)])
@pytest.mark.parametrize('dtype', ['float32', 'float64', 'uint8', 'int64'])
def test_a_bad_value_is_found_wherever_it_is(dtype, sample, pixel):
    """However the kernels cut the pixels up."""
    label, where = INDEX.astype(dtype), (sample, pixel)
    place = f'in sample {sample}, pixel {pixel} of 9000'
    assert place in message_of(lambda: soft_dice_loss(HALVES, changed(label, where, 3)))
    weight = np.ones((2, 9000), dtype)
    if dtype != 'uint8':
        assert place in message_of(lambda: soft_dice_loss(
            HALVES, label, pixel_weight=changed(weight, where, -1)))
    if 'float' in dtype:
        pred, where = HALVES.astype(dtype), (sample, 2, pixel)
        place = f'in sample {sample}, class 2, pixel {pixel}'
        assert place in message_of(lambda: soft_dice_loss(
            pred, changed(pred, where, 1.5), DiceOptions(sparse_label=False)))
        assert place in message_of(lambda: soft_dice_loss(
            changed(pred, where, -0.5), label, DiceOptions(activation='none', exponent=1.5)))


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_numbers_are_written_with_the_shortest_digits(dtype, implementation):
    """Any of a type, and such as there are in labels: of a few digits."""
    numbers = np.concatenate([
        np.frombuffer(RNG.bytes(2000 * np.dtype(dtype).itemsize), dtype),
        (RNG.randint(-999, 999, 2000) * 10.0 ** RNG.randint(-8, 18, 2000)).astype(dtype)])
    numbers[np.isnan(numbers)] = np.nan  # a signalling one is a warning of NumPy wherever it goes
    label = np.zeros((1, 1), dtype)
    for number in numbers:
        label[...] = number
        if number in (0, 1):
            continue
        text = np.format_float_scientific(number, trim='-', exp_digits=2)
        if number == 0 or 1e-4 <= abs(float(text)) < 1e16:
            text = np.format_float_positional(number, trim='0')
        assert f'; got {text} in sample' in message_of(
            lambda: soft_dice_loss(np.zeros((1, 2, 1)), label))


def test_a_negative_prediction_that_is_ignored_is_allowed():
    pred, label = changed(HALVES, (1, 2, 4321), -0.25), changed(INDEX, (1, 4321), 255)
    options = DiceOptions(activation='none', exponent=1.5, ignore_label=255)
    assert np.isfinite(soft_dice_loss(pred, label, options)).all()


def test_the_first_of_many_bad_labels_is_named():
    label = INDEX.copy()
    label[1] = 7
    for _ in range(5):  # whichever thread finds one first
        assert 'sample 1, pixel 0 of 9000' in message_of(
            lambda: soft_dice_loss(np.zeros((2, 3, 9000)), label, DiceOptions()))


def test_out():
    pred, label, _ = batch((2, 3, 300), DiceOptions())
    loss, vjp = soft_dice_loss_vjp(pred, label)
    expected = vjp(1.0)
    out = np.full_like(pred, np.nan)
    assert vjp(1.0, out=out) is out
    np.testing.assert_array_equal(out, expected)
    for other in (np.empty(pred.shape), np.empty((2, 300, 3), np.float32).swapaxes(1, 2)):
        np.testing.assert_allclose(vjp(1.0, out=other), expected)
    frozen = np.empty_like(pred)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match='read-only'):
        vjp(1.0, out=frozen)


# ---- threads, forks, memory ----

PROGRAM = '''
import hashlib, sys
import numpy as np
from soft_dice import DiceOptions, soft_dice_loss_vjp
rng = np.random.RandomState(0)
digest = hashlib.sha256()
for shape in ((3, 5, 200, 123), (2, 3, 40)):
    for options in (DiceOptions(), DiceOptions(exponent=2, ignore_label=1)):
        pred = rng.standard_normal(shape).astype(np.float32)
        loss, vjp = soft_dice_loss_vjp(pred, rng.randint(0, 3, shape[:1] + shape[2:]), options)
        digest.update(loss.tobytes() + vjp(1.0).tobytes())
print(digest.hexdigest())
'''


def run_program(text, **environment):
    done = subprocess.run([sys.executable, '-c', text], stdout=subprocess.PIPE, timeout=HANG,
                          env=surroundings(**environment), check=True)
    return done.stdout.decode().split()


def test_the_same_bits_on_any_number_of_threads():
    results = {run_program(PROGRAM, OMP_NUM_THREADS=n)[0] for n in ('1', '2', '3', '7', '64')}
    assert len(results) == 1


def test_the_number_of_threads_is_openmp_s():
    show = 'from soft_dice import native; print(native.kernels().threads)'
    assert run_program(show, OMP_NUM_THREADS='3') == ['3']


def test_from_several_threads_at_once():
    batches = [batch((2, 4, 20000 + i), DiceOptions()) for i in range(8)]

    def work(arrays):
        loss, vjp = soft_dice_loss_vjp(*arrays[:2])
        return loss, vjp(1.0)

    expected = [work(each) for each in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for (loss, gradient), (same_loss, same) in zip(pool.map(work, batches), expected):
                np.testing.assert_array_equal(loss, same_loss)
                np.testing.assert_array_equal(gradient, same)


FORK = '''
import multiprocessing
import numpy as np
from soft_dice import native, soft_dice_loss

pred = np.random.RandomState(0).standard_normal((4, 4, 20000))
label = np.zeros((4, 20000))

def work(_):
    return soft_dice_loss(pred, label).sum(), native.kernels().threads

here = work(0)[0]
with multiprocessing.get_context('fork').Pool(3) as pool:
    there = pool.map_async(work, range(6)).get(600)
print(all(value == here for value, _ in there), {threads for _, threads in there})
print(work(0)[0] == here, native.kernels().threads)
'''


def test_after_a_fork():
    """A data loader's workers do not have their parent's threads, and must not wait for them."""
    assert run_program(FORK, OMP_NUM_THREADS='2') == ['True', '{1}', 'True', '2']


MEMORY = '''
import numpy as np
from processes import peak_memory
from soft_dice import DiceOptions, soft_dice_loss_vjp

options = DiceOptions(**{options})
pred = np.zeros((2, 8, 1 << 20), np.float32)
pred[...] = 1
label = np.ones((2, 1 << 20), np.uint8) if options.sparse_label else np.ones_like(pred)
gradient = np.ones_like(pred)
soft_dice_loss_vjp(pred[:, :, :64], label[..., :64], options)[1](1.0)
before = peak_memory()
soft_dice_loss_vjp(pred, label, options)[1](1.0, out=gradient)
print((peak_memory() - before) / pred.nbytes)
'''


@pytest.mark.parametrize('options', [{}, {'exponent': 1.5, 'ignore_label': 3},
                                     {'sparse_label': False, 'activation': 'sigmoid'}])
def test_nothing_of_the_size_of_the_logits_is_allocated(options):
    assert float(run_program(MEMORY.replace('{options}', repr(options)))[0]) < 0.05


def test_the_gradient_can_be_added_to_what_is_there():
    """Which MXNet asks for (grad_req 'add')."""
    pred, label, _ = batch((2, 3, 300), DiceOptions(), label_dtype='int32')
    structure = library._arrays(DiceOptions(), pred, label, None)
    settings = library._settings(DiceOptions(), None)
    d_counts = RNG.standard_normal((2, 2, 3))
    start = RNG.standard_normal(pred.shape).astype(np.float32)
    results = []
    for first, add in ((np.zeros_like(pred), 0), (start.copy(), 1)):
        KERNELS.function('gradient')(ctypes.byref(structure), ctypes.byref(settings),
                                     d_counts.ctypes.data, None, first.ctypes.data, add)
        results.append(first)
    np.testing.assert_allclose(results[1] - start, results[0], atol=1e-6)


# ---- whether they are used ----

def test_the_variable_decides(monkeypatch):
    monkeypatch.setenv('SOFT_DICE_NATIVE', '0')
    assert native.kernels() is None and native.status().reason.startswith('SOFT_DICE_NATIVE=0')
    for value in ('1', ''):
        monkeypatch.setenv('SOFT_DICE_NATIVE', value)
        assert native.kernels() is KERNELS and native.status().in_use
    monkeypatch.setenv('SOFT_DICE_NATIVE', 'yes')
    with pytest.raises(ValueError, match="must be 0 .* or 1 .*got 'yes'"):
        soft_dice_loss(np.zeros((1, 2, 4)), np.zeros((1, 4)))


@pytest.mark.parametrize('content, why', [(None, 'not built yet'), (b'not a library', 'loaded')])
def test_without_a_library(monkeypatch, tmp_path, content, why):
    """NumPy serves; where the kernels are required, the error says what to do."""
    path = tmp_path / 'kernels.so'
    if content:
        path.write_bytes(content)
    monkeypatch.setattr(library, 'locate_kernels',
                        lambda: (path if content else None, 'they were not built yet'))
    library.load.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=f'SOFT_DICE_NATIVE=1, but .*{why}'):
            soft_dice_loss(np.zeros((1, 2, 4)), np.zeros((1, 4)))
        monkeypatch.delenv('SOFT_DICE_NATIVE')
        assert native.kernels() is None and why in native.status().reason
        assert soft_dice_loss(np.zeros((1, 2, 4)), np.zeros((1, 4))).shape == (1,)
    finally:
        library.load.cache_clear()
