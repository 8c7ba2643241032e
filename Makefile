# Everything runs in a virtual environment that this file makes; nothing is installed globally.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRAIN := .venv-train
COMPARE := .venv-compare

.PHONY: demo test lint docs pictures site bench bench-large bench-samples bench-accuracy bench-imagenet bench-tasks bench-ablation bench-depths train-depths bench-data bench-tune bench-tune-zoo bench-importance bench-latency bench-budgets bench-scale bench-real bench-ecosystem bench-compare examples test-train fuzz faults clean
BENCH ?= ../shared/bench
REAL ?= ../shared/real
MODELS ?= ../shared/zoo/models
CASES ?= 1000
SEED ?= 0
MOMENTS ?= 1000
IMAGENET ?= ../shared/imagenet
TASKS ?= ../shared/tasks

demo: $(VENV)/.installed ## prune a trained sample model and show the result
	mkdir -p build
	$(BIN)/spa inspect sample_models/digits_resnet.onnx
	$(BIN)/spa prune sample_models/digits_resnet.onnx --target-macs 0.5 \
	  --calib sample_models/digits_resnet_calib.npz -o build/small.onnx --plan-out build/plan.json --report build/report.html --force
	$(BIN)/spa verify sample_models/digits_resnet.onnx build/small.onnx \
	  --calib sample_models/digits_resnet_test.npz --min-agreement 0.9

test: $(VENV)/.dev ## lint, type-check, check the layers and run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

lint: $(VENV)/.dev ## mend what a tool can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## what analysis and OBSPA cost, how that grows, where the time goes (minutes)
	$(BIN)/python benchmarks/bench_analysis.py
	$(BIN)/python benchmarks/bench_large.py
	$(BIN)/python benchmarks/bench_obspa.py

bench-large: $(VENV)/.dev ## OBSPA on 1.1 G parameters in 8 GB, killed and gone on with, fp32 and fp16: docs/scale.md (hours)
	$(BIN)/python benchmarks/bench_any_size.py
	$(BIN)/python benchmarks/bench_any_size.py --half

bench-samples: $(VENV)/.installed ## accuracy of the sample models at half their MACs (the README's table)
	$(BIN)/python benchmarks/bench_samples.py

bench-accuracy: $(VENV)/.installed ## accuracy of the CIFAR-10 ResNets in $(BENCH), all methods (an hour)
	$(BIN)/python benchmarks/bench_accuracy.py --data $(BENCH)

bench-imagenet: $(VENV)/.installed ## ImageNet classifiers in $(IMAGENET) at 0.7 and 0.5 of their MACs, latency beside (half an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pillow
	$(BIN)/python benchmarks/bench_networks.py imagenet --data $(IMAGENET)

bench-tasks: $(VENV)/.installed ## the same for speech, language, sentences, detection, OCR in $(TASKS) (half an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pillow scipy tokenizers
	$(BIN)/python benchmarks/bench_networks.py tasks --data $(TASKS)

bench-ablation: $(VENV)/.installed ## what each part of OBSPA is worth: docs/how-it-works.md (an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pillow
	$(BIN)/python benchmarks/bench_ablation.py

bench-depths: $(VENV)/.installed ## the same for ResNet-32 and ResNet-44, trained here by train-depths (half an hour)
	$(BIN)/python benchmarks/bench_accuracy.py --data $(BENCH) --networks build/depths \
	  --models resnet32,resnet44 --runs 0,1,2

train-depths: $(TRAIN)/.installed ## train these on CIFAR=.../cifar-10-batches-py (ten minutes on a GPU, a day without)
	$(TRAIN)/bin/python benchmarks/train_cifar.py $(CIFAR) --out build/depths

bench-data: $(VENV)/.installed ## how many calibration samples, and of what kind: docs/data.md (five minutes)
	$(BIN)/python benchmarks/bench_data.py

bench-tune: $(VENV)/.installed ## what training towards the original wins back: docs/tune.md (data in $(BENCH); half an hour)
	$(BIN)/python benchmarks/bench_tune.py --data $(BENCH) --minutes 5

