#!/usr/bin/env bash
# Measures the points of points.txt one after the other with trtllm-bench, and publishes each as soon as it has ended.
#
# Runs in the pod of charts/trtllm-bench. Reads plain lines only (sweep/jobfiles.py says what lies where); no value of a
# user becomes a part of a command. A point that fails does not end the others, unless a GPU is sick: then this ends
# with 3. SIGTERM ends the running point, publishes it as interrupted and ends with 143. What a results volume holds
# already is not measured again; what stop.txt lists when its turn comes is not begun.
set -euo pipefail

files=${SWEEP_FILES:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
cache=${SWEEP_CACHE:-/cache}
work=${SWEEP_WORK:-$(mktemp -d)}
weights=${SWEEP_WEIGHTS:-}
results=${SWEEP_RESULTS:+$SWEEP_RESULTS/${SWEEP_ID:-by-hand}}
free_mib=${SWEEP_FREE_MIB:-2000}   # of each GPU may be in use before a point begins
free_wait_s=${SWEEP_FREE_WAIT_S:-180}
kill_wait_s=${SWEEP_KILL_WAIT_S:-30}

step=begin bench='' sampler='' stopped=''

say() { printf '%(%FT%TZ)T %s\n' -1 "$*" >&2; }
tell() { printf 'SWEEP_STEP %s\n' "$*"; } # what runs now, for who follows the log
publish() { python3 "$files/publish.py" "$@"; }
end_group() { # pid: the whole process group, first asked, then killed
    kill -TERM -- "-$1" 2>/dev/null || return 0
    local waited=0
    while kill -0 -- "-$1" 2>/dev/null && ((waited < kill_wait_s * 10)); do
        sleep 0.1
        waited=$((waited + 1))
    done
    kill -KILL -- "-$1" 2>/dev/null || true
}
stop() {
    stopped=1
    say "SIGTERM: what runs is ended and published"
    if [ -n "$bench" ]; then end_group "$bench"; fi
}
on_exit() {
    local code=$?
    if [ -n "$bench" ]; then end_group "$bench"; fi
    if [ -n "$sampler" ]; then kill "$sampler" 2>/dev/null || true; fi
    if ((code != 0)) && [ "$step" != ended ]; then say "the launcher ended in step '$step' with exit code $code"; fi
}
trap stop TERM INT
trap on_exit EXIT

# ------------------------------------------------------------------------------------------------------------- probing

probe() { # which options this TensorRT-LLM has
    step="probe trtllm-bench"
    local help
    help=$(trtllm-bench throughput --help 2>&1)
    if grep -q -e '--config\b' <<<"$help"; then engine_option=--config; else engine_option=--extra_llm_api_options; fi
    request_records=''
    if grep -q -e '--request_json\b' <<<"$help"; then request_records=1; fi
    prepare_dataset=''
    if trtllm-bench --help 2>&1 | grep -q prepare-dataset; then prepare_dataset=1; fi
    say "engine options by $engine_option; datasets by $([ -n "$prepare_dataset" ] && echo trtllm-bench || echo prepare_dataset.py)"
}

# ------------------------------------------------------------------------------------------------- weights and dataset

locked() { # file, command...: only one pod of a node prepares a thing. Bash does not end a failed command in here.
    local file=$1 code=0
    shift
    mkdir -p "$(dirname "$file")"
    exec {lock}>"$file.lock"
    flock "$lock"
    "$@" || code=$?
    exec {lock}>&-
    return "$code"
}

fetch_weights() { # folder; a second call goes on where the first was cut
    if [ "$(cat "$1/.complete" 2>/dev/null)" = "$model@$revision" ]; then return; fi
    rm -f "$1/.complete"
    say "downloading $model into $1"
    local download=(hf download)
    if ! command -v hf >/dev/null; then download=(huggingface-cli download); fi
    "${download[@]}" "$model" ${revision:+--revision "$revision"} --local-dir "$1" >&2 || return
    printf '%s@%s' "$model" "$revision" >"$1/.complete"
}

find_weights() {
    step="weights of $model"
    tell weights
    local name=${model//\//--}
    if [ -n "$weights" ]; then
        for model_path in "$weights/$model" "$weights/$name" "$weights/${model##*/}" "$weights"; do
            if [ -f "$model_path/config.json" ]; then return; fi
        done
        say "no config.json of $model below $weights"
        return 1
    fi
    model_path=$cache/weights/$name${revision:+@$revision}
    mkdir -p "$model_path"
    locked "$model_path" fetch_weights "$model_path"
}

make_dataset() { # file, isl, osl, requests, seed
    if [ -s "$1" ]; then return; fi
    local made=$1.$$ lengths=(--num-requests "$4" --input-mean "$2" --output-mean "$3" --input-stdev 0 --output-stdev 0)
    say "making a dataset: $4 requests of $2 and $3 tokens"
    if [ -n "$prepare_dataset" ]; then
        trtllm-bench --model "$model_path" prepare-dataset --output "$made" --random-seed "$5" \
            token-norm-dist "${lengths[@]}" >&2 || return
    else
        local script
        script=$(find "${TRTLLM_ROOT:-/app/tensorrt_llm}" -name prepare_dataset.py 2>/dev/null | head -n 1)
        if [ -z "$script" ]; then
            say "neither 'trtllm-bench prepare-dataset' nor prepare_dataset.py is there"
            return 1
        fi
        python3 "$script" --tokenizer "$model_path" --stdout --random-seed "$5" token-norm-dist "${lengths[@]}" \
            >"$made" || return
    fi
    mv "$made" "$1"
}

# -------------------------------------------------------------------------------------------------------------- a point

gpus_are_free() { # waits; a dead process can keep its memory for seconds
    if ! command -v nvidia-smi >/dev/null; then return 0; fi
    local waited=0 used
    while ((waited < free_wait_s)); do
        if ! used=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits); then return 1; fi
        if [ "$(sort -n <<<"$used" | tail -n 1)" -le "$free_mib" ]; then return 0; fi
        sleep 1
        waited=$((waited + 1))
    done
    return 1
}

oom_kills() { # how many processes of this container the kernel has ended for lack of memory (cgroup v2, v1)
    cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null | grep '^oom_kill ' || true
}

read_arguments() { # file, folder, engine, dataset: fills argv
    argv=()
    local line
    while IFS= read -r line; do
        case $line in
            @model_path@) argv+=("$model_path") ;;
            @dataset@) argv+=("$4") ;;
            @engine_option@) argv+=("$engine_option") ;;
            @engine@) argv+=("$3") ;;
            @report@) argv+=("$2/report.json") ;;
            @requests@) argv+=("$2/requests.json") ;;
            --request_json) if [ -n "$request_records" ]; then argv+=("$line"); else read -r line; fi ;;
            *) argv+=("$line") ;;
        esac
    done <"$1"
}

