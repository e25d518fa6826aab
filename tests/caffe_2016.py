"""The tests that the Caffe of `make env CAFFE=source` cannot pass, and why.

conftest.py expects them to fail there, and only there; one that passes all the same fails.
"""
import caffe

NO_COUNT = 'this Caffe is of 2016 and knows no workers: there is no caffe.solver_count'
CANNOT_PASS = {
    'test_accumulation.py': {
        'test_processes_are_exact_for_a_loss_per_image': NO_COUNT,
        'test_processes_have_another_loss_over_the_batch': NO_COUNT,
        'test_processes_learn': NO_COUNT,
        'test_a_process_that_fails_ends_all': NO_COUNT,
    },
}
OF_2016 = not hasattr(caffe, 'solver_count')


def why_not(file, function):
    """The reason, or None."""
    return CANNOT_PASS.get(file, {}).get(function) if OF_2016 else None
