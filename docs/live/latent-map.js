// A map of two dimensions of z: where each task's p(z|t) lies, and the z in use, which can be dragged.

// One colour a task: near to Okabe and Ito's, which colour-blind eyes tell apart, and seen on light and dark.
export const COLOURS = ["#1f83cc", "#d9640f", "#0d9e77", "#cf6fa8"];
const MARGIN = 10; // pixels around the box of z
const SIGMAS = [2, 1]; // ellipses, outer first

/** [r, g, b] from 0 to 1 of "#rrggbb". */
function components(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
}

/** The colour [r, g, b] of a z: those of the tasks, mixed by how likely each is to have drawn it. */
export function colourOf(code, embedding) {
  const logs = embedding.map(({ mean, std }) =>
    mean.reduce((sum, m, i) => sum - 0.5 * ((code[i] - m) / std[i]) ** 2 - Math.log(std[i]), 0),
  );
  const largest = Math.max(...logs);
  const weights = logs.map((log) => Math.exp(log - largest));
  const total = weights.reduce((a, b) => a + b);
  return [0, 1, 2].map((c) => weights.reduce((sum, w, t) => sum + (w * components(COLOURS[t])[c]) / total, 0));
}

export class LatentMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(values: Object<number, number>) => void} onDrag called with new values of two dimensions
   */
  constructor(canvas, onDrag) {
    this.canvas = canvas;
    const drag = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = (event.clientX - box.left - MARGIN) / (box.width - 2 * MARGIN);
      const y = (event.clientY - box.top - MARGIN) / (box.height - 2 * MARGIN);
      onDrag({ [this.axes[0]]: this.within(this.axes[0], x), [this.axes[1]]: this.within(this.axes[1], 1 - y) });
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      drag(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) drag(event);
    });
  }

  /** Show other skills: their Gaussians, the box of z and the names of their tasks. */
  show(embedding, low, high, names) {
    Object.assign(this, { embedding, low, high, names });
    this.axes = this.telling();
  }

  /** The two dimensions in which the tasks lie farthest apart. */
  telling() {
    const spread = Array.from(this.low, (_, i) => {
      const means = this.embedding.map(({ mean }) => mean[i]);
      return Math.max(...means) - Math.min(...means);
    });
    const order = spread.map((_, i) => i).sort((a, b) => spread[b] - spread[a]);
    return order.slice(0, 2).sort();
  }

  within(axis, fraction) {
    return this.low[axis] + Math.min(Math.max(fraction, 0), 1) * (this.high[axis] - this.low[axis]);
  }

  draw(code) {
    const ratio = devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(this.canvas);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const [a, b] = this.axes;
    const size = { x: (width - 2 * MARGIN) / (this.high[a] - this.low[a]), y: (height - 2 * MARGIN) / (this.high[b] - this.low[b]) };
    const x = (value) => MARGIN + (value - this.low[a]) * size.x;
    const y = (value) => height - MARGIN - (value - this.low[b]) * size.y;

    context.strokeStyle = style.getPropertyValue("--line");
    context.strokeRect(MARGIN, MARGIN, width - 2 * MARGIN, height - 2 * MARGIN);
    this.embedding.forEach(({ mean, std }, task) => {
      for (const sigmas of SIGMAS) {
        context.beginPath();
        context.ellipse(x(mean[a]), y(mean[b]), sigmas * std[a] * size.x, sigmas * std[b] * size.y, 0, 0, 2 * Math.PI);
        context.fillStyle = COLOURS[task] + "33";
        context.fill();
      }
    });
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 3;
    context.lineJoin = "round";
    const placed = [];
    this.embedding.forEach(({ mean }, task) => {
      const at = { x: x(mean[a]), y: y(mean[b]) };
      // Two ids of one task lie in one place; the second name goes below the first.
      const below = placed.some((other) => Math.hypot(other.x - at.x, other.y - at.y) < 24);
      placed.push(at);
      context.fillStyle = COLOURS[task];
      context.beginPath();
      context.arc(at.x, at.y, 3.5, 0, 2 * Math.PI);
      context.fill();
      const half = context.measureText(this.names[task]).width / 2 + 4;
      const label = Math.min(Math.max(at.x, half), width - half);
      context.strokeStyle = style.getPropertyValue("--panel");
      context.fillStyle = style.getPropertyValue("--text");
      context.strokeText(this.names[task], label, at.y + (below ? 19 : -9));
      context.fillText(this.names[task], label, at.y + (below ? 19 : -9));
    });

    context.fillStyle = style.getPropertyValue("--quiet");
    context.textAlign = "right";
    context.fillText(`z${a + 1} →`, width - MARGIN - 6, height - MARGIN - 7);
    context.textAlign = "left";
    context.fillText(`↑ z${b + 1}`, MARGIN + 6, MARGIN + 15);

    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(x(code[a]), y(code[b]), 8, 0, 2 * Math.PI);
    context.fillStyle = `rgb(${colourOf(code, this.embedding).map((c) => Math.round(255 * c))})`;
    context.fill();
    context.strokeStyle = style.getPropertyValue("--text");
    context.stroke();
  }
}
