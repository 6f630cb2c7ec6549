// Draws a simulation with three.js: MuJoCo's geoms, goal markers and springs, and the paths of the block.

import {
  AmbientLight,
  BoxGeometry,
  CapsuleGeometry,
  Color,
  CylinderGeometry,
  DataTexture,
  DirectionalLight,
  Fog,
  Group,
  HemisphereLight,
  LinearMipmapLinearFilter,
  Mesh,
  MeshStandardMaterial,
  PCFShadowMap,
  PerspectiveCamera,
  PlaneGeometry,
  Quaternion,
  RepeatWrapping,
  SRGBColorSpace,
  Scene,
  SphereGeometry,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { Line2 } from "three/addons/lines/Line2.js";
import { LineGeometry } from "three/addons/lines/LineGeometry.js";
import { LineMaterial } from "three/addons/lines/LineMaterial.js";

// mjtGeom, as far as the scenes use it.
const PLANE = 0, SPHERE = 2, CAPSULE = 3, CYLINDER = 5, BOX = 6;
const DEFAULT_RGBA = [0.5, 0.5, 0.5, 1];
const SHOWN_GROUPS = 3; // groups 0 to 2, as MuJoCo's own viewers show them
const MOST_PATHS = 12; // older ones are dropped
const LONGEST_PATH = 400; // points
const PATH_WIDTH = 3; // [pixel]
const PLANE_HEIGHT = 0.07; // of the path of a mass that moves in the plane [m]
const SMALL = 700; // width of a phone's picture, for which coarser shadows do [pixel]
const FLOOR = 24; // width of the floor [m]
const FIELD = 0.25; // and of its fields [m]
const UP = new Vector3(0, 0, 1);

/** A geometry along z, of a type and the sizes that MuJoCo gives it; planes are drawn as the floor. */
function geometryOf(type, [a, b, c]) {
  if (type === SPHERE) return new SphereGeometry(a, 32, 20);
  if (type === BOX) return new BoxGeometry(2 * a, 2 * b, 2 * c);
  // three.js has its capsules and cylinders along y.
  if (type === CAPSULE) return new CapsuleGeometry(a, 2 * b, 12, 28).rotateX(Math.PI / 2);
  if (type === CYLINDER) return new CylinderGeometry(a, a, 2 * b, 64).rotateX(Math.PI / 2);
  throw new Error(`geoms of type ${type} are not drawn`);
}

export class Drawing {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({ canvas, antialias: true });
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(40, 1, 0.02, 60);
    this.camera.up.copy(UP);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = true;
    this.controls.maxPolarAngle = 0.495 * Math.PI; // not below the floor
    this.controls.minDistance = 0.3;
    this.controls.maxDistance = 6;
    this.controls.addEventListener("change", () => (this.isOutdated = true));
    this.light();
    this.checker = new DataTexture(new Uint8Array(16), 2, 2);
    this.checker.colorSpace = SRGBColorSpace;
    this.checker.wrapS = this.checker.wrapT = RepeatWrapping;
    this.checker.repeat.setScalar(FLOOR / (2 * FIELD));
    this.checker.generateMipmaps = true;
    this.checker.minFilter = LinearMipmapLinearFilter;
    this.checker.anisotropy = 8;
    this.paths = new Group();
    this.world = new Group(); // what belongs to the present scene
    this.scene.add(this.paths, this.world);
    this.setTheme();
  }

  light() {
    this.scene.add(new HemisphereLight(0xffffff, 0xb8bcc4, 1.5), new AmbientLight(0xffffff, 0.35));
    const sun = new DirectionalLight(0xffffff, 1.9);
    sun.castShadow = true;
    sun.shadow.mapSize.setScalar(this.canvas.clientWidth < SMALL ? 1024 : 2048);
    sun.shadow.bias = -0.0004;
    sun.shadow.normalBias = 0.01;
    sun.shadow.radius = 4;
    Object.assign(sun.shadow.camera, { left: -1.6, right: 1.6, top: 1.6, bottom: -1.6, near: 0.5, far: 7 });
    this.sun = sun;
    this.scene.add(sun, sun.target);
  }

  /** Take the colours of the page, which follow the system's light or dark. */
  setTheme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => new Color(style.getPropertyValue(name).trim());
    const sky = colour("--stage");
    this.scene.background = sky;
    this.scene.fog = new Fog(sky, 3, 7.5);
    const fields = [colour("--floor"), colour("--field")].map((c) => [...c.convertLinearToSRGB(), 1]);
    const [a, b] = fields.map((values) => values.map((value) => Math.round(255 * value)));
    this.checker.image.data.set([...a, ...b, ...b, ...a]);
    this.checker.needsUpdate = true;
    this.isOutdated = true;
  }

  /** Show another simulation, from the camera of its model. */
  show(simulation) {
    this.clear(this.world);
    this.clear(this.paths);
    this.simulation = simulation;
    const { model } = simulation;
    this.moving = [];
    for (let i = 0; i < model.ngeom; i++) this.addGeom(i);
    for (let i = 0; i < model.nsite; i++) this.addSite(i);
    this.springs = [];
    for (let i = 0; i < model.ntendon; i++) this.addSpring(i);
    this.home();
  }

  clear(group) {
    group.traverse((part) => {
      part.geometry?.dispose();
      part.material?.dispose();
    });
    group.clear();
  }

  /** Put the camera where the model has it. */
  home() {
    const { model } = this.simulation;
    const position = new Vector3(...model.cam_pos.slice(0, 3));
    const [w, x, y, z] = model.cam_quat;
    const ahead = new Vector3(0, 0, -1).applyQuaternion(new Quaternion(x, y, z, w));
    const height = model.stat.center[2];
    const target = position.clone().addScaledVector(ahead, (height - position.z) / ahead.z);
    // A camera that looks straight down can't be turned; it is tilted.
    if (ahead.z < -0.99) position.add(new Vector3(0, -0.6 * position.z, 0));
    this.homeOffset = position.sub(target);
    this.controls.target.copy(target);
    this.sun.target.position.copy(target);
    this.sun.position.copy(target).add(new Vector3(0.9, -1.2, 3));
    this.resize(true);
  }

  addGeom(i) {
    const { model } = this.simulation;
    const rgba = this.rgbaOf(model.geom_matid[i], model.geom_rgba, i);
    if (!rgba[3] || model.geom_group[i] >= SHOWN_GROUPS) return;
    if (model.geom_type[i] === PLANE) {
      this.addFloor(model.geom_pos[3 * i + 2]);
      return;
    }
    const shininess = model.geom_matid[i] < 0 ? 0.3 : model.mat_shininess[model.geom_matid[i]];
    const mesh = this.add(model.geom_type[i], model.geom_size.slice(3 * i, 3 * i + 3), rgba, 0.75 - 0.5 * shininess);
    mesh.castShadow = mesh.receiveShadow = true;
    this.moving.push({ mesh, index: i, of: "geom" });
  }

  addSite(i) {
    const { model } = this.simulation;
    const rgba = this.rgbaOf(model.site_matid[i], model.site_rgba, i);
    if (!rgba[3] || model.site_group[i] >= SHOWN_GROUPS) return;
    const mesh = this.add(model.site_type[i], model.site_size.slice(3 * i, 3 * i + 3), rgba, 0.9);
    mesh.renderOrder = 1;
    this.moving.push({ mesh, index: i, of: "site" });
  }

  /** The colour of the material, unless the thing has one of its own: MuJoCo's own rule. */
  rgbaOf(material, own, i) {
    const rgba = Array.from(own.slice(4 * i, 4 * i + 4));
    const isDefault = rgba.join() === DEFAULT_RGBA.join();
    if (material < 0 || !isDefault) return rgba;
    return Array.from(this.simulation.model.mat_rgba.slice(4 * material, 4 * material + 4));
  }

  add(type, size, [r, g, b, a], roughness) {
    const color = new Color().setRGB(r, g, b, "srgb");
    const material = new MeshStandardMaterial({ color, roughness, transparent: a < 1, opacity: a, depthWrite: a === 1 });
    const mesh = new Mesh(geometryOf(type, size), material);
    this.world.add(mesh);
    return mesh;
  }

  addFloor(height) {
    const material = new MeshStandardMaterial({ map: this.checker, roughness: 1 });
    this.floor = new Mesh(new PlaneGeometry(FLOOR, FLOOR), material);
    this.floor.position.z = height;
    this.floor.receiveShadow = true;
    this.world.add(this.floor);
  }

  /** A spring is a tendon from site to site. */
  addSpring(i) {
    const { model } = this.simulation;
    const rgba = this.rgbaOf(model.tendon_matid[i], model.tendon_rgba, i);
    if (!rgba[3] || model.tendon_group[i] >= SHOWN_GROUPS) return;
    const first = model.tendon_adr[i];
    const sites = Array.from(model.wrap_objid.slice(first, first + model.tendon_num[i]));
    const mesh = this.add(CYLINDER, [model.tendon_width[i], 0.5], rgba, 0.5);
    mesh.castShadow = true;
    this.springs.push({ mesh, from: sites[0], to: sites.at(-1) });
  }

  /** Begin a new path of the block. */
  beginPath() {
    const material = new LineMaterial({ vertexColors: true, transparent: true, linewidth: PATH_WIDTH });
    const path = new Line2(new LineGeometry(), material);
    path.frustumCulled = path.visible = false;
    path.userData = { points: [], colours: [] };
    this.isOutdated = true; // the block is where it starts
    this.paths.add(path);
    while (this.paths.children.length > MOST_PATHS) {
      const [oldest] = this.paths.children;
      this.paths.remove(oldest);
      oldest.geometry.dispose();
      oldest.material.dispose();
    }
    this.paths.children.forEach((older, i, all) => {
      older.material.opacity = 0.25 + (0.75 * (i + 1)) / all.length;
    });
  }

  /** Add where the block is to the present path, in a colour [r, g, b] from 0 to 1. */
  extendPath(colour) {
    const path = this.paths.children.at(-1);
    const { points, colours } = path.userData;
    if (points.length >= 3 * LONGEST_PATH) return;
    const [x, y, z] = this.simulation.position();
    points.push(x, y, z ?? PLANE_HEIGHT);
    colours.push(...new Color().setRGB(...colour, "srgb").toArray());
    if (points.length < 6) return;
    path.geometry.dispose(); // its buffers have a fixed length
    path.geometry = new LineGeometry().setPositions(points).setColors(colours);
    path.visible = true;
  }

  /** Fit the picture to the canvas. A picture higher than wide is taken from farther away. */
  resize(force = false) {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    const size = `${width}x${height}`;
    if (!width || !height || (size === this.size && !force)) return;
    this.size = size;
    this.isOutdated = true;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (!force) return;
    const farther = Math.max(1, 1.15 / this.camera.aspect);
    this.camera.position.copy(this.controls.target).addScaledVector(this.homeOffset, farther);
    this.controls.update();
  }

  /** Draw if anything has changed: the simulation has, or the picture by itself. */
  draw(hasMoved) {
    this.resize();
    this.controls.update(); // says whether the camera still moves
    if (!hasMoved && !this.isOutdated) return;
    this.isOutdated = false;
    const { data } = this.simulation;
    const poses = { geom: [data.geom_xpos, data.geom_xmat], site: [data.site_xpos, data.site_xmat] };
    for (const { mesh, index, of } of this.moving) {
      const [positions, matrices] = poses[of];
      const [x, y, z] = positions.slice(3 * index, 3 * index + 3);
      const m = matrices.slice(9 * index, 9 * index + 9);
      mesh.matrixAutoUpdate = false;
      mesh.matrix.set(m[0], m[1], m[2], x, m[3], m[4], m[5], y, m[6], m[7], m[8], z, 0, 0, 0, 1);
    }
    for (const { mesh, from, to } of this.springs) this.stretch(mesh, data.site_xpos, from, to);
    this.renderer.render(this.scene, this.camera);
  }

  stretch(mesh, sites, from, to) {
    const a = new Vector3(...sites.slice(3 * from, 3 * from + 3));
    const b = new Vector3(...sites.slice(3 * to, 3 * to + 3));
    const along = b.clone().sub(a);
    mesh.scale.set(1, 1, Math.max(along.length(), 1e-6));
    mesh.position.copy(a).addScaledVector(along, 0.5);
    mesh.quaternion.setFromUnitVectors(UP, along.normalize());
  }
}