bench-tune-zoo: $(VENV)/.installed ## whether training ever makes a file worse, on every model in $(MODELS) and $(REAL) (two hours)
	$(BIN)/python benchmarks/bench_tune_zoo.py --data $(MODELS),$(REAL)/models

bench-real: $(VENV)/.installed ## drift of the trained models in $(REAL) at 1.5x MACs without data, against l2 (ten minutes)
	$(BIN)/python benchmarks/bench_real.py --data $(REAL)

bench-ecosystem: $(VENV)/.dev ## spa before and after onnxsim, onnxslim, ORT's optimisation and quantisation (data in $(REAL), $(BENCH); 20 minutes)
	$(BIN)/python benchmarks/bench_ecosystem.py --real $(REAL) --bench $(BENCH)

bench-compare: $(COMPARE)/.installed ## spa beside Torch-Pruning and onnxsim (docs/comparison.md; $(BENCH), $(IMAGENET); an hour and a half)
	OMP_NUM_THREADS=1 $(COMPARE)/bin/python benchmarks/bench_compare.py --bench $(BENCH)
	OMP_NUM_THREADS=1 $(COMPARE)/bin/python benchmarks/bench_compare.py --models efflite0,mnv2,squeeze --left 0.7 \
	  --imagenet $(IMAGENET)

bench-importance: $(VENV)/.installed ## accuracy by criterion, aggregation and normalisation (data in $(BENCH); an hour)
	$(BIN)/python benchmarks/bench_importance.py --data $(BENCH) --samples 128 --images 2000

bench-latency: $(VENV)/.installed ## whether smaller is faster, on every model there is: docs/budgets.md (half an hour)
	$(BIN)/python benchmarks/bench_latency.py

bench-scale: $(VENV)/.dev ## what this machine does in a second, and from that what large and many models cost: docs/scale.md (ten minutes)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/bench_scale.py --check

bench-budgets: $(VENV)/.installed ## whether budgets hold on every model of $(MODELS) (five minutes)
	$(BIN)/python benchmarks/bench_budgets.py --data $(MODELS)

examples: $(TRAIN)/.installed ## pruning before, after and during training, in PyTorch (ten minutes; see examples/README.md)
	$(TRAIN)/bin/python examples/torch_any_time.py

test-train: $(TRAIN)/.installed ## the tests that need PyTorch; what is missing fails (ten minutes)
	SPA_TRAIN=1 $(TRAIN)/bin/python -m pytest -n0 tests/derivatives tests/weights tests/examples

fuzz: $(VENV)/.dev ## damaged files of every kind, SEED and CASES of them: each has to end in a result or a refusal (CONTRIBUTING.md)
	$(BIN)/python -m fuzz --cases $(CASES) --seed $(SEED) --models $(MODELS)

faults: $(VENV)/.dev ## every command that writes, killed at MOMENTS moments of SEED, and on full disks (a quarter of an hour)
	$(BIN)/python -m faults --moments $(MOMENTS) --seed $(SEED)

docs: $(VENV)/.installed ## the generated parts of the documentation
	$(BIN)/python docs/make.py

pictures: $(VENV)/.installed ## the pictures of the documentation, from runs on the sample models (a minute)
	$(BIN)/python docs/pictures.py

site: $(VENV)/.dev ## the documentation as HTML, in build/site; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -n -b html -d build/site-doctrees docs build/site

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[report]'
	mkdir -p build
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	mkdir -p build
	touch $@ $(VENV)/.installed

$(TRAIN)/.installed: pyproject.toml examples/requirements-torch.txt
	test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN)
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --requirement examples/requirements-torch.txt --editable '.[dev]'
	touch $@

$(COMPARE)/.installed: pyproject.toml benchmarks/requirements-compare.txt
	test -x $(COMPARE)/bin/python || $(PYTHON) -m venv $(COMPARE)
	$(COMPARE)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --requirement benchmarks/requirements-compare.txt --editable .
	touch $@

clean:
	rm -rf $(VENV) $(TRAIN) $(COMPARE) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
