"use strict";

/* Every feature of every layer in typed arrays; paths; and what carries on at the chosen cuts. */
Explorer.model = (() => {
  // As report/explorer/chunks.py stores them.
  const COSINE_SCALE = 32767;
  const NO_COSINE = -32768;
  const CHUNKS_KEPT = 12;
  // What becomes of a feature at a step, and where it comes from.
  const [ENDS, CARRIES, TOO_FEW] = [0, 1, 2];

  const model = {
    layers: [], title: "", facts: [], warnings: [], chunks: [], relations: [], features: 0, costs: { least: NaN, most: NaN },
    /** Whether any pairs were judged; level and tokens that say something, as the run says them and as they are chosen. */
    judged: false, alpha: 0.05, level: 0.05, fewest: 0, few: 0,
  };
  const kept = new Map();

  model.load = async () => {
    const index = await Explorer.loading.chunk("index");
    const buffers = await Promise.all(index.layers.map((of) => Explorer.loading.packed(`layer-${of.chunk}`)));
    Object.assign(model, { title: index.title, facts: index.facts, warnings: index.warnings ?? [], chunks: index.chunks, relations: index.relations ?? [] });
    model.layers = index.layers.map((of, at) => unpacked(of, buffers[at]));
    Object.assign(model, { judged: model.layers.some((layer) => layer.q), causes: index.causes === true, alpha: index.alpha ?? 0.05, fewest: index.fewest ?? 0 });
    model.features = model.layers.reduce((sum, layer) => sum + layer.features, 0);
    joinLayers();
  };

  function unpacked(of, buffer) {
    const n = of.features;
    const layer = {
      ...of,
      active: new Uint32Array(buffer, 0, n),
      cost: null, next: null, storedCosine: null, q: null, both: null,
      previous: null,
      path: new Int32Array(n),
      carries: new Uint8Array(n),
      carried: new Uint8Array(n),
      length: new Uint16Array(n),
      pairCost: new Float32Array(n).fill(NaN),
      pairQ: new Float32Array(n).fill(NaN),
    };
    if (of.step) {
      layer.cost = new Float32Array(buffer, 4 * n, n);
      layer.next = new Int32Array(buffer, 8 * n, n);
      if (of.judged) layer.q = new Float32Array(buffer, 12 * n, n);
      const at = (of.judged ? 16 : 12) * n;
      layer.storedCosine = new Int16Array(buffer, at, n);
      layer.both = new Uint32Array(buffer, at + 2 * (n + (n % 2)), n);
    }
    return layer;
  }

  /** Predecessors, numbers of paths (counted as report/explorer/paths.py counts them), and one cost a feature. */
  function joinLayers() {
    let known = 0;
    model.layers.forEach((layer, at) => {
      const before = model.layers[at - 1];
      if (before?.next) {
        layer.previous = new Int32Array(layer.features).fill(-1);
        before.next.forEach((target, source) => { if (target >= 0) layer.previous[target] = source; });
      }
      for (let feature = 0; feature < layer.features; feature++) {
        const source = layer.previous ? layer.previous[feature] : -1;
        layer.path[feature] = source >= 0 ? before.path[source] : known++;
        if (layer.next?.[feature] >= 0) takePair(layer, feature, layer, feature);
        else if (source >= 0) takePair(layer, feature, before, source);
      }
    });
  }

  /** The pair that filters and orders look at: with the next layer, else with the one before. */
  function takePair(layer, feature, of, source) {
    layer.pairCost[feature] = of.cost[source];
    if (of.q) layer.pairQ[feature] = of.q[source];
  }

  /** q of a feature's pair with the next layer; NaN where there is none. */
  model.q = (layer, feature) => (layer.q ? layer.q[feature] : NaN);

  /** Whether a q-value is significant at the chosen level. */
  model.isSignificant = (q) => q <= Math.fround(model.level);

  /** Tokens on which a feature or its partner in the next layer was active: what their co-activation rests on. */
  model.either = (at, feature) => {
    const layer = model.layers[at];
    return layer.active[feature] + model.layers[at + 1].active[layer.next[feature]] - layer.both[feature];
  };

  /** Decoder cosine of a feature's pair with the next layer; NaN where there is none. */
  model.cosine = (layer, feature) => {
    const stored = layer.storedCosine ? layer.storedCosine[feature] : NO_COSINE;
    return stored === NO_COSINE ? NaN : stored / COSINE_SCALE;
  };

  /**
   * Decide which pairs carry on: both live, significant at the level where they were judged, cosine at least and cost
   * at most what is given. A level of 1, and a cosine of 0, are no cuts. Of those left, pairs that were active on fewer
   * than `few` tokens are set apart: what they did together says nothing.
   */
  model.cut = (level, cosine, cost, few) => {
    const least = cosine > 0 ? Math.round(cosine * COSINE_SCALE) : NO_COSINE;
    Object.assign(model, { level, few });
    model.layers.forEach((layer, at) => {
      layer.carries.fill(0);
      layer.carried.fill(0);
      const after = model.layers[at + 1];
      for (let feature = 0; layer.next && feature < layer.features; feature++) {
        const target = layer.next[feature];
        const carries = target >= 0 && layer.active[feature] > 0 && after.active[target] > 0
          && layer.storedCosine[feature] !== NO_COSINE && layer.storedCosine[feature] >= least
          && (!layer.q || level >= 1 || model.isSignificant(layer.q[feature]))
          && !(layer.cost[feature] > cost);
        layer.carries[feature] = !carries ? ENDS : model.either(at, feature) < few ? TOO_FEW : CARRIES;
      }
    });
    measureLengths();
  };

  /** How many layers each feature is carried through, itself included. */
  function measureLengths() {
    const { layers } = model;
    layers.forEach((layer, at) => {
      const before = layers[at - 1];
      for (let feature = 0; feature < layer.features; feature++) {
        const source = layer.previous ? layer.previous[feature] : -1;
        layer.carried[feature] = source >= 0 ? before.carries[source] : ENDS;
        layer.length[feature] = layer.carried[feature] === CARRIES ? before.length[source] + 1 : 1;
      }
    });
    for (let at = layers.length - 2; at >= 0; at--) {
      const layer = layers[at];
      for (let feature = 0; layer.next && feature < layer.features; feature++) {
        if (layer.carries[feature] === CARRIES) layer.length[feature] = layers[at + 1].length[layer.next[feature]];
      }
    }
  }

  /**
   * Of each layer: live, dead; carried from before, by too few activations, and appearing; carrying on, by too few, and
   * ending; null where nothing is known.
   */
  model.flow = () => model.layers.map((layer) => {
    let [live, carried, carries, fewBefore, few] = [0, 0, 0, 0, 0];
    for (let feature = 0; feature < layer.features; feature++) {
      if (layer.active[feature] > 0) live++;
      if (layer.carried[feature] === CARRIES) carried++;
      else if (layer.carried[feature] === TOO_FEW) fewBefore++;
      if (layer.carries[feature] === CARRIES) carries++;
      else if (layer.carries[feature] === TOO_FEW) few++;
    }
    const known = (there, value) => (there ? value : null);
    return {
      layer: layer.layer, live, dead: layer.features - live,
      carried: known(layer.previous, carried), fewBefore: known(layer.previous, fewBefore),
      appears: known(layer.previous, live - carried - fewBefore),
      carries: known(layer.next, carries), few: known(layer.next, few),
      ends: known(layer.next, live - carries - few),
    };
  });

  /** The place of a layer, by its number or name, among those shown; -1 where it is not. */
  model.indexOf = (name) => {
    const wanted = String(name).toLowerCase();
    return model.layers.findIndex((layer) => String(layer.layer).toLowerCase() === wanted);
  };

  /** The features of a path, first layer first, from any of them. */
  model.pathOf = (index, feature) => {
    const members = [{ index, feature }];
    for (let [at, member] = [index, feature]; ;) {
      const source = model.layers[at].previous?.[member] ?? -1;
      if (source < 0) break;
      members.unshift({ index: --at, feature: member = source });
    }
    for (let [at, member] = [index, feature]; ;) {
      const target = model.layers[at].next?.[member] ?? -1;
      if (target < 0) break;
      members.push({ index: ++at, feature: member = target });
    }
    return members;
  };

  /** What is known of each feature of a path, from the chunk that holds it. */
  model.details = async (path) => {
    let [low, high] = [0, model.chunks.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (model.chunks[middle] <= path) low = middle;
      else high = middle - 1;
    }
    const paths = await chunkOf(low);
    return paths[path - model.chunks[low]].map(([label, link, mean, encoderCosine, both, contexts, evidence, causes]) => {
      const [statistic, p, margin, mutual, encoderAgrees, decoderAgrees] = evidence ?? [];
      return { label, link, mean, encoderCosine, both, contexts, statistic, p, margin, mutual, encoderAgrees, decoderAgrees, causes: causes ?? null };
    });
  };

  /** A chunk of paths; the last few are kept. */
  function chunkOf(number) {
    let found = kept.get(number);
    kept.delete(number);
    if (!found) {
      found = Explorer.loading.packedJson(`paths-${number}`);
      found.catch(() => kept.delete(number));
    }
    kept.set(number, found);
    if (kept.size > CHUNKS_KEPT) kept.delete(kept.keys().next().value);
    return found;
  }

  /**
   * A feature to begin with: of those carried through the most layers the one whose weakest step has the highest cosine;
   * null where none is carried anywhere.
   */
  model.foremost = () => {
    let [best, longest, surest] = [null, 1, -Infinity];
    model.layers.forEach((layer, index) => {
      for (let feature = 0; feature < layer.features; feature++) {
        // One of few activations would make a poor beginning.
        const begins = layer.carries[feature] === CARRIES && layer.carried[feature] !== CARRIES && layer.active[feature] >= model.few;
        if (!begins || layer.length[feature] < longest) continue;
        const weakest = weakestCosine(index, feature);
        if (layer.length[feature] === longest && weakest <= surest) continue;
        [best, longest, surest] = [{ index, feature }, layer.length[feature], weakest];
      }
    });
    return best;
  };

  function weakestCosine(index, feature) {
    let weakest = Infinity;
    for (let [at, member] = [index, feature]; model.layers[at].carries[member] === CARRIES; member = model.layers[at++].next[member]) {
      weakest = Math.min(weakest, model.layers[at].storedCosine[member]);
    }
    return weakest;
  }

  return Object.assign(model, { ENDS, CARRIES, TOO_FEW });
})();
