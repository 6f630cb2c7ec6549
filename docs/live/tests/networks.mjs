// What the networks in JavaScript give, for tests/test_live.py: reads a JSON request, and writes a JSON answer.
// It needs node alone.

import { readFileSync } from "node:fs";
import { TransferredPolicy } from "../networks.js";

const { file, observations, codes } = JSON.parse(readFileSync(0, "utf8"));
const bytes = readFileSync(file);
const policy = new TransferredPolicy(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));

const held = [];
for (const observation of observations) {
  const action = policy.act(observation);
  held.push({ action: Array.from(action), code: Array.from(policy.code) });
}
console.log(
  JSON.stringify({
    embedding: policy.skills.embedding(),
    low: Array.from(policy.low),
    high: Array.from(policy.high),
    chosen: observations.map((observation) => Array.from(policy.chooseSkill(observation))),
    actions: observations.map((observation, i) => Array.from(policy.skills.act(observation, codes[i]))),
    held,
  }),
);
