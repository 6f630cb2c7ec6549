// One simulation of a task of skill_envs, in MuJoCo's WebAssembly build: what skill_envs/episodes.py does, for one.

export class Simulation {
  /**
   * @param {object} mujoco the loaded module of @mujoco/mujoco
   * @param {string} xml the scene
   * @param {object} task its entry of scenes.json, which export.py wrote
   */
  constructor(mujoco, xml, task) {
    this.mujoco = mujoco;
    this.task = task;
    this.model = mujoco.MjModel.from_xml_string(xml);
    this.data = new mujoco.MjData(this.model);
    this.timestep = this.model.opt.timestep;
    this.reset(0);
  }

  /** Begin an episode at the start state of this index; they are those of Python's seeds 0, 1, 2... */
  reset(index) {
    const { mujoco, model, data, task } = this;
    mujoco.mj_resetData(model, data);
    data.qpos.set(task.starts[index % task.starts.length]);
    mujoco.mj_kinematics(model, data); // for drawing only
    this.steps = 0;
    this.substeps = 0;
    this.letGo = false;
  }

  /** @returns {Float32Array} the observation, in float32 and within its bounds */
  observe() {
    const { sources, low, high } = this.task.observation;
    const values = { qpos: this.data.qpos, qvel: this.data.qvel, goal: this.task.goals[0] };
    return Float32Array.from(sources, ([name, index], i) => {
      const value = Math.fround(values[name][index]);
      return Math.min(Math.max(value, low[i]), high[i]);
    });
  }

  /** Set the action that the coming steps use, clipped to [-1, 1]. */
  apply(action) {
    this.data.ctrl.set(Array.from(action, (a) => Math.min(Math.max(a, -1), 1)));
  }

  /**
   * Run one physics step.
   * @returns {boolean} whether it was the last of a control step
   */
  substep() {
    this.mujoco.mj_step(this.model, this.data);
    this.substeps += 1;
    if (this.substeps % this.task.substeps) return false;
    this.steps += 1;
    this.loosen();
    return true;
  }

  /** Run one control step. */
  step(action) {
    this.apply(action);
    while (!this.substep());
  }

  /** The rail lets go of a block that has reached the table's height, for good. */
  loosen() {
    const height = this.task.lets_go_at;
    if (height === null || this.letGo || this.position()[2] < height) return;
    const kind = this.mujoco.mjtState.mjSTATE_EQ_ACTIVE.value;
    this.mujoco.mj_setState(this.model, this.data, new Array(this.model.neq).fill(0), kind);
    this.letGo = true;
  }

  /** @returns {number[]} where the thing is that the goals are about [m] */
  position() {
    const { qpos } = this.data;
    return this.task.position.map((i) => qpos[i]);
  }

  /** @returns {boolean} whether it is in a goal region, as rewards.outside has it */
  succeeds() {
    const [x, y, z] = this.position();
    const { goals, goal_radius: radius, goal_heights: heights } = this.task;
    if (heights && (z < heights[0] || z > heights[1])) return false;
    return goals.some((goal) => Math.hypot(x - goal[0], y - goal[1]) <= radius);
  }

  /** @returns {boolean} whether all numbers are finite and the episode has not been thrown away by MuJoCo */
  isSound() {
    // MuJoCo resets a simulation that diverged, and with it the time.
    return this.data.qpos.every(Number.isFinite) && this.data.time > (this.substeps - 0.5) * this.timestep;
  }

  /** Free the memory of WebAssembly. */
  delete() {
    this.data.delete();
    this.model.delete();
  }
}

/**
 * Run whole episodes of a transferred policy, from the first start states.
 * @returns {boolean[]} whether each ended in the goal region
 */
export function evaluate(simulation, policy, episodes) {
  return Array.from({ length: episodes }, (_, index) => {
    simulation.reset(index);
    policy.reset();
    while (simulation.steps < simulation.task.horizon) simulation.step(policy.act(simulation.observe()));
    return simulation.succeeds();
  });
}

/**
 * Replay an episode that Python recorded.
 * @param {object} recorded {start, actions, positions}, an entry of recorded.json
 * @returns {{open: number, closed: number}} the largest distance from Python's path with Python's actions, and the
 *   distance of the final positions with the policy's own actions [m]
 */
export function compare(simulation, policy, recorded) {
  const distance = (step) => {
    const found = simulation.position();
    return Math.hypot(...found.map((x, i) => x - recorded.positions[step][i]));
  };
  const last = recorded.actions.length - 1;
  simulation.reset(recorded.start);
  let open = 0;
  recorded.actions.forEach((action, step) => {
    simulation.step(action);
    open = Math.max(open, distance(step));
  });
  simulation.reset(recorded.start);
  policy.reset();
  recorded.actions.forEach(() => simulation.step(policy.act(simulation.observe())));
  return { open, closed: distance(last) };
}
