"use strict";

/* Plain scripts that share one object: a page opened from disk may not load modules.
   Nothing from the data ever becomes markup: text goes into text nodes only. */
const Explorer = {};

Explorer.byId = (id) => document.getElementById(id);

/** An element with attributes (none where undefined) and children: elements, or strings as text. */
Explorer.element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

/** Numbers for people; what is not known is a dash. */
Explorer.format = (() => {
  const DASH = "–";
  // A share of so many has a standard error of a tenth at most.
  const FEW = 25;
  const counts = new Intl.NumberFormat("en-GB");
  const three = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
  const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
  // Neither 0.000000012 nor 1,230,000,000 can be read at a glance.
  const far = (value) => value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e7);
  const number = (value) => {
    if (!known(value)) return DASH;
    return far(value) ? value.toExponential(2) : three.format(value);
  };
  return {
    count: (value) => (known(value) ? counts.format(value) : DASH),
    number,
    /** A q-value; below what three digits tell, that it is. */
    q: (value) => {
      if (!known(value)) return DASH;
      return value < 0.001 ? "<\u00a00.001" : value.toFixed(3);
    },
    cosine: (value) => (known(value) ? value.toFixed(3) : DASH),
    share: (value) => (known(value) ? `${number(100 * value)} %` : DASH),
    /** A share of tokens; as a count where they are few. */
    tokens: (count, of) => {
      if (count === 0 || count >= FEW) return `${number((100 * count) / of)} %`;
      return `${count} ${count === 1 ? "token" : "tokens"}`;
    },
    /** A part of some tokens; both counts where they are few, else by `otherwise`. */
    part: (part, whole, otherwise) => {
      if (!known(part) || !(whole > 0)) return DASH;
      return whole < FEW ? `${part} of ${whole}` : otherwise(part / whole);
    },
    score: (value) => (known(value) ? value.toFixed(2) : DASH),
    dash: DASH,
    feature: (layer, feature) => `${layer}/${feature}`,
    layers: (value) => `${value} ${value === 1 ? "layer" : "layers"}`,
  };
})();

/** Tell the reader what went wrong, above everything else. */
Explorer.trouble = (message) => {
  const place = Explorer.byId("trouble");
  place.textContent = message;
  place.hidden = !message;
};

/** A button that opens a feature by its name. */
Explorer.opener = (name, text = name) => {
  const button = Explorer.element("button", { type: "button", class: "plain", "aria-label": `Open feature ${name}` }, text);
  button.addEventListener("click", () => Explorer.state.set({ f: name }));
  return button;
};

/** Resolves once what was changed before is on the screen. */
Explorer.painted = () =>
  new Promise((resolve) => {
    // A page in the background draws no frames.
    if (document.hidden) setTimeout(resolve);
    else requestAnimationFrame(() => setTimeout(resolve));
  });
