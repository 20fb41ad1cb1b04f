"use strict";

/* All that is chosen stands in the address after #, so that a link brings it back. */
Explorer.state = (() => {
  const DEFAULTS = {
    f: "", q: "", from: "", to: "", cost: "", active: "", kind: "all", sort: "match", level: "0.05", cosine: "0.7", cut: "", few: "0",
    flow: "", rel: "", relkind: "", relsort: "size", comp: "",
  };
  const number = /^\d*\.?\d+(e[-+]?\d+)?$/i;
  const VALID = {
    f: /^\d{1,9}(@[\p{L}\p{N}_.=+-]{1,60})?\/\d{1,9}$/u,
    q: /^[^]{1,500}$/,
    from: /^\d{1,9}(@[\p{L}\p{N}_.=+-]{1,60})?$/u,
    to: /^\d{1,9}(@[\p{L}\p{N}_.=+-]{1,60})?$/u,
    cost: number,
    active: number,
    kind: /^(all|live|carries|appears|ends|few|significant|chance|dead|judged-[123])$/,
    sort: /^(match|activity|significance|cost|length|feature)$/,
    level: /^(0?\.\d+|1)$/,
    cosine: /^(0(\.\d+)?|1(\.0+)?)$/,
    cut: number,
    few: /^\d{1,9}$/,
    flow: /^open$/,
    rel: /^\d{1,4}$/,
    relkind: /^[0-5]$/,
    relsort: /^(size|surest)$/,
    comp: /^\d{1,9}$/,
  };
  const listeners = [];
  let current = { ...DEFAULTS };

  /** What the address says; what it says wrongly is left out. */
  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const found = { ...DEFAULTS };
    for (const key of Object.keys(DEFAULTS)) {
      const value = given.get(key);
      if (value !== null && VALID[key].test(value)) found[key] = value;
    }
    return found;
  }

  function address() {
    const given = new URLSearchParams();
    for (const [key, value] of Object.entries(current)) {
      if (value !== DEFAULTS[key]) given.set(key, value);
    }
    // A slash may stand in a fragment as it is, and is easier to read.
    return `#${given.toString().replaceAll("%2F", "/")}`;
  }

  function change(next) {
    const changed = Object.keys(DEFAULTS).filter((key) => next[key] !== current[key]);
    current = next;
    return changed;
  }

  /** Choose something; a step back in the browser's history is kept for a feature. */
  function set(changes) {
    const changed = change({ ...current, ...changes });
    if (!changed.length) return;
    history[changed.includes("f") ? "pushState" : "replaceState"](null, "", address());
    tell(changed);
  }

  function tell(changed) {
    for (const listener of listeners) listener(new Set(changed), current);
  }

  /** Take up what the address says now. */
  function restore() {
    const changed = change(read());
    if (changed.length) tell(changed);
  }

  window.addEventListener("hashchange", restore);
  window.addEventListener("popstate", restore);

  return {
    DEFAULTS, set, restore,
    get: () => current,
    onChange: (listener) => listeners.push(listener),
  };
})();
