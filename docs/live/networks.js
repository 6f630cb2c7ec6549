// The trained networks in plain JavaScript, in float32: p(z|t), the skills pi(a|s,z), and the mapping z = f(x).
// What they compute is what skill_agent/networks.py, policy.py and transfer.py compute for mean actions.

import { readSafetensors } from "./safetensors.js";

const LARGEST_STATE = 10; // standard deviations, as in networks.py

/** Layers with ELU between them: weights (1, in, out), biases (1, 1, out). */
class Perceptron {
  constructor(tensors, prefix) {
    this.layers = [];
    for (let i = 0; tensors.has(`${prefix}weights.${i}`); i++) {
      const weight = tensors.get(`${prefix}weights.${i}`);
      const bias = tensors.get(`${prefix}biases.${i}`);
      this.layers.push({ weight: weight.data, bias: bias.data, inputs: weight.shape[1], outputs: weight.shape[2] });
    }
    if (!this.layers.length) throw new Error(`the file has no network ${prefix}`);
  }

  /** @param {ArrayLike<number>} input @returns {Float32Array} the last layer's outputs */
  forward(input) {
    let values = input;
    this.layers.forEach(({ weight, bias, inputs, outputs }, index) => {
      if (values.length !== inputs) throw new Error(`${values.length} inputs are not valid; the layer has ${inputs}`);
      const sums = Float64Array.from(bias);
      for (let i = 0; i < inputs; i++) {
        const value = values[i];
        const row = i * outputs;
        for (let j = 0; j < outputs; j++) sums[j] += value * weight[row + j];
      }
      const isLast = index === this.layers.length - 1;
      values = Float32Array.from(sums, (x) => (isLast || x > 0 ? x : Math.expm1(x)));
    });
    return values;
  }
}

/** Maps reals smoothly into bounds, as `bounded` of distributions.py. */
function bounded(raw, [low, high]) {
  return low + 0.5 * (high - low) * (1 + Math.tanh(raw));
}

/** Networks of one SkillPolicy: its embedding and its actor. */
export class Skills {
  constructor(description, tensors, prefix) {
    if (description.activation !== "ELU") throw new Error(`activation ${description.activation} is not known here`);
    this.config = description.config;
    this.mean = tensors.get(`${prefix}state_mean`).data;
    this.scale = tensors.get(`${prefix}state_scale`).data;
    this.table = tensors.get(`${prefix}embedding.table`);
    this.actor = new Perceptron(tensors, `${prefix}actor.`);
    this.low = tensors.get(`${prefix}action_low`).data;
    this.high = tensors.get(`${prefix}action_high`).data;
  }

  /** @returns {{mean: number[], std: number[]}[]} the Gaussians p(z|t), one for each task */
  embedding() {
    if (this.config.embedding !== "gaussian") throw new Error(`embedding ${this.config.embedding} is not a Gaussian`);
    const [tasks, parameters] = this.table.shape;
    const dim = parameters / 2;
    const bound = this.config.embedding_mean_bound;
    return Array.from({ length: tasks }, (_, task) => {
      const row = Array.from(this.table.data.subarray(task * parameters, (task + 1) * parameters));
      return {
        mean: row.slice(0, dim).map((x) => bound * Math.tanh(x / bound)),
        std: row.slice(dim).map((x) => Math.exp(bounded(x, this.config.embedding_log_std))),
      };
    });
  }

  /**
   * The mean of pi(a|s,z), within the bounds of the actions.
   * @param {ArrayLike<number>} observation (S)
   * @param {ArrayLike<number>} code (Z)
   * @returns {Float32Array} (A)
   */
  act(observation, code) {
    const input = new Float32Array(this.mean.length + code.length);
    this.mean.forEach((mean, i) => {
      const state = Math.fround(Math.fround(observation[i] - mean) * this.scale[i]);
      input[i] = Math.min(Math.max(state, -LARGEST_STATE), LARGEST_STATE);
    });
    input.set(code, this.mean.length);
    const output = this.actor.forward(input);
    // The second half is the log standard deviation, which a mean action does without.
    return Float32Array.from(this.low, (low, i) => {
      const mean = Math.tanh(output[i]); // in (-1, 1)
      return low + 0.5 * (mean + 1) * (this.high[i] - low);
    });
  }
}

/** Frozen skills and the mapping that chooses their z; z is held for `hold` steps. */
export class TransferredPolicy {
  /** @param {ArrayBuffer} buffer a file of export_policy */
  constructor(buffer) {
    const { description, tensors } = readSafetensors(buffer);
    if ("kind" in description.mapping) throw new Error(`a mapping of kind ${description.mapping.kind} is not known here`);
    this.hold = description.hold;
    this.skills = new Skills(description.skills, tensors, "skills/");
    this.mapping = new Skills(description.mapping, tensors, "mapping/");
    // The mapping's action is z, so that its bounds are those of z.
    this.low = this.mapping.low;
    this.high = this.mapping.high;
    this.reset();
  }

  /** Choose z anew at the next step. */
  reset() {
    this.age = 0;
    this.code = null;
  }

  /** @returns {Float32Array} z (Z) for an observation (S) */
  chooseSkill(observation) {
    return this.mapping.act(observation, [1]); // one task: its one-hot is 1
  }

  /** @returns {Float32Array} the action for an observation; `code` then has the z in use */
  act(observation) {
    if (this.age % this.hold === 0) this.code = this.chooseSkill(observation);
    this.age += 1;
    return this.skills.act(observation, this.code);
  }
}