measure() { # point, attempt, limit_s, engine, dataset
    local folder=$work/$1/$2 data=$cache/datasets/$5.jsonl lengths code=0 began outcome=ended killed
    step="point $1"
    rm -rf "$folder"
    mkdir -p "$folder"
    mapfile -t lengths <"$files/dataset-$5.txt"
    if ! locked "$data" make_dataset "$data" "${lengths[@]}" 2>"$folder/log.txt"; then
        cat "$folder/log.txt" >&2
        publish attempt "$folder" --point "$1" --attempt "$2" --exit-code 1 --outcome ended ${results:+--into "$results"}
        return 0
    fi
    if ! gpus_are_free; then
        say "GPU memory never gets free: this node is sick"
        printf 'GPU is lost, or its memory is never freed\n' >"$folder/log.txt"
        publish attempt "$folder" --point "$1" --attempt "$2" --exit-code 3 --outcome sick ${results:+--into "$results"}
        return 3
    fi
    local argv
    read_arguments "$files/argv-$1.txt" "$folder" "$files/engine-$4.yaml" "$data"
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu="$(publish query)" --format=csv -lms 1000 >"$folder/gpu.csv" 2>/dev/null &
        sampler=$!
    fi
    tell point "$1" "$2"
    say "point $1 attempt $2 begins"
    killed=$(oom_kills)
    printf '%s' "${EPOCHREALTIME/,/.}" >"$folder/began"
    began=$SECONDS
    setsid trtllm-bench "${argv[@]}" >"$folder/log.txt" 2>&1 </dev/null &
    bench=$!
    while kill -0 "$bench" 2>/dev/null; do
        if ((SECONDS - began > $3)); then # whole seconds: not before all of its time is over
            outcome=timeout
            end_group "$bench"
        fi
        sleep 0.2
    done
    wait "$bench" || code=$?
    end_group "$bench" # ranks that outlived it
    bench=''
    if [ -n "$stopped" ]; then outcome=interrupted; fi
    if ((code != 0)) && [ "$(oom_kills)" != "$killed" ]; then
        printf '\noom_kill: the container was over its memory limit; the kernel ended a process of it\n' >>"$folder/log.txt"
    fi
    if [ -n "$sampler" ]; then
        kill "$sampler" 2>/dev/null || true
        wait "$sampler" 2>/dev/null || true
        sampler=''
    fi
    publish attempt "$folder" --point "$1" --attempt "$2" --exit-code "$code" --outcome "$outcome" \
        --download-s "$download_s" ${results:+--into "$results"}
    download_s=0
    if grep -qE 'Xid.*[0-9]|fallen off the bus|GPU is lost|uncorrectable ECC' "$folder/log.txt"; then return 3; fi
}

# ----------------------------------------------------------------------------------------------------------------- main

mapfile -t about <"$files/model.txt"
model=${about[0]} revision=${about[1]:-}
mkdir -p "$cache/datasets" "$work"
probe
find_weights
download_s=$SECONDS
while read -r -u 3 point attempt limit engine dataset; do
    if [ -n "$stopped" ]; then break; fi
    if [ -n "$results" ] && [ -f "$results/$point/$attempt/done.json" ]; then
        publish again "$results/$point/$attempt"
        continue
    fi
    if grep -qxF "$point $attempt" "$files/stop.txt" 2>/dev/null; then
        say "point $point attempt $attempt is not wanted any more"
        continue
    fi
    code=0
    measure "$point" "$attempt" "$limit" "$engine" "$dataset" || code=$?
    if ((code != 0)); then
        step=ended
        say "this node is given up after point $point"
        exit "$code"
    fi
done 3<"$files/points.txt"
step=ended
if [ -n "$stopped" ]; then exit 143; fi
say "all points are measured"
