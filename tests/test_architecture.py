"""A model id that is changed alone: whose precision, weights, experts, KV dtype and prediction would it have?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import composition, matrix
from sweep.architecture import FACTS
from sweep.cli import run_command
from sweep.config import SHIPPED, SweepConfig
from sweep.errors import UsageError
from sweep.point import Precision, PredictAs
from sweep.table import Results

OTHER = "openai/gpt-oss-120b"
LOAD = ("concurrency=1", "num_requests=8")
ALL = (
    "model.precision=fp8",
    "model.weights_gb=65.5",
    "model.moe=true",
    "model.kv_cache_dtype=null",
    "model.predict_as={model: Qwen/Qwen3-32B}",
)
NULLS = tuple(f"model.{name}=null" for name in FACTS)


def read(*arguments: str) -> SweepConfig:
    found = composition.read(list(arguments))
    assert found is not None
    return found


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as refused:
        read(*arguments)
    return str(refused.value)


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        [f"model.id={OTHER}"],
        [f"++model.id={OTHER}"],
        [f"model={{id: {OTHER}}}"],
        [f"+model={{id: {OTHER}}}"],
        [f"++model={{id: {OTHER}}}"],
        ["-m", f"model={{id: {OTHER}}}", "concurrency=1,64"],
        [f"model.id={OTHER}", "backend=gke"],
        ["-m", f"model.id={OTHER}", "concurrency=1,64"],
        ["-m", f"model.id={OTHER},Qwen/Qwen3-30B-A3B"],
        ["-m", f"model.id=choice({OTHER},b)"],
        ["-m", "model=llama-3.1-8b,qwen3-4b", f"model.id={OTHER}"],
        ["+experiment=smoke", f"model.id={OTHER}"],
    ],
)
def test_an_id_alone_is_refused_and_the_facts_and_their_owner_are_named(arguments: list[str]) -> None:
    message = refusal(*LOAD, *arguments)
    assert f"model.id={OTHER} would keep precision, weights_gb, moe, kv_cache_dtype and predict_as" in message
    assert "of llama-3.1-8b" in message
    assert all(f"model.{name}=..." in message for name in FACTS)
    assert "\n" not in message


@pytest.mark.parametrize("command", ["run", "plan", "status", "doctor", "gc", "render"])
def test_every_command_refuses_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([command, "+experiment=smoke", f"model.id={OTHER}"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "of llama-3.1-8b" in said.err and "Traceback" not in said.err


def test_only_what_is_missing_is_named() -> None:
    message = refusal(*LOAD, "model=qwen3-4b", f"model.id={OTHER}", *ALL[1:4])
    assert "would keep precision and predict_as of qwen3-4b: give" in message
    assert "weights_gb" not in message and "moe" not in message


def test_an_id_with_all_its_facts_is_a_model_of_its_own() -> None:
    (part,) = read(*LOAD, "model=deepseek-r1-nvfp4-v2", f"model.id={OTHER}", *ALL).parts
    assert (part.model.id, part.settings["model"]) == (OTHER, OTHER)
    assert (part.model.precision, part.model.weights_gb, part.model.moe) == (Precision.FP8, 65.5, True)
    assert part.model.kv_cache_dtype is None
    assert part.model.predict_as == PredictAs(model="Qwen/Qwen3-32B")  # without the fmha of DeepSeek's
    assert not part.model.mtp  # which DeepSeek's has


def test_a_part_of_predict_as_takes_nothing_of_the_old_one() -> None:
    given = (*ALL[:4], "model.predict_as.model=Qwen/Qwen3-32B")
    (part,) = read(*LOAD, "model=llama-3.1-405b-nvfp4", f"model.id={OTHER}", *given).parts
    assert part.model.predict_as == PredictAs(model="Qwen/Qwen3-32B")
    assert "model.predict_as.model must be given" in refusal(
        *LOAD, f"model.id={OTHER}", *ALL[:4], "+model.predict_as.gemm=fp8"
    )


def test_an_empty_stand_in_is_no_stand_in_and_is_refused(tmp_path: Path) -> None:
    refused = "model.predict_as={} would change nothing: give its keys, or null for none"
    for given in ("model.predict_as={}", "++model.predict_as={}", "model={predict_as: {}}"):
        assert refusal(*LOAD, f"model.id={OTHER}", *ALL[:4], given) == refused
        assert refusal(*LOAD, given) == refused
    facts = "precision: fp8, weights_gb: 65.5, moe: true, kv_cache_dtype: null, predict_as: {}"
    put(tmp_path, "experiment/mine.yaml", EXPERIMENT + f"model: {{id: {OTHER}, {facts}}}\n")
    assert refusal("--config-dir", str(tmp_path), "+experiment=mine") == f"experiment/mine: {refused}"


def test_every_fact_may_be_unknown_on_purpose() -> None:
    cfg = read(*LOAD, "tp=2", f"model.id={OTHER}", *NULLS)
    (part,) = cfg.parts
    facts = [getattr(part.model, name) for name in FACTS]
    assert facts == [None] * 5
    settings = {**part.settings, "ep": 2, "attention_dp": True}
    (point,) = matrix.expand(part.matrix, settings, part.model).points
    assert (point.model, point.ep) == (OTHER, 2)  # nobody knows that it is dense


def test_facts_in_braces_are_those_of_the_id_beside_them() -> None:
    facts = "precision: fp8, weights_gb: 65.5, moe: true, kv_cache_dtype: null, predict_as: {model: Qwen/Qwen3-32B}"
    together = read(*LOAD, f"model={{id: {OTHER}, {facts}}}")
    assert together.parts == read(*LOAD, f"model.id={OTHER}", *ALL).parts
    assert "would keep weights_gb and moe of" in refusal(
        *LOAD, f"model={{id: {OTHER}, precision: fp8}}", "model={predict_as: null}", "model.kv_cache_dtype=null"
    )


def test_models_in_braces_are_not_swept() -> None:
    message = refusal(*LOAD, "-m", f"model={{id: {OTHER}}},{{id: b}}")
    assert "-m model=A,B sweeps over the names of files in model/" in message and "model.id" in message


def test_the_same_id_changes_nothing() -> None:
    same = "meta-llama/Llama-3.1-8B-Instruct"
    assert read(*LOAD, f"model.id={same}").parts == read(*LOAD).parts
    assert read(*LOAD, f"model.id={same}", "model.weights_gb=16").parts[0].model.weights_gb == 16


def test_ids_that_are_swept_with_their_facts_are_models_of_one_sweep() -> None:
    cfg = read(*LOAD, "-m", "model.id=a/x,'b/y, z'", *ALL)
    assert [part.model.id for part in cfg.parts] == ["a/x", "b/y, z"]
    assert {part.model.weights_gb for part in cfg.parts} == {65.5}


def test_the_engine_file_that_stays_is_reported() -> None:
    cfg = read(*LOAD, f"model.id={OTHER}", *ALL)
    (note,) = cfg.notes
    assert OTHER in note and "model.engine_config" in note and "llama-3.1-8b.yaml" in note
    own = f"model.engine_config={SHIPPED}/trtllm-configs/qwen3-4b.yaml"
    assert read(*LOAD, f"model.id={OTHER}", *ALL, own).notes == ()
    assert read(*LOAD).notes == ()


def test_a_note_reaches_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = (*ALL[:4], "model.predict_as=null")
    assert run_command(["plan", "--json", *LOAD, f"model.id={OTHER}", *given, f"results_dir={tmp_path}"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["points"] == 1 and "llama-3.1-8b.yaml" in said.err


# -------------------------------------------------------------------------------------------------------------- files


EXPERIMENT = "# @package _global_\nname: mine\nnum_requests: 8\nconcurrency: 1\n"
FACTS_OF_A_FILE = "precision: fp8, weights_gb: 65.5, moe: true, kv_cache_dtype: null, predict_as: null"


def test_an_experiment_that_sets_an_id_alone_is_refused_by_its_name(tmp_path: Path) -> None:
    put(tmp_path, "experiment/mine.yaml", EXPERIMENT + f"model: {{id: {OTHER}}}\n")
    message = refusal("--config-dir", str(tmp_path), "+experiment=mine")
    assert message.startswith(f"experiment/mine: model.id={OTHER} would keep precision") and "llama-3.1-8b" in message
    assert refusal("--config-dir", str(tmp_path), "+experiment=mine.yaml", "model=llama-3.1-8b.yaml") == message


def test_an_experiment_with_the_facts_is_whole_and_another_id_on_top_of_it_is_not(tmp_path: Path) -> None:
    put(tmp_path, "experiment/mine.yaml", EXPERIMENT + f"model: {{id: {OTHER}, {FACTS_OF_A_FILE}}}\n")
    mine = ("--config-dir", str(tmp_path), "+experiment=mine")
    assert read(*mine).parts[0].model.moe
    message = refusal(*mine, "model.id=Qwen/Qwen3-8B")
    assert f"would keep precision, weights_gb, moe, kv_cache_dtype and predict_as of {OTHER}" in message
    assert "experiment/mine" in message


def test_facts_of_an_experiment_are_not_those_of_an_id_of_the_command_line(tmp_path: Path) -> None:
    facts = "# @package _global_\nmodel: {" + FACTS_OF_A_FILE + "}\n"
    put(tmp_path, "experiment/facts.yaml", facts)
    assert "would keep precision" in refusal("--config-dir", str(tmp_path), *LOAD, "+experiment=facts", "model.id=x/y")


def test_an_experiment_gives_the_id_and_the_command_line_the_rest(tmp_path: Path) -> None:
    put(tmp_path, "experiment/mine.yaml", EXPERIMENT + f"model: {{id: {OTHER}}}\n")
    assert read("--config-dir", str(tmp_path), "+experiment=mine", *ALL).parts[0].model.weights_gb == 65.5


def test_an_experiment_that_builds_on_another(tmp_path: Path) -> None:
    text = "# @package _global_\ndefaults: [ds_r1_grid, _self_]\nname: mine\nmodel: {id: deepseek-ai/DeepSeek-R1}\n"
    put(tmp_path, "experiment/mine.yaml", text)
    assert "of deepseek-r1-nvfp4-v2" in refusal("--config-dir", str(tmp_path), "+experiment=mine")


def test_any_group_that_sets_an_id_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "workload/odd.yaml", f"# @package _global_\nisl: 8\nosl: 8\nmodel: {{id: {OTHER}}}\n")
    assert "workload/odd: model.id" in refusal("--config-dir", str(tmp_path), *LOAD, "workload=odd")


def test_a_model_of_ones_own_is_whole_by_itself_and_lacks_nothing_of_others(tmp_path: Path) -> None:
    text = f"id: {OTHER}\nprecision: bf16\nweights_gb: 65\nengine_config: qwen3-4b.yaml\n"
    cfg = read("--config-dir", str(put(tmp_path, "model/mine.yaml", text)), *LOAD, "model=mine")
    model = cfg.parts[0].model
    assert (model.moe, model.mtp, model.kv_cache_dtype, model.predict_as) == (False, False, None, None)
    assert cfg.notes == ()
    put(tmp_path, "model/less.yaml", f"id: {OTHER}\nengine_config: qwen3-4b.yaml\n")
    assert "model.precision, model.weights_gb must be given" in refusal(
        "--config-dir", str(tmp_path), *LOAD, "model=less"
    )


def test_a_model_that_inherits_another_ones_facts_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "model/mine.yaml", f"defaults: [llama-3.1-8b, _self_]\nid: {OTHER}\nprecision: mxfp4\n")
    message = refusal("--config-dir", str(tmp_path), *LOAD, "model=mine")
    assert message.startswith(
        f"model/mine: model.id={OTHER} would keep weights_gb, moe, kv_cache_dtype and predict_as of llama-3.1-8b"
    )
    put(tmp_path, "model/same.yaml", "defaults: [llama-3.1-8b, _self_]\nengine_config: qwen3-4b.yaml\n")
    assert read("--config-dir", str(tmp_path), *LOAD, "model=same").parts[0].model == read(*LOAD).parts[0].model


@pytest.mark.parametrize(
    "line",
    [
        "grid: {model.id: [a, b]}",
        "grid: {variant: [{model.id: a}, {model.id: b}]}",
        "zip: {model.id: [a, b]}",
        "concat: [{grid: {model.id: [a]}}]",
        "grid: {model: [a, b]}",
        "derive: {model: \"'a'\"}",
    ],
)
def test_a_matrix_has_no_axis_of_models(line: str, tmp_path: Path) -> None:
    put(tmp_path, "experiment/mine.yaml", EXPERIMENT + f"matrix: {{{line}}}\n")
    with pytest.raises(UsageError, match="-m model=a,b"):
        (part,) = read("--config-dir", str(tmp_path), "+experiment=mine").parts
        matrix.expand(part.matrix, part.settings, part.model)


# -------------------------------------------------------------------------------------------------------------- rerun


def kept(tmp_path: Path, **changed: Any) -> tuple[str, str]:
    """Keep the configuration of a sweep as an earlier version composed it; return what repeats it."""
    cfg = read("+experiment=smoke", f"results_dir={tmp_path}")
    resolved = yaml.safe_load(yaml.safe_dump(dict(cfg.resolved)))
    resolved["parts"][0]["model"] |= changed
    results = Results(tmp_path / "smoke")
    results.open_or_create()
    return f"+rerun={results.write_config(resolved)}", f"results_dir={tmp_path}"


def test_an_older_configuration_is_repeated_with_a_warning_that_names_the_architecture(tmp_path: Path) -> None:
    again = kept(tmp_path, id=OTHER)
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "plan", *again], capture_output=True, text=True, cwd=SHIPPED, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    for word in (OTHER, *FACTS, "llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"):
        assert word in line


def test_what_an_older_configuration_gave_is_not_held_against_it(tmp_path: Path) -> None:
    (note,) = read(*kept(tmp_path, id=OTHER, weights_gb=65.0, precision="fp8")).notes
    assert "predict_as of llama-3.1-8b" in note and "weights_gb" not in note
    own = {"id": OTHER, "weights_gb": 65.0, "predict_as": None}
    assert read(*kept(tmp_path, **own)).notes == ()
    assert read(*kept(tmp_path)).notes == ()
