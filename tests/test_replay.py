import numpy as np
import pytest
from gymnasium import spaces

from skill_agent.replay import BehaviourStep, TrajectoryReplayBuffer

N_ENVS, EPISODE = 3, 8
BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def stamp(env, episode, step):
    """A state that tells where it comes from: (env + 10 * episode, step)."""
    return np.array([env + 10 * episode, step], np.float32)


def fill(buffer, steps, episode_length=EPISODE, z_period=None, terminate=False, first=0):
    """Add ``steps`` steps of episodes whose states, latents and rewards carry stamps."""
    for t in range(first, first + steps):
        episode, step = divmod(t, episode_length)
        age = step if z_period is None else step % z_period
        done = step == episode_length - 1
        envs = range(N_ENVS)
        behaviour = BehaviourStep(
            action=np.full((N_ENVS, 1), step, np.float32),
            log_prob=np.full(N_ENVS, -step, np.float32),
            latent=np.array([[e, episode, step // (z_period or episode_length)] for e in envs], np.float32),
            latent_log_prob=np.full(N_ENVS, -0.5, np.float32),
            task=np.array([episode % 2] * N_ENVS),
            age=np.full(N_ENVS, age),
        )
        buffer.add(
            np.stack([stamp(e, episode, step) for e in envs]),
            np.stack([stamp(e, episode, step + 1) for e in envs]),
            behaviour,
            np.full(N_ENVS, step, np.float32),
            np.full(N_ENVS, done),
            [{"TimeLimit.truncated": done and not terminate} for _ in envs],
        )


def make(size=300):
    return TrajectoryReplayBuffer(size, BOX, spaces.Box(-1, 1, (1,), np.float32), 3, "cpu", N_ENVS)


@pytest.mark.parametrize("steps", [5, 40, 100, 257])  # before the first end, within, full, wrapped around
@pytest.mark.parametrize("z_period", [None, 3])
def test_windows_never_cross_episodes_or_draws_of_z(steps, z_period):
    buffer = make()
    fill(buffer, steps, z_period=z_period)
    batch = buffer.sample_windows(500, window=5, segment=4, rng=np.random.default_rng(0))
    source, step = batch.observation[..., 0].numpy(), batch.observation[..., 1].numpy()
    mask = batch.mask.numpy().astype(bool)
    length = mask.sum(1)
    assert (np.diff(mask.astype(int), axis=1) <= 0).all() and (length >= 1).all()
    assert (source == source[:, :1]).all()
    for b in range(len(mask)):
        n = length[b]
        first = step[b, 0]
        assert step[b, : n + 1].tolist() == list(np.arange(first, first + n + 1)), (
            "consecutive, with the true successor"
        )
        assert (step[b, n:] == first + n).all(), "padding repeats the last state"
        assert batch.reward[b, :n].tolist() == list(np.arange(first, first + n))
        env, episode, stretch = batch.latent[b].tolist()
        assert env + 10 * episode == source[b, 0] and batch.task[b] == episode % 2
        period = z_period or EPISODE
        assert (step[b, :n] // period == stretch).all(), "one z in a window"


@pytest.mark.parametrize("steps", [2, 40, 257])  # before the first redraw, within, wrapped around
def test_windows_know_the_z_before_theirs(steps):
    buffer, period = make(), 3
    fill(buffer, steps, z_period=period)
    batch = buffer.sample_windows(2_000, window=2, segment=1, rng=np.random.default_rng(0))
    stretch, oldest = batch.latent[:, 2].numpy(), steps - buffer.size()
    begin = batch.latent[:, 1].numpy() * EPISODE + stretch * period  # of its z, in steps from the first
    first, follows = batch.first.numpy(), batch.follows.numpy()
    known = begin > oldest if oldest else begin >= 0
    assert (first == ((stretch == 0) & known)).all() and (follows == ((stretch > 0) & known)).all()
    assert known.all() == (steps < 100) and first.any() and follows.any() == (steps > period)
    expected = batch.latent.numpy() - np.where(follows[:, None], np.float32([0, 0, 1]), batch.latent.numpy())
    assert (batch.last_latent.numpy() == expected).all()
    at = batch.observation[:, :-1, 1].numpy()
    assert (batch.age.numpy() == at % period)[batch.mask.numpy() == 1].all()


def test_what_came_before_a_gap_is_not_known():
    buffer = make()
    fill(buffer, 3, z_period=3)
    buffer.end_stretches()
    fill(buffer, 5, z_period=3, first=3)  # goes on in the same episode, as far as the rows tell
    batch = buffer.sample_windows(200, window=2, segment=1, rng=np.random.default_rng(0))
    of = batch.latent[:, 2].numpy()
    assert (batch.first.numpy() == (of == 0)).all() and (batch.follows.numpy() == (of == 2)).all()
    late = make()
    fill(late, 3, first=4)  # in the middle of a z that began before the buffer
    batch = late.sample_windows(50, window=2, segment=1, rng=np.random.default_rng(0))
    assert not batch.first.any() and not batch.follows.any()


def test_segments_are_padded_at_the_start_with_the_first_state():
    buffer = make()
    fill(buffer, 80)
    batch = buffer.sample_windows(400, window=3, segment=5, rng=np.random.default_rng(1))
    seen_start = False
    for context, observation in zip(batch.context.numpy(), batch.observation.numpy(), strict=True):
        first = observation[0, 1]
        assert (context[:, 0] == observation[0, 0]).all()
        assert context[:, 1].tolist() == [max(first - back, 0) for back in (4, 3, 2, 1)]
        seen_start |= first == 0
    assert seen_start


def test_context_stops_where_older_steps_were_overwritten():
    buffer = make(size=12 * N_ENVS)  # 12 rows; the oldest row is in the middle of an episode
    fill(buffer, 30, episode_length=20)
    batch = buffer.sample_windows(300, window=4, segment=6, rng=np.random.default_rng(2))
    oldest = {0.0: 18, 10.0: 20}  # rows 18 to 29 are left: episode 0 from step 18 on
    for context, observation in zip(batch.context.numpy(), batch.observation.numpy(), strict=True):
        floor = 18 if observation[0, 0] < 10 else 0
        assert context[:, 1].min() >= floor, oldest


def test_discounts_tell_termination_from_truncation():
    for terminate, expected in ((True, 0.0), (False, 1.0)):
        buffer = make()
        fill(buffer, 64, terminate=terminate)
        batch = buffer.sample_windows(300, window=4, segment=1, rng=np.random.default_rng(3))
        last = (batch.observation[:, :-1, 1] == EPISODE - 1) & (batch.mask == 1)
        assert last.any()
        assert (batch.discount[last] == expected).all()
        assert (batch.discount[(batch.mask == 1) & ~last] == 1).all()


def test_all_steps_are_drawn_about_equally_often():
    buffer = make()
    fill(buffer, 80)
    batch = buffer.sample_windows(40_000, window=4, segment=1, rng=np.random.default_rng(4))
    steps = batch.observation[:, :-1, 1][batch.mask == 1].numpy().astype(int)
    share = np.bincount(steps, minlength=EPISODE) / len(steps)
    assert share.min() > 0.5 / EPISODE and share.max() < 1.5 / EPISODE


def test_a_stretch_that_began_before_the_buffer_does_not_reach_into_empty_rows():
    buffer = make()
    fill(buffer, 3, first=4)
    batch = buffer.sample_windows(200, window=5, segment=4, rng=np.random.default_rng(0))
    assert batch.observation[..., 1].min() == batch.context[..., 1].min() == 4


def test_sampling_depends_on_the_generator_alone():
    buffer = make()
    fill(buffer, 80)
    first, second = (buffer.sample_windows(50, 4, 3, np.random.default_rng(7)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_extending_is_adding_step_by_step():
    added, extended = make(), make()
    fill(added, 20)
    rows = added.state()["rows"]
    fields = ("actions", "log_prob", "latent", "latent_log_prob", "task", "age")
    infos = [[{"TimeLimit.truncated": bool(t)} for t in step] for step in rows["timeouts"]]
    extended.extend(
        rows["observations"], rows["next_observations"], BehaviourStep(*(rows[name] for name in fields)),
        rows["rewards"], rows["dones"], infos,
    )  # fmt: skip
    assert extended.pos == added.pos == 20
    for name, expected in rows.items():
        np.testing.assert_array_equal(extended.state()["rows"][name], expected, err_msg=name)
