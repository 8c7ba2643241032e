#!/usr/bin/env bash
# A pipeline that shrinks a model and gates the result, as any CI system runs it: the first command that fails ends it.
# usage: examples/pipeline.sh MODEL CALIB TEST FOLDER [gates]
set -euo pipefail
model=$1 calib=$2 test=$3 folder=$4
shift 4
gates=("${@:---min-agreement=0.9}")

mkdir -p "$folder"
# a second run with the same model, data and options takes its result from the cache
spa prune "$model" -o "$folder/small.onnx" --target-macs 0.5 --calib "$calib" \
  --plan-out "$folder/plan.json" --cache "$folder/cache" --force --json > "$folder/prune.json"
# leaves with exit code 1 where a gate is not kept
spa verify "$model" "$folder/small.onnx" --calib "$test" --junit "$folder/junit.xml" --json "${gates[@]}" > "$folder/verify.json"
echo "$folder/small.onnx can go"
