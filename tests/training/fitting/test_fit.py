from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core.progress import Progress, ignore
from core.settings import SHIPPED_WEIGHTS
from model.networks.architectures import ARCHITECTURES
from training.fitting.config import Stage, TrainingConfig, config_from, default_config, fine_tuning_stages, rescaled
from training.fitting.progress import EpochEnd


def test_configuration_survives_json() -> None:
    config = TrainingConfig(stages=fine_tuning_stages(1, 2, 3), seed=7, augmentation="domain_shift")
    assert TrainingConfig.from_json(config.to_json()) == config
    assert [stage.name for stage in config.epochs] == ["head", "small", "small", "full", "full", "full"]


def test_part_of_a_configuration_keeps_the_other_defaults_and_unknown_names_are_refused() -> None:
    stages = [{"name": "fit", "epochs": 2, "input_px": 64, "train_after": "", "learning_rate": 1e-3}]
    config = config_from({"dropout": 0.4, "copies": [1, 1], "stages": stages})
    assert config.dropout == 0.4 and config.copies == (1, 1) and config.batch_size == 32
    assert config.stages == (Stage("fit", 2, 64, "", 1e-3),)
    with pytest.raises(ValueError, match="dropuot"):
        config_from({"dropuot": 0.4, "stages": stages})


def test_every_architecture_has_a_training_that_can_run() -> None:
    for name, network in ARCHITECTURES.items():
        for has_weights in (True, False):
            config = default_config(name, has_weights=has_weights)
            assert config.epochs and config.architecture == name
            transfers = network.is_transfer and has_weights
            assert {stage.train_after for stage in config.stages} == (
                {"pooled_features", network.train_after} if transfers else {""}
            )
            assert config.input_px == (network.input_px if transfers or not network.is_transfer else 150)
            assert network.any_size or {stage.input_px for stage in config.stages} == {config.input_px}
    assert default_config("cnn_2_1").augmentation == "plain" and default_config("vgg16").augmentation == "strong"
    assert default_config("cnn_2_1", augmentation="strong", epochs=3).augmentation == "strong"
    own = default_config("my.networks:small", epochs=3)
    assert own.stages == (Stage("fit", 3, 150, "", 1e-3),)


def test_recipes_have_their_former_names_in_older_configurations() -> None:
    stage = {"name": "fit", "epochs": 1, "input_px": 64, "train_after": "", "learning_rate": 1e-3}
    former = {"settle": "finetune", "shift": "domain_shift", "slight": "jitter", "seed": "keras_notebook"}
    for old, new in former.items():
        text = json.dumps({"augmentation": old, "stages": [stage, stage | {"augmentation": old}]})
        config = TrainingConfig.from_json(text)
        assert config.augmentation == new and [one.augmentation for one in config.stages] == ["", new]


def test_shipped_card_names_a_recipe_that_there_is() -> None:
    card = json.loads(next(SHIPPED_WEIGHTS.glob("*/card.json")).read_text(encoding="utf-8"))
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert card["training"]["augmentation"] == "settle", "written with the former name"
    config = config_from({name: value for name, value in card["training"].items() if name in known})
    assert config.augmentation == "finetune"


@pytest.mark.parametrize("total", [3, 4, 7, 30])
def test_a_recipe_may_be_trained_for_longer(total: int) -> None:
    stages = rescaled(fine_tuning_stages(1, 4, 2), total)
    assert sum(stage.epochs for stage in stages) == total and min(stage.epochs for stage in stages) >= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"augmentation": "none"},
        {"optimizer": "lion"},
        {"dropout": 1.5},
        {"copies": (0, 1)},
        {"budget_minutes": -1},
        {"stages": (Stage("x", 1, 75, "mixed3", 1e-4, augmentation="none"),)},
        {"precision": "float8"},
        {"stages": ()},
        {"stages": (Stage("x", 0, 75, "mixed3", 1e-4),)},
    ],
)
def test_a_configuration_that_cannot_run_is_refused(wrong: dict[str, object]) -> None:
    good = TrainingConfig(stages=fine_tuning_stages(1, 0, 0))
    with pytest.raises(ValueError, match="Received"):
        dataclasses.replace(good, **wrong)  # type: ignore[arg-type]


