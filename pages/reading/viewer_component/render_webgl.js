/**
 * Rendering with WebGL 2: stored values of 8 or 16 bits are a texture, the display LUT another, which is all that a drag
 * of the window changes.
 *
 * @module render_webgl
 */

import {GRID} from "./evidence.js";
import {imageAxes, visibleRegion} from "./viewport.js";

/**
 * @typedef {import("./pyramid.js").Level} Level
 * @typedef {import("./stage.js").Renderer} Renderer
 */

const VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1), 0, 1);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
uniform usampler2D values;
uniform sampler2D displayLut, evidence, colormap;
uniform vec2 corner, size, perLevel;
uniform float canvasHeight, opacity;
uniform vec3 alongX, alongY;
uniform ivec2 levelSize, region;
out vec4 drawn;

float value(ivec2 at) {
  return float(texelFetch(values, clamp(at, ivec2(0), levelSize - 1) - region, 0).r);
}

void main() {
  vec3 place = vec3(gl_FragCoord.x - corner.x, canvasHeight - gl_FragCoord.y - corner.y, 1);
  vec2 image = vec2(dot(alongX, place), dot(alongY, place));
  drawn = vec4(0, 0, 0, 1);
  if (any(lessThan(image, vec2(0))) || any(greaterThanEqual(image, size))) return;
  vec2 level = image * perLevel - 0.5;
  ivec2 at = ivec2(floor(level));
  vec2 part = level - floor(level);
  float mixed = mix(mix(value(at), value(at + ivec2(1, 0)), part.x),
                    mix(value(at + ivec2(0, 1)), value(at + ivec2(1, 1)), part.x), part.y);
  int index = int(mixed + 0.5);
  float gray = texelFetch(displayLut, ivec2(index & 255, index >> 8), 0).r;
  drawn = vec4(gray, gray, gray, 1);
  if (opacity > 0.0) {
    float strength = texture(evidence, image / size).r;
    vec3 colour = texelFetch(colormap, ivec2(int(strength * 255.0 + 0.5), 0), 0).rgb;
    drawn.rgb = mix(drawn.rgb, colour, opacity * strength);
  }
}`;
// Some of what surrounds a pane is loaded with it, so that panning does not load at every frame.
const MARGIN = 0.25;

// Software renderers: without them, rendering on the processor is many times as fast (benchmarks.viewer).
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/** @param {WebGL2RenderingContext} gl */
function isSoftware(gl) {
  const details = gl.getExtension("WEBGL_debug_renderer_info");
  return SOFTWARE.test(gl.getParameter(details ? details.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}

/**
 * Return null where the browser has no WebGL 2 on a graphics card.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} onLost called when the browser takes the context away
 * @returns {Renderer | null}
 */
export function createWebglRenderer(canvas, onLost) {
  const context = canvas.getContext("webgl2", {alpha: false, antialias: false, depth: false, stencil: false,
    powerPreference: "high-performance"});
  if (!context || isSoftware(context)) return null;
  const gl = context, program = gl.createProgram();
  for (const [kind, source] of /** @type {[number, string][]} */ (
    [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
    const shader = gl.createShader(kind);
    // A lost context.
    if (!shader) return null;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.bindVertexArray(gl.createVertexArray());
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  /** @param {string} name */
  const at = name => gl.getUniformLocation(program, name);
  const uniforms = Object.fromEntries(["corner", "size", "perLevel", "canvasHeight", "opacity", "alongX", "alongY",
    "levelSize", "region"].map(name => [name, at(name)]));
  /** @param {number} unit @param {string} name @param {number} filter */
  const texture = (unit, name, filter) => {
    const made = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, made);
    for (const [key, value] of [[gl.TEXTURE_MIN_FILTER, filter], [gl.TEXTURE_MAG_FILTER, filter],
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]])
      gl.texParameteri(gl.TEXTURE_2D, key, value);
    gl.uniform1i(at(name), unit);
    return made;
  };
  const textures = [texture(0, "values", gl.NEAREST), texture(1, "displayLut", gl.NEAREST),
    texture(2, "evidence", gl.LINEAR), texture(3, "colormap", gl.NEAREST)];
  const maxSize = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  /** @type {Record<string, any>} */
  const cached = {};
  canvas.addEventListener("webglcontextlost", event => {
    event.preventDefault();
    onLost();
  });

  /** @param {Uint8Array} table */
  function loadColormap(table) {
    if (cached.colormap === table) return;
    gl.activeTexture(gl.TEXTURE3);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, table);
    cached.colormap = table;
  }

  /** @param {Float32Array} grid */
  function loadEvidence(grid) {
    if (cached.grid === grid) return;
    gl.activeTexture(gl.TEXTURE2);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16F, GRID, GRID, 0, gl.RED, gl.FLOAT, grid);
    cached.grid = grid;
  }

  /** @param {Uint8Array} table @param {number} version */
  function loadDisplayLut(table, version) {
    if (cached.version === version) return;
    const rows = Math.max(1, table.length >> 8);
    gl.activeTexture(gl.TEXTURE1);
    if (cached.rows !== rows) {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, 256, rows, 0, gl.RED, gl.UNSIGNED_BYTE, table);
      cached.rows = rows;
    } else gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 256, rows, gl.RED, gl.UNSIGNED_BYTE, table);
    cached.version = version;
  }

  /**
   * Load the part of the level that the pane shows and some around it, as far as a texture holds it.
   *
   * @param {Level} level @param {number[]} part
   */
  function loadRegion(level, part) {
    const [left, top, right, bottom] = part.map((edge, side) => edge * level.scale[side % 2]);
    const seen = [Math.floor(left) - 1, Math.floor(top) - 1, Math.ceil(right) + 1, Math.ceil(bottom) + 1];
    const limits = [level.width, level.height];
    /** @param {number[]} box */
    const inside = box => box.map((edge, side) => Math.min(Math.max(edge, 0), limits[side % 2]));
    const needed = inside(seen), now = cached.region;
    if (cached.level === level && now && needed[0] >= now[0] && needed[1] >= now[1] && needed[2] <= now[2]
      && needed[3] <= now[3]) return;
    const room = [0, 1].map(side => Math.min(Math.ceil((seen[side + 2] - seen[side]) * MARGIN),
      Math.max(0, Math.floor((maxSize - (seen[side + 2] - seen[side])) / 2))));
    const wide = inside([seen[0] - room[0], seen[1] - room[1], seen[2] + room[0], seen[3] + room[1]]);
    const [width, height] = [wide[2] - wide[0], wide[3] - wide[1]];
    const deep = level.pixelData.BYTES_PER_ELEMENT === 2;
    const [format, kind] = deep ? [gl.R16UI, gl.UNSIGNED_SHORT] : [gl.R8UI, gl.UNSIGNED_BYTE];
    gl.activeTexture(gl.TEXTURE0);
    if (cached.deep !== deep || !(cached.width >= width) || !(cached.height >= height)) {
      [cached.width, cached.height, cached.deep] = [width, height, deep];
      gl.texImage2D(gl.TEXTURE_2D, 0, format, width, height, 0, gl.RED_INTEGER, kind, null);
    }
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, level.width);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RED_INTEGER, kind, level.pixelData,
      wide[1] * level.width + wide[0]);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, 0);
    [cached.level, cached.region] = [level, wide];
  }

  return {
    name: "webgl",
    render({image, level, viewport, panes, displayLut, displayLutVersion, grid, colormap, opacity}) {
      loadColormap(colormap);
      loadDisplayLut(displayLut, displayLutVersion);
      if (grid) loadEvidence(grid);
      loadRegion(level, visibleRegion(viewport, image, panes[0]));
      gl.disable(gl.SCISSOR_TEST);
      gl.clearColor(0.055, 0.067, 0.086, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.enable(gl.SCISSOR_TEST);
      const [alongX, alongY] = imageAxes(viewport, image).map(({axis, step, start}) =>
        axis === 0 ? [step, 0, start] : [0, step, start]);
      gl.uniform3fv(uniforms.alongX, alongX);
      gl.uniform3fv(uniforms.alongY, alongY);
      gl.uniform2f(uniforms.size, image.width, image.height);
      gl.uniform2fv(uniforms.perLevel, level.scale);
      gl.uniform2i(uniforms.levelSize, level.width, level.height);
      gl.uniform2i(uniforms.region, cached.region[0], cached.region[1]);
      gl.uniform1f(uniforms.canvasHeight, canvas.height);
      gl.viewport(0, 0, canvas.width, canvas.height);
      for (const pane of panes) {
        gl.scissor(pane.left, canvas.height - pane.top - pane.height, pane.width, pane.height);
        gl.uniform2f(uniforms.corner, pane.left, pane.top);
        gl.uniform1f(uniforms.opacity, pane.hasOverlay && grid ? opacity : 0);
        gl.drawArrays(gl.TRIANGLES, 0, 3);
      }
    },
    // Releases the image, on the screen and in memory.
    clear() {
      for (const key of ["level", "region", "grid", "version"]) delete cached[key];
      gl.disable(gl.SCISSOR_TEST);
      gl.clearColor(0, 0, 0, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
    },
    destroy() {
      for (const one of textures) gl.deleteTexture(one);
      gl.getExtension("WEBGL_lose_context")?.loseContext();
    },
  };
}
