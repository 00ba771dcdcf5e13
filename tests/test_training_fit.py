from __future__ import annotations

import dataclasses

import pytest

from training.config import Stage, TrainingConfig, fine_tuning_stages


def test_configuration_survives_json() -> None:
    config = TrainingConfig(stages=fine_tuning_stages(1, 2, 3), seed=7, augmentation="shift")
    assert TrainingConfig.from_json(config.to_json()) == config
    assert [stage.name for stage in config.epochs] == ["head", "small", "small", "full", "full", "full"]


@pytest.mark.parametrize("wrong", [
    {"augmentation": "none"}, {"precision": "float8"}, {"stages": ()},
    {"stages": (Stage("x", 0, 75, "mixed3", 1e-4),)}])
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
    pytest.importorskip("tensorflow")
    from training.fit import learning_rate_at

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

    from training.fit import Trainer

    inputs = keras.Input((4, 4, 1))
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled_features")(keras.layers.Conv2D(3, 3)(inputs))
    config = TrainingConfig(stages=(Stage("head", 2, 75, "pooled_features", 0.1),), ema_momentum=0.5)
    trainer = Trainer(keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled)), config, (1.0, 1.0))
    trainer.enter(config.stages[0])
    before = trainer.network.get_layer("logit").kernel.numpy()
    pictures, labels = tf.random.stateless_uniform((8, 4, 4, 1), (1, 2)) * 9, tf.constant([[0.0], [1.0]] * 4)
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
