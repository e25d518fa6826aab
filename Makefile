# `make` lists what there is. The targets that need .runtime/ build it first; with
# `make PYTHON=python3 test` a Python that has Caffe and MXNet is used, and nothing is built.

RUNTIME_PYTHON := .runtime/bin/python
PYTHON ?= $(RUNTIME_PYTHON)

# With CPU=avx2, as on a machine without AVX-512; with CPU=baseline, without AVX as well.  A process
# begins with the files of its share, so that their fixtures serve, and then takes over from others.
PYTEST := $(PYTHON) $(if $(CPU),tests/as_cpu.py $(CPU)) -m pytest -n auto --maxprocesses 8 \
          --dist worksteal --durations 30

WAY = $(if $(CAFFE),--caffe "$(CAFFE)")
BUNDLE_OUT := env-bundle-$(shell uname -m).tar

# torch and the published losses, which a Python as old as that of .runtime/ cannot hold.
TORCH := .runtime-originals

.PHONY: help env env-bundle dist test check test-matrix lint demo demo-3d demo-distributed bench long-run originals mutants study clean clean-env

help:
	@echo "make env        build .runtime/: Caffe and MXNet in one Python (environment/README.md)"
	@echo "make env-bundle write all that \`make env\` needs into one file, for a machine without network"
	@echo "make dist       write this project's wheel and source package into dist/"
	@echo "make test       check style and types, then run the tests: some minutes"
	@echo "make check      run the slow tests: sanitizers, demos, workers, long runs, builds, benchmarks"
	@echo "make test-matrix  run Gluon's and the core's tests on every MXNet from 1.3 to 2.0 and every"
	@echo "                  Python from 3.6 to 3.13 that is there (docs/versions.md)"
	@echo "make lint       check style and types"
	@echo "make demo       train on real images in both frameworks and draw what happened"
	@echo "make demo-3d    the same on volumes, with a V-Net on blocks of a brain"
	@echo "make demo-distributed  a training by two workers is that of one process"
	@echo "make bench      measure speed and memory against MONAI, nnU-Net and others (benchmarks/)"
	@echo "make long-run   10,000 steps of changing sizes: memory flat, kernels like the reference"
	@echo "make mutants    change one line after the other, and see that a test fails (mutation/)"
	@echo "make study      train with every loss on four tasks, and write docs/which-loss.md"
	@echo "make originals  run the published losses anew that tests/test_presets.py compares with"
	@echo "make clean      remove what tests, builds and the demo leave behind"
	@echo "make clean-env  remove .runtime/, .runtime-matrix/ and the kernels built in them"
	@echo
	@echo "PYTHON=...         use this Python, which has both frameworks, instead of .runtime/"
	@echo "CPU=avx2           test as on a machine without AVX-512; CPU=baseline: without AVX"
	@echo "LONG_RUN=...       options of the long run, for example LONG_RUN='--steps 1000'"
	@echo "BENCH=...          options of the benchmark, for example BENCH=--quick"
	@echo "MATRIX=...         options of the matrix, for example MATRIX='--only core --python 3.13'"
	@echo "MUTANTS=...        options of the mutation run, for example MUTANTS='--per-file 5 score'"
	@echo "STUDY=...          options of the study, for example STUDY=--quick"
	@echo "CAFFE=source       compile Caffe instead of taking that of Debian 11; CAFFE=debian: back again"
	@echo "BUNDLE=...         build .runtime/ from the file of \`make env-bundle\`, without a network"
	@echo "OUT=...            the file that \`make env-bundle\` writes, instead of $(BUNDLE_OUT)"
	@echo "DEBIAN_MIRROR=...  take Debian 11 from this mirror"

# -S: building needs the standard library alone, and an up-to-date check should take no time.
env:
ifeq ($(PYTHON),$(RUNTIME_PYTHON))
	@python3 -S environment/build.py $(if $(BUNDLE),--bundle "$(BUNDLE)") $(WAY)
else
	@$(PYTHON) -c 'import caffe, mxnet' 2>/dev/null || \
	    { echo "$(PYTHON) does not import caffe and mxnet:" \
	           "give another one, or leave PYTHON out to have one built." >&2; exit 2; }
endif

env-bundle:
	@python3 -S environment/build.py --write-bundle "$(or $(OUT),$(BUNDLE_OUT))" $(WAY)

# Not with `pip wheel`: the pip of .runtime/ would copy .runtime/ first.
dist: env
	rm -rf build dist
	$(PYTHON) setup.py -q sdist bdist_wheel
	@ls dist/*

lint: env
	$(PYTHON) -m flake8
	$(PYTHON) -m mypy

test: lint
	$(PYTEST) -m "not slow"

check: env
	$(PYTEST) -m slow

test-matrix: env
	$(PYTHON) -m version_matrix $(MATRIX)

demo: env
	$(PYTHON) -m demo

demo-3d: env
	$(PYTHON) -m demo --3d

demo-distributed: env
	$(PYTHON) -m demo --distributed

bench: env $(TORCH)/installed
	$(PYTHON) -m benchmarks $(BENCH)

# Its modules are those of the tests, which are no package.
long-run: env
	PYTHONPATH=.:tests $(PYTHON) -m long_run $(LONG_RUN)

mutants: env
	$(PYTHON) -m mutation $(MUTANTS)

study: env
	$(PYTHON) -m study $(STUDY)

originals: $(TORCH)/installed
	$(TORCH)/bin/python tests/originals/make_data.py

$(TORCH)/installed: tests/originals/requirements.txt
	python3 -m venv $(TORCH)
	$(TORCH)/bin/pip install torch==2.13.0 "numpy<3"
	$(TORCH)/bin/pip install --no-deps --require-hashes -r $<
	touch $@

clean:
	rm -rf build dist .mypy_cache .pytest_cache .hypothesis .coverage htmlcov demo/out benchmarks/out mutation/out study/out
	find . -name .runtime -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

clean-env:
	rm -rf .runtime .runtime-matrix soft_dice/native/_kernels.*
