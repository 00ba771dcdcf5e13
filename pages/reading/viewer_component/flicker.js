/**
 * Flicker: the evidence map is shown and hidden in turn.
 *
 * @module flicker
 */

const PERIOD_MS = 600;

/**
 * @param {() => void} onChange
 * @param {{setInterval: (run: () => void, ms: number) => any, clearInterval: (timer: any) => void}} timers
 */
export function createFlicker(onChange, timers) {
  /** @type {any} */
  let timer = null;
  let isShown = true;
  return {
    /** Whether the map is shown in the present phase. */
    isShown: () => isShown,
    /** @param {boolean} isOn */
    set(isOn) {
      timers.clearInterval(timer);
      isShown = true;
      if (!isOn) return;
      timer = timers.setInterval(() => {
        isShown = !isShown;
        onChange();
      }, PERIOD_MS);
    },
  };
}
