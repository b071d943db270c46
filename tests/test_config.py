"""Configuration: composition, pins, -m, and the one sentence for each mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import cluster, composition, config, matrix
from sweep.config import SweepConfig
from sweep.errors import UsageError

GRID = "+experiment=ds_r1_grid"


def read(*arguments: str) -> SweepConfig:
    found = composition.read(list(arguments))
    assert found is not None
    return found


def points(cfg: SweepConfig) -> list[Any]:
    return [p for part in cfg.parts for p in matrix.expand(part.matrix, part.settings, part.model).points]


def cells(cfg: SweepConfig) -> int:
    return sum(matrix.expand(part.matrix, part.settings, part.model).cells for part in cfg.parts)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of the user's own files, for --config-dir."""
    for name, text in {
        "experiment/bands.yaml": "# @package _global_\nname: bands\nnum_requests: 64\nmatrix:\n  concat:\n"
        "    - {grid: {tp: [1], concurrency: [1, 2]}}\n    - {grid: {tp: [2], concurrency: [64]}}\n",
        "experiment/typo.yaml": "# @package _global_\nislx: 3\n",
        "experiment/typo_run.yaml": "# @package _global_\nrun: {node: 3}\n",
        "experiment/typo_matrix.yaml": "# @package _global_\nmatrix: {gird: {}}\n",
        "experiment/broken.yaml": "# @package _global_\nisl: [3\n",
        "experiment/bare.yaml": "isl: 3\n",
        "experiment/nothing.yaml": "",
        "experiment/typo_base.yaml": "# @package _global_\ndefaults: [band]\n",
        "experiment/wrong_type.yaml": "# @package _global_\nrun: {nodes: many}\n",
        "experiment/two_axes.yaml": "# @package _global_\nmatrix: {grid: {tp: [1], layout: [{tp: 2}]}}\n",
        "engine.yaml": "kv_cache_config: {dtype: fp8, free_gpu_memory_fraction: 0.7}\nstream_interval: 4\n",
        "tp.yaml": "tensor_parallel_size: 2\n",
        "empty.yaml": "# nothing\n",
        "nan.yaml": "a: {b: .nan}\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_grid_of_the_first_day() -> None:
    cfg = read(GRID)
    assert (cfg.name, cfg.backend, cells(cfg), len(points(cfg))) == ("ds_r1_grid", "simulated", 528, 132)


@pytest.mark.parametrize("name", ["recipe", "smoke", "ds_r1_grid", "llama70b_kv", "qwen3_32b_tp"])
def test_every_shipped_experiment_has_points(name: str) -> None:
    found = points(read(f"+experiment={name}"))
    assert found
    assert {point.streaming for point in found} == {name != "recipe"}


@pytest.mark.parametrize("model", sorted(path.stem for path in (config.SHIPPED / "conf" / "model").glob("*.yaml")))
def test_every_shipped_model_has_a_point(model: str) -> None:
    cfg = read(f"model={model}", "concurrency=8", "num_requests=40", "tp=4")
    assert len(points(cfg)) == 1


def test_both_spellings_of_experiment() -> None:
    assert points(read("experiment=smoke")) == points(read("+experiment=smoke"))


def test_options_may_stand_anywhere(own: Path) -> None:
    cfg = read("+experiment=bands", "--config-dir", str(own), "concurrency=1,2", "-m", "isl=64")
    assert [(point.tp, point.concurrency, point.isl) for point in points(cfg)] == [
        (1, 1, 64),
        (1, 2, 64),
        (2, 1, 64),
        (2, 2, 64),
    ]


def test_engine_yaml_gives_settings_and_the_command_line_wins(own: Path) -> None:
    common = ("model=llama-3.1-8b", f"model.engine_config={own}/engine.yaml", "concurrency=1", "num_requests=8")
    (point,) = points(read(*common))
    assert (point.kv_cache_dtype, point.kv_cache_free_gpu_mem_fraction) == ("fp8", 0.7)
    assert point.engine == '{"stream_interval":4}'
    (point,) = points(read(*common, "kv_cache_dtype=auto"))
    assert point.kv_cache_dtype == "auto"


def test_engine_keys_need_no_plus() -> None:
    (point,) = points(read("concurrency=1", "num_requests=8", "engine.some.new_key=3"))
    assert '"some":{"new_key":3}' in point.engine


# --------------------------------------------------------------------------------------------------------- pins, -m


def test_one_value_pins_a_linked_setting() -> None:
    cfg = read(GRID, "isl=1024", "kv_cache_dtype=fp8")
    assert {point.isl for point in points(cfg)} == {1024}
    assert {point.osl for point in points(cfg)} == {128, 1024, 8192}


def test_a_chosen_workload_pins_its_settings() -> None:
    assert {(point.isl, point.osl) for point in points(read(GRID, "workload=chat"))} == {(1024, 1024)}
    assert {(point.isl, point.osl) for point in points(read(GRID, "workload=chat.yaml"))} == {(1024, 1024)}


def test_several_values_replace_the_axis() -> None:
    cfg = read("-m", GRID, "concurrency=1,2,3")
    assert {point.concurrency for point in points(cfg)} == {1, 2, 3} and len(cfg.parts) == 1


def test_ranges_and_choices_are_understood() -> None:
    cfg = read("-m", GRID, "concurrency=range(1,4)", "kv_cache_dtype=choice(auto,fp8)")
    assert {point.concurrency for point in points(cfg)} == {1, 2, 3}


def test_a_swept_group_is_one_sweep_of_several_parts() -> None:
    cfg = read("-m", GRID, "model=deepseek-r1-nvfp4-v2,qwen3-32b", "isl=1024")
    assert len(cfg.parts) == 2 and len({point.model for point in points(cfg)}) == 2
    cfg = read("-m", "+experiment=smoke", "workload=short,chat", "max_seq_len=2048")
    assert {(point.isl, point.osl) for point in points(cfg)} == {(128, 128), (1024, 1024)}


def test_swept_engine_keys_are_axes() -> None:
    cfg = read("-m", "+experiment=smoke", "engine.stream_interval=1,10")
    assert len(points(cfg)) == 8


def test_engine_keys_may_be_nested_or_dotted_everywhere() -> None:
    axis = read("+experiment=smoke", "matrix.grid.engine.stream_interval=[1,10]")
    assert points(axis) == points(read("-m", "+experiment=smoke", "engine.stream_interval=1,10"))
    derived = read("+experiment=smoke", "matrix.derive.engine.cuda_graph_config.max_batch_size='2 * concurrency'")
    graphs = {json.loads(point.engine)["cuda_graph_config"]["max_batch_size"] for point in points(derived)}
    assert graphs == {2, 32}


def test_the_example_of_the_help_works_with_every_model() -> None:
    for model in ("deepseek-r1-nvfp4-v2", "qwen3-235b-a22b-nvfp4", "qwen3-4b"):
        given = "engine.cuda_graph_config.max_batch_size=512"
        (point,) = points(read(f"model={model}", given, "concurrency=8", "num_requests=40", "tp=4"))
        assert '"max_batch_size":512' in point.engine and "batch_sizes" not in point.engine


def test_linked_axis_with_one_swept_member() -> None:
    cfg = read("-m", GRID, "tp=2,4", "ep=1", "kv_cache_dtype=fp8")
    assert {point.tp for point in points(cfg)} == {4}  # TP2 holds no 671B weights


def test_concat_from_a_file(own: Path) -> None:
    found = points(read("--config-dir", str(own), "+experiment=bands"))
    assert [(point.tp, point.concurrency) for point in found] == [(1, 1), (1, 2), (2, 64)]


# --------------------------------------------------------------------------------------------------------- spellings


ONE = ("concurrency=1", "num_requests=8")


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("+isl=128", "isl=128"),
        ("+name=abc", "name=abc"),
        ("+run.nodes=2", "run.nodes=2"),
        ("+backend.point_timeout_s=9", "backend.point_timeout_s=9"),
        ("+model.weights_gb=17", "model.weights_gb=17"),
        ("+model=qwen3-4b", "model=qwen3-4b"),
        ("++workload=short", "workload=short"),
        ("+run.redo=tp == 4", "run.redo=tp == 4"),
        ("+run={nodes: 2, budget: {usd: null}}", "run.nodes=2"),
    ],
)
def test_a_needless_plus_changes_nothing(typed: str, plain: str) -> None:
    assert read(*ONE, typed) == read(*ONE, plain)


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("engine={a: {b: 3}}", ["engine.a.b=3"]),
        ("matrix.grid={tp: [1, 2]}", ["matrix.grid.tp=[1,2]"]),
        ("matrix.grid={concurrency: [2]}", ["matrix.grid.concurrency=[2]"]),
        ("matrix.zip={tp: [1, 2], osl: [8, 16]}", ["matrix.zip.tp=[1,2]", "matrix.zip.osl=[8,16]"]),
        ("matrix.derive={warmup: 'tp + 1'}", ["matrix.derive.warmup='tp + 1'"]),
        ("matrix={grid: {tp: [1, 2]}, require: ['tp < 9']}", ["matrix.grid.tp=[1,2]", "matrix.require=['tp < 9']"]),
    ],
)
def test_a_mapping_in_braces_says_what_its_keys_say_one_by_one(typed: str, plain: list[str]) -> None:
    assert points(read("+experiment=smoke", typed)) == points(read("+experiment=smoke", *plain))


