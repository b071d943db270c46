#!/usr/bin/env bash
# What points need before they can run: the weights of their model, and a dataset each. Sourced by trtllm-bench.sh.
#
# Both are kept on the node's disk for the pods that come later, and only one pod of a node prepares a thing. What runs
# under `attend` is a process of its own: it tells by its exit code, and bash ends no failed command in there.
# shellcheck disable=SC2034,SC2154 # what is set here and used there, or the other way round

locked() { # file, command...: only one pod of a node prepares a thing. The lock ends with the process.
    local file=$1
    shift
    mkdir -p "$(dirname "$file")" || return
    exec {lock}>"$file.lock" || return
    if ! flock -n "$lock"; then
        say "another pod of this node prepares $file: waiting for it"
        flock "$lock" || return
    fi
    "$@"
}

gb_there() { # folder
    local kib
    read -r kib _ < <(du -sk "$1" 2>/dev/null)
    printf '%s' "$((kib * 1024 / 1000000000))"
}

there_is_room() { # folder
    local kib free there
    { read -r _ && read -r _ _ _ kib _; } < <(df -Pk "$1") || return
    free=$((kib * 1024 / 1000000000)) there=$(gb_there "$1")
    say "$free GB are free for $model in $1; ${weights_gb:-unknown} GB are needed, $there GB are there"
    if [ -n "$weights_gb" ] && ((free + there < ${weights_gb%%.*})); then
        say "No space left on device: the weights do not fit on the disk of the cache"
        return 1
    fi
}

fetch_weights() { # folder; a second call goes on where the first was cut
    if [ "$(cat "$1/.complete" 2>/dev/null)" = "$model@$revision" ]; then return; fi
    rm -f "$1/.complete"
    there_is_room "$1" || return
    say "downloading $model into $1"
    local download=(hf download) code=0 ticker
    if ! command -v hf >/dev/null; then download=(huggingface-cli download); fi
    while sleep "$progress_s"; do say "downloading $model: $(gb_there "$1") of ${weights_gb:-unknown} GB"; done &
    ticker=$!
    HF_HUB_DISABLE_PROGRESS_BARS=1 "${download[@]}" "$model" ${revision:+--revision "$revision"} --local-dir "$1" || code=$?
    kill "$ticker"
    if ((code != 0)); then return "$code"; fi
    printf '%s@%s' "$model" "$revision" >"$1/.complete"
}

find_weights() {
    step="weights of $model"
    tell weights
    local name=${model//\//--} begin=${EPOCHREALTIME/[.,]/} code=0 commit
    if [ -n "$weights" ]; then
        local folders=("$weights/$model" "$weights/$name" "$weights/${model##*/}")
        if [ "$model" = "${SWEEP_WEIGHTS_MODEL:-}" ]; then folders+=("$weights"); fi
        for model_path in "${folders[@]}" ''; do
            if [ -f "$model_path/config.json" ]; then break; fi
        done
        if [ -z "$model_path" ]; then
            say "no config.json of $model below $weights: it is looked for in $model, $name and ${model##*/};" \
                "where the volume, or weights.subPath of it, is the model's own folder, weights.model must say so"
            exit 1
        fi
    else
        model_path=$cache/weights/$name${revision:+@$revision}
        mkdir -p "$model_path"
        attend "$start_s" '' locked "$model_path" fetch_weights "$model_path" || code=$?
        if [ "$cut" = timeout ]; then
            say "the weights took longer than their time limit of $start_s s (backend.start_timeout_s)"
            exit 124
        fi
        if [ -n "$stopped" ]; then exit 143; elif ((code != 0)); then exit "$code"; fi
    fi
    download_us=$((${EPOCHREALTIME/[.,]/} - begin))
    commit=$(head -n 1 "$model_path/.cache/huggingface/download/config.json.metadata" 2>/dev/null) || true
    facts+=(--fact "weights_path=$model_path" --fact "weights_commit=$commit")
    say "weights of $model: $model_path${commit:+, commit $commit}"
}

make_dataset() { # file, isl, osl, requests, seed
    if [ -s "$1" ]; then return; fi
    local made=$1.$$ lengths=(--num-requests "$4" --input-mean "$2" --output-mean "$3" --input-stdev 0 --output-stdev 0)
    say "making a dataset: $4 requests of $2 and $3 tokens"
    if [ -n "$prepare_dataset" ]; then
        trtllm-bench --model "$model_path" prepare-dataset --output "$made" --random-seed "$5" \
            token-norm-dist "${lengths[@]}" || return
    else
        local script
        script=$(find "${TRTLLM_ROOT:-/app/tensorrt_llm}" -name prepare_dataset.py 2>/dev/null | sort)
        script=${script%%$'\n'*}
        if [ -z "$script" ]; then
            say "neither 'trtllm-bench prepare-dataset' nor prepare_dataset.py is there"
            return 1
        fi
        python3 "$script" --tokenizer "$model_path" --stdout --random-seed "$5" token-norm-dist "${lengths[@]}" \
            >"$made" || return
    fi
    mv "$made" "$1"
}
