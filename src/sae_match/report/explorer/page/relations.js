"use strict";

/* What became of features in another layer or collection: edges and components in typed arrays, pair by pair. */
Explorer.relations = (() => {
  const { model } = Explorer;
  // As matching/relations/kinds.py numbers them.
  const KINDS = ["one to one", "split", "merge", "many to many", "appear", "end", "not tested"];
  const [MERGE, APPEAR, END] = [2, 4, 5];
  const read = new Map();

  /** A pair's relations, by their number; read when they are first asked for. */
  function load(number) {
    if (!read.has(number)) {
      const of = model.relations[number];
      read.set(number, Explorer.loading.packed(`relations-${number}`).then((buffer) => unpacked(of, buffer)));
      read.get(number).catch(() => read.delete(number));
    }
    return read.get(number);
  }

  function unpacked(of, buffer) {
    const { edges, components } = of;
    let at = 0;
    const next = (Type, length) => {
      const array = new Type(buffer, at, length);
      at += array.byteLength;
      return array;
    };
    const found = {
      of,
      source: next(Int32Array, edges), target: next(Int32Array, edges), component: next(Int32Array, edges),
      statistic: next(Float32Array, edges), whitened: next(Float32Array, edges), q: next(Float32Array, edges),
    };
    found.onText = of.datasets.map((dataset) => ({
      dataset,
      containment: next(Float32Array, edges), control: next(Float32Array, edges), tokens: next(Uint32Array, edges),
      coverage: next(Float32Array, components), coverageControl: next(Float32Array, components),
    }));
    Object.assign(found, { matched: next(Uint8Array, edges), kind: next(Uint8Array, components) });
    found.kinds = [of.source, of.target].map((layer) => next(Uint8Array, model.layers[layer].features));
    found.ends = [found.source, found.target];
    found.bySide = found.ends.map((ends, side) => grouped(ends, found.kinds[side].length));
    found.byComponent = grouped(found.component, components);
    measure(found);
    return found;
  }

  /** Edges in groups of one feature or component: those of a group stand in `order` from its start to the next one's. */
  function grouped(keys, size) {
    const starts = new Uint32Array(size + 1);
    for (const key of keys) starts[key + 1]++;
    for (let key = 0; key < size; key++) starts[key + 1] += starts[key];
    const order = new Uint32Array(keys.length);
    const free = starts.slice(0, size);
    keys.forEach((key, edge) => { order[free[key]++] = edge; });
    return { starts, order };
  }

  const edgesIn = ({ starts, order }, key) => order.subarray(starts[key], starts[key + 1]);

  /** Of each component its features and its weakest edge; what is near is judged after whitening. */
  function measure(found) {
    const { length } = found.kind;
    found.size = new Uint32Array(length);
    found.weakest = new Float32Array(length).fill(Infinity);
    found.bySide.forEach(({ starts, order }) => {
      for (let feature = 0; feature < starts.length - 1; feature++) {
        if (starts[feature + 1] > starts[feature]) found.size[found.component[order[starts[feature]]]]++;
      }
    });
    found.component.forEach((component, edge) => {
      found.weakest[component] = Math.min(found.weakest[component], found.whitened[edge]);
    });
  }

  /** The edges of a feature of a side, 0 for the source. */
  const edgesOf = (found, side, feature) => edgesIn(found.bySide[side], feature);

  /** The edges of a component. */
  const within = (found, component) => edgesIn(found.byComponent, component);

  /** What the feature at the other end of an edge is to the one on a side. */
  function nameOf(found, edge, side) {
    const kind = found.kind[found.component[edge]];
    if (kind === 0) return "partner";
    // The parent of a merge is the target feature, of every other kind the source feature.
    return (kind === MERGE) === (side === 0) ? "parent" : "child";
  }

  /** Features of the same side with a relative in common. */
  function siblings(found, side, feature) {
    const others = new Set();
    for (const edge of edgesOf(found, side, feature)) {
      for (const beside of edgesOf(found, 1 - side, found.ends[1 - side][edge])) others.add(found.ends[side][beside]);
    }
    others.delete(feature);
    return [...others];
  }

  /** The layers of a pair, by name. */
  const layersOf = ({ source, target }) => [source, target].map((at) => String(model.layers[at].layer));

  /** Features of a side whose kind is that. */
  function single(found, kind) {
    const side = kind === APPEAR ? 1 : 0;
    const features = [];
    found.kinds[side].forEach((of, feature) => { if (of === kind) features.push(feature); });
    return { side, features };
  }

  return { KINDS, APPEAR, END, load, edgesOf, within, nameOf, siblings, layersOf, single };
})();