def test_stages_without_epochs_are_left_out_and_full_size_has_its_own_schedule() -> None:
    stages = fine_tuning_stages(1, 2, 1)
    assert [stage.name for stage in fine_tuning_stages(1, 0, 2)] == ["head", "full"]
    assert len({stage.schedule for stage in stages}) == 3
    assert stages[1].train_after == stages[2].train_after


def test_learning_rate_warms_up_then_falls_to_nothing() -> None:
    from training.fitting.schedule import learning_rate_at

    rates = [learning_rate_at(step, 400, 2e-4, 60) for step in range(400)]
    assert rates[0] == pytest.approx(2e-4 / 60)
    assert max(rates) == pytest.approx(2e-4) and rates.index(max(rates)) in (59, 60)
    assert rates[:60] == sorted(rates[:60]) and rates[60:] == sorted(rates[60:], reverse=True)
    assert 0 < rates[-1] < 1e-7
    short = [learning_rate_at(step, 8, 1.0, 60) for step in range(8)]
    assert max(short) == 1.0 and len(short) == 8, "a short stage still reaches its peak"


def test_averaged_weights_are_swapped_in_and_out_and_saved(tmp_path: object) -> None:
    keras = pytest.importorskip("keras")
    import numpy as np
    import tensorflow as tf

    from training.fitting.trainer import Trainer

    inputs = keras.Input((4, 4, 1))
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled_features")(keras.layers.Conv2D(3, 3)(inputs))
    config = TrainingConfig(stages=(Stage("head", 2, 75, "pooled_features", 0.1),), ema_momentum=0.5)
    trainer = Trainer(keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled)), config, (1.0, 1.0))
    trainer.enter(config.stages[0])
    before = trainer.network.get_layer("logit").kernel.numpy()
    pictures = tf.random.stateless_uniform((8, 4, 4, 1), (1, 2)) * 9
    labels = tf.constant([[0.0, -1.0], [1.0, -1.0]] * 4)
    losses = [trainer.step(pictures, labels, 0.1)[0] for _ in range(40)]
    assert losses[-1] < losses[0]
    latest = trainer.network.get_layer("logit").kernel.numpy()
    trainer.swap()
    averaged = trainer.network.get_layer("logit").kernel.numpy()
    assert not np.allclose(averaged, latest) and not np.allclose(averaged, before)
    trainer.swap()
    assert (trainer.network.get_layer("logit").kernel.numpy() == latest).all()

    path = tmp_path / "checkpoint.npz"  # type: ignore[operator]
    trainer.save(path, 1, [{"epoch": 1}])
    after_one = trainer.step(pictures, labels, 0.1)[0]
    trainer.step(pictures, labels, 0.5)
    assert trainer.load(path) == (1, [{"epoch": 1}])
    assert (trainer.network.get_layer("logit").kernel.numpy() == latest).all()
    assert trainer.step(pictures, labels, 0.1)[0] == pytest.approx(after_one, rel=1e-5)


def _network(px: int = 32) -> object:
    from model.networks.build import build_network

    return build_network("cnn_2_1", px)


