// The page: what is chosen, played and shown. `window.live` has the same for tests.

import loadMujoco from "@mujoco/mujoco";
import { Drawing } from "./drawing.js";
import { COLOURS, LatentMap, colourOf } from "./latent-map.js";
import { TransferredPolicy } from "./networks.js";
import { Simulation, compare, evaluate } from "./simulation.js";

const TRAINED = "The skills were trained on this task.";
const REST = 0.9; // between an episode's end and the next one's start [s]
const LONGEST_FRAME = 0.1; // a slower machine shows slower time instead of lagging behind [s]
const FILES = new URL("data/", import.meta.url);
const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);

let mujoco, scenes, drawing, map;
let family, task, simulation, policy;
let wanted; // the task chosen last, which may still be loading
let code; // z in use
let byMapping = true; // whether the mapping chooses z
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
let episode = 0; // index of the start state
let resting = 0; // seconds until the next episode
let finished = 0, succeeded = 0; // episodes
let waiting = 0; // seconds that the simulation is behind the clock
let last = 0; // time of the last frame [ms]

async function read(name, kind) {
  const response = await fetch(new URL(name, FILES));
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response[kind]();
}

async function policyOf(someFamily) {
  return new TransferredPolicy(await read(someFamily.networks, "arrayBuffer"));
}

// Choosing --------------------------------------------------------------------------------------

/** Choose a scene: by default the transfer task of a family, which comes first. */
async function select(familyName, taskName) {
  const chosen = scenes.families.find(({ name }) => name === familyName);
  const next = chosen?.tasks.find(({ name }) => name === taskName) ?? chosen?.tasks[0];
  if (!next) throw new Error(`no scene ${familyName}; choose from ${scenes.families.map(({ name }) => name)}`);
  wanted = next;
  const [xml, networks] = await Promise.all([read(next.xml, "text"), chosen === family ? policy : policyOf(chosen)]);
  // Another one may have been chosen since; that one is shown.
  if (wanted !== next) return;
  const former = simulation;
  simulation = new Simulation(mujoco, xml, next);
  former?.delete();
  const isOtherFamily = chosen !== family;
  family = chosen;
  task = next;
  policy = networks;
  if (isOtherFamily) showSkills();
  byMapping = isTransfer();
  // The mean of the task's own p(z|t), or of the first one's.
  const own = family.embedded.indexOf(task.title);
  code = Float32Array.from(policy.skills.embedding()[Math.max(own, 0)].mean);
  episode = finished = succeeded = 0;
  element("difference").textContent = "";
  drawing.show(simulation);
  showChoices();
  begin();
}

function isTransfer() {
  return task === family.tasks[0];
}

/** Take some entries of z, {dimension: value}; from now on the visitor chooses. */
function choose(values) {
  for (const [i, value] of Object.entries(values)) code[i] = Math.min(Math.max(value, policy.low[i]), policy.high[i]);
  if (byMapping) setMapping(false);
  showCode();
}

function setMapping(on) {
  byMapping = on;
  finished = succeeded = 0;
  policy.reset();
  showChoices();
}

// Playing ---------------------------------------------------------------------------------------

function begin() {
  simulation.reset(episode);
  policy.reset();
  resting = waiting = 0;
  drawing.beginPath();
  drawing.extendPath(colourOf(code, policy.skills.embedding()));
  showState();
}

function act() {
  const observation = simulation.observe();
  if (!byMapping) return policy.skills.act(observation, code);
  const action = policy.act(observation);
  code = Float32Array.from(policy.code);
  showCode();
  return action;
}

function play(seconds) {
  if (resting > 0) {
    resting -= seconds;
    if (resting <= 0) {
      episode += 1;
      begin();
    }
    return;
  }
  waiting += seconds;
  while (waiting >= simulation.timestep && resting <= 0) {
    waiting -= simulation.timestep;
    if (simulation.substeps % task.substeps === 0) simulation.apply(act());
    if (simulation.substep()) endStep();
  }
}

function endStep() {
  drawing.extendPath(colourOf(code, policy.skills.embedding()));
  if (!simulation.isSound()) {
    begin();
    return;
  }
  showState();
  if (simulation.steps !== task.horizon) return;
  finished += 1;
  succeeded += simulation.succeeds();
  showState();
  if (element("again").checked) resting = REST;
}

function frame(now) {
  requestAnimationFrame(frame);
  const seconds = Math.min((now - last) / 1000, LONGEST_FRAME);
  last = now;
  const plays = playing && !document.hidden;
  if (plays) play(seconds);
  drawing.draw(plays);
}

// Showing ---------------------------------------------------------------------------------------

function button(text, pressed, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-pressed", pressed);
  made.addEventListener("click", onClick);
  return made;
}

/** Buttons of scenes, and who chooses z. */
function showChoices() {
  const go = (...where) => select(...where).catch(fail);
  element("families").replaceChildren(
    ...scenes.families.map((each) => button(each.title, each === family, () => go(each.name))),
  );
  element("tasks").replaceChildren(
    ...family.tasks.map((each, i) => {
      const text = i === 0 ? `${each.title} (new)` : each.title;
      return button(text, each === task, () => go(family.name, each.name));
    }),
  );
  element("summary").textContent = `${task.summary} ${isTransfer() ? family.text : TRAINED}`;
  const mapping = element("mapping");
  mapping.disabled = !isTransfer();
  mapping.setAttribute("aria-pressed", byMapping);
  mapping.textContent = byMapping ? "The mapping chooses" : "Let the mapping choose";
  mapping.title = isTransfer() ? "" : "The mapping was learned for the task that is marked as new";
  element("pause").textContent = playing ? "Pause" : "Play";
  showCode();
  showState();
}

