"""Training that is left by an exception, anywhere, and goes on."""

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from toy import Line, make_line, make_model

LENGTH = 10  # steps of an episode


class Stop(Exception):
    """What interrupts."""


class StopAt(BaseCallback):
    """Raises at one call of one of its hooks."""

    def __init__(self, hook, call, error):
        super().__init__()
        self.hook, self.left, self.error = hook, call, error

    def _count(self, hook):
        if hook == self.hook:
            self.left -= 1
            if self.left == 0:
                raise self.error

    def _on_step(self):
        self._count("step")
        return True

    def _on_rollout_end(self):
        self._count("rollout end")


def longest_stretch(model):
    """Steps of the longest stretch of one z in the replay of the first environment."""
    replay = model.replay_buffer
    stretch, age = replay.stretch[: replay.size(), 0], replay.age[: replay.size(), 0]
    assert (age < LENGTH).all()
    return np.bincount(stretch - stretch.min()).max()


def assert_every_episode_has_a_z_of_its_own(model):
    replay = model.replay_buffer
    steps = replay.observations[: replay.size(), 0, -1]  # the toy's second entry counts the steps of its episode
    np.testing.assert_array_equal(replay.age[: replay.size(), 0], steps)
    assert longest_stretch(model) <= LENGTH


@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt()])
@pytest.mark.parametrize("call", [1, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH])
@pytest.mark.parametrize("hook", ["step", "rollout end"])
def test_an_exception_of_a_callback(hook, call, error):
    model = make_model(make_line(1, length=LENGTH), learning_starts=1_000, train_freq=5)
    with pytest.raises(type(error)):
        model.learn(100, callback=StopAt(hook, call, error))
    model.learn(50, reset_num_timesteps=False)
    assert_every_episode_has_a_z_of_its_own(model)


@pytest.mark.parametrize("call", [1, LENGTH, LENGTH + 3])
@pytest.mark.parametrize("where", ["step", "reset"])
def test_an_exception_of_the_environment(monkeypatch, where, call):
    left, good = [call], getattr(Line, where)

    def broken(self, *args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise Stop
        return good(self, *args, **kwargs)

    model = make_model(make_line(1, length=LENGTH), learning_starts=1_000, train_freq=5)
    monkeypatch.setattr(Line, where, broken)
    with pytest.raises(Stop):
        model.learn(200)
    model.learn(50, reset_num_timesteps=False)
    assert_every_episode_has_a_z_of_its_own(model)


def test_an_exception_of_an_update(monkeypatch):
    model = make_model(make_line(1, length=LENGTH), learning_starts=5, train_freq=5)
    good = model._update

    def broken(batch):
        monkeypatch.setattr(model, "_update", good)
        raise Stop

    monkeypatch.setattr(model, "_update", broken)
    with pytest.raises(Stop):
        model.learn(100)
    model.learn(50, reset_num_timesteps=False)
    assert_every_episode_has_a_z_of_its_own(model)