def _data(n: int = 24, px: int = 32) -> object:
    """Half of the pictures are bright on the left: what the two classes differ in; of these every other is viral."""
    import numpy as np

    from training.fitting.fit import TrainingData

    rng = np.random.default_rng(0)
    pictures = rng.integers(40, 80, (n, px, px)).astype(np.uint8)
    labels = np.arange(n) % 2
    pictures[labels == 1, :, : px // 2] += 90
    virus = np.where(labels == 1, np.arange(n) // 2 % 2, -1)
    return TrainingData(pictures, labels, pictures[::-1], labels[::-1], virus)


def _config(**changes: object) -> TrainingConfig:
    stage = Stage("fit", 3, 32, "", 3e-3)
    return TrainingConfig(
        **{
            "architecture": "cnn_2_1",
            "input_px": 32,
            "augmentation": "plain",
            "batch_size": 4,
            "warmup_steps": 2,
            "ema_momentum": 0.5,
            "precision": "float32",
            "stages": (stage,),
            **changes,
        }
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd"},
        {"optimizer": "adam", "ema_momentum": 0.0},
        {"optimizer": "rmsprop"},
        {"pathogen_weight": 0.3},
        {"mirror": True},
    ],
    ids=str,
)
def test_a_small_network_learns_what_can_be_learned(changes: dict[str, object], tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    from training.fitting.fit import fit

    keras.utils.set_random_seed(1)
    rows: list[dict[str, object]] = []

    def keep(progress: Progress) -> None:
        if isinstance(progress.detail, EpochEnd):
            rows.append(dict(progress.detail.row))

    history = fit(_network(), _config(**changes), _data(), tmp_path, keep)
    assert rows == history and [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["val_auroc"] > 0.95 and history[-1]["loss"] < history[0]["loss"]
    assert all(row["images"] == 24 for row in history)
    again = fit(_network(), _config(**changes), _data(), tmp_path, ignore)
    assert again == history, "a run that is done is not trained again"


def test_the_auxiliary_output_is_measured_on_validation_where_it_is_trained(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from training.fitting.fit import fit

    data = _data()
    known = dataclasses.replace(data, train_virus=data.train_labels, val_virus=data.val_labels)
    for name, chosen in (("without", data), ("with", known)):
        (tmp_path / name).mkdir()
        row = fit(_network(), _config(pathogen_weight=0.5), chosen, tmp_path / name, ignore)[-1]
        if name == "with":  # what is virus here can be seen as well as the class
            assert row["val_pathogen_auroc"] > 0.9 and row["val_pathogen_films"] == len(data.val_labels)
            low, high = (row[f"val_pathogen_auroc_{end}"] for end in ("low", "high"))
            assert low < row["val_pathogen_auroc"] <= high
        else:
            assert "val_pathogen_auroc" not in row


@pytest.mark.parametrize("pathogen_weight", [0.0, 0.3])
def test_an_interrupted_run_with_dropout_goes_on_to_the_same_bits(pathogen_weight: float, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    import numpy as np

    from model.networks.build import build_network
    from training.fitting.fit import fit
    from training.fitting.trainer import CHECKPOINT

    config = _config(architecture="cnn_4_2", dropout=0.6, pathogen_weight=pathogen_weight)

    def trained(name: str, stop_after: int | None = None) -> tuple[list[np.ndarray], list[object]]:
        keras.utils.set_random_seed(1)  # as a run does before it builds its network
        network = build_network("cnn_4_2", 32, dropout=config.dropout)
        (tmp_path / name).mkdir(exist_ok=True)

        def stop(progress: Progress) -> None:
            if isinstance(progress.detail, EpochEnd) and progress.detail.row["epoch"] == stop_after:
                raise KeyboardInterrupt

        history = fit(network, config, _data(), tmp_path / name, stop)
        kept = [{k: v for k, v in row.items() if "seconds" not in k} for row in history]
        return [w.numpy() for w in network.weights], kept

    whole, history = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("cut", 1)
    with np.load(tmp_path / "cut" / CHECKPOINT) as arrays:
        assert {name for name in arrays.files if name[0] == "g"} == {"g0", "g1", "g2", "g3", "g4"}, "of each dropout"
    resumed, rows = trained("cut")
    assert rows == history
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_that_is_damaged_or_of_another_network_is_refused_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from core.errors import RunError
    from model.networks.build import build_network
    from training.fitting.fit import fit
    from training.fitting.trainer import CHECKPOINT

    fit(_network(), _config(), _data(), tmp_path, ignore)
    with pytest.raises(RunError, match="expected the checkpoint of this run"):
        fit(build_network("cnn_3_1", 32), _config(), _data(), tmp_path, ignore)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"no archive"):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(RunError, match="expected the checkpoint of this run") as caught:
            fit(_network(), _config(), _data(), tmp_path, ignore)
        assert "Delete that file" in caught.value.advice


@pytest.mark.parametrize("pathogen_weight", [0.0, 0.3])
def test_network_that_ends_in_bfloat16_learns_under_mixed_precision(pathogen_weight: float, tmp_path: Path) -> None:
    """A function of one's own need not know that its last layer should be float32; the policy is forced here."""
    keras = pytest.importorskip("keras")
    from training.fitting.fit import fit

    keras.utils.set_random_seed(1)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((32, 32, 1))
        x = keras.layers.Conv2D(4, 5, strides=2, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
        network = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
        assert network.output.dtype == "bfloat16"
        config = _config(pathogen_weight=pathogen_weight, architecture="my.networks:small")
        history = fit(network, config, _data(), tmp_path, ignore)
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert history[-1]["val_auroc"] > 0.95 and history[-1]["loss"] < history[0]["loss"]


def test_second_output_learns_the_pathogen_and_leaves_no_trace_in_the_network() -> None:
    keras = pytest.importorskip("keras")
    from training.fitting.trainer import Trainer

    keras.utils.set_random_seed(1)
    network = _network()
    trainer = Trainer(network, _config(pathogen_weight=0.5), (1.0, 1.0))
    trainer.enter(trainer.config.stages[0])
    assert len(trainer.joint.weights) == len(network.weights) + 2
    data = _data()
    import numpy as np

    pictures = data.train_pictures[..., None].astype(np.float32)  # type: ignore[attr-defined]
    labels = np.column_stack((data.train_labels, data.train_virus)).astype(np.float32)  # type: ignore[attr-defined]
    before = trainer.joint.get_layer("virus").kernel.numpy().copy()
    trainer.step(pictures, labels, 1e-3)
    changed = trainer.joint.get_layer("virus").kernel.numpy()
    assert not np.allclose(before, changed)
    labels[:, 1] = -1  # where no file name says which, the second output must stay as it is but for weight decay
    trainer.step(pictures, labels, 1e-3)
    assert np.isfinite(trainer.joint.get_layer("virus").kernel.numpy()).all()
    assert network.output_shape == (None, 1)


def test_a_bound_on_the_time_cuts_epochs_short_but_goes_through_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras")
    import training.fitting.fit as fit_module

    clock = iter(range(10**6))
    monkeypatch.setattr(fit_module.time, "monotonic", lambda: float(next(clock)))
    for name in ("full", "cut"):
        (tmp_path / name).mkdir()
    full = fit_module.fit(_network(), _config(), _data(), tmp_path / "full", ignore)
    spent = sum(row["fit_seconds"] for row in full)
    bound = _config(budget_minutes=spent / 60 / 3)
    cut = fit_module.fit(_network(), bound, _data(), tmp_path / "cut", ignore)
    assert sum(row["images"] for row in cut) < sum(row["images"] for row in full) / 1.5
    assert sum(row["fit_seconds"] for row in cut) <= spent / 3 + 3 * 4, "at most a step more in each epoch"
    assert cut[-1]["learning_rate"] < cut[0]["learning_rate"]


def test_quick_trains_the_head_of_a_transfer_network_on_features_computed_once() -> None:
    quick = default_config("inception_v3", "quick")
    assert [(stage.train_after, stage.input_px) for stage in quick.stages] == [("pooled_features", 299)]
    assert quick.cached_copies == 2 and len(quick.epochs) == 20
    assert len(default_config("inception_v3", "quick", epochs=3).epochs) == 3
    assert default_config("inception_v3", "quick", has_weights=False).cached_copies == 0, "nothing worth caching"
    assert default_config("cnn_2_1", "quick").cached_copies == 0
    by_stage = default_config("inception_v3", "quick", head_epochs=1, small_epochs=1)
    assert by_stage.cached_copies == 0 and len(by_stage.stages) == 2
    with pytest.raises(ValueError, match="head alone"):
        dataclasses.replace(default_config("inception_v3"), cached_copies=1)
    with pytest.raises(ValueError, match="head alone"):
        dataclasses.replace(quick, pathogen_weight=0.3)
