// Reads a safetensors file: eight bytes with the length of a JSON header, the header, then all numbers.

/**
 * @param {ArrayBuffer} buffer the whole file
 * @returns {{description: object, tensors: Map<string, {shape: number[], data: Float32Array}>}} what
 *   skill_agent/skills.py wrote: a description of the networks, and their arrays by name
 */
export function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const start = 8 + length;
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (entry.dtype !== "F32") throw new Error(`${name} is of type ${entry.dtype}; only F32 is read`);
    const [begin, end] = entry.data_offsets;
    // A copy: the numbers need not begin at a multiple of four bytes.
    tensors.set(name, { shape: entry.shape, data: new Float32Array(buffer.slice(start + begin, start + end)) });
  }
  return { description: JSON.parse(header.__metadata__.skill_embed), tensors };
}
