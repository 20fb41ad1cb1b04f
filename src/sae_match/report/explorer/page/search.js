"use strict";

/* What is looked for, and what the filters leave of it. */
Explorer.search = (() => {
  const { model, judged } = Explorer;
  const PART_OF_WORD = 1e6;
  const loaded = new Map();
  const read = new Map();
  const texts = new Map();

  /** A query: one feature, or words that must all occur, whole where they stand in quotes; a number may be a feature's. */
  function parsed(query) {
    const text = query.trim().toLowerCase();
    const one = /^(?:l|layer)?\s*(\d+)(@[^\s/:,]+)?\s*[/:,\s]\s*(?:f|feature)?\s*#?(\d+)$/.exec(text);
    if (one) return { layer: `${Number(one[1])}${one[2] ?? ""}`, feature: Number(one[3]), words: [] };
    const words = Array.from(text.matchAll(/"([^"]+)"|\S+/g), ([word, phrase]) => ({ text: phrase ?? word, exact: phrase !== undefined }));
    // The longest is the rarest, as a rule, and leaves the others little to look at.
    words.sort((left, right) => right.text.length - left.text.length);
    return { number: /^\d+$/.test(text) ? Number(text) : null, words };
  }

  /** Read the labels of a layer; they are known once this resolves. */
  function labels(index) {
    if (!loaded.has(index)) {
      const reading = Explorer.loading.packedJson(`labels-${model.layers[index].chunk}`);
      loaded.set(index, reading.then((value) => { read.set(index, value); }));
      loaded.get(index).catch(() => loaded.delete(index));
    }
    return loaded.get(index);
  }

  /** One string a layer with where each feature begins in it: looking through it is one call. */
  function searchable(index) {
    if (!texts.has(index)) {
      const [labelsOfLayer, firesOn] = read.get(index);
      const starts = new Uint32Array(labelsOfLayer.length + 1);
      let length = 0;
      const lines = labelsOfLayer.map((label, feature) => {
        const line = `${label}\t${firesOn[feature]}`.toLowerCase().replaceAll("\n", " ");
        starts[feature] = length;
        length += line.length + 1;
        return line;
      });
      starts[lines.length] = length;
      texts.set(index, { text: lines.join("\n"), starts });
    }
    return texts.get(index);
  }

  /** Features of a layer in whose text all words occur, and the rank of each as a match: less is better. */
  function occurrences(index, words) {
    const { text, starts } = searchable(index);
    const found = { features: [], ranks: [] };
    const [first] = words;
    let feature = 0;
    for (let at = text.indexOf(first.text); at >= 0; at = text.indexOf(first.text, starts[feature])) {
      while (starts[feature + 1] <= at) feature++;
      const line = text.slice(starts[feature], starts[feature + 1]);
      const places = words.map((word) => placeOf(line, word));
      if (places.every((place) => place.at >= 0)) {
        found.features.push(feature);
        found.ranks.push(rank(line, first, places));
      }
      feature++;
      if (feature >= starts.length - 1) break;
    }
    return found;
  }

  const inWord = (character) => /[\p{L}\p{N}]/u.test(character);

  /** Where a word stands in a line, whole if it does so anywhere; -1 where it does not, or not as it was asked for. */
  function placeOf(line, { text, exact }) {
    for (let at = line.indexOf(text); at >= 0; at = line.indexOf(text, at + 1)) {
      if (!inWord(line.charAt(at - 1)) && !inWord(line.charAt(at + text.length))) return { at, whole: true };
    }
    return { at: exact ? -1 : line.indexOf(text), whole: false };
  }

  /**
   * Whole words come first, then those early in the text: it begins with what the feature fires on most, and tells by a
   * share how much that is.
   */
  function rank(line, word, places) {
    const { at } = places[0];
    const share = /^['"]?\s(\d+)\s?%/.exec(line.slice(at + word.text.length));
    return (places.every(({ whole }) => whole) ? 0 : PART_OF_WORD) + at + (share ? (100 - Number(share[1])) / 200 : 0.5);
  }

  /** Whether a feature passes the filters. */
  function passes(index, feature, filters) {
    const layer = model.layers[index];
    const active = layer.active[feature];
    if (active < filters.leastActive * layer.tokens) return false;
    if (filters.mostCost !== null && !(layer.pairCost[feature] <= filters.mostCost)) return false;
    switch (filters.kind) {
      case "live": return active > 0;
      case "significant": return model.isSignificant(layer.pairQ[feature]);
      case "chance": return layer.pairQ[feature] > Math.fround(model.level);
      case "dead": return active === 0;
      case "carries": return layer.carries[feature] === 1;
      case "appears": return active > 0 && layer.previous !== null && layer.carried[feature] === 0;
      case "few": return layer.carries[feature] === model.TOO_FEW || layer.carried[feature] === model.TOO_FEW;
      case "ends": return active > 0 && layer.next !== null && layer.carries[feature] === 0;
      case "judged-1":
      case "judged-2":
      case "judged-3": return judged.label(index, feature) === Number(filters.kind.at(-1));
      default: return true;
    }
  }

  const KEYS = {
    activity: (layer, feature) => -layer.active[feature] / (layer.tokens || 1),
    significance: (layer, feature) => (Number.isNaN(layer.pairQ[feature]) ? Infinity : layer.pairQ[feature]),
    cost: (layer, feature) => (Number.isNaN(layer.pairCost[feature]) ? Infinity : layer.pairCost[feature]),
    length: (layer, feature) => (layer.active[feature] > 0 ? -layer.length[feature] : 0),
    feature: () => 0,
  };
  // Where no words are looked for, all match alike.
  KEYS.match = (layer, feature, rankOfMatch) => rankOfMatch ?? KEYS.activity(layer, feature);

  /** The candidates of a layer for a query, all of them where `features` is null, and their ranks if it has words. */
  function candidates(index, query) {
    const layer = model.layers[index];
    if (query.layer !== undefined) {
      const there = index === model.indexOf(query.layer) && query.feature < layer.features;
      return { features: there ? [query.feature] : [] };
    }
    if (!query.words.length) return { features: null };
    const found = occurrences(index, query.words);
    const { number } = query;
    if (number === null || number >= layer.features) return found;
    const others = found.features.map((_, at) => at).filter((at) => found.features[at] !== number);
    return {
      features: [number, ...others.map((at) => found.features[at])],
      ranks: [-Infinity, ...others.map((at) => found.ranks[at])],
    };
  }

  /**
   * The first `most` features of a query in order, how many there are, of these with whole words, and how many more the
   * filters hide.
   * Calls `progress(done, all)` while labels are read.
   */
  async function find(filters, most, progress) {
    const query = parsed(filters.query);
    if (query.words.length) await readLabels(filters, progress);
    const keys = new Float64Array(model.features);
    const features = new Int32Array(model.features);
    const layerOf = new Uint16Array(model.features);
    const keyOf = KEYS[filters.sort];
    let [count, hidden, whole] = [0, 0, 0];
    model.layers.forEach((layer, index) => {
      const within = index >= filters.from && index <= filters.to;
      if (!within && query.words.length) return;
      const { features: chosen, ranks } = candidates(index, query);
      const size = chosen ? chosen.length : layer.features;
      for (let at = 0; at < size; at++) {
        const feature = chosen ? chosen[at] : at;
        if (!within || !passes(index, feature, filters)) { hidden++; continue; }
        if (ranks?.[at] < PART_OF_WORD) whole++;
        keys[count] = feature === query.number ? -Infinity : keyOf(layer, feature, ranks?.[at]);
        features[count] = feature;
        layerOf[count++] = index;
      }
    });
    const first = smallest(keys.subarray(0, count), most);
    return {
      count, hidden, missing: missing(query), words: query.words, whole,
      found: first.map((at) => ({ index: layerOf[at], feature: features[at] })),
    };
  }

  /** The feature that is asked for by its name and is not there, if it is that. */
  function missing({ layer, feature }) {
    if (layer === undefined || feature < (model.layers[model.indexOf(layer)]?.features ?? 0)) return null;
    return Explorer.format.feature(layer, feature);
  }

  async function readLabels(filters, progress) {
    const wanted = model.layers.map((_, index) => index).filter((index) =>
      index >= filters.from && index <= filters.to && !read.has(index));
    let done = 0;
    await Promise.all(wanted.map(async (index) => {
      await labels(index);
      progress(++done, wanted.length);
    }));
  }

  /** Where the smallest keys are, smallest first; of equal ones the first. */
  function smallest(keys, most) {
    const limit = keys.length > most ? keys.slice().sort()[most - 1] : Infinity;
    const below = [];
    const equal = [];
    for (let at = 0; at < keys.length; at++) {
      if (keys[at] < limit) below.push(at);
      else if (keys[at] === limit && equal.length < most) equal.push(at);
    }
    return [...below.sort((left, right) => keys[left] - keys[right] || left - right), ...equal].slice(0, most);
  }

  return {
    find,
    labels,
    /** A feature's label where its layer's have been read, else undefined. */
    labelOf: (index, feature) => read.get(index)?.[0][feature],
  };
})();
