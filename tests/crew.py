"""What tests of workers share: a crew that works in this process, and tiny models."""

import numpy as np
import torch
from toy import make_model

from skill_agent import make_skill_vec_env
from skill_agent.collector import Collector
from skill_agent.workers import Crew, Report

TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"


def suite_model(n_workers, n_envs=4, env=None, **kwargs):
    env = make_skill_vec_env(TWO_GOALS, n_envs, seed=0) if env is None else env
    return make_model(env, n_workers=n_workers, device="cpu", **kwargs)


class Here(Crew):
    """Works in this process when it is asked; segments come in an order that is drawn."""

    def __init__(self, recipe, seed=0, in_flight=1, slow=()):
        self.recipe, self.in_flight, self.slow = recipe, in_flight, slow
        self.rng = np.random.default_rng(seed)
        self.collectors, self.weights, self.done, self.seeds = {}, {}, [], []
        self.dies = set()
        self.closed = False

    def begin(self, worker, seed):
        self.collectors[worker] = Collector(self.recipe, seed)
        self.seeds.append(tuple(seed))

    def publish(self, version, weights, needed):
        assert version not in self.weights, "weights are put once"
        self.weights = {v: w for v, w in self.weights.items() if v >= needed} | {version: weights}

    def request(self, worker, version, steps):
        self.done.append((worker, self.collectors[worker].collect(self.weights[version], version, steps)))

    def wait(self, seconds):
        if self.dies:
            worker = self.dies.pop()
            self.done = [(w, s) for w, s in self.done if w != worker]
            return [Report(worker, lost="it was killed")]
        workers = sorted({worker for worker, _ in self.done})
        quick = [worker for worker in workers if worker not in self.slow] or workers
        worker = quick[self.rng.integers(len(quick))]
        place = next(i for i, (other, _) in enumerate(self.done) if other == worker)
        return [Report(worker, self.done.pop(place)[1])]

    def close(self):
        self.closed = True


torch.set_num_threads(1)
