# Everything runs in a virtual environment that this file makes; nothing is installed globally.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs bench bench-samples bench-accuracy bench-real clean
BENCH ?= ../shared/bench
REAL ?= ../shared/real

demo: $(VENV)/.installed ## prune a trained sample model and show the result
	$(BIN)/spa inspect sample_models/digits_resnet.onnx
	$(BIN)/spa prune sample_models/digits_resnet.onnx --target-macs 0.5 \
	  --calib sample_models/digits_resnet_calib.npz -o build/small.onnx --plan-out build/plan.json --force
	$(BIN)/spa verify sample_models/digits_resnet.onnx build/small.onnx \
	  --calib sample_models/digits_resnet_test.npz --min-agreement 0.9

test: $(VENV)/.dev ## lint, type-check and run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: $(VENV)/.dev ## mend what a tool can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## what analysis and OBSPA cost, how that grows, where the time goes (minutes)
	$(BIN)/python benchmarks/bench_analysis.py
	$(BIN)/python benchmarks/bench_large.py
	$(BIN)/python benchmarks/bench_obspa.py

bench-samples: $(VENV)/.installed ## accuracy of the sample models at half their MACs (the README's table)
	$(BIN)/python benchmarks/bench_samples.py

bench-accuracy: $(VENV)/.installed ## accuracy of the CIFAR-10 ResNets in $(BENCH), all methods (an hour)
	$(BIN)/python benchmarks/bench_accuracy.py --data $(BENCH)

bench-real: $(VENV)/.installed ## drift of the trained models in $(REAL) at 1.5x MACs without data, against l2 (ten minutes)
	$(BIN)/python benchmarks/bench_real.py --data $(REAL)

docs: $(VENV)/.installed ## the generated parts of the documentation
	$(BIN)/python docs/make.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	mkdir -p build
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	mkdir -p build
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
