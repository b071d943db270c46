#!/usr/bin/env bash
# Measures the points of points.txt one after the other with trtllm-bench, and publishes each as soon as it has ended.
#
# Runs in the pod of charts/trtllm-bench. Reads plain lines only (sweep/jobfiles.py says what lies where); no value of a
# user becomes a part of a command. A point that fails does not end the others, unless a GPU is sick: then this ends
# with 3. SIGTERM ends the running point, publishes it as interrupted and ends with 143. What a results volume holds
# already is not measured again; what stop.txt lists when its turn comes is not begun.
# Weights that take too long end it with 124; whatever else goes wrong, publishing too, ends it with that exit code.
# All that it and its processes print goes through `publish.py redact`, which takes out the secrets of its environment.
set -euo pipefail

files=${SWEEP_FILES:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
cache=${SWEEP_CACHE:-/cache}
work=${SWEEP_WORK:-$(mktemp -d)}
weights=${SWEEP_WEIGHTS:-}
results=${SWEEP_RESULTS:+$SWEEP_RESULTS/${SWEEP_ID:-by-hand}}
free_mib=${SWEEP_FREE_MIB:-2000}        # of each GPU may be in use before a point begins, over what was at first
free_wait_s=${SWEEP_FREE_WAIT_S:-180}   # for that
kill_wait_s=${SWEEP_KILL_WAIT_S:-30}    # between SIGTERM and SIGKILL
dataset_s=${SWEEP_DATASET_S:-600}       # a dataset may take
progress_s=${SWEEP_PROGRESS_S:-60}      # between two words on a download
probe_s=600                             # trtllm-bench may take to say what it can
print_s=30                              # what was printed may take to be passed on at the end

step=begin running='' mark='' cut='' sampler='' stopped='' sick='' baseline_mib=0 begun='' gpu_fields='' download_us=0
facts=() # for env.json

# ------------------------------------------------------------------------------------------------------------ printing

redact() { # reads on when a signal comes for all: the last words are printed after it
    trap '' TERM INT
    exec python3 "$files/publish.py" redact "$@"
}
if ! command -v python3 >/dev/null; then
    echo "python3 is not in this image: is it TensorRT-LLM's?" >&2
    exit 1
fi
exec > >(redact)
redacting=$!
exec 2> >(redact --others >&2) # where attend lets all that it runs print
redacting+=" $!"
end_of_print() { # with the first process of a pod all end at once, also what has not passed on everything
    local until=$((SECONDS + print_s))
    exec >&- 2>&-
    # shellcheck disable=SC2086 # two words
    while kill -0 $redacting && ((SECONDS <= until)); do sleep 0.05; done
}

say() { printf '%(%FT%TZ)T %s\n' -1 "$*" >&2; }
tell() { printf 'SWEEP_STEP %s\n' "$*"; } # what runs now, for who follows the log; before each result its point
publish() { python3 "$files/publish.py" "$@"; }
stop() {
    stopped=1
    say "SIGTERM: what runs is ended and published"
}
on_exit() {
    local code=$?
    if [ -n "$running" ]; then end_run; fi
    if [ -n "$sampler" ]; then kill "$sampler" 2>/dev/null || true; fi
    if ((code != 0)) && [ "$step" != ended ]; then say "the launcher ended in step '$step' with exit code $code"; fi
    end_of_print
}
trap stop TERM INT
trap on_exit EXIT
# shellcheck source=launchers/prepare.sh
. "$files/prepare.sh"

# ----------------------------------------------------------------------------------------------------------- processes

attend() { # seconds, log or '', command...: runs it in a process group of its own; `cut` is why it was ended, if it was
    local limit=$1 log=$2 begin=$SECONDS code=0
    shift 2
    cut='' mark="$$-$EPOCHREALTIME"
    set -m
    (
        if [ -n "$log" ]; then exec >>"$log" 2>&1; else exec >&2; fi
        export SWEEP_RUN="$mark;"
        if [ "$(type -t "$1")" = file ]; then exec "$@"; fi # so that its exit code is its own
        "$@"
    ) </dev/null 3<&- &
    set +m
    running=$!
    while kill -0 "$running" 2>/dev/null; do # bash runs traps between commands only: never a long one in here
        if [ -n "$stopped" ]; then cut=interrupted; elif ((SECONDS - begin > limit)); then cut=timeout; fi
        if [ -n "$cut" ]; then
            end_run
            break
        fi
        sleep 0.2
    done
    wait "$running" || code=$?
    end_run
    running=''
    return "$code"
}

end_run() { # all that attend has begun, also what left its process group, as MPI's ranks do: first asked, then killed
    local signal until left
    for signal in TERM KILL; do
        mapfile -t left < <(marked)
        kill "-$signal" -- "-$running" "${left[@]}" 2>/dev/null || true
        until=$((SECONDS + kill_wait_s))
        while [ -n "$(marked)" ]; do
            if ((SECONDS > until)); then continue 2; fi
            sleep 0.1
        done
        break
    done
    kill -KILL -- "-$running" 2>/dev/null || true # forks of bash carry no mark
}
marked() { # processes that carry the mark of what runs; a zombie carries nothing
    grep -lsF "SWEEP_RUN=$mark;" /proc/[0-9]*/environ | tr -dc '0-9\n' || true
}

# ------------------------------------------------------------------------------------------------------------- probing

probe() { # which options this TensorRT-LLM has
    step="probe trtllm-bench"
    local help=$work/throughput.help commands=$work/commands.help by=prepare_dataset.py
    attend "$probe_s" "$help" trtllm-bench --model "$model" throughput --help || true
    attend "$probe_s" "$commands" trtllm-bench --help || true
    if [ -n "$stopped" ]; then exit 143; fi
    if ! grep -q -e '--dataset\b' "$help"; then
        say "'trtllm-bench --model $model throughput --help' does not tell its options: is TensorRT-LLM in this image?"
        tail -n 20 "$help" >&2
        exit 1
    fi
    if grep -q -e '--config\b' "$help"; then engine_option=--config; else engine_option=--extra_llm_api_options; fi
    request_records=''
    if grep -q -e '--request_json\b' "$help"; then request_records=1; fi
    prepare_dataset=''
    if grep -q prepare-dataset "$commands"; then prepare_dataset=1 by='trtllm-bench prepare-dataset'; fi
    facts+=(--fact "engine_option=$engine_option" --fact "dataset_by=$by")
    say "engine options by $engine_option; datasets by $by"
}

# -------------------------------------------------------------------------------------------------------------- a point

used_mib() { # the most that is used of a GPU; nothing where nvidia-smi does not know
    local said
    if ! said=$(timeout 20 nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>&1); then
        printf '%s\n' "$said" >"$work/nvidia-smi.txt"
        return 1
    fi
    grep -xE '[0-9]+' <<<"$said" | sort -n | tail -n 1 || true
}

wait_for_gpus() { # a dead process can keep its memory for seconds. What was in use at first is not ours: no sick GPU
    if ! command -v nvidia-smi >/dev/null; then return 0; fi
    local until=$((SECONDS + free_wait_s)) used=''
    while [ -z "$stopped" ]; do
        if used=$(used_mib); then
            if [ -z "$used" ]; then return 0; fi
            if ((used < baseline_mib)); then baseline_mib=$used; fi
            if ((used <= baseline_mib + free_mib)); then
                if [ -z "$begun" ]; then baseline_mib=$used; fi
                return 0
            fi
        fi
        if ((SECONDS > until)); then break; fi # whole seconds: not before the time is over
        sleep 1
    done
    if [ -n "$stopped" ]; then return 0; fi
    if [ -n "$used" ] && [ -z "$begun" ]; then
        say "warning: $used MiB of a GPU are in use before the first point; from now on that is taken for none"
        baseline_mib=$used
    else
        sick="GPU is lost, or its memory is never freed: ${used:-$(cat "$work/nvidia-smi.txt")} MiB after $free_wait_s s"
        say "this node is sick: $sick"
    fi
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

measure() { # point, attempt, limit_s, engine, dataset: an attempt from its dataset to its line
    local folder=$work/$1/$2 data=$cache/datasets/$5.jsonl lengths code=0 begin=${EPOCHREALTIME/[.,]/} outcome=ended
    step="point $1"
    rm -rf "$folder"
    mkdir -p "$folder"
    mapfile -t lengths <"$files/dataset-$5.txt"
    attend "$dataset_s" "$folder/log.txt" locked "$data" make_dataset "$data" "${lengths[@]}" || code=$?
    download_us=$((download_us + ${EPOCHREALTIME/[.,]/} - begin)) # whole seconds would add one by chance
    if ((code != 0)); then
        outcome=${cut:-ended}
        say "point $1 has no dataset"
    else
        rm "$folder/log.txt"
        wait_for_gpus
        if [ -n "$stopped" ]; then
            outcome=interrupted code=143
        elif [ -n "$sick" ]; then
            outcome=sick code=3
            printf '%s\n' "$sick" >"$folder/log.txt"
        else
            bench "$@"
        fi
    fi
    if [ ! -e "$folder/began" ]; then tell published "$1" "$2"; fi
    publish attempt "$folder" --point "$1" --attempt "$2" --exit-code "$code" --outcome "$outcome" \
        --download-s "$((download_us / 1000000)).$(printf %06d $((download_us % 1000000)))" "${facts[@]}" ${results:+--into "$results"}
    download_us=0
}

bench() { # as measure, whose folder, data, code and outcome it uses
    local argv killed
    read_arguments "$files/argv-$1.txt" "$folder" "$files/engine-$4.yaml" "$data"
    if command -v nvidia-smi >/dev/null; then
        gpu_fields=${gpu_fields:-$(publish query)}
        nvidia-smi --query-gpu="$gpu_fields" --format=csv -lms 1000 >"$folder/gpu.csv" 2>/dev/null &
        sampler=$!
    fi
    tell point "$1" "$2"
    say "point $1 attempt $2 begins"
    begun=1 killed=$(oom_kills)
    printf '%s' "${EPOCHREALTIME/,/.}" >"$folder/began"
    attend "$3" "$folder/log.txt" trtllm-bench "${argv[@]}" || code=$?
    if [ -n "$cut" ] && ! { ((code == 0)) && [ -s "$folder/report.json" ]; }; then outcome=$cut; fi # else it was done
    if ((code != 0)) && [ "$(oom_kills)" != "$killed" ]; then
        printf '\noom_kill: %s\n' "the container was over its memory limit; the kernel ended a process of it" \
            >>"$folder/log.txt"
    fi
    if [ -n "$sampler" ]; then
        kill "$sampler" 2>/dev/null || true
        wait "$sampler" 2>/dev/null || true
        sampler=''
    fi
    # Xid 13, 31, 43 and 45 are faults of the program
    if grep -qvE 'Xid( ?\([^)]*\))?[:=]? ?(13|31|43|45)([^0-9]|$)' < <(
        grep -E 'Xid.*[0-9]|fallen off the bus|GPU is lost|uncorrectable ECC' "$folder/log.txt"
    ); then sick="what the log of point $1 says"; fi
}

# ----------------------------------------------------------------------------------------------------------------- main

mapfile -t about <"$files/model.txt"
model=${about[0]} revision=${about[1]:-} weights_gb=${about[2]:-} start_s=${about[3]:-86400}
mkdir -p "$cache/datasets" "$work"
if [ -n "$results" ]; then
    step="results volume"
    publish probe "$results"
fi
probe
find_weights
while read -r -u 3 point attempt limit engine dataset; do
    if [ -n "$stopped" ]; then break; fi
    if [ -n "$results" ] && [ -f "$results/$point/$attempt/done.json" ]; then
        tell published "$point" "$attempt"
        publish again "$results/$point/$attempt"
        continue
    fi
    if grep -qxF "$point $attempt" "$files/stop.txt" 2>/dev/null; then
        say "point $point attempt $attempt is not wanted any more"
        tell passed "$point" "$attempt"
        continue
    fi
    measure "$point" "$attempt" "$limit" "$engine" "$dataset"
    if [ -n "$sick" ]; then
        step=ended
        say "this node is given up after point $point"
        exit 3
    fi
done 3<"$files/points.txt"
step=ended
if [ -n "$stopped" ]; then exit 143; fi
say "all points are measured"