/** Sliders, map and means of the family's skills. */
function showSkills() {
  const embedding = policy.skills.embedding();
  map.show(embedding, policy.low, policy.high, family.embedded);
  element("sliders").replaceChildren(
    ...Array.from(policy.low, (low, i) => {
      const label = document.createElement("label");
      label.innerHTML = `<var>z<sub>${i + 1}</sub></var><input type="range" step="any"><output></output>`;
      const input = label.querySelector("input");
      Object.assign(input, { min: low, max: policy.high[i], id: `z${i + 1}` });
      input.addEventListener("input", () => choose({ [i]: input.valueAsNumber }));
      return label;
    }),
  );
  element("means").replaceChildren(
    ...embedding.map(({ mean }, i) => {
      const made = button(family.embedded[i], false, () => choose(mean));
      made.removeAttribute("aria-pressed");
      made.style.setProperty("--colour", COLOURS[i]);
      made.title = `The mean of p(z|t) of "${family.embedded[i]}"`;
      return made;
    }),
  );
  showAxes();
}

function showAxes() {
  const pairs = [];
  for (let a = 0; a < policy.low.length; a++) for (let b = a + 1; b < policy.low.length; b++) pairs.push([a, b]);
  element("axes").replaceChildren(
    ...pairs.map((pair) =>
      button(`z${pair[0] + 1}, z${pair[1] + 1}`, pair.join() === map.axes.join(), () => {
        map.axes = pair;
        showAxes();
        showCode();
      }),
    ),
  );
}

function showCode() {
  element("sliders").querySelectorAll("label").forEach((label, i) => {
    label.querySelector("input").value = code[i];
    label.querySelector("output").textContent = code[i].toFixed(2);
  });
  map.draw(code);
}

function showState() {
  const goal = element("goal");
  const reached = simulation.succeeds();
  goal.textContent = reached ? "In the goal" : "Not in the goal";
  goal.classList.toggle("reached", reached);
  element("progress").value = Math.min(simulation.steps / task.horizon, 1);
  element("steps").textContent = `${simulation.steps} / ${task.horizon}`;
  element("score").textContent = `${succeeded} of ${finished}`;
}

function fail(error) {
  console.error(error);
  window.live.error = String(error);
  element("message").hidden = false;
  element("message").textContent = `This did not work: ${error.message}`;
}

// Tests, and a visitor who asks -----------------------------------------------------------------

/** Run something with a simulation of its own, unseen: the transfer task of a family. */
async function apart(familyName, run) {
  const chosen = scenes.families.find(({ name }) => name === familyName);
  const [xml, networks] = await Promise.all([read(chosen.tasks[0].xml, "text"), policyOf(chosen)]);
  const own = new Simulation(mujoco, xml, chosen.tasks[0]);
  try {
    return run(own, networks);
  } finally {
    own.delete();
  }
}

async function compareWithPython(familyName) {
  const recorded = await read("recorded.json", "json");
  return apart(familyName, (own, networks) => compare(own, networks, recorded[familyName]));
}

window.live = {
  ready: false,
  error: null,
  select,
  compare: compareWithPython,
  evaluate: (familyName, episodes) => apart(familyName, (own, networks) => evaluate(own, networks, episodes)),
  families: () => scenes.families.map(({ name }) => name),
  state: () => ({
    family: family.name,
    task: task.name,
    z: Array.from(code),
    byMapping,
    playing,
    steps: simulation.steps,
    position: simulation.position(),
    succeeds: simulation.succeeds(),
    finished,
    succeeded,
  }),
};

// Beginning -------------------------------------------------------------------------------------

function listen() {
  element("mapping").addEventListener("click", () => setMapping(!byMapping));
  element("random").addEventListener("click", () => {
    const drawn = Array.from(policy.low, (low, i) => low + Math.random() * (policy.high[i] - low));
    choose(drawn);
  });
  element("reset").addEventListener("click", () => {
    episode += 1;
    begin();
  });
  element("pause").addEventListener("click", () => {
    playing = !playing;
    showChoices();
  });
  element("home").addEventListener("click", () => drawing.home());
  element("again").addEventListener("change", () => {
    // An episode that has gone on past its end begins anew.
    if (element("again").checked && simulation.steps >= task.horizon) resting = REST;
  });
  element("compare").addEventListener("click", async () => {
    element("difference").textContent = "…";
    try {
      const { open } = await compareWithPython(family.name);
      element("difference").textContent = `within ${(1e6 * open).toPrecision(2)} µm over ${family.tasks[0].horizon} steps`;
    } catch (error) {
      fail(error);
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawing.setTheme();
    map.draw(code);
  });
  addEventListener("resize", () => map.draw(code));
}

async function start() {
  document.documentElement.classList.toggle("embedded", query.has("embed") || window.self !== window.top);
  map = new LatentMap(element("map"), choose);
  drawing = new Drawing(element("view"));
  [mujoco, scenes] = await Promise.all([
    loadMujoco({ locateFile: (name) => new URL(name, import.meta.url).href }),
    read("scenes.json", "json"),
  ]);
  const asked = query.get("scene");
  const known = scenes.families.some(({ name }) => name === asked);
  await select(known ? asked : scenes.families[0].name, query.get("task"));
  listen();
  element("message").hidden = true;
  element("overlay").hidden = element("actions").hidden = false;
  element("panel").inert = false;
  requestAnimationFrame((now) => {
    last = now;
    frame(now);
  });
  window.live.ready = true;
}

start().catch(fail);