def test_engine_keys_in_braces_are_pins_of_their_own(own: Path) -> None:
    text = "# @package _global_\nmatrix: {grid: {engine.a.b: [1, 2], engine.c: [1, 2]}}\n"
    (own / "experiment" / "axes.yaml").write_text(text)
    axes = ("--config-dir", str(own), "+experiment=axes", *ONE)
    assert len(points(read(*axes, "engine={a: {b: 3}}"))) == 2
    assert points(read(*axes, "engine={a: {b: 3}}")) == points(read(*axes, "engine.a.b=3"))


def test_values_of_the_chart_in_braces() -> None:
    found = read(*ONE, "backend=gke", "backend={values: {a: {b: 1}}}").backend_config["values"]
    assert found == read(*ONE, "backend=gke", "backend.values={a: {b: 1}}").backend_config["values"] == {"a": {"b": 1}}


# ---------------------------------------------------------------------------------------------------------- mistakes


OWN_FACTS = [f"model.{key}=null" for key in ("precision", "weights_gb", "kv_cache_dtype", "moe", "predict_as")]

MISTAKES = [
    ([GRID, "islx=3"], 'islx is unknown; did you mean "isl"?'),
    ([GRID, "+islx=3"], 'islx is unknown; did you mean "isl"?'),
    ([GRID, "run.node=2"], 'run.node is unknown; did you mean "run.nodes"?'),
    ([GRID, "model.foo=2"], "model.foo is unknown"),
    ([GRID, "backend.foo=2"], "backend.foo is unknown"),
    ([GRID, "+backend.foo=2"], "backend.foo is unknown"),
    ([GRID, "backend=gke", "backend.bucket=gs://b"], "backend.bucket is a bucket's name without gs:// and folders"),
    ([GRID, "backend=gke", "backend.results_uri=/mnt/x"], "backend.results_uri must begin with gs:// or file:///"),
    ([GRID, "matrix.gird=2"], 'matrix.gird is unknown; did you mean "matrix.grid"?'),
    ([GRID, "isl=abc"], "isl must be an integer, not 'abc'"),
    ([GRID, "run.nodes=x"], "run.nodes=x: Value 'x' of type 'str' could not be converted to Integer"),
    ([GRID, "run.repeats=0"], "run.repeats must be an integer of at least 1"),
    ([GRID, "run.retry.backoff_s=inf"], "run.retry.backoff_s must be a number from 0 to 1000000000, not inf"),
    ([GRID, "run.retry.backoff_max_s=nan"], "run.retry.backoff_max_s must be a number from 0 to 1000000000, not nan"),
    ([GRID, "run.quarantine.expires_s=1e12"], "run.quarantine.expires_s must be a number from 0 to 1000000000, not 1"),
    ([GRID, "run.budget.gpu_hours=nan"], "run.budget.gpu_hours must be a number more than 0, not nan"),
    ([GRID, "run.budget.usd=inf", "price_per_gpu_hour=3"], "run.budget.usd must be a number more than 0, not inf"),
    ([GRID, "price_per_gpu_hour=nan"], "price_per_gpu_hour must be a number more than 0, not nan"),
    ([GRID, "run.retry.total=-1"], "run.retry.total must be an integer of at least 0, not -1"),
    ([GRID, "run.deadline=9999999d"], "run.deadline=9999999d lies beyond the year 9999"),
    ([GRID, "run.detach=true", "run.max_deployments=2"], "run.detach leaves nobody who could heed run.max_deployments"),
    ([GRID, "kv_cache_free_gpu_mem_fraction=1.5"], "kv_cache_free_gpu_mem_fraction must be less than 1"),
    ([GRID, "tp=0"], "tp must be at least 1"),
    ([GRID, "name=../x"], "name must be a folder's name"),
    ([GRID, "matrix.grid.concurrency=[]"], "matrix.grid.concurrency is empty"),
    ([GRID, "parallel=3"], "matrix.grid.parallel=[...]"),
    ([GRID, "isl=[1"], "cannot be read"),
    ([GRID, "model.engine_config=deepseek"], "model.engine_config: no file deepseek"),
    ([GRID, "engine.kv_cache_config.dtype=fp8"], "write kv_cache_dtype=fp8"),
    ([GRID, "engine.max_batch_size=8"], "write max_batch_size=8"),
    ([GRID, "engine.cuda_graph_config.batch_sizes=[1,2]", "engine.cuda_graph_config.max_batch_size=8"], "remove one"),
    ([GRID, "+matrix.grid.engine.kv_cache_config.dtype=[fp8]"], "write kv_cache_dtype"),
    ([GRID, "model.weights_gb=nan"], "model.weights_gb must be a number more than 0"),
    ([GRID, "model.weights_gb=1e300"], "model.weights_gb must be at most 1,000,000 (units of 1e9 bytes), not 1e+300"),
    ([GRID, "image=''"], "image must be a text of printable characters, not ''"),
    ([GRID, "image=' '"], "image must be a text of printable characters, not ' '"),
    ([GRID, "image='a b'"], "image must be a text without blanks, not 'a b'"),
    ([GRID, "revision=''"], "revision must be a text of printable characters, not ''"),
    ([GRID, "matrix.grid.image=['']"], "matrix.grid.image: image must be a text of printable characters, not ''"),
    ([GRID, "model.id=''", *OWN_FACTS], "model.id must be a text of printable characters, not ''"),
    ([GRID, "model.id=3", *OWN_FACTS], "model.id must be a Hugging Face id, for example org/name, not 3"),
    ([GRID, "model.id=true", *OWN_FACTS], "model.id must be a Hugging Face id, for example org/name, not True"),
    ([GRID, "model.precision=int4"], "must be one of bf16, fp8, fp8_block, nvfp4, mxfp4, not 'int4'"),
    ([GRID, "engine.a=1e999"], "engine.a must be a finite number, not inf"),
    ([GRID, "matrix.grid.engine.a=[{b:nan}]"], "matrix.grid.engine.a: engine.a.b must be a finite number, not nan"),
    (["-m", GRID, "engine.a=1,nan"], "matrix.grid.engine.a: engine.a must be a finite number, not nan"),
    (["-m", GRID, "isl=range(1,1000000000)"], "999,999,999 values of isl"),
    (["+experiment=nope"], "experiment nope does not exist; there are ds_r1_grid, llama70b_kv"),
    (["+experiment=smok"], 'did you mean "smoke"'),
    (["model=nope"], "model nope does not exist"),
    (["backend=nope"], "backend nope does not exist"),
    (["-m", "+experiment=smoke,recipe"], "python -m sweep +experiment=recipe"),
    (["-m", "+experiment=smoke", "backend=a,b"], "python -m sweep backend=b +experiment=smoke"),
    (["-m", "+experiment=smoke", "concurrency=glob(*)"], "a group, and concurrency has no files"),
    (
        ["-m", "+experiment=smoke", "model=glob(zz*)"],
        "model=glob(zz*): glob chooses among the files of a group, and it",
    ),
    (["-m", "+experiment=smoke", "run.nodes=1,2"], "not run.nodes"),
    (["-m", "+experiment=smoke", "isl=interval(1,2)"], "isl=interval(1,2)"),
    ([GRID, "run={node: 2}"], 'run.node is unknown; did you mean "run.nodes"?'),
    ([GRID, "matrix={gird: {}}"], 'matrix.gird is unknown; did you mean "matrix.grid"?'),
    ([GRID, "islx={a: 1}"], 'islx is unknown; did you mean "isl"?'),
    (["--experiment", "smoke"], "--experiment is not an option; write +experiment=smoke"),
    (["--experiment=smoke"], "--experiment is not an option; write +experiment=smoke"),
    (["--rerun", "abc"], "--rerun is not an option; write rerun=abc"),
    ([GRID, "--isl", "128"], "--isl is not an option; write isl=128"),
    ([GRID, "--experimental-rerun", "x.pickle"], "--experimental-rerun is not an option"),
    ([GRID, "--experimental-rerun=x.pickle"], "--experimental-rerun is not an option"),
    ([GRID, "--multi"], '--multi is not an option; did you mean "--multirun"?'),
    ([GRID, "--config-di=/tmp"], '--config-di is not an option; did you mean "--config-dir"?'),
    (["smoke"], "smoke is not KEY=VALUE; write +experiment=smoke"),
    ([GRID, "qwen3-4b"], "qwen3-4b is not KEY=VALUE; write model=qwen3-4b"),
    (["smok"], 'smok is not KEY=VALUE; did you mean "smoke"?'),
    ([GRID, "isl"], "isl is not KEY=VALUE; write isl=VALUE"),
    ([GRID, "+experiment=smoke"], "experiment is given twice (ds_r1_grid, smoke)"),
    (["-m", "+experiment=smoke", "model.precision=fp8,bf16"], "workload and bench, not model.precision"),
    (["-m", "+experiment=smoke", "model.precisio=fp8,bf16"], 'not model.precisio; did you mean "model.precision"?'),
    (["-m", "+experiment=smoke", "concurrency=1,"], "it ends where a value should follow"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
def test_mistakes_on_the_command_line(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as told:
        points(read(*arguments))
    assert said in str(told.value)
    assert "expecting {" not in str(told.value)
    assert "precision; did you mean" not in str(told.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("typo", 'islx is unknown; did you mean "isl"? (in experiment/typo.yaml)'),
        ("typo_run", 'run.node is unknown; did you mean "run.nodes"? (in experiment/typo_run.yaml)'),
        ("typo_matrix", 'matrix.gird is unknown; did you mean "matrix.grid"?'),
        ("broken", "broken.yaml"),
        ("bare", "experiment/bare.yaml must begin with the line `# @package _global_`"),
        ("nothing", "experiment/nothing.yaml must begin with the line `# @package _global_`"),
        ("typo_base", 'experiment band does not exist; did you mean "bands"?; there are bands, bare, '),
        ("wrong_type", "could not be converted to Integer"),
        ("two_axes", "tp is set by two axes, tp and layout"),
    ],
)
def test_mistakes_in_files(own: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError) as told:
        points(read("--config-dir", str(own), f"+experiment={name}", "concurrency=1", "num_requests=8"))
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: {concat: [" + "{concat: [" * 60 + "{}" + "]}" * 60 + "]}", "nested too deep"),
        ("matrix: {grid: {tp: " + "[" * 3000 + "]" * 3000 + "}}", "nested too deep"),
        ("matrix: {concat: [" + "{concat: [" * 25 + "{}" + "]}" * 25 + "]}", "nested"),
        ("matrix: {grid: {isl: [" + "9" * 5000 + "]}}", "5000 digits"),
        ("matrix: {grid: {isl: [.inf]}}", "isl must be an integer, not inf"),
        ("matrix: {grid: {load: [{engine: 5}]}}", "write engine.SECTION.KEY: VALUE"),
        ("engine: {a: .nan}", "engine.a must be a finite number, not nan"),
        ("engine: {a: [1, {b: -.inf}]}", "engine.a[1].b must be a finite number, not -inf"),
        ("matrix: {grid: {load: [{engine: {a: [.nan]}}]}}", "matrix.grid.load: engine.a[0] must be a finite number"),
    ],
)
def test_hostile_files_are_one_sentence(own: Path, text: str, said: str) -> None:
    (own / "experiment" / "hostile.yaml").write_text(f"# @package _global_\n{text}\n")
    with pytest.raises(UsageError) as told:
        points(read("--config-dir", str(own), "+experiment=hostile", "concurrency=1", "num_requests=8"))
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# one\nname: '\xfc'\n", "is not UTF-8: line 3 has the byte 0xfc"),
        (b"- isl\n- osl\n", "is not a mapping: write KEY: VALUE on each line"),
        (b"isl\n", "is not a mapping"),
        (b"# " + b"x" * 1_000_000, "has more than 1,000,000 bytes"),
        (
            b"matrix: {grid: {a: &a [1,2,3,4,5,6,7,8,9,0], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a],\n"
            b"  c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b], tp: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]}}\n",
            "has more than 10,000 values, aliases (*NAME) written out",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named(own: Path, content: bytes, said: str) -> None:
    """Whether it is an experiment or an engine YAML; what is not a mapping there has its own message."""
    path = own / "experiment" / "odd.yaml"
    path.write_bytes(b"# @package _global_\n" + content)
    with pytest.raises(UsageError) as told:
        read("--config-dir", str(own), "+experiment=odd", "concurrency=1", "num_requests=8")
    assert str(told.value).startswith(f"{path} {said}")
    if "mapping" not in said:
        with pytest.raises(UsageError) as told:
            read(f"model.engine_config={path}", "concurrency=1", "num_requests=8")
        assert str(told.value).startswith(f"{path} {said}")


def test_a_header_that_is_none_is_told_with_its_file(own: Path) -> None:
    (own / "experiment" / "odd.yaml").write_text("# @package a b\nisl: 3\n")
    with pytest.raises(UsageError, match=r"experiment/odd\.yaml: Too many components in '@package a b'"):
        read("--config-dir", str(own), "+experiment=odd")


def test_files_are_utf_8_in_any_locale(own: Path) -> None:
    text = "# @package _global_\n# für alle\nconcurrency: 1\nnum_requests: 8\nname: NAME\n"
    (own / "experiment" / "odd.yaml").write_text(text, "utf-8")
    (own / "experiment" / "named.yaml").write_text(text.replace("NAME", "für"), "utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}

    def plan(experiment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweep", "plan", "--config-dir", str(own), f"+experiment={experiment}"]
        return subprocess.run(
            command, env=os.environ | locale, cwd=config.SHIPPED, capture_output=True, text=True, check=False
        )

    done = plan("odd")
    assert (done.returncode, done.stderr) == (0, "")
    done = plan("named")
    assert done.returncode == 2 and "this locale cannot name the folder results/für" in done.stderr
    assert "PYTHONUTF8=1" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tp", "is the setting tp: move it there"),
        ("empty", "not empty"),
        ("nan", r"a\.b in .*nan\.yaml must be a finite number, not nan"),
    ],
)
def test_engine_files_that_would_mislead_are_refused(own: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(f"model.engine_config={own}/{name}.yaml", "concurrency=1", "num_requests=8")


def test_values_are_data_never_code(own: Path) -> None:
    (own / "evil.yaml").write_text("a: !!python/object/apply:os.system ['touch evil']\n")
    with pytest.raises(UsageError, match="is not YAML"):
        read(f"model.engine_config={own}/evil.yaml", "concurrency=1", "num_requests=8")


def test_resolved_data_gives_the_same_configuration_back() -> None:
    cfg = read("-m", GRID, "isl=1024,8192")
    again = SweepConfig.of(yaml.safe_load(yaml.safe_dump(dict(cfg.resolved), sort_keys=False)), cfg.results_dir)
    assert points(again) == points(cfg)


def test_a_run_stays_in_the_context_and_namespace_that_were_the_current_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = {"a": {"cluster": "a", "namespace": "bench"}, "b": {"cluster": "b"}}
    said = {"current-context": "a", "contexts": [{"name": name, "context": it} for name, it in contexts.items()]}
    (tmp_path / "config").write_text(yaml.safe_dump(said))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    for words, context, namespace in (
        ([], "a", "bench"),
        (["backend.context=b"], "b", "default"),
        (["backend.namespace=mine"], "a", "mine"),
    ):
        found = cluster.pinned(read("+experiment=smoke", "backend=gke", *words)).backend_config
        assert (found["context"], found["namespace"]) == (context, namespace)
